"The benchmarks: each runs the baseline and ours in turn on the same input and gives rows of `measure.compared`"
import io
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest import mock
import numpy as np
import soundfile as sf
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile, record_function
from urbansounds_nb.audio import audio_bytes, read_audio, resample
from urbansounds_nb.augment import Warp
from urbansounds_nb.core import DataError, atomic_write, keep_memory
from urbansounds_nb.crossval import cross_validate
from urbansounds_nb.dataset import CLASSES, ClipList, load_clips
from urbansounds_nb.devices import run_in_threads
from urbansounds_nb.experiments import EXPERIMENTS
from urbansounds_nb.export import OnnxClassifier, export_onnx
from urbansounds_nb.features import prepare_features
from urbansounds_nb.models import build_classifier, default_classifier
from urbansounds_nb.predict import classify
from urbansounds_nb.report import write_scores
from urbansounds_nb.spectrogram import FRONT_ENDS, LogMel
from urbansounds_nb.training import TrainingState, train_epoch
from urbansounds_nb.transformer import AudioTransformer
from measure import compared, in_process, medians, peak_memory


def librosa_mel(wave, rate, front_end):
    "The log-mel spectrogram of one clip by librosa (n_mels, n_frames) in dB"
    import librosa
    power = librosa.feature.melspectrogram(y=wave, sr=rate, n_fft=front_end.n_fft, hop_length=front_end.hop_length,
                                           n_mels=front_end.n_mels)
    return librosa.power_to_db(power, ref=np.max if front_end.relative else 1., top_db=front_end.top_db)


def repeated(clips, n):
    "`n` records: the clips again and again; each copy has recordings and folds of its own"
    place = {fold: number for number, fold in enumerate(sorted({clip['fold'] for clip in clips}))}
    def record(i):
        copy, clip = i//len(clips), clips[i % len(clips)]
        return clip | dict(slice_file_name=f'{copy}-{clip["slice_file_name"]}', fsID=f'{copy}-{clip["fsID"]}',
                           fold=1 + (copy*len(place) + place[clip['fold']]) % 10)
    return ClipList(map(record, range(n)), clips.classes, clips.source, clips.embedded)


def waves_of(data, n):
    "(n, samples) float32: four seconds of each clip at 22 050 Hz, shorter ones end in zeros"
    waves = np.zeros((n, 4*22050), np.float32)
    for wave, clip in zip(waves, repeated(load_clips(data), n)):
        sound = resample(*read_audio(clip['audio']), 22050)[:waves.shape[1]]
        wave[:len(sound)] = sound
    return waves


