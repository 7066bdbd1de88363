"Whatever is wrong with the input: one line that says what, where and what to do, exit status 1, nothing half-written"
import ctypes, os, resource, tarfile
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import standin
from urbansounds_nb import commands
from urbansounds_nb.audio import audio_bytes
from urbansounds_nb.dataset import load_clips
from urbansounds_nb.features import load_features, prepare_features

HEADER = 'slice_file_name,fsID,start,end,salience,fold,classID,class'
LINES = [f'{n}-{3 + n%2}-0-0.wav,{n},0.0,1.0,1,{1 + n%2},{3 + n%2},{("dog_bark", "drilling")[n % 2]}' for n in range(20)]

def tone(path, number=0, seconds=1.):
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, .5*np.sin(2*np.pi*(300+number)*np.arange(int(8000*seconds))/8000), 8000)

def official(folder, lines=LINES, header=HEADER):
    "A folder in the official layout, with the audio that its lines name"
    (folder/'metadata').mkdir(parents=True)
    (folder/'metadata'/'UrbanSound8K.csv').write_text('\n'.join([header, *lines]) + '\n')
    for number, line in enumerate(LINES): tone(folder/'audio'/f'fold{line.split(",")[5]}'/line.split(',')[0], number)
    return folder

def changed(old, new): return lambda place: official(place/'source', [line.replace(old, new) if n == 4 else line for n, line in enumerate(LINES)])
def written(path, data):
    path.write_bytes(data)
    return path

def refused(capfd, command, **options):
    "The one line with which a command ends"
    typed = [part for name, value in options.items() for part in (f'--{name.replace("_", "-")}', str(value))]
    with pytest.raises(SystemExit) as stopped: getattr(commands, command).main(typed)
    line = stopped.value.code                      # a text: Python writes it to stderr and ends with status 1
    assert isinstance(line, str) and line.startswith('error: ') and len(line.splitlines()) == 1, line
    assert 'Traceback' not in ''.join(capfd.readouterr())
    return line

def run(command, **options):
    "A command that ends well"
    getattr(commands, command).main([part for name, value in options.items() for part in (f'--{name.replace("_", "-")}', str(value))])

def one_error(done):
    "The one line with which a process ended"
    errors = [line for line in done.stderr.replace('\r', '\n').splitlines() if line.startswith('error: ')]
    assert done.returncode == 1 and len(errors) == 1 and 'Traceback' not in done.stderr, done.stderr
    return errors[0]

def unfinished(folder): return [path for path in Path(folder).rglob('*') if path.name.endswith(('.unfinished', '.partial'))]

# --- one bad file

def empty(path): path.write_bytes(b'')
def text(path): path.write_text('This is a text, not a sound.\n'*20)
def truncated(path): path.write_bytes(path.read_bytes()[:5000])
def no_samples(path): tone(path, seconds=0)
def no_file(path): path.unlink()
def header_only(path): path.write_bytes(b'RIFF')
def not_numbers(path): sf.write(path, np.full(800, np.nan), 8000, subtype='FLOAT')

BAD_FILES = {empty: 'empty', text: 'not readable as audio', truncated: 'truncated', no_samples: 'no samples', no_file: 'no such file',
             header_only: 'not readable as audio', not_numbers: 'NaN'}

def test_bad_files_among_good_ones(tmp_path, capfd):
    source = official(tmp_path/'source')
    for line, spoil in zip(LINES, BAD_FILES): spoil(source/'audio'/f'fold{line.split(",")[5]}'/line.split(',')[0])
    run('urbansounds_prepare', data=source, folder=tmp_path/'mels')
    said = capfd.readouterr().err
    for line, reason in zip(LINES, BAD_FILES.values()):
        assert [told for told in said.splitlines() if line.split(',')[0] in told and reason in told and told.startswith('left out: ')], (line, said)
    assert said.count('left out: ') == len(BAD_FILES)
    names = load_features(tmp_path/'mels').columns['slice_file_name'].tolist()
    assert sorted(names) == sorted(line.split(',')[0] for line in LINES[len(BAD_FILES):])

@pytest.mark.parametrize('every', [False, True])
def test_a_class_of_bad_files(tmp_path, capfd, every):
    source = official(tmp_path/'source')
    for path in source.rglob('*.wav'):
        if every or '-4-0-0' in path.name: path.write_bytes(b'')
    line = refused(capfd, 'urbansounds_prepare', data=source, folder=tmp_path/'mels')
    assert 'drilling' in line or every
    assert not unfinished(tmp_path) and not (tmp_path/'mels').exists()

