"Pages of results, run again, print what they show: the numbers of results/ and bench/ as they are today"
import json, os, subprocess, sys
from pathlib import Path
import pytest

PAGES = Path(__file__).resolve().parents[1]/'nbs'
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

@pytest.mark.parametrize('page', ['index', '05_results', '05a_honest', '08_speed', '09_robustness'])
def test_a_page_shows_what_it_prints(page, tmp_path):
    path, again = PAGES/f'{page}.ipynb', tmp_path/'again.json'
    subprocess.run([sys.executable, '-c', RUN, path, again], cwd=PAGES, check=True, timeout=300, env=os.environ | {'MPLBACKEND': 'agg'})
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    shown = [(printed(cell.get('outputs', [])), printed(now)) for cell, now in zip(cells, json.loads(again.read_text()), strict=True)
             if not ''.join(cell['source']).startswith('#| hide')]
    assert any(stored for stored, _ in shown)
    for stored, now in shown: assert stored == now

def test_what_page_06c_says_of_the_shipped_model():
    import csv, re
    from urbansounds_nb.models import default_classifier
    text = ' '.join(''.join(cell['source']) for cell in json.loads((PAGES/'06c_unknown.ipynb').read_text())['cells'])
    as_recorded = next(csv.DictReader((PAGES.parent/'results'/'conditions.csv').open()))
    said = re.search(r'of the recordings of the same fold, (\d+) % are rejected', text)
    assert as_recorded['condition'] == 'as recorded' and int(said[1]) == round(float(as_recorded['unknown']))
    accepted = dict(re.findall(r'([\w ]+?) (\d+) %[,)]', default_classifier().header['rejection'].split('accepted (')[1]))
    assert 'most of the synthetic voices' in text and int(accepted[' speech' if ' speech' in accepted else 'speech']) > 50
