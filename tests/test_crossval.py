"Runs cannot mix, mislead or vanish: identity, interruption, results folders, own data"
import json, os, random, shutil, subprocess, sys, time
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import tiny
from urbansounds_nb import crossval, study
from urbansounds_nb.core import DataError
from urbansounds_nb.crossval import cross_validate, run_fold, split
from urbansounds_nb.experiments import get_experiment
from urbansounds_nb.features import prepare_features
from urbansounds_nb.study import Run, Study, run_key

QUICK = get_experiment('cnn1d', epochs=2)

@pytest.fixture(scope='module')
def data(): return tiny()

@pytest.fixture(scope='module')
def finished(data, tmp_path_factory):
    "A results folder with a run for each of three folds, and its validation runs"
    folder = tmp_path_factory.mktemp('finished')
    for fold in 1, 2, 3:
        for scored_on in 'test', 'validation': run_fold(data, QUICK, fold, folder=folder, scored_on=scored_on)
    return folder

@pytest.fixture
def folder(finished, tmp_path): return shutil.copytree(finished, tmp_path/'results')

def path_of(folder, fold=1, scored_on='test'): return Study(folder).path('cnn1d', scored_on, fold, 0)

def refused(work, *words):
    "The message of a `DataError` of one line, which holds some words"
    with pytest.raises(DataError) as error: work()
    assert '\n' not in str(error.value) and all(word in str(error.value) for word in words), error.value
    return str(error.value)

# --- what is scored on what

@pytest.mark.parametrize('folds', range(2, 12))
@pytest.mark.parametrize('scored_on', ['test', 'validation'])
def test_sides_of_a_split(folds, scored_on):
    columns = tiny(folds=folds, clips=6).columns
    for fold in range(1, folds+1):
        train_rows, rows = split(columns, fold, scored_on)
        sides = [set(columns['fold'][some].tolist()) for some in (train_rows, rows)]
        assert len(train_rows) and len(rows) and fold not in sides[0]
        assert not set(columns['fsID'][train_rows]) & set(columns['fsID'][rows])
        if scored_on == 'test': assert sides[1] == {fold} and len(sides[0]) == folds-1
        elif folds > 3: assert sides[1] == {fold % folds + 1} and len(sides[0]) == folds-2
        else: assert fold not in sides[1]

def test_development_needs_the_ten_folds(data):
    columns = tiny(folds=10).columns
    train_rows, rows = split(columns, 4, 'development')
    assert set(columns['fold'][train_rows]) == {1, 2, 3, 10} and set(columns['fold'][rows]) == {4}
    refused(lambda: split(columns, 5, 'development'), 'fold 5', 'use validation')
    refused(lambda: split(data.columns, 1, 'development'), 'use validation')

def test_a_misspelt_kind_scores_nothing(data, tmp_path):
    refused(lambda: split(data.columns, 1, 'valid'), "'valid'", 'test, validation, development')
    refused(lambda: run_fold(data, QUICK, 1, folder=tmp_path, scored_on='valid'), "'valid'")
    assert not list(tmp_path.glob('predictions/*'))

def test_folds_of_numpy_are_folds(tmp_path):
    how = dict(experiments=['duration'], epochs=1, progress=False, n_jobs=1, folder=tmp_path)
    first, = cross_validate(folds=np.array([3]), **how)
    assert first.row['fold'] == 3 and [run.row['fold'] for run in cross_validate(folds=np.array([3, 1]), **how)] == [1, 3]

def test_a_recording_on_both_sides(data, tmp_path):
    mixed = tiny()
    mixed.columns['fsID'][[0, -1]] = 'r0'
    refused(lambda: run_fold(mixed, QUICK, 1, folder=tmp_path), 'r0')

# --- identity: everything that can change the numbers

def test_a_finished_run_is_not_made_again(data, folder):
    before = path_of(folder).stat().st_mtime_ns
    run = run_fold(data, QUICK, 1, folder=folder, tick=lambda news: pytest.fail('trained'))
    assert run.row['accuracy'] == Run.read(path_of(folder)).row['accuracy'] and path_of(folder).stat().st_mtime_ns == before

