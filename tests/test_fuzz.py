"Hostile input: broken folders by the hundred, nothing is unpickled, no token is told; `tools/soak` does the same at length"
import io, os, pickle, re, subprocess, sys
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
from urbansounds_nb.audio import read_audio
from urbansounds_nb.checkpoint import read_checkpoint
from urbansounds_nb.commands import urbansounds_report
from urbansounds_nb.core import DataError
from urbansounds_nb.dataset import load_clips
from urbansounds_nb.export import OnnxClassifier
from urbansounds_nb.features import load_features, prepare_features
from urbansounds_nb.models import AudioClassifier
from urbansounds_nb.predict import classify
from urbansounds_nb.study import Run
from urbansounds_nb.synthetic import synthesise

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tools'/'soak'))
import folders

# --- folders, lists, archives, tables

def test_broken_folders():
    rows, lost = folders.judge(4, [kind for kind in folders.KINDS if kind != 'huge list'], seed=1)
    assert not lost, lost
    assert sum(counts['refused'] for counts in rows.values()) > 20 and sum(counts['survived'] for counts in rows.values()) > 10

def test_a_list_of_sixty_megabytes(tmp_path):
    (tmp_path/'list.csv').write_bytes(b'path,class\n' + b'a.wav,cat\n'*6_000_000)
    with pytest.raises(DataError, match='larger than 50 MB'): load_clips(tmp_path)

@pytest.mark.parametrize('kind, seed, expected', [ # once lost: few clips of a class, a link to nothing, a wrong checksum
    ('list with odd marks', 9, 'refused'), ('hostile archive', 28, 'refused'), ('damaged archive', 3, 'refused')])
def test_what_was_once_lost(tmp_path, kind, seed, expected): assert folders.outcome(kind, seed, tmp_path) == expected

# --- nothing is unpickled, nothing is run

FORBIDDEN = r'\bpickle\b|\bdill\b|joblib|(?<!safetensors\.)torch\.load|allow_pickle|weights_only|(?<![\w.])eval\(|(?<![\w.])exec\(|os\.system|os\.popen|shell=True|yaml\.load|marshal|shelve|trust_remote_code'

def test_no_code_that_runs_data():
    for path in sorted((ROOT/'urbansounds_nb').glob('*.py')):
        hits = [line for line in path.read_text(encoding='utf-8').splitlines() if re.search(FORBIDDEN, line)]
        assert not hits, (path.name, hits)
    assert all(re.search(FORBIDDEN, line) for line in ('import pickle', 'torch.load(path)', 'np.load(path, allow_pickle=True)', 'x = eval(text)', 'run(x, shell=True)'))
    assert not re.search(FORBIDDEN, 'model.eval(); self.eval()(mel)')

class Evil:
    def __init__(self, marker): self.marker = marker
    def __reduce__(self): return Path.touch, (self.marker,)

def evil(marker, how):
    "A pickle that makes a file when it is loaded, plain, as PyTorch writes it, or inside NumPy's format"
    import torch
    if how == 'plain': return pickle.dumps(Evil(marker))
    if how == 'torch': torch.save(Evil(marker), file := io.BytesIO())
    else: np.save(file := io.BytesIO(), np.array([Evil(marker)], object), allow_pickle=True)
    return file.getvalue()

@pytest.mark.parametrize('how', ['plain', 'torch', 'numpy'])
def test_no_loader_unpickles(tmp_path, how, three_folds):
    marker = tmp_path/'marker'
    data, mels = evil(marker, how), prepare_features(three_folds, folder=tmp_path/'mels', progress=False)
    if how == 'plain':
        pickle.loads(data)
        assert marker.exists()                                                     # it would work
        marker.unlink()
    def at(name):
        (path := tmp_path/'evil'/name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path
    tries = [(read_checkpoint, at('a.safetensors')), (AudioClassifier.load, at('b.safetensors')), (OnnxClassifier, at('c.onnx')), (Run.read, at('d.parquet')), (read_audio, at('e.wav')), (classify, at('f.wav')),
             (load_clips, at('g.parquet')), (load_clips, at('h.tar.gz')), (load_clips, at('i/x.arrow').parent), (load_clips, at('j/x.csv').parent), (load_clips, at('k/metadata/UrbanSound8K.csv').parents[1])]
    for read, path in tries:
        with pytest.raises(DataError) as refusal: read(path)
        assert len(str(refusal.value).splitlines()) == 1, (path.name, str(refusal.value))
    for path in sorted(mels.glob('part-*')):
        before = path.read_bytes()
        path.write_bytes(data)
        with pytest.raises(DataError) as refusal: load_features(mels)
        assert len(str(refusal.value).splitlines()) == 1, path.name
        path.write_bytes(before)
    at('scores.csv')
    with pytest.raises(SystemExit, match='^error: '): urbansounds_report.main(['--results', str(tmp_path/'evil')])
    assert not marker.exists()

# --- tokens

def test_tokens_stay_secret(tmp_path, three_folds):
    secrets = {'HF_TOKEN': 'hf_MARKERoneMARKERoneMARKERone', 'WANDB_API_KEY': 'a1b2c3d4'*5}
    (home := tmp_path/'home').mkdir()
    sf.write(home/'dog.wav', synthesise('dog_bark', 1), 22050)
    environment = os.environ | secrets | dict(HOME=str(home), URBANSOUNDS_CACHE=str(home/'cache'), WANDB_MODE='offline', HF_HUB_OFFLINE='1', TMPDIR=str(home), HF_HOME=str(home/'hf'))
    mels = prepare_features(three_folds, folder=home/'mels', progress=False)
    commands = [('urbansounds_prepare', '--data', str(three_folds), '--folder', 'new', '--push-to-hub', 'someone/something'),
                ('urbansounds_crossval', '--data', str(mels), '--experiments', 'cnn1d', '--folds', '1', '--epochs', '1', '--jobs', '1', '--tracking', 'offline', '--results', 'runs'),
                ('urbansounds_predict', '--checkpoint', 'someone/nothing', 'dog.wav'), ('urbansounds_export', '--to', 'model.onnx')]
    told = []
    for command, *arguments in commands:
        done = subprocess.run([Path(sys.executable).parent/command, *arguments], cwd=home, env=environment, capture_output=True, timeout=300)
        told.append((command, done.returncode, done.stdout + done.stderr))
    assert [status for _, status, _ in told] == [1, 0, 1, 0], told
    assert not any(b'Traceback' in text for _, _, text in told), told
    files = [path for path in home.rglob('*') if path.is_file()]
    assert (home/'model.onnx') in files and list((home/'runs').rglob('*.wandb'))
    for secret in secrets.values():
        assert [command for command, _, text in told if secret.encode() in text] == []
        assert [str(path) for path in files if secret.encode() in path.read_bytes()] == []
