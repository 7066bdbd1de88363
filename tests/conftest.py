"What every test finds: no network, no questions, one thread, a cache of its own"
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
