#!/usr/bin/env python3
"""Write README.md from nbs/index.ipynb with nbconvert, the same on every machine.

    python tools/readme.py
"""
import posixpath, re
from pathlib import Path
import nbformat
from nbconvert import MarkdownExporter
from nbformat.v4 import new_code_cell, new_markdown_cell
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
MARK = '<!-- Made from nbs/index.ipynb by tools/readme.py: edit the notebook, not this file. -->'
DIRECTIVE = re.compile(r'#\s*\|\s*([\w-]+)\s*:?\s*(.*)')
HIDE_INPUT = dict(tags=['hide-input'])

def presented(cell):
    "The cells that stand for `cell` on the page"
    if cell.cell_type != 'code': return [cell] if cell.cell_type == 'markdown' else []
    lines = cell.source.splitlines()
    directives = dict(m.groups() for m in map(DIRECTIVE.match, lines) if m)
    if 'hide' in directives or directives.get('include') == 'false': return []
    if any(mime.startswith('image/') for o in cell.outputs for mime in o.get('data', {})):
        raise ValueError('nbs/index.ipynb stores an image, which README.md cannot show: save it as a file and link to it from markdown')
    source = '\n'.join(line for line in lines if not DIRECTIVE.match(line)).strip()
    code = new_code_cell(source) if source and directives.get('echo') != 'false' else None
    shown = [code] if code else []
    if code and directives.get('code-fold') == 'true':
        shown = [new_markdown_cell('<details><summary>Code</summary>'), code, new_markdown_cell('</details>')]
    outputs = [] if directives.get('output') == 'false' else cell.outputs
    return shown + ([new_code_cell(outputs=outputs, metadata=HIDE_INPUT)] if outputs else [])

def from_root(link):
    "A link that is relative to nbs/, made relative to the root, where README.md is"
    return f']({posixpath.normpath(posixpath.join("nbs", link[1]))})'

def render(index):
    "README.md's text by nbconvert, the same on every machine"
    notebook = nbformat.read(index, as_version=4)
    notebook.cells = [shown for cell in notebook.cells for shown in presented(cell)]
    notebook.metadata.language_info = dict(name='python')  # so that the code is coloured
    config = Config()
    config.TagRemovePreprocessor = Config(enabled=True, remove_input_tags=HIDE_INPUT['tags'])
    config.NbConvertBase.display_data_priority = ['text/markdown', 'text/html', 'text/plain']
    exporter = MarkdownExporter(config=config)
    text, _ = exporter.from_notebook_node(notebook)
    text = re.sub(r'\]\((?![a-z]+:|[#/])([^)\s]+)\)', from_root, text)
    return re.sub(r'\n{3,}', '\n\n', f'{MARK}\n\n{text}').strip() + '\n'

def main(): (ROOT/'README.md').write_text(render(ROOT/'nbs/index.ipynb'), encoding='utf-8')

if __name__ == '__main__': main()
