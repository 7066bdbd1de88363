"The notebook linter finds each fault, and nothing in a good notebook"
import json, re, subprocess, sys
from copy import deepcopy
from pathlib import Path
import pytest

TOOLS = Path(__file__).resolve().parent.parent/'tools'
sys.path.insert(0, str(TOOLS))
from lint_notebooks import TABLE, lint, table, with_table

def md(source): return dict(cell_type='markdown', id='abcd', metadata={}, source=source)
def code(source, *outputs): return dict(md(source), cell_type='code', execution_count=None, outputs=list(outputs))
def shown(**data): return dict(output_type='display_data', metadata={}, data=data)
def said(text): return dict(output_type='stream', name='stdout', text=[text])
def png(): return shown(**{'image/png': 'iVBOR'})

FIGURE = '#| label: fig-double\n#| fig-cap: "Twice as much."\n#| fig-alt: "A bar of double height."\n#| code-fold: true\ndouble(2)'
EXPORT = '#| hide\nimport nbdev; nbdev.nbdev_export()'
GOOD = [
    md('# Doubling\n\n> Twice as much of everything.\n\n```python\n# not a heading\n```'),
    code('#| default_exp doubling'),
    code('#| export\nfrom math import pi\nfrom fastcore.basics import patch\nfrom fastcore.script import call_parse'),
    code('#| hide\nfrom fastcore.test import *\n%load_ext autoreload'),
    code('#| export\nFACTOR = 2\ndef double(x): return FACTOR*x*_one()\ndef _one(): return pi/pi'),
    code(FIGURE, png()),
    code('assert double(1) == FACTOR', said('2')),
    code('#| export\n@patch\ndef half(self:int): return [x/2 for x in [self]][0]'),
    code('(2).half()'),
    code('#| export\n@call_parse\ndef double_cli(x:int): print(double(x))'),
    code('!double_cli 2\nassert True'),
    code(EXPORT),
]

def write(folder, cells, name='00_doubling.ipynb'):
    path = folder/'nbs'/name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)), encoding='utf-8')
    return path

def changed(position, source=None, *outputs, **fields):
    "The good notebook with one cell changed"
    cells = deepcopy(GOOD)
    if source is not None: cells[position]['source'] = source
    if outputs: cells[position]['outputs'] = list(outputs)
    cells[position].update(fields)
    return cells

def added(*cells): return deepcopy(GOOD[:-1]) + list(cells) + GOOD[-1:]
def removed(position): return [cell for i, cell in enumerate(GOOD) if i != position]

def test_a_good_notebook_passes(tmp_path): assert lint([write(tmp_path, GOOD)]) == []