# --- a bad list, a bad source, a bad setting: found before any work

BAD_SOURCES = {
    'no fold': (lambda f: official(f/'s', header=HEADER.replace('fold', 'field').replace('slice_file', 'x')), 'UrbanSound8K.csv'),
    'fold x': (changed(',1.0,1,1,', ',1.0,1,x,'), "line 6: fold is 'x'"),
    'fold 0': (changed(',1.0,1,1,', ',1.0,1,0,'), 'line 6: fold 0'),
    'outside': (changed('4-3-0-0.wav', '../../../x.wav'), 'is outside'),
    'only a header': (lambda f: official(f/'s', ()), 'no line with a clip'),
    'short line': (lambda f: official(f/'s', ['1-3-0-0.wav,1']), 'line 2'),
    'missing folder': (lambda f: f/'nowhere', 'nowhere: no such file or folder'),
    'empty folder': (lambda f: (f/'s').mkdir() or f/'s', 's: no sound'),
    'text as parquet': (lambda f: written(f/'s.parquet', b'text'*99), 's.parquet: not Parquet'),
    'text as tar.gz': (lambda f: written(f/'s.tar.gz', b'text'*99), 's.tar.gz: not'),
    'one class': (lambda f: official(f/'s', LINES[::2]), 'one class only'),
}

@pytest.mark.parametrize('name', BAD_SOURCES)
def test_a_bad_source(tmp_path, capfd, name):
    make, reason = BAD_SOURCES[name]
    source = make(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    assert reason in refused(capfd, 'urbansounds_prepare', data=source, folder=tmp_path/'mels')
    assert reason in refused(capfd, 'urbansounds_crossval', data=source, results=tmp_path/'runs', tracking='disabled')
    assert sorted(tmp_path.rglob('*')) == before, 'something was left behind'

CUT_OFF, OVERWRITTEN = lambda data: data[:len(data)//2], lambda data: data[:3000] + b'\0\xff'*500 + data[4000:]

@pytest.mark.parametrize('kind, spoil', [('parquet', CUT_OFF), ('tar.gz', CUT_OFF), ('tar.gz', OVERWRITTEN)],     # Parquet has no checksum to notice by
                         ids=['parquet cut off', 'tar.gz cut off', 'tar.gz overwritten'])
def test_a_damaged_copy(tmp_path, capfd, tmp_path_factory, kind, spoil):
    source, path = official(tmp_path_factory.mktemp('good')/'source'), tmp_path/f's.{kind}'
    if kind == 'parquet':
        records = [clip | {'audio': {'bytes': audio_bytes(clip['audio']), 'path': ''}} for clip in load_clips(source)]
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        with tarfile.open(path, 'w:gz') as archive: archive.add(source, 'UrbanSound8K')
    path.write_bytes(spoil(path.read_bytes()))
    assert 's.' in refused(capfd, 'urbansounds_prepare', data=path, folder=tmp_path/'mels')
    assert [p.name for p in tmp_path.iterdir()] == [path.name], 'something was left behind'

@pytest.mark.parametrize('settings, reason', [
    (dict(experiments='cnn9'), "cnn9"), (dict(folds='1,x'), '1,x'), (dict(folds='11'), '11'), (dict(scored_on='luck'), 'luck'),
    (dict(tracking='perhaps'), 'perhaps'), (dict(epochs=-1), 'epochs'), (dict(seeds=0), 'seeds'), (dict(jobs=-1), 'jobs')], ids=str)
def test_a_bad_setting_of_crossval(tmp_path, capfd, three_folds, settings, reason):
    options = dict(data=three_folds, results=tmp_path/'runs', jobs=1, tracking='disabled') | settings
    assert reason in refused(capfd, 'urbansounds_crossval', **options)
    assert not (tmp_path/'runs').exists()

def test_bad_settings_of_the_others(tmp_path, capfd):
    assert "'best'" in refused(capfd, 'urbansounds_prepare', folder=tmp_path/'mels', front_end='best')
    assert 'runs' in refused(capfd, 'urbansounds_report', results=tmp_path/'runs')
    assert not list(tmp_path.iterdir())

def test_another_folder_is_never_written_over(tmp_path, capfd):
    (tmp_path/'mels').mkdir()
    (tmp_path/'mels'/'precious.txt').write_text('mine')
    source = official(tmp_path/'source')
    assert 'holds something else' in refused(capfd, 'urbansounds_prepare', data=source, folder=tmp_path/'mels')
    assert [path.name for path in (tmp_path/'mels').rglob('*')] == ['precious.txt']

# --- classes are names: training works, whatever numbers and folds a source has

SHAPES = {
    'two of the ten classes': lambda n: dict(fold=1 + n % 3, label=('siren', 'dog_bark')[n % 2]),
    'numbers from 1': lambda n: dict(fold=1 + n % 3, classID=1 + n % 2, label=('cat', 'dog')[n % 2]),
    'two names with one number': lambda n: dict(fold=1 + n % 3, classID=0, label=('cat', 'dog')[n % 2]),
    'a class in one fold alone': lambda n: dict(fold=1 + n % 3, label='cow' if n % 3 == 0 and n < 9 else ('cat', 'dog')[n % 2]),
}

@pytest.mark.parametrize('name', SHAPES)
def test_class_lists_that_once_ended_in_a_traceback(tmp_path, name):
    rows = [{'audio': {'bytes': data, 'path': f'{n}.wav'}} | SHAPES[name](n) for n, data in enumerate(standin.sounds(standin.rows(200)[:30]))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path/'own.parquet')
    run('urbansounds_crossval', data=tmp_path/'own.parquet', results=tmp_path/'runs', experiments='cnn1d', epochs=1, jobs=1, tracking='disabled')
    assert (tmp_path/'runs'/'report.html').exists()

# --- the disk

@pytest.fixture
def small_files():
    "No file may grow beyond so many bytes: writing more fails as on a full disk, for root too"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)

def test_disk_full_while_preparing(tmp_path, capfd, small_files):
    source = official(tmp_path/'source')
    small_files(5_000)
    assert 'arge' in refused(capfd, 'urbansounds_prepare', data=source, folder=tmp_path/'mels')
    small_files(resource.RLIM_INFINITY)
    assert not unfinished(tmp_path)
    run('urbansounds_prepare', data=source, folder=tmp_path/'mels')        # with space again, the same command ends well
    assert len(load_features(tmp_path/'mels')) == 20

def test_disk_full_while_making_the_embedded_data(tmp_path, capfd, monkeypatch, small_files):
    monkeypatch.setenv('URBANSOUNDS_CACHE', str(tmp_path/'cache'))
    small_files(50_000)
    assert 'arge' in refused(capfd, 'urbansounds_prepare')
    assert not list((tmp_path/'cache').rglob('*'))

@pytest.mark.parametrize('size', [4_000, 1_000_000], ids=['predictions', 'checkpoint'])
def test_disk_full_while_training(tmp_path, capfd, three_folds, small_files, size):
    mels = prepare_features(three_folds, folder=tmp_path/'mels', progress=False)
    settings = dict(data=mels, experiments='cnn1d', folds='1', epochs=1, jobs=1, tracking='disabled', results=tmp_path/'runs')
    small_files(size)
    assert 'arge' in refused(capfd, 'urbansounds_crossval', **settings)
    small_files(resource.RLIM_INFINITY)
    assert not unfinished(tmp_path) and not list((tmp_path/'runs').rglob('*.parquet'))
    run('urbansounds_crossval', **settings)
    assert (tmp_path/'runs'/'report.html').exists()

# --- as typed

def without_override():
    "Root too obeys permissions then (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE); anyone else does already"
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)