def test_other_sounds_under_the_same_names(folder, tmp_path):
    other = tiny(content='tones')
    assert other.columns['slice_file_name'].tolist() == tiny().columns['slice_file_name'].tolist()
    refused(lambda: run_fold(other, QUICK, 1, folder=folder), 'other data', 'tiny')
    run_fold(other, QUICK, 1, folder=tmp_path/'other')                             # a folder of its own

@pytest.mark.parametrize('change', ['threads', 'recipe', 'augmentation', 'network', 'probe', 'code'])
def test_another_identity_is_refused_before_training(change, data, folder, monkeypatch):
    experiment, words = get_experiment('cnn1d', epochs=2), change
    if change == 'threads':
        torch.set_num_threads(2)
    if change == 'recipe': experiment = get_experiment('cnn1d', epochs=3)
    if change == 'augmentation': experiment.augmentation = None
    if change == 'network': experiment.architecture, words = 'transformer', 'network'
    if change == 'probe':
        probe, words = data.front_end.probe(), 'front end'
        monkeypatch.setattr(type(data.front_end), 'probe', lambda self: [value+1 for value in probe])
    if change == 'code':
        for module in study, crossval: monkeypatch.setattr(module, 'RESULTS_VERSION', '0.3')
    try: refused(lambda: run_fold(data, experiment, 2, folder=folder, tick=lambda news: pytest.fail('trained')), words)
    finally: torch.set_num_threads(1)

def test_one_name_has_one_identity_before_training(folder, monkeypatch):
    "A run of another fold, with another recipe, that is not there yet"
    path_of(folder, 2).unlink()
    monkeypatch.setattr(crossval, 'load_source', lambda *args, **kwargs: tiny())
    monkeypatch.setattr(crossval, 'run_fold', lambda *args, **kwargs: pytest.fail('trained'))
    refused(lambda: cross_validate('tiny', ['cnn1d'], 1, folder, (2,), epochs=3, n_jobs=1, progress=False), 'fold1', 'another recipe')

def test_a_rounding_error_of_the_front_end_is_the_same(data, folder, monkeypatch):
    probe = data.front_end.probe()
    monkeypatch.setattr(type(data.front_end), 'probe', lambda self: [value+.01 for value in probe])
    run_fold(data, QUICK, 1, folder=folder, tick=lambda news: pytest.fail('trained'))

class Stop(Exception): pass

def interrupted(data, experiment, folder, epochs):
    "A run that is stopped after some epochs; the files it leaves"
    def tick(news):
        if news[2]['epoch'] == epochs: raise Stop
    with pytest.raises(Stop): run_fold(data, experiment, 1, folder=folder, tick=tick)
    return sorted(folder.glob('unfinished/*.safetensors'))

def test_unfinished_work_of_another_identity_is_not_touched(data, tmp_path):
    whole = run_fold(data, get_experiment('cnn1d', epochs=12), 1, folder=tmp_path/'whole')
    left, = interrupted(data, get_experiment('cnn1d', epochs=12), tmp_path/'runs', 9)
    content = left.read_bytes()
    run_fold(data, get_experiment('cnn1d', epochs=1), 1, folder=tmp_path/'runs')
    assert left.read_bytes() == content
    # the place is taken now; when it is free again, eight epochs need not be trained again
    long = get_experiment('cnn1d', epochs=12)
    refused(lambda: run_fold(data, long, 1, folder=tmp_path/'runs'), 'another recipe', 'fold1')
    path_of(tmp_path/'runs').unlink()
    trained = []
    run = run_fold(data, long, 1, folder=tmp_path/'runs', tick=lambda news: trained.append(news[2]['epoch']))
    assert trained == [9, 10, 11, 12] and np.array_equal(run.logits, whole.logits)
    assert [epoch['loss'] for epoch in run.history] == [epoch['loss'] for epoch in whole.history]
    assert not list((tmp_path/'runs').glob('unfinished/*'))

def test_sounds_that_change_between_kill_and_resume(data, tmp_path):
    interrupted(data, QUICK, tmp_path, 1)
    refused(lambda: run_fold(tiny(content='noisier'), QUICK, 1, folder=tmp_path), 'other data')

