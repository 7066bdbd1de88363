#!/usr/bin/env python3
"""Check that the notebooks are written by the rules.

    python tools/lint_notebooks.py [--table | --write] [notebook ...]     (default: every nbs/*.ipynb)
"""
import argparse, ast, builtins, json, re, symtable, sys
from itertools import takewhile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
STORY_PAGES = {'index.ipynb', '05_results.ipynb', '05a_honest.ipynb', '06a_own_sounds.ipynb', '07a_browser.ipynb', '09_robustness.ipynb'}  # they export nothing
EXPORTS, SKIPPED = {'export', 'exports', 'exporti'}, {'slow', 'data', 'notest'}  # nbdev_test passes over SKIPPED
MAX_EXPORTED, MAX_VISIBLE, MAX_FOLDED = 40, 8, 25  # lines in a cell
MAX_KB, MAX_SKIPPED, NEAR = 400, 2, 5
GUIDE = ROOT/'CONTRIBUTING.md'  # shows the measured table between two comments
TABLE = re.compile(r'(?s)(<!-- measured by tools/lint_notebooks.py --write -->\n).*?(<!-- end of the measures -->)')
IMPORTS = (ast.Import, ast.ImportFrom)
DIRECTIVE = re.compile(r'\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)')
FORBIDDEN_OUTPUT = {
    r'(?<![\w.<~])/(home|root|tmp|work|Users)\b|\b[A-Z]:\\': 'an absolute path', r'it/s\]|s/it\]': 'a progress bar',
    'Traceback': 'a traceback', 'Warning': 'a warning', 'at 0x': 'a memory address'}

class Cell:
    "A notebook cell, taken apart: directives, the lines below them, their syntax tree"
    def __init__(self, number, raw):
        self.number, self.id, self.kind = number, raw.get('id', '-'), raw['cell_type']
        self.source, self.outputs = ''.join(raw['source']), raw.get('outputs', [])
        self.execution_count = raw.get('execution_count') or any(o.get('execution_count') for o in self.outputs)
        lines = self.source.splitlines() if self.kind == 'code' else []
        top = list(takewhile(lambda line: not line.strip() or DIRECTIVE.match(line) or line.startswith('%%'), lines))
        self.directives = {m[1]: m[2].strip('\'" ') for m in map(DIRECTIVE.match, top) if m}
        self.lines = '\n'.join(lines[len(top):]).strip().splitlines()
        foreign = any(re.match('%%(?!time|capture)', line) for line in top)  # %%bash and the like
        self.tree = parse('' if foreign else '\n'.join(self.lines))
        self.exported = bool(EXPORTS & self.directives.keys())
        self.demo = self.kind == 'code' and not self.exported
        self.never_run = self.directives.get('eval') == 'false'
        self.flags = sorted(SKIPPED & self.directives.keys())
        nodes = list(ast.walk(self.tree)) if self.tree else []
        self.imports = [node for node in nodes if isinstance(node, IMPORTS)]
        self.names = {last_name(node) for node in nodes}
        strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        shell = lines if foreign else [line for line in lines if line.startswith(('!', '%'))]
        self.words = set(re.findall(r'\w+', ' '.join(strings + shell)))
        asserts = any(isinstance(node, ast.Assert) or isinstance(node, ast.Call)
                      and last_name(node.func).startswith(('test_', 'assert')) for node in nodes)
        self.is_test = self.demo and asserts and not self.never_run and not self.flags

    def uses(self, name, is_command):
        "Is `name` used here? A command may also be named in a string or behind a `!`"
        return self.demo and (name in self.names or is_command and name in self.words)

def parse(code):
    "The syntax tree without lines of IPython magic; None where that is not Python"
    for python in (code, re.sub(r'(?m)^\s*[%!].*$', '', code)):
        try: return ast.parse(python)
        except SyntaxError: pass

def last_name(node): return getattr(node, 'attr', None) or getattr(node, 'id', '')
def decorators(node): return {last_name(getattr(d, 'func', d)) for d in getattr(node, 'decorator_list', [])}
def is_patch(node): return any(name.startswith('patch') for name in decorators(node))
def is_command(node): return 'call_parse' in decorators(node)
def images(cell): return [o for o in cell.outputs if {'image/png', 'image/svg+xml'} & o.get('data', {}).keys()]
def prose(cell): return re.sub(r'(?ms)^\s*(```|~~~).*?(^\s*\1|\Z)', '', cell.source) if cell.kind == 'markdown' else ''

def names_of(node):
    "The names that one top-level statement defines"
    if hasattr(node, 'decorator_list'): return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    leaves = [leaf for target in targets for leaf in ast.walk(target)]
    return [leaf.id for leaf in leaves if isinstance(leaf, ast.Name) and isinstance(leaf.ctx, ast.Store)]

