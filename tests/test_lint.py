"The notebook linter finds each fault, and nothing in a good notebook"
import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
import pytest

TOOLS = Path(__file__).resolve().parent.parent/'tools'
sys.path.insert(0, str(TOOLS))
from lint_notebooks import TABLE, lint, table, with_table   # noqa: E402

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
    code('#| export\ndef double(x): return 2*x'),
    code(FIGURE, png()),
    code('assert double(1) == 2', said('2')),
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
    'no title': (changed(0, 'Doubling\n\n> Twice.'), 'cell 1 .*Title'),
    'no sentence': (changed(0, '# Doubling\n\nTwice.'), 'cell 1 .*Title'),
    'two titles': (added(md('# Another')), 'cell 6 .*H1 heading'),
    'hidden heading below text': (added(md('Some text.\n\n## Edge cases -')), 'cell 6 .*its own cell'),
    'late directive': (changed(4, 'x = 1\n#| hide\ndouble(2)'), 'cell 5 .*directive below'),
    'comment before directive': (changed(4, '# a comment\n#| slow\ndouble(2)'), 'cell 5 .*directive below'),
    'long line': (changed(4, f'x = "{"a"*90}"'), 'cell 5 .*line 1 has 96 columns'),
    'long exported cell': (changed(2, GOOD[2]['source'] + '\n_y = 1'*40), 'cell 3 .*has 41 lines'),
    'exported output': (changed(2, None, said('2')), 'cell 3 .*stores outputs'),
    'long visible cell': (changed(4, 'double(2)\n'*9), 'cell 5 .*has 9 lines, shorten it: at most 8'),
    'long hidden cell': (changed(4, '#| hide\n' + 'double(2)\n'*26), 'cell 5 .*has 26 lines, shorten it: at most 25'),
    'figure without caption': (changed(3, FIGURE.replace('#| fig-cap: "Twice as much."\n', '')), 'cell 4 .*fig-cap'),
    'figure with empty caption': (changed(3, FIGURE.replace('Twice as much.', '')), 'cell 4 .*fig-cap'),
    'figure without label': (changed(3, FIGURE.replace('fig-double', 'double')), 'cell 4 .*label'),
    'figure with open code': (changed(3, FIGURE.replace('code-fold: true', 'code-fold: show')), 'cell 4 .*code-fold'),
    'figure without words': (changed(3, FIGURE.replace('A bar of double height.', '')), 'cell 4 .*fig-alt'),
    'big notebook': (changed(4, None, said('x'*410_000)), 'cell 5 .*40. KB'),
    'home path': (changed(4, None, said('saved /home/me/x')), r'cell 5 .*absolute path .*\(/home\)'),
    'temporary path': (changed(4, None, shown(**{'text/plain': ["Path('/tmp/x')"]})), r'absolute path .*\(/tmp\)'),
    'windows path': (changed(4, None, said('C:\\Users\\me')), 'absolute path'),
    'traceback': (changed(4, None, dict(output_type='error', ename='E', evalue='e', traceback=['Traceback (most'])), 'a traceback'),
    'progress bar': (changed(4, None, said('3/3 [00:01, 2.9it/s]')), 'a progress bar'),
    'warning': (changed(4, None, said('UserWarning: no')), 'a warning'),
    'address': (changed(4, None, shown(**{'text/html': ['<a object at 0x7f>']})), 'a memory address'),
    'execution count': (changed(4, execution_count=3), 'cell 5 .*execution_count'),
    'no default_exp': (removed(1), 'cell 1 .*default_exp'),
    'no export at the end': (removed(len(GOOD)-1), 'cell 5 .*is the last cell'),
    'export at the end is visible': (changed(-1, 'import nbdev; nbdev.nbdev_export()'), 'cell 6 .*is the last cell'),
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

@pytest.mark.parametrize('name', ['index', '05_results', '05a_honest', '06a_own_sounds', '08_speed'])
def test_a_story_page_exports_nothing(name, tmp_path):
    story = [GOOD[0], code('2*2')]
    assert lint([write(tmp_path, story, f'{name}.ipynb')]) == []
    assert 'exports from a story page' in lint([write(tmp_path, GOOD, f'{name}.ipynb')])[0]

def test_two_skipped_cells_in_all_notebooks_but_no_third(tmp_path):
    paths = [write(tmp_path, added(code(f'#| {flag}\n1')), f'0{n}_a.ipynb') for n, flag in enumerate(('slow', 'data', 'notest'))]
    assert lint(paths[:2]) == []
    findings = lint(paths)
    assert len(findings) == 1 and findings[0].startswith('nbs/02_a.ipynb:cell 6'), findings

def test_a_hidden_heading_stands_alone(tmp_path): assert lint([write(tmp_path, added(md('## Edge cases -\n')))]) == []

def test_the_table_ends_with_all_notebooks(tmp_path):
    big = added(md('word '*500), code('1', said('x'*4096)))
    paths = [write(tmp_path, cells, name) for cells, name in ((GOOD, '00_a.ipynb'), (big, '01_b.ipynb'))]
    first, second, both = (line.split(' | ') for line in table(paths).splitlines()[2:])
    assert (first[0], second[0], both[0]) == ('| 00_a', '| 01_b', '| **all**')
    assert float(first[1]) < float(both[1]) < float(second[1])
    assert first[2] == '1/1' and both[2] == '2/2' and second[5] == '4 |'

def test_the_table_is_written_between_two_comments(tmp_path):
    text = 'before\n<!-- measured by tools/lint_notebooks.py --write -->\nold\n<!-- end of the measures -->\nafter\n'
    new = with_table(text, [write(tmp_path, GOOD)])
    assert 'old' not in new and '00_doubling' in new and new.startswith('before\n') and new.endswith('-->\nafter\n')
    assert with_table(new, [write(tmp_path, GOOD)]) == new and TABLE.search(new)

@pytest.mark.parametrize('cells, status, last', [(GOOD, 0, '0 findings in 1 notebooks'), (removed(1), 1, '1 findings in 1 notebooks')])
def test_the_exit_status(cells, status, last, tmp_path):
    done = subprocess.run([sys.executable, TOOLS/'lint_notebooks.py', write(tmp_path, cells)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (status, last)