@torch.inference_mode()
def spectrogram_times(data, quick):
    "LogMel, librosa and the Fourier transforms alone, in turn"
    keep_memory()
    waves, rows = torch.from_numpy(waves_of(data, 8 if quick else 128)), []
    n = len(waves)
    for name in ('mel64', 'mel128'):
        front_end = LogMel(**FRONT_ENDS[name])
        def theirs(): return np.stack([librosa_mel(wave, front_end.sample_rate, front_end) for wave in waves.numpy()])
        frames = torch.randn(4*front_end.n_frames, front_end.n_fft)
        def floor():
            for _ in range(n//4): torch.fft.rfft(frames)
        own, other, least = (1000*s/n for s in medians(1 if quick else 7, lambda: front_end(waves), theirs, floor))
        difference = float(np.abs(front_end(waves).numpy()-theirs()).max())
        rows += [compared(f'spectrogram, {front_end.n_mels} bands', 'ms per clip', own, other, 'librosa', 6, n),
                 compared(f'over its floor, {front_end.n_mels} bands', 'ms per clip', own, least, 'Fourier transforms alone', .5, n),
                 compared(f'largest difference, {front_end.n_mels} bands', 'dB', difference, bar=1e-3, clips=n)]
    return rows


def front_end(data, quick): return in_process(spectrogram_times, data, quick, threads=1).value


def published_prepare(clips, folder):
    "The published way: a list of dictionaries, one for each clip, and then a data set of it"
    from datasets import Dataset
    front_end, rows = LogMel(**FRONT_ENDS['native']), []
    for clip in clips:
        wave, rate = sf.read(io.BytesIO(audio_bytes(clip['audio'])), dtype='float32', always_2d=True)
        mel = 1 + librosa_mel(wave.mean(1), rate, front_end)/front_end.top_db
        mel = np.pad(mel, ((0, 0), (0, max(0, front_end.n_frames-mel.shape[1]))))[:, :front_end.n_frames]
        rows.append({'mel': mel, 'label': clip['classID'], 'fold': clip['fold']})
    Dataset.from_list(rows).save_to_disk(str(folder))


COMMAND = """
import sys
from urbansounds_nb.commands import urbansounds_prepare
urbansounds_prepare.main(sys.argv[1:])
print(next(int(line.split()[1])/1024 for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""

DECODER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from urbansounds_nb.audio import read_audio
from urbansounds_nb.dataset import load_clips
clips = load_clips(sys.argv[1])
parts = [clips[start:start+10] for start in range(0, len(clips), 10)]
read = lambda some: sum(len(read_audio(clip['audio'])[0]) for clip in some)
with ThreadPoolExecutor(os.cpu_count()) as pool: print(sum(pool.map(read, parts)))
"""


def run(code, *arguments):
    "Run Python code in a fresh process: `seconds`, and the last word that it `said`"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode: raise DataError(done.stderr.strip().splitlines()[-1])
    return SimpleNamespace(seconds=time.perf_counter()-start, said=done.stdout.split()[-1])


def whole_command(data, front_end):
    "Run `urbansounds_prepare`: `seconds`, and `megabytes` at most"
    with TemporaryDirectory() as folder:
        done = run(COMMAND, '--data', data, '--folder', f'{folder}/mels', '--front-end', front_end)
    return SimpleNamespace(seconds=done.seconds, megabytes=float(done.said))


def prepare(front_end, data, every=1):
    "Prepare every n-th clip of a source, without a front end the published way; the number of clips"
    clips = load_clips(data)[::every]
    with TemporaryDirectory() as folder:
        if front_end: prepare_features(clips, front_end, Path(folder)/'mels', progress=False)
        else: published_prepare(clips, Path(folder)/'mels')
    return len(clips)


def native_times(data, quick):
    "From the bytes of files at high rates to spectrograms at 22 050 Hz, with librosa and without"
    import librosa
    native, front_end = Path(data)/'native'/'UrbanSound8K', LogMel()
    files = [audio_bytes(clip['audio']) for clip in load_clips(native if native.is_dir() else 'synthetic')]
    files = [file for file in files if sf.info(io.BytesIO(file)).samplerate >= 44100][:3 if quick else 24]
    def ours(): return [front_end.clip_mel(*read_audio(file)) for file in files]
    def theirs(): return [librosa_mel(*librosa.load(io.BytesIO(file), sr=front_end.sample_rate), front_end) for file in files]
    def sounds(): return [resample(*read_audio(file), front_end.sample_rate) for file in files]
    own, other, least = (1000*s/len(files) for s in medians(1 if quick else 9, ours, theirs, sounds))
    return [compared('files at 44 to 192 kHz, one thread', 'ms per clip', own, other, 'librosa.load and librosa', 5, len(files)),
            compared('of this, decoder and resampler', 'ms per clip', least, clips=len(files))]


def preparation(data, quick):
    "Whole commands in fresh processes, their imports included"
    source, repeats = ('synthetic', 1) if quick else (data, 3)
    published, rows = in_process(prepare, '', source), []
    for name in ('mel64', 'native'):
        ours = [whole_command(source, name) for _ in range(repeats)]
        seconds, megabytes = (statistics.median(getattr(one, key) for one in ours) for key in ('seconds', 'megabytes'))
        rows += [compared(f'preparation, front end {name}', 's', seconds, published.seconds, 'librosa, list, from_list', 10, published.value),
                 compared(f'memory of preparation, front end {name}', 'MB', megabytes, published.megabytes, 'librosa, list, from_list', 10, published.value)]
    decoding = statistics.median(run(DECODER, source).seconds for _ in range(repeats))
    rows.append(compared('of this, imports and decoder', 's', decoding, clips=published.value))
    all_clips, tenth = (in_process(prepare, 'native', source, every).megabytes for every in (1, 10))
    rows.append(compared('memory, all clips against a tenth of them', 'times', all_clips/tenth, bar=1.2, clips=published.value))
    return rows + in_process(native_times, data, quick, threads=1).value


class Epochs:
    "Call it for an epoch of an experiment's training, on noise"
    def __init__(self, name, n=512, device='cpu'):
        keep_memory()
        torch.manual_seed(0)
        experiment = EXPERIMENTS[name]
        self.model = build_classifier(experiment.architecture, CLASSES).to(device, memory_format=torch.channels_last)
        self.augment, front_end = experiment.augmentation, self.model.front_end
        mel = torch.randn(n, front_end.n_mels, front_end.n_frames).mul(10).sub(40).half()
        data = SimpleNamespace(mel=mel, lengths=torch.full((n,), front_end.n_frames), labels=torch.arange(n) % 10,
                               classes=self.model.classes)
        self.state = TrainingState(self.model, data, torch.arange(n), experiment.recipe, self.augment)

    def __call__(self): return train_epoch(self.state, 0)


@contextmanager
def with_names(epoch):
    "The parts of a training step get names that the profiler shows"
    parts = {'forward': (epoch.model, 'forward'), 'loss': (F, 'cross_entropy'), 'backward': (Tensor, 'backward'),
             'step': (epoch.state.optimiser, 'step'), 'limit of the gradient': (nn.utils, 'clip_grad_norm_')}
    if epoch.augment is not None: parts['augmentation'] = (epoch.augment, 'forward')
    def named(label, function):
        def call(*args, **kwargs):
            with record_function(label): return function(*args, **kwargs)
        return call
    with ExitStack() as stack:
        for label, (owner, name) in parts.items():
            stack.enter_context(mock.patch.object(owner, name, named(label, getattr(owner, name))))
        yield list(parts)


def epoch_shares(name, n=256):
    "Part of a training step -> share of an epoch's time, in %"
    epoch = Epochs(name, n)
    epoch()
    with with_names(epoch) as parts, profile(activities=[ProfilerActivity.CPU]) as profiler, record_function('epoch'): epoch()
    spent = {event.key: event.cpu_time_total for event in profiler.key_averages()}
    shares = {part: 100*spent.get(part, 0)/spent['epoch'] for part in parts}
    return shares | {'all else': 100-sum(shares.values())}


def epoch_given_back(name, n, repeats):
    "Seconds of an epoch where freed memory goes back to the system"
    with mock.patch(f'{__name__}.keep_memory'): return epoch_times((name,), n, repeats)[0]


def grid_warp(mel):
    "What `Warp` does, but for the roll, with PyTorch's sampling of pictures"
    matrices, pictures = torch.zeros(len(mel), 2, 3), mel[:, None]
    matrices[:, 0, 0].uniform_(.78, 1.28), matrices[:, 1, 1].uniform_(.92, 1.08), matrices[:, 1, 2].uniform_(-.06, .06)
    return F.grid_sample(pictures, F.affine_grid(matrices, pictures.shape, align_corners=True), align_corners=True)[:, 0]


def surrounding_times(repeats):
    "Seconds for a batch: a warp in both ways; a step of AdamW, fused and plain"
    keep_memory()
    mel, warp = torch.randn(64, 128, 173), Warp()
    def optimiser(fused):
        weights = list(build_classifier("residual-cnn", CLASSES).parameters())
        for some in weights: some.grad = torch.randn_like(some)
        return torch.optim.AdamW(weights, fused=fused).step
    return medians(repeats, lambda: warp(mel), lambda: grid_warp(mel), optimiser(True), optimiser(False))


def epoch_times(names, n, repeats): return medians(repeats, *(Epochs(name, n) for name in names))


def minutes(names, quick):
    "Minutes of a run that trains on nine of the official folds, one thread"
    rows, n_train = [], 7859
    for name in names:
        n = 32 if quick else 512
        seconds, = in_process(epoch_times, (name,), n, 1, threads=1).value
        examples = n_train*EXPERIMENTS[name].recipe.within(n_train).epochs
        rows.append(compared(f'a run of {name}', 'minutes', seconds/n*examples/60, clips=n_train))
    return rows


def training(data, quick):
    "The published network and ours in turn; then the strong one, alone and in as many processes as there are cores"
    n, repeats, cores = (32, 1, os.cpu_count()) if quick else (512, 3, os.cpu_count())
    def measured(names, threads=0): return in_process(epoch_times, names, n, repeats, threads=threads).value
    def times(threads): return measured(('residual-cnn',), threads)[0]
    ours, published = measured(('cnn1d', 'cnn1d-original'))
    alone = times(1)
    with ThreadPoolExecutor(cores) as pool: together = max(pool.map(times, [1]*cores))/cores
    shares = in_process(epoch_shares, 'residual-cnn', n//2, threads=1).value
    given_back = in_process(epoch_given_back, 'residual-cnn', n, repeats, threads=1).value
    warp, grid, fused, plain = in_process(surrounding_times, 5*repeats, threads=1).value
    compute = sum(shares[part] for part in ('forward', 'loss', 'backward', 'step'))
    runs = 'residual-cnn', 'conv-transformer', 'sb-cnn-augmented', 'cnn1d', 'transformer', 'cnn1d-native'
    return [compared('training step, AudioCNN1D', 'ms per clip', 1000*ours/n, 1000*published/n, 'published input and batch', 10, n),
            compared('training step, ResidualCNN, one thread', 'ms per clip', 1000*alone/n, 1000*given_back/n, 'freed memory given back', clips=n),
            compared(f'training step, ResidualCNN, {cores} threads', 'ms per clip', 1000*times(cores)/n, clips=n),
            compared(f'training step, ResidualCNN, {cores} processes', 'ms per clip', 1000*together/n, bar=1.5, clips=n),
            compared('a warp of spectrograms', 'ms per clip', 1000*warp/64, 1000*grid/64, 'grid_sample', clips=64),
            compared('a step of AdamW, ResidualCNN', 'ms', 1000*fused, 1000*plain, 'not fused'),
            *(compared(f'share: {part}', '% of an epoch', share) for part, share in shares.items()),
            compared('share: not forward, loss, backward, step', '% of an epoch', 100-compute, bar=5.), *minutes(runs, quick)]


def step_of_the_strong_network(n):
    "(a new network, its forward and backward pass), for noise"
    keep_memory()
    mel, labels = torch.randn(n, 128, 173).mul(10).sub(40), torch.arange(n) % len(CLASSES)
    def network(): return build_classifier('residual-cnn', CLASSES).to(memory_format=torch.channels_last).train()
    def step(model):
        model.zero_grad()
        F.cross_entropy(model(mel), labels).backward()
    return network, step


def compiled_times(n, repeats):
    "Seconds to compile the strong network; then, in turn, of its forward and backward pass as it is and compiled"
    # what an earlier process compiled would be found again
    os.environ['TORCHINDUCTOR_FORCE_DISABLE_CACHES'] = '1'
    network, step = step_of_the_strong_network(n)
    plain, compiled = network(), torch.compile(network())
    start = timed(lambda: step(compiled))
    return start, *medians(repeats, lambda: step(plain), lambda: step(compiled))


def layout_times(n, repeats):
    "Seconds of forward and backward pass, with the channels behind and in front of the pixels in memory"
    network, step = step_of_the_strong_network(n)
    last, first = network(), network().to(memory_format=torch.contiguous_format)
    return medians(repeats, lambda: step(last), lambda: step(first))


def operator_shares(n, repeats):
    "What forward and backward pass spend their time on, as PyTorch's profiler sees it (% of both)"
    network, step = step_of_the_strong_network(n)
    step(model := network())
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        for _ in range(repeats): step(model)
    kinds = {'convolution_backward': 'convolutions, backward', 'conv': 'convolutions, forward',
             'batch_norm': 'batch normalisation', 'threshold_backward': 'ReLU, backward', '': 'all else'}
    shares = dict.fromkeys(kinds.values(), 0.)
    for event in recorded.key_averages():
        shares[next(kind for part, kind in kinds.items() if part in event.key)] += event.self_cpu_time_total
    return {kind: 100*time/sum(shares.values()) for kind, time in shares.items()}


def compilation(data, quick):
    "Forward and backward pass of the strong network on the CPU: what they consist of, memory format, `torch.compile`"
    rows, repeats = [], 2 if quick else 15
    for kind, share in in_process(operator_shares, 32, repeats, threads=1).value.items():
        rows.append(compared(f'operators: {kind}', '% of forward and backward', share))
    last, first = in_process(layout_times, 32, repeats, threads=1).value
    rows.append(compared('forward and backward, channels last', 'ms per clip', 1000*last/32, 1000*first/32, 'channels first', clips=32))
    for threads in (1, os.cpu_count()):
        start, plain, compiled = in_process(compiled_times, 32, repeats, threads=threads).value
        rows += [compared(f'forward and backward, compiled, threads: {threads}', 'ms per clip', 1000*compiled/32, 1000*plain/32, 'not compiled', clips=32),
                 compared(f'compilation, threads: {threads}', 's', start)]
    return rows


class Runs:
    "Call it for some epochs of several trainings side by side on the device, recorded or not; with noise for clips"
    def __init__(self, n_runs, capture, n):
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        def run():
            epoch = Epochs('residual-cnn', n, device)
            if not capture: epoch.state.replay.record = None
            return epoch
        self.runs, self.steps = [run() for _ in range(n_runs)], n_runs*-(-n//32)

    def __call__(self, epochs=1):
        def job(shared, run, tick): return [run() for _ in range(epochs)]
        run_in_threads(job, [(run,) for run in self.runs], len(self.runs))
        if torch.cuda.is_available(): torch.cuda.synchronize()


def steps_per_second(n_runs, capture, n, repeats):
    "Training steps per second, all runs together, after what is recorded was recorded"
    runs = Runs(n_runs, capture, n)
    runs(4)
    seconds, = medians(repeats, runs)
    return runs.steps/seconds, torch.cuda.max_memory_reserved()/2**20 if torch.cuda.is_available() else 0.


def whole_protocol(source, folder, seeds, epochs):
    "Ten folds from prepared data to `scores.csv`; memory of the GPU at most (MB)"
    cross_validate(source, ('residual-cnn',), seeds, folder, epochs=epochs, progress=False)
    write_scores(folder)
    return torch.cuda.max_memory_reserved()/2**20 if torch.cuda.is_available() else 0.


def gpu(data, quick):
    "On a GPU: the loop of version 0.1, the recorded step, several runs at once; then the protocol itself"
    if not (quick or torch.cuda.is_available()): raise DataError('no GPU that PyTorch can use: run this benchmark where there is one')
    n, repeats, rows = (64, 1, []) if quick else (3200, 5, [])
    plain, _ = in_process(steps_per_second, 1, False, n, repeats).value
    for n_runs in (1, 4, 12):
        ours, memory = in_process(steps_per_second, n_runs, True, n, repeats).value
        rows += [compared(f'a step, recorded, runs at once: {n_runs}', 'ms per step', 1000/ours, 1000/plain, 'loop of version 0.1',
                          6 if n_runs == 12 else None, 32), compared(f'memory of the GPU, runs at once: {n_runs}', 'MB', memory)]
    with TemporaryDirectory() as folder:
        place, clips = Path(folder)/'mels', 120 if quick else 8732
        if any(Path(data).glob('part-*.parquet')): place, clips = data, None
        else: in_process(write_repeated, data, place, clips)
        for seeds, bar in ((1, 2.), (3, 5.)):
            done = in_process(whole_protocol, place, Path(folder)/str(seeds), seeds, 2 if quick else 30)
            rows += [compared(f'ten folds, 30 epochs, from prepared data to scores.csv, seeds: {seeds}', 'minutes', done.seconds/60, bar=None if quick else bar, clips=clips),
                     compared(f'memory of the GPU, ten folds, seeds: {seeds}', 'MB', done.value)]
    return rows


class PublishedTransformer(nn.Module):
    "The published Transformer: PyTorch's encoder layers over all frames, then two linear layers"
    def __init__(self, width=128, n_heads=4, n_layers=2, n_classes=10):
        super().__init__()
        layer = nn.TransformerEncoderLayer(width, n_heads, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(width, 256), nn.Linear(256, n_classes))

    def forward(self, mel): return self.head(self.encoder(mel.transpose(1, 2)).mean(1))


def attention_step(network, n, repeats):
    "Seconds of a training step with `n` clips of 1501 frames, and the memory that it needs beyond the libraries (MB)"
    before, model, mel, labels = peak_memory(), network(), torch.randn(n, 128, 1501), torch.arange(n) % 10
    optimiser = torch.optim.AdamW(model.train().parameters())
    def step():
        optimiser.zero_grad()
        F.cross_entropy(model(mel), labels).backward()
        optimiser.step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter()-start)
    return min(times), peak_memory()-before


def attention(data, quick):
    "A training step at the published size; the published network needs up to 12 GB for a batch of 32"
    try: free = next(int(line.split()[1])/2**20 for line in open('/proc/meminfo') if line.startswith('MemAvailable'))
    except OSError: free = 16.
    n = 2 if quick else 32 if free > 14 else 8
    theirs, their_memory = in_process(attention_step, PublishedTransformer, n, 1).value
    steps = [in_process(attention_step, AudioTransformer, n, 2).value for _ in range(1 if quick else 5)]
    ours, memory = map(statistics.median, zip(*steps))
    return [compared('memory of a training step, 1501 frames', 'MB', memory, their_memory, "PyTorch's layers", 10, n),
            compared('training step, 1501 frames', 's', ours, theirs, "PyTorch's layers", 3, n)]


def train_folds(folder, results, folds, n_jobs, epochs=1):
    "Some epochs of the strong network for each fold"
    cross_validate(folder, ('residual-cnn',), folder=results, folds=folds, epochs=epochs, n_jobs=n_jobs, progress=False)


def write_repeated(data, folder, n):
    "Prepare a source, repeated to `n` clips; how many clips a fold trains on"
    clips = load_clips(data)
    clips = repeated(clips[::max(1, len(clips)//n)], n)
    prepare_features(clips, 'mel128', folder, progress=False)
    return sum(clip['fold'] != 1 for clip in clips)


def write_times(megabytes, repeats):
    "Seconds of writing a file completely or not at all, flushed to the disk and not flushed"
    content = os.urandom(int(megabytes*2**20))
    with TemporaryDirectory() as folder:
        def write():
            with atomic_write(Path(folder)/'file') as file: file.write_bytes(content)
        def unflushed():
            with mock.patch('urbansounds_nb.core._sync'): write()
        return medians(repeats, write, unflushed)


def protocol(data, quick):
    "Ten folds at once, and one alone"
    n, cores = 120 if quick else 8732, os.cpu_count()
    with TemporaryDirectory() as folder:
        place = Path(folder)/'mels'
        n_train = in_process(write_repeated, data, place, n).value
        one = in_process(train_folds, place, Path(folder)/'one', (1,), 1, tree=True)
        ten = in_process(train_folds, place, Path(folder)/'ten', (), cores, tree=True)
        two = in_process(train_folds, place, Path(folder)/'two', (), cores, 2)
        libraries = in_process(os.getpid, tree=True).megabytes
        models = sum(path.stat().st_size for path in (Path(folder)/'ten'/'models').iterdir())/2**20
    epochs, each = EXPERIMENTS['residual-cnn'].recipe.within(n_train).epochs, max(0., two.seconds-ten.seconds)
    flushed = [compared(f'a file of {size:g} MB, flushed to the disk', 'ms', *(1000*seconds for seconds in write_times(size, 3 if quick else 31)), 'not flushed')
               for size in (.02, 1.3, 6)]
    return [compared('ten folds of one epoch, with the start', 's', ten.seconds, clips=n),
            compared('ten folds, one epoch more', 's', each, clips=n), compared('epochs of the recipe', 'epochs', epochs),
            compared('the whole protocol', 'minutes', (ten.seconds + (epochs-1)*each)/60, bar=60., clips=n),
            compared(f'memory of ten folds in {cores} processes', 'MB', ten.megabytes, one.megabytes+models, 'one fold and the models', round(1/1.3, 3), n),
            compared('of this, a process that has only loaded the libraries', 'MB', libraries), *flushed]


def write_sounds(data, folder, n):
    "Write `n` clips as files; the first lasts four seconds"
    clips = load_clips(data)
    sounds = (audio_bytes(clip['audio']) for clip in repeated(clips, n))
    first = next(sound for sound in (audio_bytes(clip['audio']) for clip in clips) if 3.99 < sf.info(io.BytesIO(sound)).duration <= 4)
    for number, sound in enumerate(islice(chain([first], sounds), n)):
        (Path(folder)/f'{number:05d}{".flac" if sound[:4] == b"fLaC" else ".wav"}').write_bytes(sound)


def answer_times(path, repeats):
    "Seconds from a file to a label, with PyTorch and with onnxruntime, on one core"
    if hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with TemporaryDirectory() as folder:
        export_onnx(Path(folder)/'model.onnx', default_classifier())
        exported = OnnxClassifier(Path(folder)/'model.onnx')
    return medians(repeats, lambda: classify(path), lambda: exported.classes[exported.predict_proba(*read_audio(path)).argmax()])


def batch_times(repeats):
    "Seconds of the network for 32 sounds, all at once and one by one"
    model = default_classifier()
    mel = torch.randn(32, model.front_end.n_mels, model.front_end.n_frames).mul(10).sub(40)
    with torch.inference_mode(): return medians(repeats, lambda: model(mel), lambda: [model(one[None]) for one in mel])


def timed(function):
    "Seconds of one call"
    start = time.perf_counter()
    function()
    return time.perf_counter()-start


def folder_time(folder):
    "Seconds for all sounds of a folder, everything loaded"
    classify(min(Path(folder).iterdir()))
    return timed(lambda: classify(folder))


def prediction(data, quick):
    "One sound, a fresh process, a folder"
    n, repeats = (20, 3) if quick else (2600, 50)
    with TemporaryDirectory() as folder:
        write_sounds(data, folder, n)
        path = min(Path(folder).iterdir())
        torch_time, onnx_time = in_process(answer_times, path, repeats, threads=1).value
        fresh = [sys.executable, '-c', 'import sys; from urbansounds_nb.predict import classify; classify(sys.argv[1])', str(path)]
        start_time = medians(1 if quick else 3, lambda: subprocess.run(fresh, check=True))[0]
        together, one_by_one = in_process(batch_times, repeats, threads=1).value
        all_time = in_process(folder_time, folder).value
    return [compared('one sound, PyTorch, one core', 'ms', 1000*torch_time, bar=10.),
            compared('one sound, onnxruntime, one core', 'ms', 1000*onnx_time, 1000*torch_time, 'PyTorch', 1),
            compared('a fresh process and its first answer', 's', start_time, bar=3.),
            compared('the network, 32 sounds in a batch', 'ms per sound', 1000*together/32, 1000*one_by_one/32, 'one by one'),
            compared('a folder of sounds', 'ms per clip', 1000*all_time/n, bar=1000/150, clips=n)]


def growth_times(data, quick):
    "Seconds of preparation, training and prediction for 1, 2, 4 and 8 times as many clips"
    few, rows = 10 if quick else 100, []
    with TemporaryDirectory() as folder:
        def prepare(clips, name): prepare_features(clips, 'mel128', Path(folder)/name, progress=False)
        for n in (few, 2*few, 4*few, 8*few):
            clips, sounds = repeated(load_clips(data), n), Path(folder)/f'sounds-{n}'
            sounds.mkdir()
            write_sounds(data, sounds, n)
            tasks = {'preparation': lambda: prepare(clips, f'mels-{n}'), 'training, one epoch': Epochs('residual-cnn', n),
                     'prediction': lambda: classify(sounds)}
            if n == few: prepare(clips[:10], 'mels'), classify(min(sounds.iterdir())), Epochs('residual-cnn', 32)()
            rows += [compared(f'growth: {name}', 's', timed(task), clips=n) for name, task in tasks.items()]
    def each(name, n): return next(row['ours']/n for row in rows if row['measure'] == name and row['clips'] == n)
    names = dict.fromkeys(row['measure'] for row in rows)
    return rows + [compared(f'cost of a clip, 8 times as many: {name.removeprefix("growth: ")}', 'times',
                            each(name, 8*few)/each(name, few), bar=1.2) for name in names]


def growth(data, quick): return in_process(growth_times, data, quick).value
