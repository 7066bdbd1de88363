"The dependency arrows of the design hold, nothing unpickles, and a model loads without the heavy libraries"
import ast, subprocess, sys
from pathlib import Path
import pytest
import urbansounds_nb

MODULES = {path.stem: ast.parse(path.read_text()) for path in Path(urbansounds_nb.__file__).parent.glob('*.py') if not path.stem.startswith('_')}
ARROWS = { # module -> the siblings that it may import
    'synthetic': (), 'augment': (), 'cnn': (), 'transformer': ('cnn',),
    'dataset': ('synthetic',),
    'cluster': ('dataset',),
    'spectrogram': ('cluster', 'dataset', 'synthetic'),
    'training': ('augment', 'cluster', 'dataset'),
    'models': ('dataset', 'spectrogram', 'cnn', 'transformer'),
    'crossval': ('synthetic', 'cluster', 'dataset', 'spectrogram', 'augment', 'training', 'cnn', 'transformer', 'models'),
    'predict': ('dataset', 'spectrogram', 'training', 'models'),
    'export': ('predict', 'dataset', 'spectrogram'),
    'app': ('predict', 'dataset', 'spectrogram', 'synthetic'),
    'bench': ('dataset', 'spectrogram', 'augment', 'training', 'transformer', 'models', 'crossval', 'predict', 'export'),
}
HEAVY = ('datasets', 'wandb', 'sklearn', 'pandas')

def siblings(tree):
    "Modules of the package that a module imports, anywhere in it"
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = (node.module or '').removeprefix('urbansounds_nb').strip('.')
            ours = node.level or (node.module or '').split('.')[0] == 'urbansounds_nb'
            if ours: found |= {module.split('.')[0]} if module else {alias.name for alias in node.names}
        if isinstance(node, ast.Import): found |= {alias.name.split('.')[1] for alias in node.names if alias.name.startswith('urbansounds_nb.')}
    return found

def libraries(node):
    "Top-level names of what an import statement imports"
    if isinstance(node, ast.Import): return {alias.name.split('.')[0] for alias in node.names}
    return {node.module.split('.')[0]} if isinstance(node, ast.ImportFrom) and node.module and not node.level else set()

def unsafe(tree):
    "Lines with anything that runs or unpickles what it reads"
    found = []
    for node in ast.walk(tree):
        if libraries(node) & {'pickle', 'cPickle', 'dill', 'cloudpickle', 'joblib', 'marshal', 'shelve'}: found.append((node.lineno, 'imports a pickler'))
        if not isinstance(node, ast.Call): continue
        name = ast.unparse(node.func)
        if name in ('eval', 'exec', 'torch.load', 'os.system', 'os.popen', 'yaml.load', 'yaml.unsafe_load', 'pd.read_pickle'): found.append((node.lineno, name))
        for word in node.keywords:
            if word.arg in ('allow_pickle', 'shell', 'trust_remote_code') and ast.unparse(word.value) != 'False': found.append((node.lineno, word.arg))
    return found

@pytest.mark.parametrize('name', MODULES)
def test_arrows(name):
    assert name in ARROWS, f'{name}: a new module needs its arrows here and in the design'
    assert siblings(MODULES[name]) <= set(ARROWS[name])

def test_nothing_needs_the_web_page(): assert not any('app' in allowed for allowed in ARROWS.values())

@pytest.mark.parametrize('name', MODULES)
def test_nothing_unpickles(name): assert unsafe(MODULES[name]) == []

@pytest.mark.parametrize('name', MODULES)
def test_heavy_libraries_wait_for_their_function(name):
    assert not {library for node in MODULES[name].body for library in libraries(node)} & {*HEAVY, 'huggingface_hub', 'matplotlib', 'gradio', 'ray'}

def test_the_checks_find_what_they_look_for():
    assert siblings(ast.parse('from .a import x\nfrom . import b\nimport urbansounds_nb.c\nfrom urbansounds_nb.d import y\nfrom urbansounds_nb import e\nimport torch')) == set('abcde')
    bad = ['import pickle', 'from joblib import load', 'torch.load(f)', 'np.load(f, allow_pickle=True)', 'eval(x)', 'exec(x)', 'run(x, shell=True)', 'os.system(x)']
    assert all(unsafe(ast.parse(line)) for line in bad)
    assert not unsafe(ast.parse('model.eval()\nnp.load(f, allow_pickle=False)\nrun([x])\nload(path)'))

@pytest.mark.parametrize('name', ('models', 'predict', 'crossval'))
def test_nothing_heavy_comes_along(name):
    code = f'import sys, urbansounds_nb.{name}; print(*[name for name in {HEAVY} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr
