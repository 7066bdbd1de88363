"What every test finds: no network, no questions, one thread, a cache of its own; what needs recordings or a GPU runs where they are"
import os, subprocess, sys, tempfile
from pathlib import Path

CACHE = tempfile.TemporaryDirectory(prefix='urbansounds-tests-')     # removed when the tests end
os.environ.setdefault('URBANSOUNDS_CACHE', CACHE.name)
os.environ.setdefault('WANDB_MODE', 'disabled')
os.environ.update(OMP_NUM_THREADS='1', MPLBACKEND='agg', HF_HUB_OFFLINE='1')
os.environ.pop('HF_TOKEN', None)

import pytest
import torch

torch.set_num_threads(1)

REAL = Path(os.environ.get('URBANSOUNDS_DATA') or Path(__file__).parents[2]/'shared'/'data')
NEEDS = {'recordings': (REAL/'fold1.parquet').exists(), 'gpu': torch.cuda.is_available()}

def pytest_configure(config):
    for name in NEEDS: config.addinivalue_line('markers', f'{name}: only where there are some')

def pytest_collection_modifyitems(config, items):
    "Leave out the tests that this machine has nothing for"
    without = [item for item in items if not all(there for name, there in NEEDS.items() if item.get_closest_marker(name))]
    config.hook.pytest_deselected(items=without)
    items[:] = [item for item in items if item not in without]

@pytest.fixture(scope='session')
def three_folds(tmp_path_factory):
    "The embedded data with three folds: 90 clips in the official layout"
    from urbansounds_nb.synthetic import write_synthetic
    return write_synthetic(tmp_path_factory.mktemp('embedded')/'three', n_folds=3)

@pytest.fixture
def typed():
    "Runs a command as a user types it; gives exit status, output and errors"
    def run(command, *args, **kwargs):
        script = Path(sys.executable).parent/command
        return subprocess.run([script, *map(str, args)], capture_output=True, text=True, timeout=300, **kwargs)
    return run
