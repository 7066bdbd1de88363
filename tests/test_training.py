"The training loop: interrupted anywhere, it ends alike; what is not its own is refused; nothing is read back per batch"
import math, warnings
from functools import cache
from types import SimpleNamespace
import pytest
import torch
from torch import nn
from urbansounds_nb.augment import default_augmentation
from urbansounds_nb.cnn import ResidualCNN
from urbansounds_nb.core import DataError
from urbansounds_nb.devices import own_stream, run_in_threads, seeded
from urbansounds_nb.training import Ensemble, Recipe, TrainingState, predict_logits, train, train_epoch
from urbansounds_nb.transformer import AudioTransformer, ConvTransformer

N_MELS, N_FRAMES, CLASSES = 32, 48, tuple('abcde')
ROWS = torch.arange(40)

def toy(n=48, seed=0):
    "Noise with one louder band for each class; some clips end in padding"
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(CLASSES)
    mel = torch.randn(n, N_MELS, N_FRAMES, generator=generator)*5 - 40
    mel[torch.arange(n), 5*labels] += 20
    lengths = torch.where(torch.arange(n) % 3 == 0, 20, 32)
    return SimpleNamespace(mel=mel.half(), lengths=lengths, labels=labels, classes=CLASSES, digest='abc')

NETWORKS = {
    'residual': lambda: ResidualCNN(n_mels=N_MELS, n_frames=N_FRAMES, n_classes=5),
    'conv-transformer': lambda: ConvTransformer(n_mels=N_MELS, n_frames=N_FRAMES, n_classes=5),
    'transformer': lambda: AudioTransformer(n_mels=N_MELS, n_frames=N_FRAMES, n_classes=5, hidden=64)}
RECIPE = Recipe(epochs=4, batch_size=16, swa_start=.5)

def run(network, checkpoint=None, stop=0, data=None, rows=ROWS, **settings):
    "Logits and history of a training, or None if it is stopped after so many epochs"
    torch.manual_seed(0)
    model, data = NETWORKS[network](), data or toy()
    def on_epoch(model, entry):
        if entry['epoch'] == stop: raise KeyboardInterrupt
    how = dict(recipe=RECIPE, seed=1, augment=default_augmentation(N_MELS, N_FRAMES)) | settings
    try: history = train(model, data, rows, on_epoch=on_epoch, checkpoint=checkpoint, **how)
    except KeyboardInterrupt: return None
    return predict_logits(model, data, torch.arange(48)), history

@cache
def whole(network): return run(network)

@pytest.mark.parametrize('network', NETWORKS)
def test_stopped_after_each_epoch_it_ends_alike(network, tmp_path):
    logits, history = whole(network)
    for stop in (1, 2, 3, 4): assert run(network, tmp_path/'c.safetensors', stop) is None
    again, continued = run(network, tmp_path/'c.safetensors')
    assert again.tobytes() == logits.tobytes() and continued == history and len(history) == 4

def test_complete_but_not_reported(tmp_path):
    "Killed after the last checkpoint: averaging and batch normalisation are made again, alike"
    logits, _ = run('residual', tmp_path/'c.safetensors')
    assert run('residual', tmp_path/'c.safetensors')[0].tobytes() == logits.tobytes() == whole('residual')[0].tobytes()

def other_data():
    data = toy()
    data.digest = 'other'
    return data

def other_labels():
    data = toy()
    data.labels = data.labels.flip(0)
    return data

OTHERS = {
    'recipe': dict(recipe=Recipe(**RECIPE.settings | dict(epochs=5))), 'seed': dict(seed=2), 'augmentation': dict(augment=None),
    'clips': dict(rows=ROWS[:39]), 'identity': dict(identity='other'), 'data': dict(data=other_data()),
    'teacher': dict(teacher=Ensemble([NETWORKS['residual']()])), 'network': dict(network='transformer')}

@pytest.mark.parametrize('what', [*OTHERS, 'labels', 'threads'])
def test_work_of_another_run_is_never_touched(what, tmp_path):
    checkpoint = tmp_path/'c.safetensors'
    run('residual', checkpoint, 2)
    before = checkpoint.read_bytes()
    settings = dict(network='residual') | OTHERS.get(what, {})
    if what == 'labels': settings['data'] = other_labels()
    if what == 'threads': torch.set_num_threads(2)
    try:
        with pytest.raises(DataError, match='another ' + dict(labels='clips').get(what, what)): run(checkpoint=checkpoint, **settings)
    finally: torch.set_num_threads(1)
    assert checkpoint.read_bytes() == before
    if what == 'seed': assert run('residual', checkpoint)[0].tobytes() == whole('residual')[0].tobytes()   # and its own run goes on

@pytest.mark.parametrize('spoil', ['cut', 'changed', 'emptied'])
def test_a_damaged_checkpoint_is_reported(spoil, tmp_path, capsys):
    checkpoint = tmp_path/'c.safetensors'
    run('residual', checkpoint, 2)
    content = bytearray(checkpoint.read_bytes())
    if spoil == 'changed': content[-5000] ^= 255
    checkpoint.write_bytes({'cut': content[:-100], 'changed': content, 'emptied': b''}[spoil])
    assert run('residual', checkpoint)[0].tobytes() == whole('residual')[0].tobytes()
    assert capsys.readouterr().err.count('damaged: ') == 1

