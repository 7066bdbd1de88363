"Publishing and reading back through a local server that speaks the Hub's HTTP, and fails as the Hub fails; the long version is tools/soak/hub.py"
import sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
import pytest
from urbansounds_nb.features import load_features, prepare_features
sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tools'/'soak'))
import hub as soak
from hub_server import serving

READ = "import sys; from datasets import load_dataset\nload_dataset(sys.argv[1], split='train').to_parquet(sys.argv[2])"
LOAD_MODEL = "import sys; from urbansounds_nb.models import load_classifier\nprint(load_classifier(sys.argv[1]).classes)"

@pytest.fixture(scope='module')
def mels(tmp_path_factory): return prepare_features(folder=tmp_path_factory.mktemp('hub')/'mels', progress=False)

@pytest.fixture
def hub():
    with serving(soak.TOKEN) as server: yield server

@pytest.fixture
def online(hub, tmp_path):
    "Runs a command against the local Hub; gives exit status and all that was said"
    return lambda *command: soak.call(hub, tmp_path/'home', *command)

def columns_of(*paths): return pa.concat_tables([pq.read_table(path) for path in paths]).replace_schema_metadata().to_pydict()

def test_spectrograms_come_back_as_they_were(hub, online, mels, tmp_path):
    status, said = online(*soak.push_mels(mels))
    assert status == 0, said[-1000:]
    assert b'| siren | 30 |' in hub.repositories['datasets/me/mels']['README.md'] and any(call[1].startswith('/store/') for call in hub.calls)
    status, said = online(sys.executable, '-c', READ, 'me/mels', tmp_path/'back.parquet')
    assert status == 0, said[-1000:]
    assert columns_of(tmp_path/'back.parquet') == columns_of(*sorted(mels.glob('part-*.parquet')))

def test_a_part_cut_on_the_way(hub, online, mels, tmp_path):
    hub.faults = [('PUT', 'cut')]
    status, said = online(*soak.push_mels(mels))
    if status: status, said = online(*soak.push_mels(mels))
    found = {name: data for name, data in hub.repositories['datasets/me/mels'].items() if name.endswith('.parquet')}
    assert status == 0 and len(found) == 3 and not hub.faults, said[-1000:]
    for name, data in found.items(): (tmp_path/name).write_bytes(data)
    assert load_features(tmp_path).digest == load_features(mels).digest

def test_a_model_comes_back_as_it_was(hub, online, mels):
    status, said = online(*soak.push_model(mels))
    assert status == 0 and {'model.safetensors', 'README.md'} <= {*hub.repositories['models/me/sounds']}, said[-1000:]
    status, said = online(sys.executable, '-c', LOAD_MODEL, 'me/sounds')
    assert status == 0 and 'dog_bark' in said and hub.repositories['models/me/sounds']['model.safetensors'] == soak.SHIPPED.read_bytes(), said[-1000:]

@pytest.mark.parametrize('push, name', [(soak.push_mels, name) for name in soak.FAULTS] + [(soak.push_model, name) for name in [*soak.FAULTS][1::3]])
def test_a_hub_that_fails(mels, tmp_path, push, name):
    said = soak.met(push, mels, tmp_path, *soak.FAULTS[name])
    assert said == 'refused' if soak.FAULTS[name][3] else said in ('refused', 'survived')

def test_killed_on_the_way(mels, tmp_path): assert soak.killed(soak.push_mels, mels, tmp_path, .1) == 'survived'