def test_another_environment_starts_again(data, tmp_path, monkeypatch):
    left, = interrupted(data, QUICK, tmp_path, 2)
    monkeypatch.setattr(torch, '__version__', '2.99')
    trained = []
    run_fold(data, QUICK, 1, folder=tmp_path, tick=lambda news: trained.append(news[2]['epoch']))
    assert trained == [1, 2] and left.exists()

# --- where the code came from

def git(place, *words): subprocess.run(['git', '-C', place, '-c', 'user.name=a', '-c', 'user.email=a@b', *words], check=True, capture_output=True)

def package(place):
    "A copy of what `_commit` looks at, in a git work tree of its own"
    (place/'urbansounds_nb').mkdir(parents=True)
    (place/'urbansounds_nb'/'a.py').write_text('1')
    (place/'settings.ini').write_text('lib_name = urbansounds_nb')
    git(place, 'init', '-q')
    git(place, 'add', '.')
    git(place, 'commit', '-qm', 'first')
    return place

def test_the_commit_is_the_packages_own(tmp_path):
    place = package(tmp_path/'own')
    clean = study._commit(place)
    assert len(clean) >= 7 and '+' not in clean
    (place/'results.csv').write_text('other files do not count')
    assert study._commit(place) == clean
    (place/'urbansounds_nb'/'a.py').write_text('2')
    assert study._commit(place) == clean + '+changes'
    # installed somewhere below a repository of somebody else
    (inside := tmp_path/'own'/'.venv'/'lib').mkdir(parents=True)
    assert study._commit(inside) == ''
    (place/'settings.ini').write_text('lib_name = another')
    assert study._commit(place) == ''

