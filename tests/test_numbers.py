"What the pages of results print is what results/ and bench/ say today: run again, they print the same"
import json, os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [page for page in ('index', '05_results', '05a_honest', '08_speed', '09_robustness') if (ROOT/'nbs'/f'{page}.ipynb').exists()]
RUN = '''
import json, sys
from execnb.nbio import read_nb
from execnb.shell import CaptureShell
notebook = read_nb(sys.argv[1])
CaptureShell(mpl_format=None).run_all(notebook, exc_stop=True)
json.dump([cell.get('outputs', []) for cell in notebook.cells], open(sys.argv[2], 'w'), default=str)
'''

def printed(outputs):
    "The text of a cell's outputs: what it prints, and its tables"
    joined = lambda text: ''.join(text if isinstance(text, list) else [text])
    texts = [joined(output.get('text', '') or output.get('data', {}).get('text/markdown', '')) for output in outputs]
    return '\n'.join(filter(None, texts)).strip()

@pytest.mark.parametrize('page', PAGES)
def test_a_page_prints_what_the_results_say(page, tmp_path):
    path = ROOT/'nbs'/f'{page}.ipynb'
    subprocess.run([sys.executable, '-c', RUN, path, tmp_path/'fresh.json'], cwd=path.parent, check=True, timeout=200, env=os.environ | {'MPLBACKEND': 'agg'})
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    pairs = [(printed(cell.get('outputs', [])), printed(fresh), ''.join(cell['source'])) for cell, fresh in zip(cells, json.loads((tmp_path/'fresh.json').read_text()), strict=True)]
    shown = [(stored, fresh) for stored, fresh, source in pairs if not source.startswith('#| hide')]
    assert any(stored for stored, _ in shown)
    for stored, fresh in shown: assert stored == fresh

def test_the_readme_has_the_table_of_the_first_page():
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    table, = [text for cell in cells if '| network |' in (text := printed(cell.get('outputs', [])))]
    assert table in (ROOT/'README.md').read_text(encoding='utf-8')
