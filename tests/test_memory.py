"Memory: a training step of the Transformer stays below 2 GB, preparing does not grow with the number of clips, and training copies no spectrograms"
import os, subprocess, sys

PEAK = '''
import resource, sys
def peak():
    "Most memory that this process ever held (MB); ru_maxrss would count the parent's too"
    try: return next(int(line.split()[1])/1024 for line in open('/proc/self/status') if line.startswith('VmHWM'))
    except OSError: return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(2**20 if sys.platform == 'darwin' else 1024)
'''

STEP = '''
import torch
from torch.nn import functional as F
from urbansounds_nb.transformer import AudioTransformer
before = peak()
model, mel, labels = AudioTransformer(), torch.randn(32, 128, 1501), torch.arange(32) % 10
optimiser = torch.optim.AdamW(model.parameters())
loss = F.cross_entropy(model.train()(mel, torch.full((32,), 1501)), labels)
loss.backward()
optimiser.step()
print(before, peak())
'''

PREPARE = '''
import io
import numpy as np, soundfile as sf
from urbansounds_nb.dataset import ClipList
from urbansounds_nb.features import prepare_features
from urbansounds_nb.spectrogram import LogMel
file = io.BytesIO()
sf.write(file, np.random.default_rng(0).uniform(-1, 1, 24000).astype('float32'), 8000, format='WAV')
audio = dict(bytes=file.getvalue(), path=None)
clip = dict(audio=audio, fsID='1', start=0., end=3., salience=1, fold=1, classID=0) | {'class': 'dog_bark'}
clips = [clip | {'slice_file_name': f'{n}.wav'} for n in range(int(sys.argv[1]))]
front_end = LogMel(sample_rate=8000, n_fft=128, hop_length=64, n_mels=128)   # 96 kB for each clip
prepare_features(ClipList(clips, ('dog_bark',), 'noise', False), front_end, sys.argv[2], progress=False)
print(peak())
'''

def measured(code, *args, threads=1):
    "What a fresh process prints, as numbers (MB)"
    done = subprocess.run([sys.executable, '-c', PEAK + code, *map(str, args)], capture_output=True, text=True, env=os.environ | {'OMP_NUM_THREADS': str(threads)})
    assert done.returncode == 0, done.stderr
    return [float(number) for number in done.stdout.split()]

def test_a_training_step_of_the_transformer():
    before, after = measured(STEP, threads=2)
    print(f'32 x 128 x 1501: {after - before:.0f} MB above {before:.0f} MB of libraries')
    assert after - before < 2000 and after < 2500

def test_preparing_stays_flat(tmp_path):
    (few,), (many,) = measured(PREPARE, 260, tmp_path/'few'), measured(PREPARE, 2600, tmp_path/'many')
    print(f'260 clips: {few:.0f} MB, 2600 clips: {many:.0f} MB')
    assert many < 1.2*few        # all 2600 spectrograms together are 250 MB

TRAIN = '''
import torch
from types import SimpleNamespace
from torch import nn
from urbansounds_nb.training import Recipe, train
class Bands(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 3)
    def forward(self, mel, lengths=None): return self.out(mel.mean(-1))
def silence(n): return SimpleNamespace(mel=torch.zeros(n, 3, 500, dtype=torch.float16), lengths=torch.full((n,), 500), labels=torch.arange(n) % 3, classes='abc')
train(Bands(), silence(300), torch.arange(300), Recipe(epochs=1))      # loads what an optimiser needs
data = silence(200_000)                                                # 600 MB
before = peak()
train(Bands(), data, torch.arange(180_000), Recipe(epochs=1, batch_size=2000, swa_start=0.))
print(before, peak())
'''

def test_training_takes_no_copy_of_the_spectrograms():
    before, after = measured(TRAIN)
    print(f'600 MB of spectrograms: {after - before:.0f} MB above {before:.0f} MB')
    assert after - before < 300      # so that processes can share them; a copy would be 570