def test_no_git_no_problem(data, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    study.environment.cache_clear()
    assert run_fold(data, QUICK, 1, folder=tmp_path/'runs').row['commit'] == ''
    study.environment.cache_clear()

# --- a results folder is one study

def test_what_does_not_belong_is_refused_by_name(folder, data, tmp_path):
    "Copies, conflict copies, renamed files, files of another study"
    path, there = path_of(folder), Study(folder)
    for name in ('cnn1d-test-fold1-seed0 (copy).parquet', 'cnn1d-test-fold1-seed0.sync-conflict-1.parquet', 'x.parquet',
                 'cnn1d-test-fold1-seed1.parquet', 'cnn1d-test-fold9-seed0.parquet', 'other-test-fold1-seed0.parquet'):
        copy = shutil.copy(path, path.with_name(name))
        assert name in refused(there.runs)
        copy.unlink()
    shutil.move(path_of(folder, 1, 'validation'), path)                          # a validation run renamed to test
    assert path.name in refused(there.runs)
    shutil.copytree(folder, tmp_path/'two')
    other = tiny(content='tones')
    run_fold(other, QUICK, 1, folder=tmp_path/'other')
    shutil.copy(path_of(tmp_path/'other'), path)
    assert path.name in refused(there.runs, 'study.json')
    cow = tiny(classes=('cow', 'hen'))
    refused(lambda: run_fold(cow, QUICK, 2, folder=folder), 'other')
    assert [run.row['scored_on'] for run in Study(folder).runs('validation')] == ['validation']*2

def test_the_header_of_another_run(folder):
    "In every combination: rows, histories, classes, names, labels or logits of the run of another fold"
    one, two = Run.read(path_of(folder, 1)), Run.read(path_of(folder, 2))
    for part in 'row', 'history', 'classes', 'names', 'groups', 'labels', 'logits':
        tables = [pq.read_table(path_of(folder, fold)) for fold in (1, 2)]
        about = json.loads(tables[0].schema.metadata[b'run'])
        if part in about: about[part] = json.loads(tables[1].schema.metadata[b'run'])[part]
        if part == 'classes': about[part] = about[part][::-1]
        header = dict(tables[0].schema.metadata) | {b'run': json.dumps(about).encode()}
        column = {'names': 0, 'groups': 1, 'labels': 2, 'logits': 3}.get(part)
        table = tables[0]
        if column is not None: table = table.set_column(column, table.schema.field(column), tables[1].column(column) if part != 'labels' else pa.chunked_array([pa.array(1-one.labels)]))
        pq.write_table(table.replace_schema_metadata(header), path_of(folder, 1))
        refused(Study(folder).runs, path_of(folder, 1).name)
        one.write(path_of(folder, 1))
        assert len(Study(folder).runs()) == 3 and two.row['fold'] == 2

def test_damage_of_another_kind_is_told_before_training(folder, data, monkeypatch):
    monkeypatch.setattr(crossval, 'load_source', lambda *args, **kwargs: data)
    monkeypatch.setattr(crossval, '_run', lambda *_: pytest.fail('trained'))
    spoilt = path_of(folder, 2, 'validation')
    spoilt.write_bytes(spoilt.read_bytes()[:-9])
    refused(lambda: cross_validate('tiny', ['cnn1d'], folder=folder, epochs=2, progress=False), spoilt.name)

def test_predictions_of_other_clips(folder, data):
    "A run that is sound in itself, but scored the clips of another fold"
    one, two = Run.read(path_of(folder, 1)), Run.read(path_of(folder, 2))
    wrong = Run(two.row | {'fold': 1}, two.history, two.names, two.groups, two.labels, two.logits, two.classes)
    wrong.write(path_of(folder, 1))
    refused(Study(folder).runs, path_of(folder, 1).name)
    one.write(path_of(folder, 1))

def test_two_recipes_under_one_name(folder, data, tmp_path):
    run_fold(data, get_experiment('cnn1d', epochs=3), 1, folder=tmp_path/'other')
    shutil.copy(path_of(tmp_path/'other'), path_of(folder))
    refused(Study(folder).runs, 'another way', 'fold2')

def test_runs_of_two_machines_in_one_folder(folder, data, tmp_path):
    run_fold(data, QUICK, 1, 1, folder=tmp_path/'other')
    found, = tmp_path.glob('other/predictions/*.parquet')
    shutil.copy(found, path_of(folder).parent)
    assert [run_key(run.row)[2:] for run in Study(folder).runs()] == [(1, 0), (1, 1), (2, 0), (3, 0)]

@pytest.mark.parametrize('text', ['', '{', '[]', 'null', '{"data": 1}', '{}', '[' * 100_000, '\x00'])
def test_a_damaged_manifest(folder, text):
    (folder/'study.json').write_text(text)
    refused(lambda: Study(folder), 'study.json')

def test_a_manifest_that_is_gone_is_written_again(folder, data):
    (folder/'study.json').unlink()
    refused(Study(folder).runs, 'study.json', 'missing')
    run_fold(data, QUICK, 1, folder=folder)
    assert len(Study(folder).runs()) == 3

def test_damage_anywhere_is_noticed(folder):
    "A changed byte, a cut, zeros: the file is refused by name, or its content is unchanged"
    path, rng = path_of(folder), random.Random(0)
    content, whole = path.read_bytes(), Run.read(path)
    for _ in range(300):
        changed, place = bytearray(content), rng.randrange(len(content))
        if rng.random() < .2: changed = changed[:place]
        elif rng.random() < .3: changed[place:place+64] = bytes(len(changed[place:place+64]))
        else: changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try: run = Run.read(path)
        except DataError as error: assert path.name in str(error)
        else: assert run.row == whole.row and np.array_equal(run.logits, whole.logits) and run.names.tolist() == whole.names.tolist()

READ = '''
import resource, sys, time
import pyarrow, torch, urbansounds_nb.study as study
used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.time()
try: study.Run.read(sys.argv[1])
except study.DataError as error: print(str(error).count('\\n'), time.time()-started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-used)/1024)
'''

def test_predictions_of_twenty_million_clips(folder):
    n, table = 20_000_000, pq.read_table(path_of(folder))
    rows = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int8)), ['a']), pa.array(np.zeros(n, np.int64))
    huge = pa.table({'slice_file_name': rows[0], 'fsID': rows[0], 'label': rows[1], 'logits': rows[1]})
    pq.write_table(huge.replace_schema_metadata(table.schema.metadata), path_of(folder), compression='zstd')
    assert path_of(folder).stat().st_size < 2**20
    done = subprocess.run([sys.executable, '-c', READ, path_of(folder)], capture_output=True, text=True, timeout=60)
    lines, seconds, megabytes = map(float, done.stdout.split())
    assert lines == 0 and seconds < 5 and megabytes < 200, done.stdout + done.stderr