BAD = {
    'no title': (changed(0, 'Doubling\n\n> Twice.\n\n# Late title'), 'cell 1 .*begin with these'),
    'no sentence': (changed(0, '# Doubling\n\nTwice.'), 'cell 1 .*begin with these'),
    'two titles': (added(md('# Another')), 'cell 12 .*2 H1 headings'),
    'hidden heading below text': (added(md('Some text.\n\n## Edge cases -')), 'cell 12 .*its own cell'),
    'hidden heading that takes text along': (added(md('## Limits\n\nText.\n\n## Edge cases -')), 'cell 12 .*its own cell'),
    'late directive': (changed(8, 'x = 1\n#| hide\n(2).half()'), 'cell 9 .*directive below'),
    'comment before directive': (changed(8, '# a comment\n#| slow\n(2).half()'), 'cell 9 .*directive below'),
    'import in a demo': (changed(8, 'import os\n(2).half()'), 'cell 9 .*mixes imports'),
    'import in a function': (changed(8, 'def f():\n    import os\n(2).half()'), 'cell 9 .*mixes imports'),
    'import star': (changed(2, '#| export\nfrom math import *\nfrom math import pi\nfrom fastcore.basics import patch\nfrom fastcore.script import call_parse'), 'cell 3 .*name what'),
    'long exported cell': (changed(4, GOOD[4]['source'] + '\n_y = 1'*38), 'cell 5 .*exports 41 lines'),
    'exported output': (changed(4, None, said('2')), 'cell 5 .*stores outputs'),
    'long visible cell': (changed(8, '(2).half()\n'*9), 'cell 9 .*has 9 lines, shorten it or fold it: at most 8'),
    'long hidden cell': (changed(8, '#| hide\n' + '(2).half()\n'*26), 'cell 9 .*has 26 lines, shorten it: at most 25'),
    'unused function': (added(code('#| export\ndef lonely(): pass')), 'cell 12 .*`lonely`, which no later cell uses'),
    'used only before': (added(code('lonely()'), code('#| export\ndef lonely(): pass')), 'cell 13 .*`lonely`, which no later cell uses'),
    'unused class': (added(code('#| export\nclass Lonely: pass')), '`Lonely`, which no later cell uses'),
    'unused constant': (added(code('#| export\nA, (B, *C) = 1, (2, 3)'), code('assert A + B')), '`C`, which no later cell uses'),
    'unused method': (removed(8), 'cell 8 .*`half`, which no later cell uses'),
    'unused command': (changed(10, 'assert True'), 'cell 10 .*`double_cli`, which no later cell uses'),
    'function named in a string': (added(code('#| export\ndef lonely(): pass'), code('assert "lonely"')), '`lonely`, which no later cell uses'),
    'untested function': (added(code('#| export\ndef lonely(): pass'), code('lonely()')), 'cell 12 .*`lonely`, which no cell tests'),
    'test that is skipped': (added(code('#| export\ndef lonely(): pass'), code('#| slow\nassert lonely()')), '`lonely`, which no cell tests'),
    'test that never runs': (added(code('#| export\ndef lonely(): pass'), code('#| eval: false\nassert lonely()')), '`lonely`, which no cell tests'),
    'variable named test_': (added(code('#| export\ndef lonely(): pass'), code('test_fold = lonely()')), '`lonely`, which no cell tests'),
    'figure without caption': (changed(5, FIGURE.replace('#| fig-cap: "Twice as much."\n', '')), 'cell 6 .*figure'),
    'figure with empty caption': (changed(5, FIGURE.replace('Twice as much.', '')), 'cell 6 .*figure'),
    'figure without label': (changed(5, FIGURE.replace('fig-double', 'double')), 'cell 6 .*figure'),
    'figure with open code': (changed(5, FIGURE.replace('code-fold: true', 'code-fold: show')), 'cell 6 .*code-fold'),
    'figure without words': (changed(5, FIGURE.replace('#| fig-alt: "A bar of double height."\n', '')), 'cell 6 .*fig-alt'),
    'figure with empty words': (changed(5, FIGURE.replace('A bar of double height.', '')), 'cell 6 .*fig-alt'),
    'svg without caption': (changed(5, FIGURE.replace('fig-cap', 'fig-title'), shown(**{'image/svg+xml': ['<svg/>']})), 'cell 6 .*caption'),
    'big notebook': (changed(6, None, said('x'*410_000)), 'cell 7 .*40. KB'),
    'home path': (changed(6, None, said('saved /home/me/x')), r'cell 7 .*absolute path .*\(/home\)'),
    'temporary path': (changed(6, None, shown(**{'text/plain': ["Path('/tmp/x')"]})), r'absolute path .*\(/tmp\)'),
    'windows path': (changed(6, None, said('C:\\Users\\me')), 'absolute path'),
    'traceback': (changed(6, None, dict(output_type='error', ename='E', evalue='e', traceback=['Traceback (most'])), 'a traceback'),
    'progress bar': (changed(6, None, said('3/3 [00:01, 2.9it/s]')), 'a progress bar'),
    'warning': (changed(6, None, said('UserWarning: no')), 'a warning'),
    'address': (changed(6, None, shown(**{'text/html': ['<a object at 0x7f>']})), 'a memory address'),
    'execution count': (changed(6, execution_count=3), 'cell 7 .*execution_count'),
    'undefined name': (changed(2, '#| export\nfrom fastcore.basics import patch\nfrom fastcore.script import call_parse'), 'cell 5 .*uses `pi`'),
    'name of a demo cell': (changed(4, GOOD[4]['source'] + '\ndef _two(): return [demo for _ in range(2)]\n'), 'cell 5 .*uses `demo`'),
    'name of a patch': (added(code('#| export\n_x = [half(2)]')), 'cell 12 .*uses `half`'),
    'syntax error': (added(code('def')), 'cell 12 .*not valid Python'),
    'no default_exp': (removed(1), 'cell 1 .*default_exp'),
    'no export at the end': (removed(len(GOOD)-1), 'cell 11 .*is the last cell'),
    'export at the end is visible': (changed(-1, 'import nbdev; nbdev.nbdev_export()'), 'cell 12 .*is the last cell'),
    'empty': ([], 'empty'),
}

