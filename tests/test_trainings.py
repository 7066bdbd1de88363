"Trainings on a few embedded clips: the same seed gives the same digits, pupils need their teachers, ensembles and versions are what they say"
import numpy as np
import pytest
import torch
from urbansounds_nb.augment import VERSIONS
from urbansounds_nb.crossval import cross_validate, load_data, plan, read_runs, run_fold
from urbansounds_nb.dataset import DataError
from urbansounds_nb.models import MODELS, load
from urbansounds_nb.spectrogram import load_mels, prepared
from urbansounds_nb.synthetic import write_synthetic

@pytest.fixture(scope='module')
def data(): return load_mels(prepared(setting='fine', progress=False), 'fine')

@pytest.mark.parametrize('name', ['residual-cnn', 'conv-transformer'])
def test_one_seed_one_result(name, data, tmp_path):
    first, again = (run_fold(data, name, 1, seed=3, folder=tmp_path/place, epochs=2) for place in 'ab')
    assert np.array_equal(first.logits, again.logits)
    assert not np.array_equal(first.logits, run_fold(data, name, 1, seed=4, folder=tmp_path/'a', epochs=2).logits)

def test_a_pupil_waits_for_its_teachers(data, tmp_path):
    with pytest.raises(DataError, match='residual-cnn'): run_fold(data, 'distilled-cnn', 1, folder=tmp_path, epochs=1)
    runs = cross_validate(models=('distilled-cnn',), folder=tmp_path, folds=(1,), epochs=2, n_jobs=1, progress=False)
    trained = {run.row['model'] for run in runs}
    assert {'distilled-cnn', 'residual-cnn', 'conv-transformer'} <= trained
    assert {'cnn+transformer', 'three of each'} <= trained

def test_an_ensemble_averages_probabilities(data, tmp_path):
    for name in ('residual-cnn', 'conv-transformer'): run_fold(data, name, 1, folder=tmp_path, epochs=2)
    runs = {run.row['model']: run for run in read_runs(tmp_path)}
    chances = {name: torch.tensor(run.logits).softmax(1).numpy() for name, run in runs.items()}
    assert np.allclose(chances['cnn+transformer'], (chances['residual-cnn'] + chances['conv-transformer'])/2, atol=1e-4)
    assert runs['cnn+transformer'].row['parameters'] == runs['residual-cnn'].row['parameters'] + runs['conv-transformer'].row['parameters']

def test_versions_stand_behind_their_clips(tmp_path):
    write_synthetic(tmp_path/'sounds', n_folds=2)
    both, alone = (load_data(tmp_path/'sounds', 'fine', versions, progress=False) for versions in (True, False))
    assert len(both) == (1+len(VERSIONS))*len(alone)
    assert torch.equal(both.mel[:len(alone)], alone.mel)
    for version in range(1, 1+len(VERSIONS)):
        part = slice(version*len(alone), (version+1)*len(alone))
        assert torch.equal(both.labels[part], alone.labels)
        assert not torch.equal(both.mel[part], alone.mel)
    train_rows, rows, _ = plan(both, 'sb-cnn-augmented', 1)
    n = len(alone)
    assert not set((train_rows % n).tolist()) & set(rows.tolist()) and rows.max() < n    # no version of a test clip is trained on

def test_strong_networks_are_small():
    for name in ('residual-cnn', 'conv-transformer'):
        network, _ = MODELS[name]
        assert sum(p.numel() for p in network().parameters()) < 1_000_000

def test_a_strong_checkpoint_loads(data, tmp_path):
    run = run_fold(data, 'conv-transformer', 1, folder=tmp_path, epochs=1)
    model = load(tmp_path/'models'/'conv-transformer-test-fold1-seed0.safetensors')
    _, rows, _ = plan(data, 'conv-transformer', 1)
    with torch.inference_mode(): logits = model(data.mel[rows].float(), data.lengths[rows]).numpy()
    assert np.abs(logits - run.logits).max() < .2          # bfloat16 and float32