@pytest.mark.parametrize('spoil', [
    lambda run: setattr(run, 'logits', run.logits*np.nan), lambda run: setattr(run, 'labels', run.labels+7),
    lambda run: setattr(run, 'names', run.names[[0]*len(run.names)]), lambda run: setattr(run, 'classes', ('cat', 'cat')),
    lambda run: setattr(run, 'classes', (['cat'], {'dog': 1})), lambda run: setattr(run, 'history', [{}]), lambda run: setattr(run, 'history', [1]),
    lambda run: run.row.pop('data'), lambda run: run.row.update(fold='1'), lambda run: run.row.update(recipe=None),
    lambda run: run.row.update(accuracy=.123), lambda run: run.row.update(clips=True)])
def test_types_are_checked_before_anybody_uses_them(spoil, folder):
    "With a checksum that is right, as only a forger writes it"
    run = Run.read(path_of(folder))
    spoil(run)
    run.write(path_of(folder))
    refused(Study(folder).runs, path_of(folder).name)

# --- own data

def test_a_class_of_the_test_fold_alone(tmp_path):
    data = tiny(classes=('cat', 'cow', 'dog'))
    data.columns['fold'][data.labels == 2] = 3
    run = run_fold(data, QUICK, 3, folder=tmp_path)
    assert run.logits.shape[1] == 3 and set(run.labels) == {0, 1, 2}
    assert any('fold 3: no training clip of dog' in line for line in crossval._describe(data, [3]))

def test_numbers_of_classes_come_from_the_list(tmp_path):
    "A class without clips keeps its output"
    data = tiny()
    data.classes = 'ant', 'cat', 'dog'
    data.labels = data.labels + 1
    assert run_fold(data, QUICK, 1, folder=tmp_path).logits.shape[1] == 3

def test_the_name_of_data_is_only_a_name(tmp_path, monkeypatch, capsys):
    "Of prepared data that a stranger made"
    data = tiny()
    data.source = '\x1b]0;owned\x07\nforged'
    monkeypatch.setattr(crossval, 'load_source', lambda *args, **kwargs: data)
    cross_validate('tiny', ['cnn1d'], 1, tmp_path, (1,), epochs=1, n_jobs=1)
    said = capsys.readouterr().err
    assert r'\x1b]0;owned\x07\nforged: ' in said and '\x07' not in said

# --- processes: killed, stopped, two at once

@pytest.fixture(scope='module')
def mels(three_folds, tmp_path_factory): return prepare_features(three_folds, 'mel64', tmp_path_factory.mktemp('resume')/'mels', progress=False)

def typed_command(mels, folder, jobs, **more):
    options = {'data': mels, 'experiments': 'cnn1d', 'folds': '1,2', 'epochs': 40, 'jobs': jobs, 'results': folder, 'tracking': 'disabled'} | more
    words = [str(part) for name, value in options.items() for part in (f'--{name.replace("_", "-")}', value)]
    return [str(Path(sys.executable).parent/'urbansounds_crossval'), *words]

@pytest.fixture(scope='module')
def whole(mels, tmp_path_factory):
    "The results folder of a command that nobody disturbed, with one process"
    folder = tmp_path_factory.mktemp('resume')/'whole'
    subprocess.run(typed_command(mels, folder, 1), check=True, capture_output=True, timeout=300)
    return folder

def facts(run): return {name: value for name, value in run.row.items() if name not in ('seconds', 'commit')}

def left_behind(folder): return [path.name for path in folder.rglob('*') if path.suffix in ('.lock', '.unfinished', '.partial') or path.parent.name == 'unfinished']

KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch._dynamo, urbansounds_nb.crossval, urbansounds_nb.report          # once, and not in each command
import kills

