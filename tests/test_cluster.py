"On a cluster of two machines and with two processes for one training: the results of one process, whatever dies"
import sys
from pathlib import Path
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing
from urbansounds_nb.augment import default_augmentation
from urbansounds_nb.models import Classifier
from urbansounds_nb.spectrogram import load_mels, prepared
from urbansounds_nb.training import Recipe, train

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tools'/'soak'))
import cluster, kills

# --- a cluster of two machines: short versions of tools/soak/cluster.py

@pytest.fixture(scope='module')
def mels(three_folds, tmp_path_factory): return prepared(three_folds, folder=tmp_path_factory.mktemp('cluster')/'mels', progress=False)

@pytest.fixture(scope='module')
def whole(mels, tmp_path_factory):
    "The results folder of one machine"
    folder = tmp_path_factory.mktemp('cluster')/'whole'
    assert kills.here('urbansounds_crossval', data=mels, results=folder, **cluster.LONGER)[0] == 0
    return folder

def test_a_cluster_gives_the_same_and_loses_nothing(mels, whole, three_folds, tmp_path):
    places = iter([tmp_path/str(number) for number in range(4)])
    with cluster.two_machines() as machines:
        for attempt in cluster.worker_killed, cluster.machine_killed: assert attempt(whole, mels, next(places), machines) == 'survived'
        (place := next(places)).mkdir()
        assert cluster.prepared_alike(cluster.with_broken_files(three_folds, place), place, machines) == 'survived'

# --- two processes for one training

def share(rank, size, port, mels, folder, network, steps):
    "One of some processes that train one model; what it ends with goes to a file of its own"
    torch.set_num_threads(1)
    if size > 1: dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=size)
    data = load_mels(mels)
    torch.manual_seed(0)
    model = Classifier(network, data.classes)
    model.standardise.measure(data.mel)
    rows = torch.arange(29)                                            # the last batch has five clips: three for one, two for the other
    history = train(model, data, rows, Recipe(epochs=steps, batch_size=8, precision='float32'), 3, default_augmentation(), checkpoint=folder/f'{size}.safetensors')
    torch.save({'losses': [epoch['loss'] for epoch in history], 'weights': model.state_dict()}, folder/f'{rank}of{size}.pt')
    if size > 1: dist.destroy_process_group()

def trained(mels, folder, network, size, steps=4):
    "What each of some processes ended with"
    port = dist.TCPStore('127.0.0.1', 0, is_master=True).port              # a free one, given back at once
    multiprocessing.spawn(share, (size, port, mels, folder, network, steps), nprocs=size)
    return [torch.load(folder/f'{rank}of{size}.pt', weights_only=True) for rank in range(size)]

def test_two_processes_train_like_one(mels, tmp_path):
    alone, (one, other) = trained(mels, tmp_path, 'cnn1d', 1)[0], trained(mels, tmp_path, 'cnn1d', 2)
    assert alone['losses'][-1] < alone['losses'][0] and one['losses'] == other['losses'] == pytest.approx(alone['losses'], rel=1e-5)
    assert all(torch.equal(weights, other['weights'][name]) for name, weights in one['weights'].items())

def test_two_processes_stay_together_where_each_normalises_its_own_share(mels, tmp_path):
    one, other = trained(mels, tmp_path, 'residual-cnn-coarse', 2)
    assert one['losses'][-1] < one['losses'][0] and one['losses'] == other['losses']
    assert all(torch.equal(weights, other['weights'][name]) for name, weights in one['weights'].items())

@pytest.mark.parametrize('launcher', ['torchrun', 'accelerate'])
def test_launched(mels, tmp_path, launcher):
    done = cluster.subprocess.run(cluster.launched(tmp_path, launcher, data=mels, **kills.QUICK | dict(folds=1, epochs=2)), env=kills.os.environ | dict(OMP_NUM_THREADS='1'),
                                  capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.count('report: ') == 1, done.stderr    # one of the two speaks
    assert len(list(tmp_path.glob('runs/predictions/*'))) == 1 and not kills.leftovers(tmp_path)

def test_one_of_two_is_killed(mels, tmp_path): assert cluster.one_of_two_killed(mels, tmp_path) == 'survived'
