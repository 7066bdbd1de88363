"Run notebooks in place and store small outputs: `python tools/run_notebooks.py [nbs/00_dataset.ipynb …]` (by default all)"
import base64, io, os, sys
from pathlib import Path

root = Path(__file__).resolve().parents[1]

def small(png):
    "The same picture as the bytes of a PNG with a palette: a spectrogram takes a third"
    from PIL import Image
    picture, out = Image.open(io.BytesIO(png)).convert('RGB'), io.BytesIO()
    # covers all colours alike, so that a thin red line stays red
    few = picture.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1)
    few.save(out, 'PNG', optimize=True)
    return out.getvalue()

def run(path):
    "Run one notebook from its own folder; outputs of exported and hidden cells are not kept"
    os.chdir(path.parent)                     # before matplotlib is imported, which reads matplotlibrc from here
    from execnb.nbio import read_nb, write_nb
    from execnb.shell import CaptureShell
    notebook = read_nb(path)
    for cell in notebook.cells:
        if cell.cell_type == 'code': cell['outputs'] = []          # a cell that says nothing now would keep what it said before
    CaptureShell(path, mpl_format='png').run_all(notebook, exc_stop=True)
    for cell in notebook.cells:
        if cell.cell_type != 'code': continue
        cell['execution_count'] = None
        if cell.source.startswith(('#| export', '#| hide', '#| default_exp')): cell['outputs'] = []
        for output in cell.outputs:
            data = output.get('data', {})
            if png := data.get('image/png'):
                png = small(base64.b64decode(''.join(png)))
                data['image/png'] = base64.b64encode(png).decode()
    write_nb(notebook, path)

if __name__ == '__main__':
    paths = [Path(p).resolve() for p in sys.argv[1:]] or sorted((root/'nbs').glob('*.ipynb'))
    for path in paths:
        print(path.name)
        run(path)