def public_names(cells):
    "(cell, name, definition) of each public name where it is first exported; a method that is patched in, every time"
    seen = set()
    for cell in cells:
        if not {'export', 'exports'} & cell.directives.keys(): continue
        for node in getattr(cell.tree, 'body', []):
            for name in names_of(node):
                if not name.startswith('_') and name not in seen: yield cell, name, node
                if not is_patch(node): seen.add(name)

def scopes(cell):
    "Symbol tables of an exported cell, its top level first"
    tables = [symtable.symtable('\n'.join(cell.lines), cell.id, 'exec')]
    for table in tables: tables += table.get_children()
    return tables

def bound_names(cell):
    "What the top level of an exported cell defines or imports"
    patched = {node.name for node in cell.tree.body if is_patch(node)}  # @patch leaves no such name behind
    return {s.get_name() for s in scopes(cell)[0].get_symbols() if s.is_assigned() or s.is_imported()} - patched

def free_names(cell):
    "What an exported cell takes from its module"
    return {s.get_name() for table in scopes(cell) for s in table.get_symbols() if s.is_global() and s.is_referenced()}

def output_text(cell):
    "All the text that a cell stores in its outputs"
    parts = [part for o in cell.outputs for part in [o.get('text', ''), o.get('traceback', ''),
             *(value for mime, value in o.get('data', {}).items() if mime not in ('image/png', 'image/jpeg'))]]
    return '\n'.join(str(part) if isinstance(part, dict) else ''.join(part) for part in parts)

def cell_findings(cell):
    "What one code cell does wrong, what to do"
    length = len(cell.lines)
    if cell.tree is None: return (yield 'is not valid Python, correct it')
    if any(re.match(r'#\s*\|', line) for line in cell.lines): yield 'has a directive below its first lines, move it to the top'
    if cell.execution_count: yield 'stores an execution_count, run nbdev_clean'
    if cell.exported:
        if length > MAX_EXPORTED: yield f'exports {length} lines, split it: at most {MAX_EXPORTED}'
        if cell.outputs: yield 'is exported and stores outputs that no page shows, demonstrate in the next cell'
        if any(alias.name == '*' for node in cell.imports for alias in node.names): yield 'exports `import *`, name what is imported'
    else:
        folded = 'hide' in cell.directives or cell.directives.get('code-fold') == 'true'
        limit = MAX_FOLDED if folded else MAX_VISIBLE
        if length > limit: yield f'has {length} lines, shorten it{"" if folded else " or fold it"}: at most {limit}'
        # the docs build runs every cell with an import in it, unless eval is false
        mixed = cell.imports and not all(isinstance(node, IMPORTS) for node in cell.tree.body) and not cell.never_run
        if mixed and 'nbdev_export()' not in cell.source: yield 'mixes imports with other code, move them to a cell of their own'
    if images(cell) and not (cell.directives.get('fig-cap') and cell.directives.get('label', '').startswith('fig-')):
        yield 'shows a figure without label or caption, add `#| label: fig-...` and `#| fig-cap: "..."`'
    elif images(cell) and cell.directives.get('code-fold') != 'true': yield 'shows a figure below its open code, add `#| code-fold: true`'
    if images(cell) and not cell.directives.get('fig-alt'): yield 'shows a figure without words for who cannot see it, add `#| fig-alt: "..."`'
    for pattern, what in FORBIDDEN_OUTPUT.items():
        found = re.search(pattern, output_text(cell))
        if found: yield f'stores {what} in its output ({found[0]}), silence it and run it again'

def page_findings(name, cells, size):
    "(cell, what the notebook as a whole does wrong, what to do)"
    first = next((cell for cell in cells if cell.kind == 'markdown'), cells[0])
    titles = [cell for cell in cells for _ in re.findall('(?m)^# ', prose(cell))]
    if not re.match(r'# .+\n\s*> \S', first.source): yield first, 'has to be `# Title` and then `> One sentence.`, begin with these'
    for cell in cells:  # nbdev drops a cell that begins as a heading and ends in ` -`, and leaves the heading of any other
        if len(cell.source.strip().splitlines()) > 1 and re.search(r'(?m)^#+ .* -\s*$', prose(cell)):
            yield cell, 'has a heading that ends in ` -` beside other text, which nbdev then drops, or shows the heading: give it its own cell'
    if len(titles) != 1: yield (titles or cells)[-1], f'the notebook has {len(titles)} H1 headings, keep exactly one'
    if size > MAX_KB*1024:
        biggest = max(cells, key=lambda cell: len(str(cell.outputs)))
        yield biggest, f'the notebook has {size/1024:.0f} KB, shrink outputs, here the largest: at most {MAX_KB}'
    exporters = [cell for cell in cells if cell.exported or 'default_exp' in cell.directives]
    if name in STORY_PAGES:
        if exporters: yield exporters[0], 'exports from a story page, move it to a library page'
        return
    if not any('default_exp' in cell.directives for cell in cells): yield cells[0], 'no cell has `#| default_exp`, add it below the title'
    if 'hide' not in cells[-1].directives or 'nbdev_export()' not in cells[-1].source:
        yield cells[-1], 'is the last cell, end with `#| hide` and `import nbdev; nbdev.nbdev_export()`'
    exported = [cell for cell in cells if cell.exported and cell.tree]
    known = {*dir(builtins), '__file__'}.union(*map(bound_names, exported))
    for cell in exported:
        for missing in sorted(free_names(cell) - known): yield cell, f'exports code that uses `{missing}`, define it in an exported cell'
    for cell, public, node in public_names(cells):
        users = [c for c in cells[cell.number:] if c.uses(public, is_command(node))]
        if not users: yield cell, f'exports `{public}`, which no later cell uses: demonstrate it'
        elif not is_patch(node) and not any(c.is_test for c in users): yield cell, f'exports `{public}`, which no cell tests: add an assert'