def started(place): return kills.Forked('urbansounds_crossval', place/'cache', **dict(zip(sys.argv[2::2], sys.argv[3::2])))
def time_of(path):
    try: return path.stat().st_mtime
    except OSError: return 0                                                  # the run has ended
place = Path(sys.argv[1])
for stop in signal.SIGKILL, signal.SIGTERM, signal.SIGINT:                    # at moments that depend on the machine
    begin, command = time.time(), started(place)
    while command.process.is_alive() and not any(time_of(path) > begin for path in place.glob('unfinished/*.safetensors')): time.sleep(.02)
    time.sleep(.2)
    os.kill(command.pid, stop)
    said, _ = command.communicate(60)
    assert stop == signal.SIGKILL or 'stopped: what is finished is kept' in said and 'Traceback' not in said, said
command = started(place)
said, _ = command.communicate(300)
assert command.returncode == 0, said
"""

@pytest.mark.parametrize('jobs', [1, 2])
def test_killed_and_continued(mels, whole, tmp_path, jobs):
    "Each command is a process of its own, a copy of one that has loaded the libraries"
    words = [word.removeprefix('--') for word in typed_command(mels, tmp_path, jobs)[1:]]
    tools = os.environ | dict(PYTHONPATH=f'{Path(__file__).parents[1]}/tools/soak{os.pathsep}{Path(__file__).parents[1]}')
    done = subprocess.run([sys.executable, '-c', KILLED, tmp_path, *words], capture_output=True, text=True, env=tools, timeout=600)
    assert done.returncode == 0, done.stderr
    for one, other in zip(Study(whole).runs(), Study(tmp_path).runs(), strict=True):
        assert np.array_equal(one.logits, other.logits) and facts(one) == facts(other)
        assert [epoch['loss'] for epoch in one.history] == [epoch['loss'] for epoch in other.history]
    assert not left_behind(tmp_path)

def test_a_run_records_the_commit_that_it_began_with(data, tmp_path, monkeypatch):
    "The code in memory stays what it was, whatever is committed meanwhile"
    def commit(name): monkeypatch.setattr(study, '_commit', lambda _: name)
    study.environment.cache_clear()
    commit('first')
    try: run = run_fold(data, QUICK, 1, folder=tmp_path, tick=lambda _: commit('second'))
    finally: study.environment.cache_clear()
    assert run.row['commit'] == 'first'

def test_two_commands_on_one_folder(mels, whole, tmp_path):
    both = [subprocess.Popen(typed_command(mels, tmp_path, 1), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0] and not any('Traceback' in text for text in said), said
    assert all(np.array_equal(one.logits, other.logits) for one, other in zip(Study(whole).runs(), Study(tmp_path).runs(), strict=True))
    assert not left_behind(tmp_path)

def test_what_is_said(mels, whole, tmp_path):
    "Experiment, fold, seed, loss, accuracy; where the results are; nothing is silent for more than two seconds"
    process, times, text = subprocess.Popen(typed_command(mels, tmp_path, 1, epochs=60), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE), [], b''
    while chunk := os.read(process.stderr.fileno(), 65536):
        times.append(time.monotonic())
        text += chunk
    assert process.wait() == 0
    text = text.decode()
    assert 'cnn1d fold 1 seed 0: loss ' in text and 'accuracy ' in text and f'results: {tmp_path}' in text and 'embedded data' in text
    assert max(b-a for a, b in zip(times, times[1:])) < 4, max(b-a for a, b in zip(times, times[1:]))   # two seconds on an idle machine

@pytest.mark.parametrize('more', [dict(epochs=7), dict(threads=2), dict(experiments='cnn9'), dict(scored_on='development'), dict(seeds=0),
                                  dict(folds='9'), dict(engine='spark'), dict(experiments='ablation-masks')], ids=str)
def test_refused_in_one_line(mels, whole, more):
    from urbansounds_nb.commands import urbansounds_crossval
    with pytest.raises(SystemExit) as end: urbansounds_crossval.main(typed_command(mels, whole, 1, **more)[1:])
    assert str(end.value).startswith('error: ') and '\n' not in str(end.value)
