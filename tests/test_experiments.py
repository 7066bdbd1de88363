"Experiments train what they say: one seed gives one result, students need their teachers, RESULTS_VERSION follows the numbers"
import json, os, shutil
from pathlib import Path
import numpy as np
import pytest
import torch
from tiny import tiny
from urbansounds_nb.augment import default_augmentation
from urbansounds_nb.core import DataError
from urbansounds_nb.crossval import cross_validate, load_teachers, run_fold, run_identity, split
from urbansounds_nb import crossval
from urbansounds_nb.experiments import ENSEMBLES, EXPERIMENTS, get_experiment
from urbansounds_nb.models import ARCHITECTURES, AudioClassifier, build_classifier
from urbansounds_nb.spectrogram import FRONT_ENDS, LogMel
from urbansounds_nb.study import RESULTS_VERSION, Study
from urbansounds_nb.training import Recipe, predict_logits, train

NUMBERS = Path(__file__).parent/'data'/'results_version.json'
QUICK = dict(epochs=1, max_examples=16)

@pytest.fixture(scope='module')
def data(): return tiny('mel128', clips=3)

@pytest.fixture(scope='module')
def taught(data, tmp_path_factory):
    "A results folder with a student and its teachers, in one fold"
    folder, real = tmp_path_factory.mktemp('taught'), crossval.load_source
    crossval.load_source = lambda *args, **kwargs: data
    try: cross_validate('tiny', ['distilled-cnn'], 1, folder, (1,), **QUICK, n_jobs=1, progress=False)
    finally: crossval.load_source = real
    return folder

# --- the numbers of this version

def numbers():
    "What each front end computes, and each network after two steps of training with augmentation"
    found = {}
    wave = np.random.default_rng(0).normal(0, .1, 22050).astype(np.float32)*np.linspace(0, 1, 22050, dtype=np.float32)
    for name, settings in FRONT_ENDS.items():
        front_end = LogMel(**settings)
        mel = front_end.fit(front_end.clip_mel(wave, 22050)).float()
        found[name] = [mel.mean().item(), mel.std().item(), *mel[[3, 30, 60], [5, 20, 40]].tolist()]
    for name in {a.network: name for name, a in reversed(ARCHITECTURES.items())}.values():
        data = tiny(ARCHITECTURES[name].front_end, folds=2, clips=2)
        torch.manual_seed(0)
        model, (rows, rest) = build_classifier(name, data.classes), split(data.columns, 1)
        model.standardise.fit(data.mel, rows)
        recipe = Recipe(epochs=2, batch_size=4, learning_rate=3e-4, precision='float32', swa_start=.5)
        history = train(model, data, rows, recipe, 0, default_augmentation(data.front_end.n_mels))
        found[name] = [*(epoch['loss'] for epoch in history), *predict_logits(model, data, rest, precision='float32')[:2].ravel().tolist()]
    return found

def test_results_version():
    "If this fails after a change of the code, results made before and after it cannot be compared"
    if os.environ.get('WRITE_NUMBERS'): NUMBERS.write_text(json.dumps({'version': RESULTS_VERSION, 'numbers': numbers()}, indent=1) + '\n')
    kept, found = json.loads(NUMBERS.read_text()), numbers()
    changed = [name for name in {*kept['numbers'], *found}
               if not np.allclose(kept['numbers'].get(name, np.nan), found.get(name, np.nan), rtol=.02, atol=.02)]
    assert not changed, (f'{", ".join(sorted(changed))}: other numbers than those of version {kept["version"]}: '
        'raise RESULTS_VERSION on page 04d, then run WRITE_NUMBERS=1 pytest tests/test_experiments.py -k results_version')
    assert kept['version'] == RESULTS_VERSION, 'RESULTS_VERSION was raised: WRITE_NUMBERS=1 keeps the new numbers'

# --- one seed, one result

@pytest.mark.parametrize('name', ['residual-cnn', 'conv-transformer'])
def test_one_seed_one_result(name, data, tmp_path):
    experiment = get_experiment(name, **QUICK)
    first, again = (run_fold(data, experiment, 1, seed=3, folder=tmp_path/place) for place in 'ab')
    assert np.array_equal(first.logits, again.logits)
    assert not np.array_equal(first.logits, run_fold(data, experiment, 1, seed=4, folder=tmp_path/'a').logits)

