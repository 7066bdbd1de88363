"""A training step as a recorded graph, without a card: traced into operations with fixed arguments it gives the same weights,
and on tensors without content, as on a card that nobody waits for, nothing is read back or copied from the processor"""
from contextlib import nullcontext
from copy import copy
from threading import Thread
from types import SimpleNamespace
from unittest import mock
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from test_training import N_FRAMES, N_MELS, NETWORKS, ROWS, toy
from urbansounds_nb.augment import Augmentation, BackgroundMix, Compressor, Mixup, TimeShift, default_augmentation
from urbansounds_nb.cnn import SBCNN, AudioCNN1D, DurationTable
from urbansounds_nb import crossval
from urbansounds_nb.crossval import cross_validate
from urbansounds_nb.devices import run_in_threads, seeded
from urbansounds_nb.experiments import ABLATIONS, EXPERIMENTS, get_experiment
from urbansounds_nb.features import load_source
from urbansounds_nb.models import build_classifier
from urbansounds_nb.training import Ensemble, Recipe, TrainingState, train_epoch

class Changes(torch.nn.Sequential):
    "All that the default changes lack"
    def forward(self, mel, targets): return Mixup(energy=True)(Compressor()(BackgroundMix()(TimeShift()(mel)))), targets

SIZES = dict(n_mels=N_MELS, n_frames=N_FRAMES, n_classes=5)
ALL = NETWORKS | {'cnn1d': lambda: AudioCNN1D(**SIZES), 'duration': lambda: DurationTable(**SIZES),
                  'sb-cnn': lambda: SBCNN(n_mels=N_MELS+96, n_frames=N_FRAMES, n_classes=5, patch_frames=40)}
RECIPE = dict(epochs=3, batch_size=9, class_weight_power=.5, label_smoothing=.1)
AUGMENTED = default_augmentation(N_MELS, N_FRAMES)
OTHERS = Augmentation(TimeShift(), BackgroundMix(), Compressor(), Mixup(energy=True))

# --- a recorded step is a list of operations with fixed arguments

class Trace:
    "The operations of a function, and nothing of its Python; like a CUDA graph it is made without a change of what it changes"
    def __init__(self, function, state):
        before, numbers = {name: x.clone() for name, x in state.tensors().items()}, torch.get_rng_state()
        self.operations = make_fx(function)()
        for name, x in state.tensors().items(): x.data.copy_(before[name])
        torch.set_rng_state(numbers)
        self.result, self.replayed = torch.zeros(()), 0
    def replay(self):
        self.result.copy_(self.operations())
        self.replayed += 1

def trained(network, augment, teacher=None, record=True, rate=None):
    "Losses and all tensors of a training"
    torch.manual_seed(0)
    data = toy()
    if network == 'sb-cnn': data.mel = torch.cat([data.mel]*4, 1)
    model = ALL[network]()
    model.masks_padding = False                       # only a CPU cuts padding
    state, traces = TrainingState(model, data, ROWS, Recipe(**RECIPE), augment, teacher and Ensemble([NETWORKS[teacher]()])), []
    for group in state.optimiser.param_groups: group['lr'] = torch.tensor(group['lr'], dtype=torch.float64) if rate is None else rate
    def traced(function):
        traces.append(Trace(function, state))
        return traces[0], traces[0].result
    if record: state.replay.record = traced
    losses = [train_epoch(state, epoch, 1) for epoch in range(3)]
    return losses, state.tensors(), traces[0].replayed if traces else 0

def alike(some, other):
    return some[0] == other[0] and all(torch.equal(x, other[1][name]) for name, x in some[1].items())

@pytest.mark.parametrize('network, augment, teacher', [
    *((name, AUGMENTED, None) for name in ALL if name != 'sb-cnn'), ('residual', AUGMENTED, 'conv-transformer'),
    ('residual', OTHERS, None), ('sb-cnn', OTHERS, None), ('cnn1d', None, None)])
def test_operations_alone_train_alike(network, augment, teacher):
    recorded = trained(network, augment, teacher)
    assert recorded[2] == 3*4 - 3, 'three calls as usual; all others but the smaller last batches come from the graph'
    assert alike(trained(network, augment, teacher, record=False), recorded)

def test_a_rate_outside_a_tensor_would_be_noticed():
    "The comparison above bites: a rate that the graph cannot see stays what it was while recording"
    assert not alike(trained('cnn1d', None, record=False), trained('cnn1d', None, rate=RECIPE.get('learning_rate', 3e-3)))

# --- nothing is read back

