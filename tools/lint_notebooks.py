#!/usr/bin/env python3
"""Check what a person does not see in a notebook: directives, captions, stored outputs, line lengths, paths.

    python tools/lint_notebooks.py [--table | --write] [notebook ...]     (default: every nbs/*.ipynb)

Names, imports and syntax are ruff's part: `ruff check` runs in `make test`.
"""
import argparse
import json
import re
import sys
from itertools import takewhile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
# Pages that export nothing
STORY_PAGES = {'index', '05_results', '05a_honest', '06a_own_sounds', '07a_browser', '08_speed', '09_robustness'}
EXPORTS, SKIPPED = {'export', 'exports', 'exporti'}, {'slow', 'data', 'notest'}
MAX_COLUMNS, MAX_EXPORTED, MAX_VISIBLE, MAX_FOLDED = 88, 40, 8, 25
MAX_KB, MAX_SKIPPED = 400, 2
GUIDE = ROOT/'CONTRIBUTING.md'
TABLE = re.compile(r'(?s)(<!-- measured by tools/lint_notebooks.py --write -->\n).*?(<!-- end of the measures -->)')
DIRECTIVE = re.compile(r'\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*)')
FORBIDDEN_OUTPUT = {
    r'(?<![\w.<~])/(home|root|tmp|work|Users)\b|\b[A-Z]:\\': 'an absolute path', r'it/s\]|s/it\]': 'a progress bar',
    'Traceback': 'a traceback', 'Warning': 'a warning', 'at 0x': 'a memory address'}


class Cell:
    "A notebook cell, taken apart: directives and the lines below them"
    def __init__(self, number, raw):
        self.number, self.id, self.kind = number, raw.get('id', '-'), raw['cell_type']
        self.source, self.outputs = ''.join(raw['source']), raw.get('outputs', [])
        counts = [raw.get('execution_count'), *(output.get('execution_count') for output in self.outputs)]
        self.execution_count = any(counts)
        lines = self.source.splitlines() if self.kind == 'code' else []
        top = list(takewhile(lambda line: not line.strip() or DIRECTIVE.match(line) or line.startswith('%%'), lines))
        self.directives = {m[1]: m[2].strip('\'" ') for m in map(DIRECTIVE.match, top) if m}
        self.lines = '\n'.join(lines[len(top):]).strip().splitlines()
        self.exported = bool(EXPORTS & self.directives.keys())
        self.flags = sorted(SKIPPED & self.directives.keys())


def prose(cell): return re.sub(r'(?ms)^\s*(```|~~~).*?(^\s*\1|\Z)', '', cell.source) if cell.kind == 'markdown' else ''
def images(cell): return [o for o in cell.outputs if {'image/png', 'image/svg+xml'} & o.get('data', {}).keys()]


def output_text(cell):
    "All text that a cell stores as output, without pictures and sounds"
    parts = [part for o in cell.outputs for part in [o.get('text', ''), *o.get('traceback', []), *o.get('data', {}).values()]]
    return re.sub(r'data:[\w/+-]+;base64,[\w+/=]+', '', '\n'.join(''.join(part) for part in parts if isinstance(part, (str, list))))


def cell_findings(cell):
    "What one code cell does wrong, and what to do"
    if any(DIRECTIVE.match(line) for line in cell.lines): yield 'has a directive below other lines, move it to the top'
    for number, line in enumerate(cell.source.splitlines(), 1):
        if len(line) > MAX_COLUMNS and not DIRECTIVE.match(line):
            yield f'line {number} has {len(line)} columns, break it: at most {MAX_COLUMNS}, the site cuts the rest'
    n_lines = sum(bool(line.strip()) for line in cell.lines)
    folded = {'hide', 'code-fold', 'echo'} & cell.directives.keys()
    limit = MAX_EXPORTED if cell.exported else MAX_FOLDED if folded else MAX_VISIBLE
    if n_lines > limit: yield f'has {n_lines} lines, shorten it: at most {limit}'
    if cell.exported and cell.outputs: yield 'exports and stores outputs, which the site drops: show them in the next cell'
    if cell.execution_count: yield 'stores an execution_count: run nbdev_clean'
    if images(cell):
        if not cell.directives.get('label', '').startswith('fig-'): yield 'shows a figure without `#| label: fig-...`'
        for name in 'fig-cap', 'fig-alt':
            if not cell.directives.get(name): yield f'shows a figure without `#| {name}: "..."`'
        if cell.directives.get('code-fold') != 'true': yield 'shows a figure below open code, add `#| code-fold: true`'
    for pattern, what in FORBIDDEN_OUTPUT.items():
        found = re.search(pattern, output_text(cell))
        if found: yield f'stores {what} in its output ({found[0]}), silence it and run it again'