def test_classes_come_from_the_list_of_the_data():
    data, rows = toy(), ROWS[ROWS % 5 < 2]                       # three of five classes have no training clip
    for power in (0., 1.):
        model = NETWORKS['residual']()
        history = train(model, data, rows, Recipe(epochs=2, class_weight_power=power))
        assert math.isfinite(history[-1]['loss']) and predict_logits(model, data, ROWS).shape == (40, 5)
    torch.manual_seed(0)
    model = ResidualCNN(n_mels=N_MELS, n_frames=N_FRAMES, n_classes=7)
    data.classes = tuple('abcdefg')                              # two more of which there is no clip at all
    train(model, data, rows, Recipe(epochs=1))
    assert predict_logits(model, data, ROWS).shape == (40, 7)

def test_a_loss_that_explodes_is_one_line():
    with pytest.raises(DataError, match='^the loss is .* in epoch .: lower the learning rate$'):
        run('residual', recipe=Recipe(epochs=3, learning_rate=1e30, clip_norm=0., schedule='constant', precision='float32'))

# --- a GPU works on while the CPU prepares the next batch: nothing may be read back from it, but once in an epoch

def readings(monkeypatch, batch_size):
    "How often an epoch reads numbers from tensors"
    counted = []
    with monkeypatch.context() as patch:
        def count(name, was): patch.setattr(torch.Tensor, name, lambda *args, **how: counted.append(name) or was(*args, **how))
        for name in ('item', 'cpu', 'numpy', 'tolist', 'nonzero', '__bool__'): count(name, getattr(torch.Tensor, name))
        recipe, augment = Recipe(epochs=1, batch_size=batch_size, class_weight_power=.5), default_augmentation(N_MELS, N_FRAMES)
        train_epoch(TrainingState(NETWORKS['residual'](), toy(), ROWS, recipe, augment, Ensemble([NETWORKS['residual']()])), 0)
    return sorted(counted)

def test_nothing_is_read_back_per_batch(monkeypatch):
    few, many = readings(monkeypatch, 20), readings(monkeypatch, 4)
    assert few == many and len(few) < 10

# --- on a GPU: pytest -m gpu

@pytest.mark.gpu
def test_a_recording_that_fails_stops_nothing(capsys):
    state = TrainingState(NETWORKS['residual']().cuda(), toy(), ROWS, Recipe(epochs=2, batch_size=8), default_augmentation(N_MELS, N_FRAMES))
    losses = [train_epoch(state, epoch) for epoch in range(2)]     # on the default stream, which cannot be recorded
    assert 'not recorded' in capsys.readouterr().err and losses[1] < losses[0]*2

@pytest.mark.gpu
@own_stream()
def test_a_gpu_is_never_waited_for_in_a_batch():
    def waits(batch_size):
        recipe, augment = Recipe(epochs=1, batch_size=batch_size), default_augmentation(N_MELS, N_FRAMES)
        state = TrainingState(NETWORKS['residual']().cuda(), toy(), ROWS, recipe, augment)
        for epoch in range(3): train_epoch(state, epoch)         # the libraries' own first steps, and the recording
        torch.cuda.set_sync_debug_mode('warn')
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter('always')
                train_epoch(state, 3)
        finally: torch.cuda.set_sync_debug_mode('default')
        return len(found)
    assert waits(20) == waits(4)

def on_a_gpu(network, seed=1, **settings):
    with seeded(0): model, data = NETWORKS[network]().cuda(), toy()
    train(model, data, ROWS, Recipe(epochs=4, batch_size=8, swa_start=.5), seed, default_augmentation(N_MELS, N_FRAMES), **settings)
    return predict_logits(model, data, torch.arange(48)).tobytes()

@pytest.mark.gpu
@pytest.mark.parametrize('network', NETWORKS)
def test_a_recorded_step_trains_alike(network, tmp_path, capsys):
    recorded = on_a_gpu(network)
    assert 'not recorded' not in capsys.readouterr().err
    assert recorded == on_a_gpu(network) == on_a_gpu(network, capture=False) != on_a_gpu(network, seed=2)
    def stop(model, entry):
        if entry['epoch'] == 2: raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): on_a_gpu(network, on_epoch=stop, checkpoint=tmp_path/'c')
    assert on_a_gpu(network, checkpoint=tmp_path/'c') == recorded

@pytest.mark.gpu
def test_runs_side_by_side_end_as_alone():
    def work(shared, network, seed, tick): return (network, seed), on_a_gpu(network, seed)
    def found(n_jobs):
        results, jobs = [], [(network, seed) for seed in range(3) for network in NETWORKS]
        run_in_threads(work, jobs, n_jobs, None, results.append)
        return dict(results)
    assert found(1) == found(6)

class Forgetful(nn.Module):
    "Knows no lengths and has dropout before its normalisation"
    def __init__(self):
        super().__init__()
        self.dropout, self.norm, self.head = nn.Dropout(.5), nn.BatchNorm1d(N_MELS), nn.Linear(N_MELS, 5)
    def forward(self, mel, lengths=None): return self.head(self.norm(self.dropout(mel)).mean(-1))

def test_dropout_before_a_normalisation(tmp_path):
    NETWORKS['forgetful'] = Forgetful
    try:
        for stop in (3, 4): run('forgetful', tmp_path/'c.safetensors', stop)
        assert run('forgetful', tmp_path/'c.safetensors')[0].tobytes() == whole('forgetful')[0].tobytes()
    finally: del NETWORKS['forgetful']