class Watch(TorchDispatchMode):
    "Notes what would stop a recording: numbers read back, shapes from data, copies from the processor, tensors made there"
    def __init__(self):
        super().__init__()
        self.found, self.kernels = [], 0
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name, result = str(function), function(*args, **kwargs or {})
        self.kernels += 1
        made = [x for x in (result if isinstance(result, (tuple, list)) else [result]) if isinstance(x, torch.Tensor)]
        if any(word in name for word in ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique', 'randperm', 'sort')):
            self.found.append(name)
        self.found += [f'{name} on the processor' for x in made if x.device.type == 'cpu']
        return result

def sgd(weights, rate, **settings): return torch.optim.SGD(weights, rate)

def watched(experiment):
    "What a step of an experiment does that a card could not record, on tensors without content"
    here = torch.device('meta')
    with here: model = build_classifier(experiment.architecture, tuple('abcdefghij'), **experiment.network)
    mel = torch.empty(64, model.front_end.n_mels, model.front_end.n_frames, device=here, dtype=torch.half)
    data = SimpleNamespace(mel=mel, classes=model.classes, lengths=torch.ones(64, device=here).long(), labels=torch.zeros(64, device=here).long())
    recipe = Recipe(**experiment.recipe.settings | dict(precision='float32', batch_size=32))
    # PyTorch's own parts that know no tensors without content
    with mock.patch.object(torch.optim, 'AdamW', sgd), mock.patch.object(torch, '_sample_dirichlet', lambda x, generator=None: x.softmax(-1)), \
         mock.patch.object(torch, 'autocast', lambda *_, **__: nullcontext()):
        state = TrainingState(model, data, torch.zeros(32, device=here).long(), recipe, experiment.augmentation)
        state.weight = torch.ones(10, device=here)
        state.model.train()
        with Watch() as watch: state.step(state.rows)
    return watch

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', EXPERIMENTS | ABLATIONS)
def test_nothing_is_read_back_in_a_step(name):
    watch = watched((EXPERIMENTS | ABLATIONS)[name])
    assert watch.found == [] and watch.kernels > 5

@pytest.mark.parametrize('bad, found', [
    (lambda mel, targets: (mel*float(mel.amax()), targets), RuntimeError),                       # a number read back
    (lambda mel, targets: (mel[mel[:, 0, 0] > 0], targets), (RuntimeError, NotImplementedError)),   # a shape from data
    (lambda mel, targets: (mel + torch.rand(1).to(mel.device), targets), 'processor'),           # drawn on the processor
    (lambda mel, targets: (mel[torch.randperm(32, device=mel.device)], targets), 'randperm')])   # sorted
def test_what_a_card_could_not_record_is_found(bad, found):
    experiment = copy(EXPERIMENTS['cnn1d'])
    experiment.augmentation = bad
    if isinstance(found, str): assert any(found in line for line in watched(experiment).found)
    else: pytest.raises(found, watched, experiment)

# --- several runs at once

def test_threads_draw_what_each_would_draw_alone():
    "Initial weights come from PyTorch's one generator of the CPU, which all threads share"
    def draw(shared, number, tick):
        with seeded(number):
            first = torch.rand(3)
            tick(number)
            return number, [*first, *torch.rand(3)]
    got, told = {}, []
    run_in_threads(draw, [(n,) for n in range(40)], 8, None, lambda pair: got.update([pair]), told.append)
    for number, drawn in got.items():
        torch.manual_seed(number)
        assert drawn == [*torch.rand(3), *torch.rand(3)]
    assert sorted(told) == sorted(got) == [*range(40)]

def test_an_identity_draws_when_no_other_thread_does(three_folds, tmp_path):
    "It builds the network, and so draws weights"
    data = load_source(three_folds, 'mel64', progress=False)
    thread = Thread(target=crossval.run_identity, args=(data, get_experiment('cnn1d')))
    with seeded(3):
        thread.start()
        thread.join(.5)
        drawn = torch.rand(3)
    thread.join()
    torch.manual_seed(3)
    assert drawn.equal(torch.rand(3))

def test_a_processor_without_mkldnn(monkeypatch):
    "Builds of PyTorch for Apple's processors have no such operator"
    import platform
    from urbansounds_nb.devices import hardware
    monkeypatch.setattr(platform, 'machine', lambda: 'arm64')
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    monkeypatch.delattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', raising=False)
    assert hardware('auto') == 'torch.float32'

def test_on_a_gpu_runs_share_a_process(tmp_path, monkeypatch):
    "The branch of `cross_validate` for a GPU, with a CPU that says it is one: as many runs as fit, the same files and numbers"
    how = dict(experiments=['duration'], epochs=2, progress=False, folds=(1, 2, 3))
    alone = cross_validate(folder=tmp_path/'alone', n_jobs=1, **how)
    asked, context = [], crossval.run_in_threads
    def threads(function, jobs, n_jobs, *rest):
        asked.append(n_jobs)
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)     # the runs themselves find none
        context(function, jobs, 1, *rest)                                  # and one generator is all that a CPU has
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (8e9, 8e9))
    monkeypatch.setattr(crossval, 'run_in_threads', threads)
    together = cross_validate(folder=tmp_path/'together', **how)
    assert asked[0] == 7 and len(together) == 3
    for one, other in zip(alone, together): assert one.logits.tobytes() == other.logits.tobytes()