@pytest.mark.parametrize('fault', BAD)
def test_a_fault_is_found(fault, tmp_path):
    cells, expected = BAD[fault]
    findings = lint([write(tmp_path, cells)])
    assert len(findings) == 1, findings
    assert findings[0].startswith('nbs/00_doubling.ipynb:cell ')
    assert re.search(expected, findings[0])

def test_not_a_notebook(tmp_path):
    path = write(tmp_path, GOOD)
    path.write_text('<<<<<<< HEAD')
    assert 'is not a notebook' in lint([path])[0]

def test_no_notebook_is_a_finding(): assert len(lint([])) == 1

@pytest.mark.parametrize('name', ['index.ipynb', '05_results.ipynb', '05a_honest.ipynb', '06a_own_sounds.ipynb'])
def test_a_story_page_exports_nothing(name, tmp_path):
    story = [GOOD[0], code('2*2')]
    assert lint([write(tmp_path, story, name)]) == []
    assert 'exports from a story page' in lint([write(tmp_path, GOOD, name)])[0]

def test_two_flagged_cells_in_all_notebooks_but_no_third(tmp_path):
    paths = [write(tmp_path, added(code('#| slow\n1')), '00_a.ipynb'), write(tmp_path, added(code('#| data\n1')), '01_b.ipynb')]
    assert lint(paths) == []
    findings = lint([*paths, write(tmp_path, added(code('#| slow\n1')), '02_c.ipynb')])
    assert len(findings) == 1 and findings[0].startswith('nbs/02_c.ipynb:cell 12'), findings

def test_a_hidden_heading_stands_alone(tmp_path): assert lint([write(tmp_path, added(md('## Edge cases -\n')))]) == []

def test_an_import_may_be_shown_where_it_never_runs(tmp_path):
    assert lint([write(tmp_path, added(code('#| eval: false\nfrom x import y\ny()')))]) == []

def test_the_table_counts_tests_within_five_cells(tmp_path):
    near = added(code('#| export\ndef f(): pass'), *[code('1')]*4, code('assert f()'))
    far = added(code('#| export\ndef f(): pass'), *[code('1')]*5, code('assert f()'))
    assert '| 4/5 = 80% | 1/1 | 2, 3 | 1, 2 | 0 |' in table([write(tmp_path, near)])  # `half` is shown but not tested
    assert '| 3/5 = 60% | 1/1 | 2, 3 | 1, 2 | 0 |' in table([write(tmp_path, far)])

def test_the_table_ends_with_all_notebooks(tmp_path):
    big = added(md('word '*500), code('1', said('x'*4096)))
    paths = [write(tmp_path, cells, name) for cells, name in ((GOOD, '00_a.ipynb'), (big, '01_b.ipynb'))]
    first, second, both = (line.split(' | ') for line in table(paths).splitlines()[2:])
    assert (first[0], second[0], both[0]) == ('| 00_a', '| 01_b', '| **all**')
    assert float(first[1]) < float(both[1]) < float(second[1])
    assert (second[6], both[6]) == ('4 |', '4 |') and both[2] == '6/8 = 75%'

def test_the_table_is_written_between_two_comments(tmp_path):
    text = 'before\n<!-- measured by tools/lint_notebooks.py --write -->\nold\n<!-- end of the measures -->\nafter\n'
    new = with_table(text, [write(tmp_path, GOOD)])
    assert 'old' not in new and '00_doubling' in new and new.startswith('before\n') and new.endswith('-->\nafter\n')
    assert with_table(new, [write(tmp_path, GOOD)]) == new and TABLE.search(new)

@pytest.mark.parametrize('cells, status, last', [(GOOD, 0, '0 findings in 1 notebooks'), (removed(8), 1, '1 findings in 1 notebooks')])
def test_the_exit_status(cells, status, last, tmp_path):
    done = subprocess.run([sys.executable, TOOLS/'lint_notebooks.py', write(tmp_path, cells)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (status, last)