def read_cells(path): return [Cell(*o) for o in enumerate(json.loads(path.read_text(encoding='utf-8'))['cells'], 1)]

def lint(paths):
    "Every finding in these notebooks, one line each"
    if not paths: return ['nbs: there is no notebook, run this in a complete checkout']
    findings, flagged = [], []
    for path in paths:
        place = f'{path.parent.name}/{path.name}:cell'
        try: cells = read_cells(path)
        except (ValueError, KeyError) as error:
            findings.append(f'{place} 0 (-): is not a notebook ({error!r}), restore it')
            continue
        if not cells: findings.append(f'{place} 0 (-): the notebook is empty, write it or delete it')
        found = list(page_findings(path.name, cells, path.stat().st_size)) if cells else []
        found += [(cell, what) for cell in cells if cell.kind == 'code' for what in cell_findings(cell)]
        findings += [f'{place} {cell.number} ({cell.id}): {what}' for cell, what in found]
        flagged += [(place, cell) for cell in cells if cell.flags]
    return findings + [f'{place} {cell.number} ({cell.id}): is one `#| {cell.flags[0]}` cell too many, read its result from a file:'
                       f' at most {MAX_SKIPPED} in all' for place, cell in flagged[MAX_SKIPPED:]]

def measures(path):
    "What the table shows of a notebook; of several notebooks these add up"
    cells = read_cells(path)
    near = lambda cell, name, node: any(c.is_test and c.uses(name, is_command(node)) for c in cells[cell.number:cell.number+NEAR])
    public = [near(*found) for found in public_names(cells)]
    captions = [bool(cell.directives.get('fig-cap')) for cell in cells for _ in images(cell)]
    lengths = [(cell.exported, sum(bool(line.strip()) for line in cell.lines)) for cell in cells]
    words = sum(len(prose(cell).split()) for cell in cells)
    return words, public, captions, [length for length in lengths if length[1]], sum(len(json.dumps(cell.outputs)) for cell in cells if cell.outputs)

def table_row(name, words, public, captions, lengths, size):
    lines = {exported: [n for kind, n in lengths if kind == exported] or [0] for exported in (True, False)}
    spread = ' | '.join(f'{median(lines[exported]):.0f}, {max(lines[exported])}' for exported in (True, False))
    tested = f'{sum(public)}/{len(public)} = {sum(public)/len(public):.0%}' if public else '-'
    return (f'| {name} | {words/max(sum(n for _, n in lengths), 1):.1f} | {tested} | {sum(captions)}/{len(captions)} | {spread} | {size/1024:.0f} |')

def table(paths):
    "The measures of these notebooks as a Markdown table"
    rows = [measures(path) for path in paths]
    rows.append([sum(column[1:], column[0]) for column in zip(*rows)])
    head = (f'| notebook | prose words per code line | public names tested within {NEAR} cells | captions/figures '
            '| exported cells: median, longest | other cells: median, longest | outputs (KB) |')
    names = [*(path.stem for path in paths), '**all**']
    return '\n'.join([head, '|---|---|---|---|---|---|---|', *(table_row(name, *row) for name, row in zip(names, rows))]) + '\n'

def with_table(text, paths): return TABLE.sub(lambda match: match[1] + table(paths) + match[2], text)

def notebook_paths(folder=ROOT/'nbs'): return sorted(path for path in folder.glob('*.ipynb') if path.name[0] not in '_.')

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('notebooks', nargs='*', type=Path)
    parser.add_argument('--table', action='store_true', help='print the measures of each notebook instead of its findings')
    parser.add_argument('--write', action='store_true', help=f'write the measures of all notebooks into {GUIDE.name} instead')
    args = parser.parse_args()
    paths = args.notebooks or notebook_paths()
    if args.table: return print(table(paths), end='')
    if args.write: return GUIDE.write_text(with_table(GUIDE.read_text(encoding='utf-8'), notebook_paths()), encoding='utf-8')
    findings = lint(paths)
    print(*findings, f'{len(findings)} findings in {len(paths)} notebooks', sep='\n')
    sys.exit(bool(findings))

if __name__ == '__main__': main()