def page_findings(name, cells, size):
    "(cell, what the notebook as a whole does wrong, what to do)"
    if not re.match(r'# .+\n\s*> \S', cells[0].source): yield cells[0], 'has to be `# Title` and then `> One sentence.`'
    titles = [cell for cell in cells for _ in re.findall('(?m)^# ', prose(cell))]
    if len(titles) > 1: yield titles[-1], 'is another H1 heading, keep exactly one'
    for cell in cells:
        if len(cell.source.strip().splitlines()) > 1 and re.search(r'(?m)^#+ .* -\s*$', prose(cell)):
            yield cell, 'has a heading that ends in ` -` beside other text: give it its own cell, nbdev drops it with the text'
    if size > MAX_KB*1024:
        biggest = max(cells, key=lambda cell: len(str(cell.outputs)))
        yield biggest, f'the notebook has {size/1024:.0f} KB, shrink outputs, here the largest: at most {MAX_KB}'
    exporters = [cell for cell in cells if cell.exported or 'default_exp' in cell.directives]
    if name in STORY_PAGES:
        if exporters: yield exporters[0], 'exports from a story page, move it to a library page'
        return
    if not any('default_exp' in cell.directives for cell in cells): yield cells[0], 'no cell has `#| default_exp`'
    if 'hide' not in cells[-1].directives or 'nbdev_export()' not in cells[-1].source:
        yield cells[-1], 'is the last cell, end with `#| hide` and `import nbdev; nbdev.nbdev_export()`'


def read_cells(path): return [Cell(*o) for o in enumerate(json.loads(path.read_text(encoding='utf-8'))['cells'], 1)]


def lint(paths):
    "Every finding in these notebooks, one line each"
    if not paths: return ['nbs: there is no notebook, run this in a complete checkout']
    findings, flagged = [], []
    for path in paths:
        place = f'{path.parent.name}/{path.name}:cell'
        try: cells = read_cells(path)
        except (ValueError, KeyError) as error: cells, problem = [], f'is not a notebook ({error!r}), restore it'
        else: problem = 'the notebook is empty, write it or delete it'
        if not cells:
            findings.append(f'{place} 0 (-): {problem}')
            continue
        found = list(page_findings(path.stem, cells, path.stat().st_size))
        found += [(cell, what) for cell in cells if cell.kind == 'code' for what in cell_findings(cell)]
        findings += [f'{place} {cell.number} ({cell.id}): {what}' for cell, what in found]
        flagged += [f'{place} {cell.number} ({cell.id})' for cell in cells if cell.flags]
    return findings + [f'{place}: one skipped cell too many: at most {MAX_SKIPPED} in all' for place in flagged[MAX_SKIPPED:]]


def measures(path):
    "What the table shows of a notebook; of several notebooks these add up"
    cells = read_cells(path)
    captions = [bool(cell.directives.get('fig-cap')) for cell in cells for _ in images(cell)]
    lengths = [(cell.exported, sum(bool(line.strip()) for line in cell.lines)) for cell in cells]
    words = sum(len(prose(cell).split()) for cell in cells)
    size = sum(len(json.dumps(cell.outputs)) for cell in cells if cell.outputs)
    return words, captions, [length for length in lengths if length[1]], size


def table_row(name, words, captions, lengths, size):
    lines = {exported: [n for kind, n in lengths if kind == exported] or [0] for exported in (True, False)}
    both = ' | '.join(f'{median(lines[exported]):.0f}, {max(lines[exported])}' for exported in (True, False))
    share = words/max(sum(n for _, n in lengths), 1)
    return f'| {name} | {share:.1f} | {sum(captions)}/{len(captions)} | {both} | {size/1024:.0f} |'


def table(paths):
    "The measures of these notebooks as a Markdown table"
    rows = [measures(path) for path in paths]
    rows.append([sum(column[1:], column[0]) for column in zip(*rows)])
    head = ('| notebook | prose words per code line | captions/figures | exported cells: median, longest '
            '| other cells: median, longest | outputs (KB) |')
    names = [*(path.stem for path in paths), '**all**']
    lines = [table_row(name, *row) for name, row in zip(names, rows)]
    return '\n'.join([head, '|---|---|---|---|---|---|', *lines]) + '\n'


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