def test_typed_read_only_destination(tmp_path, typed):
    (tmp_path/'locked').mkdir(mode=0o555)
    line = one_error(typed('urbansounds_prepare', '--data', official(tmp_path/'source'), '--folder', tmp_path/'locked'/'mels', preexec_fn=without_override))
    assert 'locked' in line and 'ermission' in line and not list((tmp_path/'locked').iterdir())

def test_typed_push_without_a_token(tmp_path, typed):
    done = typed('urbansounds_prepare', '--push-to-hub', 'someone/something', '--folder', tmp_path/'mels', cwd=tmp_path, env=os.environ | {'HF_TOKEN': ''})
    assert 'HF_TOKEN' in one_error(done) and 'preparing' not in done.stderr and not list(tmp_path.iterdir())

def test_typed_disk_full_in_a_worker(tmp_path, three_folds, typed):
    mels = prepare_features(three_folds, folder=tmp_path/'mels', progress=False)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_400_000, 2_400_000))   # above the shared spectrograms, below a checkpoint
    done = typed('urbansounds_crossval', '--data', mels, '--experiments', 'cnn1d', '--folds', '1,2', '--epochs', 1, '--jobs', 2, '--results', tmp_path/'runs', preexec_fn=limit)
    assert 'arge' in one_error(done) and not unfinished(tmp_path) and not list((tmp_path/'runs').rglob('*.parquet'))