def test_strong_networks_are_small():
    for name in EXPERIMENTS:
        network = build_classifier(EXPERIMENTS[name].architecture, range(10)).network
        assert sum(p.numel() for p in network.parameters()) < 1_000_000 or not name.startswith(('residual', 'conv', 'distilled')), name

@pytest.mark.parametrize('name', ['conv-transformer', 'residual-cnn'])
def test_what_was_trained_is_what_is_loaded(name, data, tmp_path):
    run = run_fold(data, get_experiment(name, **QUICK), 1, folder=tmp_path)
    model = AudioClassifier.load(Study(tmp_path).model_path(name, 'test', 1, 0))
    assert np.abs(predict_logits(model, data, split(data.columns, 1)[1]) - run.logits).max() < .01
    assert model.header['results'] == run.row

def test_pretraining_changes_the_network_and_resumes(tmp_path):
    data, experiment = tiny('mel64', clips=3), get_experiment('ablation-pretraining', **QUICK)
    run = run_fold(data, experiment, 1, folder=tmp_path/'a', scored_on='validation')
    plain = run_fold(data, get_experiment('ablation-rotary', **QUICK), 1, folder=tmp_path/'a', scored_on='validation')
    assert not np.array_equal(run.logits, plain.logits) and run.row['pretraining']['epochs'] == 1
    def stop(news): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): run_fold(data, experiment, 1, folder=tmp_path/'b', scored_on='validation', tick=stop)
    assert list((tmp_path/'b').glob('unfinished/*.pretraining'))
    again = run_fold(data, experiment, 1, folder=tmp_path/'b', scored_on='validation')
    assert np.array_equal(run.logits, again.logits) and not list((tmp_path/'b').glob('unfinished/*'))

# --- students and teachers

def test_a_student_is_trained_after_its_teachers(taught):
    runs = Study(taught).runs()
    assert {(run.row['experiment'], run.row['seed']) for run in runs} == {*ENSEMBLES['ensemble-6-wide'], ('distilled-cnn', 0)}
    student, = (run for run in runs if run.row['experiment'] == 'distilled-cnn')
    assert [tuple(teacher[:2]) for teacher in student.row['teachers']] == list(ENSEMBLES['ensemble-6-wide'])

def test_a_student_waits_for_its_teachers(data, tmp_path):
    with pytest.raises(DataError, match='train residual-cnn-wide seed 0'): run_fold(data, get_experiment('distilled-cnn', **QUICK), 1, folder=tmp_path)

def test_a_teacher_without_its_model_is_named_before_training(data, taught, tmp_path, monkeypatch):
    folder = shutil.copytree(taught, tmp_path/'results')
    study = Study(folder)
    study.path('distilled-cnn', 'test', 1, 0).unlink()
    lost = study.model_path('conv-transformer', 'test', 1, 2)
    lost.unlink()
    monkeypatch.setattr(crossval, 'load_source', lambda *args, **kwargs: data)
    monkeypatch.setattr(crossval, '_run', lambda *_: pytest.fail('trained'))
    with pytest.raises(DataError, match=f'{lost.name}: missing'):
        cross_validate('tiny', ['distilled-cnn'], 1, folder, (1,), **QUICK, n_jobs=1, progress=False)

def test_teachers_are_what_their_names_say(data, taught):
    study, identity = Study(taught), run_identity(data, get_experiment('distilled-cnn', **QUICK))
    assert len(load_teachers(study, identity, 'test', 1).members) == 6
    one, two = (study.model_path('residual-cnn-wide', 'test', 1, seed) for seed in (0, 1))
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())                                              # another seed
    with pytest.raises(DataError, match='not the teacher'): load_teachers(study, identity, 'test', 1)
    one.write_bytes(content)
    longer = run_identity(data, get_experiment('distilled-cnn', epochs=2))         # of teachers with another recipe
    with pytest.raises(DataError, match='not the teacher'): load_teachers(study, longer, 'test', 1)
    # a model that was trained on the fold that the student is tested on
    study.model_path('residual-cnn-wide', 'test', 2, 0).write_bytes(content)
    for name, seed in ENSEMBLES['ensemble-6-wide'][1:]:
        study.model_path(name, 'test', 2, seed).write_bytes(study.model_path(name, 'test', 1, seed).read_bytes())
    with pytest.raises(DataError, match='not the teacher'): load_teachers(study, identity, 'test', 2)

def test_another_teacher_is_another_student(data):
    short, long = (run_identity(data, get_experiment('distilled-cnn', epochs=epochs)) for epochs in (1, 2))
    assert short['teachers'] != long['teachers']
