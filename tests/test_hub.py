"Publishing and reading back through a local server that speaks the Hub's HTTP, and fails as the Hub fails"
import os, subprocess, sys
from pathlib import Path
import pytest
from hub_server import serving
from urbansounds_nb.spectrogram import prepared

TOKEN, SHIPPED = 'hf_marker_that_must_not_leak', Path(__file__).resolve().parents[1]/'urbansounds_nb'/'checkpoint.safetensors'
PUSH_MODEL = "import sys; from urbansounds_nb.dataset import one_line_errors; from urbansounds_nb.predict import push_to_hub\nwith one_line_errors(): push_to_hub(*sys.argv[1:])"
PUSH_SHARDS = "import sys, datasets; datasets.config.MAX_SHARD_SIZE = '500KB'\nfrom urbansounds_nb.spectrogram import push_mels; push_mels(*sys.argv[1:])"
READ = "import sys; from datasets import load_dataset\nload_dataset(sys.argv[1], split='train').save_to_disk(sys.argv[2])"
LOAD_MODEL = "import sys; from urbansounds_nb.predict import hub_checkpoint\nprint(hub_checkpoint(sys.argv[1]))"

@pytest.fixture(scope='module')
def mels(three_folds, tmp_path_factory): return prepared(three_folds, folder=tmp_path_factory.mktemp('hub')/'mels', progress=False)

@pytest.fixture
def hub():
    with serving(TOKEN) as server: yield server

@pytest.fixture
def online(hub, tmp_path):
    "Runs a command against the local Hub; gives exit status and all that was said"
    def run(*command):
        environment = os.environ | dict(HF_ENDPOINT=hub.address, HF_TOKEN=TOKEN, HF_HOME=str(tmp_path/'home'), HF_HUB_OFFLINE='0', HF_HUB_DISABLE_XET='1', HF_HUB_DISABLE_TELEMETRY='1')
        done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=200)
        return done.returncode, done.stdout + done.stderr
    return run

def push_mels(mels): return Path(sys.executable).with_name('urbansounds_prepare'), '--data', mels, '--push-to-hub', 'me/mels'
def push_model(_): return sys.executable, '-c', PUSH_MODEL, SHIPPED, 'me/sounds'
def contents(folder): return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
def refusal(said): return [line for line in said.splitlines() if line.startswith('error: ')]

def test_spectrograms_come_back_as_they_were(hub, online, mels, tmp_path):
    from datasets import load_from_disk
    status, said = online(*push_mels(mels))
    assert status == 0, said[-1000:]
    assert b'| siren | 9 |' in hub.repositories['datasets/me/mels']['README.md'] and any(call[1].startswith('/store/') for call in hub.calls)
    status, said = online(sys.executable, '-c', READ, 'me/mels', tmp_path/'back')
    assert status == 0, said[-1000:]
    assert load_from_disk(str(tmp_path/'back'))[:] == load_from_disk(str(mels))[:]

def test_several_shards(hub, online, mels, tmp_path):
    from datasets import load_from_disk
    hub.faults = [('PUT', 'cut')]                                               # in the middle of one of them
    status, said = online(sys.executable, '-c', PUSH_SHARDS, mels, 'me/mels', 'synthetic')
    if status: status, said = online(sys.executable, '-c', PUSH_SHARDS, mels, 'me/mels', 'synthetic')
    assert status == 0 and sum(path.endswith('.parquet') for path in hub.repositories['datasets/me/mels']) >= 3 and not hub.faults, said[-1000:]
    assert online(sys.executable, '-c', READ, 'me/mels', tmp_path/'back')[0] == 0
    assert load_from_disk(str(tmp_path/'back'))[:] == load_from_disk(str(mels))[:]

def test_a_model_comes_back_as_it_was(hub, online, mels):
    status, said = online(*push_model(mels))
    assert status == 0 and {'model.safetensors', 'README.md'} <= {*hub.repositories['models/me/sounds']}, said[-1000:]
    status, said = online(sys.executable, '-c', LOAD_MODEL, 'me/sounds')
    assert status == 0 and Path(said.split()[-1]).read_bytes() == SHIPPED.read_bytes()

FAULTS = [('POST /api/repos', 401, 'does not know the token'), ('preupload', 403, 'may not write there'), ('POST /api/repos', 404, 'no such repository'), ('batch', 429, 'wait some minutes'),
          ('commit', 503, 'out of order'), ('PUT', 503, ''), ('PUT', 'cut', ''), ('commit', 'cut', '')]

@pytest.mark.parametrize('push, where, fault, advice', [(push_mels, *fault) for fault in FAULTS] + [(push_model, *fault) for fault in FAULTS[1::3]])
def test_a_hub_that_fails(hub, online, mels, tmp_path, push, where, fault, advice):
    before = contents(mels)
    hub.faults = [(where, fault)]*(1 if not advice else 30)                     # once, or however often it is tried
    status, said = online(*push(mels))
    assert TOKEN not in said and 'Traceback' not in said and contents(mels) == before
    assert len(hub.faults) < 30
    if advice: assert status == 1 and len(refusal(said)) == 1 and advice in refusal(said)[0] and 'same command again' in refusal(said)[0], said[-1000:]
    else: assert status == 0 or len(refusal(said)) == 1, said[-1000:]
    hub.faults = []
    status, said = online(*push(mels))
    assert status == 0 and any(path.endswith(('.parquet', '.safetensors')) for files in hub.repositories.values() for path in files), said[-1000:]
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and TOKEN.encode() in path.read_bytes()]
