"The rooms of the house: who may import whom, how large a module may be, nothing unpickles, nothing heavy comes along"
import ast, configparser, importlib.metadata, re, subprocess, sys
from pathlib import Path
import pytest
import urbansounds_nb

ROOT = Path(urbansounds_nb.__file__).parent
FILES = {path.stem: path for path in sorted(ROOT.glob('*.py')) if not path.stem.startswith('_')}
MODULES = {name: ast.parse(path.read_text(encoding='utf-8')) for name, path in FILES.items()}
ARROWS = { # module -> the siblings that it may import
    'core': '',
    'synthetic': 'core', 'cluster': 'core', 'augment': 'core', 'cnn': 'core', 'metrics': 'core',
    'containers': 'core', 'checkpoint': 'core',
    'audio': 'core containers',
    'transformer': 'cnn core',
    'rejection': 'core',
    'archives': 'core', 'sources': 'core audio archives',
    'dataset': 'core audio synthetic sources',
    'spectrogram': 'core audio',
    'features': 'core audio dataset spectrogram cluster',
    'models': 'core audio spectrogram cnn transformer rejection checkpoint',
    'devices': 'core', 'training': 'core augment metrics devices',
    'experiments': 'core spectrogram augment training models',
    'study': 'core dataset metrics spectrogram',
    'crossval': 'core dataset spectrogram features augment training metrics cnn transformer '
                'models experiments study cluster devices',
    'summary': 'core dataset metrics experiments study',
    'report': 'core dataset metrics experiments crossval study summary audio',
    'predict': 'core audio spectrogram models rejection',
    'export': 'core audio spectrogram features models checkpoint predict',
    'app': 'core audio spectrogram models checkpoint predict synthetic',
    'commands': 'core',
}
HEAVY = {'datasets', 'wandb', 'sklearn', 'pandas', 'huggingface_hub', 'matplotlib', 'gradio', 'ray', 'librosa'}
# The aim for the whole package is 3,800 lines; until it is reached, it grows by whole rooms only (the last: devices)
MOST_LINES, MOST_LINES_OF_ALL, MOST_COLUMNS, MOST_LINES_OF_A_FUNCTION = 300, 6155, 88, 40

def siblings(nodes):
    "Modules of the package that these statements import"
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            module = (node.module or '').removeprefix('urbansounds_nb').strip('.')
            ours = node.level or (node.module or '').split('.')[0] == 'urbansounds_nb'
            if ours: found |= {module.split('.')[0]} if module else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {alias.name.split('.')[1] for alias in node.names if alias.name.startswith('urbansounds_nb.')}
    return found

def libraries(node):
    "Top-level names of what an import statement imports"
    if isinstance(node, ast.Import): return {alias.name.split('.')[0] for alias in node.names}
    return {node.module.split('.')[0]} if isinstance(node, ast.ImportFrom) and node.module and not node.level else set()

def private_names(tree):
    "Names with an underscore that are taken from another module of the package, by import or as an attribute"
    modules, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and siblings([node]):
            found += [alias.name for alias in node.names if re.match('_[^_]', alias.name)]
            if not (node.module or '').removeprefix('urbansounds_nb'): modules |= {alias.asname or alias.name for alias in node.names}
    return found + [f'{node.value.id}.{node.attr}' for node in ast.walk(tree) if isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name) and node.value.id in modules and re.match('_[^_]', node.attr)]

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

# --- arrows

@pytest.mark.parametrize('name', MODULES)
def test_arrows(name):
    assert name in ARROWS, f'{name}: a new module needs its arrows here and in the design'
    nodes = MODULES[name].body if name == 'commands' else ast.walk(MODULES[name])   # its functions may import all
    assert siblings(nodes) <= set(ARROWS[name].split())

def test_no_circle_and_no_arrow_to_nothing():
    "Each module imports only modules that come before it in the table; what the table names is there"
    names = list(ARROWS)
    for place, name in enumerate(names): assert set(ARROWS[name].split()) <= set(names[:place]), name
    assert set(names) == set(MODULES)

def test_nothing_needs_the_web_page_or_the_commands():
    assert not any({'app', 'commands'} & set(allowed.split()) for allowed in ARROWS.values())

@pytest.mark.parametrize('name', MODULES)
def test_no_private_names_of_others(name): assert private_names(MODULES[name]) == []

# --- size

@pytest.mark.parametrize('name', MODULES)
def test_size_of_a_module(name):
    lines = FILES[name].read_text(encoding='utf-8').splitlines()
    assert len(lines) <= MOST_LINES
    own = lines[next(i for i, line in enumerate(lines) if line.startswith('# %% ../nbs')):]   # below nbdev's header
    assert [line for line in own if len(line) > MOST_COLUMNS] == []

@pytest.mark.parametrize('name', MODULES)
def test_size_of_functions(name):
    functions = [node for node in ast.walk(MODULES[name]) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert [f.name for f in functions if f.end_lineno - f.lineno >= MOST_LINES_OF_A_FUNCTION] == []

def test_size_of_the_package():
    sizes = {name: len(path.read_text(encoding='utf-8').splitlines()) for name, path in FILES.items()}
    assert sum(sizes.values()) <= MOST_LINES_OF_ALL, sizes

# --- what is imported and run

@pytest.mark.parametrize('name', MODULES)
def test_nothing_unpickles(name): assert unsafe(MODULES[name]) == []

@pytest.mark.parametrize('name', MODULES)
def test_heavy_libraries_wait_for_their_function(name):
    assert not {library for node in MODULES[name].body for library in libraries(node)} & HEAVY

@pytest.mark.parametrize('name', ('models', 'predict', 'crossval'))
def test_nothing_heavy_comes_along(name):
    code = f'import sys, urbansounds_nb.{name}; print(*[name for name in {sorted(HEAVY)} if name in sys.modules])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr

def test_prediction_needs_neither_datasets_nor_wandb():
    reached, new = set(), {'predict'}
    while new: reached, new = reached | new, {more for name in new for more in siblings(ast.walk(MODULES[name]))} - reached - new
    used = {library for name in reached for node in ast.walk(MODULES[name]) for library in libraries(node)}
    assert not used & {'datasets', 'wandb', 'pandas', 'gradio', 'ray'}

def test_requirements_are_what_is_imported():
    settings = configparser.ConfigParser(delimiters=['='])
    settings.read(ROOT.parent/'settings.ini', encoding='utf-8')
    wanted = {re.split('[<>=!]', one)[0].lower().replace('_', '-') for one in settings['DEFAULT']['requirements'].split()}
    used = {library for tree in MODULES.values() for node in ast.walk(tree) for library in libraries(node)}
    used -= {*sys.stdlib_module_names, 'urbansounds_nb', 'gradio', 'starlette', 'ray', 'onnx', 'onnxruntime', 'sounddevice'}
    providers = importlib.metadata.packages_distributions()
    assert {providers[library][0].lower().replace('_', '-') for library in used} == wanted

def test_the_checks_find_what_they_look_for():
    lines = 'from .a import x\nfrom . import b\nimport urbansounds_nb.c\nfrom urbansounds_nb.d import y\nfrom urbansounds_nb import e\nimport torch'
    assert siblings(ast.walk(ast.parse(lines))) == set('abcde')
    bad = ['import pickle', 'from joblib import load', 'torch.load(f)', 'np.load(f, allow_pickle=True)', 'eval(x)', 'exec(x)', 'run(x, shell=True)', 'os.system(x)']
    assert all(unsafe(ast.parse(line)) for line in bad)
    assert not unsafe(ast.parse('model.eval()\nnp.load(f, allow_pickle=False)\nrun([x])\nload(path)'))
    assert private_names(ast.parse('from .a import _x, y\nfrom . import b\nb._z, b.y, y._own')) == ['_x', 'b._z']
    assert not private_names(ast.parse('from urbansounds_nb import __version__\nfrom concurrent.futures import _base'))
