"Whatever is wrong with the input: one line that says what, where and what to do, exit status 1, nothing half-written"
import ctypes, os, resource, shutil, subprocess, sys, tarfile
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
from urbansounds_nb.crossval import urbansounds_crossval, urbansounds_report
from urbansounds_nb.spectrogram import load_mels, prepared, urbansounds_prepare
from urbansounds_nb.synthetic import CLASSES

HEADER = 'slice_file_name,fsID,start,end,salience,fold,classID,class'
LINE = '1-3-0-0.wav,1,0.0,1.0,1,1,3,dog_bark'

def tone(path, seconds=1.):
    t = np.arange(int(8000*seconds))/8000
    sf.write(path, .5*np.sin(2*np.pi*440*t), 8000)

def official(folder, lines=(LINE,), header=HEADER, good=True):
    "A folder in the official layout, with the audio that its lines name"
    (folder/'metadata').mkdir(parents=True)
    (folder/'metadata'/'UrbanSound8K.csv').write_text('\n'.join([header, *lines]) + '\n')
    for line in lines if good else ():
        path = folder/'audio'/f'fold{line.split(",")[5]}'/line.split(',')[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        tone(path)
    return folder

def own(folder, text):
    "A folder of one's own, with a list and one sound"
    folder.mkdir()
    (folder/'sounds.csv').write_text(text)
    tone(folder/'a.wav')
    return folder

def refused(capsys, command, *args, **kwargs):
    "The one line with which a command ends"
    with pytest.raises(SystemExit) as stopped: command(*args, **kwargs)
    line = stopped.value.code                      # a text: Python writes it to stderr and ends with status 1
    assert isinstance(line, str) and line.startswith('error: '), line
    assert len(line.splitlines()) == 1, line
    assert 'Traceback' not in ''.join(capsys.readouterr())
    return line

def one_error(done):
    "The one line with which a process ended"
    lines = done.stderr.replace('\r', '\n').splitlines()
    errors = [line for line in lines if line.startswith('error: ')]
    assert done.returncode == 1 and len(errors) == 1 and 'Traceback' not in done.stderr, done.stderr
    return errors[0]

def leftovers(folder):
    "What is there of a prepared data set or of unfinished files"
    return sorted(str(path.relative_to(folder)) for path in Path(folder).rglob('*') if path.suffix in ('.unfinished', '.partial', '.arrow'))

# --- one bad file

def empty(path): path.write_bytes(b'')
def text(path): path.write_text('This is a text, not a sound.\n'*20)
def truncated(path):
    tone(path)
    path.write_bytes(path.read_bytes()[:5000])
def no_samples(path): tone(path, 0)
def no_file(path): path.unlink()
def header_only(path): path.write_bytes(b'RIFF')
def not_numbers(path): sf.write(path, np.full(800, np.nan), 8000, subtype='FLOAT')

BAD_FILES = {empty: 'empty', text: 'not readable as audio', truncated: 'truncated', no_samples: 'no samples', no_file: 'no such file',
             header_only: 'not readable as audio', not_numbers: 'not numbers'}

@pytest.mark.parametrize('spoil', BAD_FILES, ids=lambda spoil: spoil.__name__)
def test_a_source_of_one_bad_file(tmp_path, capsys, spoil):
    source = official(tmp_path/'source')
    spoil(source/'audio'/'fold1'/'1-3-0-0.wav')
    with pytest.raises(SystemExit) as stopped: urbansounds_prepare(str(source), str(tmp_path/'mels'))
    line, said = stopped.value.code, capsys.readouterr()
    assert line.startswith('error: ') and len(line.splitlines()) == 1
    assert '1-3-0-0.wav' in line + said.out and BAD_FILES[spoil] in line + said.out
    assert not (tmp_path/'mels').exists() and not leftovers(tmp_path)

def test_bad_files_among_good_ones(tmp_path, capsys):
    lines = [f'{n}-3-0-0.wav,{n},0.0,1.0,1,{1 + n%2},3,dog_bark' for n in range(20)]
    source = official(tmp_path/'source', lines)
    for n, spoil in enumerate(BAD_FILES): spoil(source/'audio'/f'fold{1 + n%2}'/f'{n}-3-0-0.wav')
    urbansounds_prepare(str(source), str(tmp_path/'mels'))
    said = capsys.readouterr().out
    for n, reason in enumerate(BAD_FILES.values()):
        assert [line for line in said.splitlines() if f'{n}-3-0-0.wav' in line and reason in line and line.startswith('left out: ')], (n, said)
    assert said.count('left out: ') == len(BAD_FILES)
    assert load_mels(tmp_path/'mels').columns['slice_file_name'].tolist() == [f'{n}-3-0-0.wav' for n in range(len(BAD_FILES), 20)]

# --- a bad list, a bad source, a bad setting: found before any work

BAD_SOURCES = {
    'no fold': (lambda f: official(f/'s', header=HEADER.replace('fold,', ''), good=False), 'no column `fold`'),
    'unknown class': (lambda f: official(f/'s', [LINE.replace('dog_bark', 'cat')]), "line 2: unknown class 'cat'"),
    'other classID': (lambda f: official(f/'s', [LINE.replace(',3,dog', ',4,dog')]), 'line 2: classID 4 is not dog_bark'),
    'negative classID': (lambda f: official(f/'s', [LINE.replace(',3,dog', ',-7,dog')]), 'line 2: classID -7'),
    'fold 11': (lambda f: official(f/'s', [LINE.replace('1,1,3', '1,11,3')]), 'line 2: fold 11'),
    'fold 0': (lambda f: official(f/'s', [LINE.replace('1,1,3', '1,0,3')]), 'line 2: fold 0'),
    'fold x': (lambda f: official(f/'s', [LINE.replace('1,1,3', '1,x,3')]), "line 2: fold is 'x'"),
    'outside': (lambda f: official(f/'s', ['../../../x.wav' + LINE[11:]], good=False), 'lies outside'),
    'empty list': (lambda f: official(f/'s', (), '', good=False), 'UrbanSound8K.csv'),
    'only a header': (lambda f: official(f/'s', ()), 'UrbanSound8K.csv'),
    'short line': (lambda f: official(f/'s', ['1-3-0-0.wav,1'], good=False), 'line 2'),
    'missing folder': (lambda f: f/'nowhere', 'nowhere: no such folder or file'),
    'empty folder': (lambda f: (f/'s').mkdir() or f/'s', 's: no metadata/UrbanSound8K.csv'),
    'empty parquet': (lambda f: written(f/'s.parquet', b''), 's.parquet: not a parquet'),
    'text as parquet': (lambda f: written(f/'s.parquet', b'text'*99), 's.parquet: not a parquet'),
    'text as tar.gz': (lambda f: written(f/'s.tar.gz', b'text'*99), 's.tar.gz: not'),
    'own: no class': (lambda f: own(f/'s', 'path\na.wav\n'), 'no column `class`'),
    'own: empty class': (lambda f: own(f/'s', 'path,class\na.wav,\n'), 'sounds.csv'),
    'own: short line': (lambda f: own(f/'s', 'path,class,fold\na.wav,cat,1\na.wav\n'), 'sounds.csv: '),
    'own: fold 0': (lambda f: own(f/'s', 'path,class,fold\na.wav,cat,0\n'), 'line 2: fold 0'),
    'own: outside': (lambda f: own(f/'s', 'path,class,fold\n../../b.wav,cat,1\n'), 'lies outside'),
    'own: too few groups': (lambda f: own(f/'s', 'path,class\na.wav,cat\n'), 'too few'),
}

def written(path, data):
    path.write_bytes(data)
    return path

@pytest.mark.parametrize('name', BAD_SOURCES)
def test_a_bad_source(tmp_path, capsys, name):
    make, reason = BAD_SOURCES[name]
    source = str(make(tmp_path))
    before = sorted(tmp_path.rglob('*'))
    assert reason in refused(capsys, urbansounds_prepare, source, str(tmp_path/'mels'))
    assert reason in refused(capsys, urbansounds_crossval, source, results=str(tmp_path/'runs'), tracking='disabled')
    assert sorted(tmp_path.rglob('*')) == before, 'something was left behind'

CUT_OFF, OVERWRITTEN = lambda data: data[:len(data)//2], lambda data: data[:3000] + b'\0\xff'*500 + data[4000:]

@pytest.mark.parametrize('kind, spoil', [('parquet', CUT_OFF), ('tar.gz', CUT_OFF), ('tar.gz', OVERWRITTEN)],     # parquet has no checksum to notice by
                         ids=['parquet cut off', 'tar.gz cut off', 'tar.gz overwritten'])
def test_a_damaged_copy(tmp_path, capsys, three_folds, kind, spoil):
    import pyarrow as pa, pyarrow.parquet as pq
    from urbansounds_nb.dataset import load_clips, read_bytes
    path = tmp_path/f's.{kind}'
    if kind == 'parquet':
        records = [clip | {'audio': {'bytes': read_bytes(clip['audio']), 'path': ''}} for clip in load_clips(three_folds)[:9]]
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        with tarfile.open(path, 'w:gz') as archive: archive.add(three_folds, 'UrbanSound8K')
    path.write_bytes(spoil(path.read_bytes()))
    assert 's.' in refused(capsys, urbansounds_prepare, str(path), str(tmp_path/'mels'))
    assert [p.name for p in tmp_path.iterdir()] == [path.name], 'something was left behind'

@pytest.mark.parametrize('settings, reason', [
    (dict(models='cnn9'), "unknown model 'cnn9'"), (dict(folds='1,x'), "'1,x'"), (dict(folds='11'), 'fold 11'),
    (dict(tracking='perhaps'), "unknown tracking 'perhaps'"), (dict(epochs=-1), 'epochs'), (dict(seeds=0), 'seeds'), (dict(jobs=-1), 'jobs')], ids=str)
def test_a_bad_setting_of_crossval(tmp_path, capsys, three_folds, settings, reason):
    assert reason in refused(capsys, urbansounds_crossval, str(three_folds), results=str(tmp_path/'runs'), **({'jobs': 1, 'tracking': 'disabled'} | settings))
    assert not (tmp_path/'runs').exists()

def test_bad_settings_of_the_others(tmp_path, capsys):
    assert "unknown setting 'best'" in refused(capsys, urbansounds_prepare, 'synthetic', str(tmp_path/'mels'), 'best')
    assert 'no finished runs' in refused(capsys, urbansounds_report, str(tmp_path/'runs'))
    assert not list(tmp_path.iterdir())

def test_another_folder_is_never_written_over(tmp_path, capsys, three_folds):
    (tmp_path/'mels').mkdir()
    (tmp_path/'mels'/'precious.txt').write_text('mine')
    assert 'holds something else' in refused(capsys, urbansounds_prepare, str(three_folds), str(tmp_path/'mels'))
    assert [path.name for path in tmp_path.rglob('*')] == ['mels', 'precious.txt']

# --- the disk

@pytest.fixture
def small_files():
    "No file may grow beyond so many bytes: writing more fails as on a full disk, for root too"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)

def test_disk_full_while_preparing(tmp_path, capsys, three_folds, small_files):
    small_files(200_000)
    assert 'free space' in refused(capsys, urbansounds_prepare, str(three_folds), str(tmp_path/'mels'))
    small_files(resource.RLIM_INFINITY)
    assert not (tmp_path/'mels').exists() and not list(tmp_path.rglob('*.unfinished'))
    urbansounds_prepare(str(three_folds), str(tmp_path/'mels'))        # with space again, the same command ends well
    assert len(load_mels(tmp_path/'mels')) == 90 and not leftovers(tmp_path/'mels')[1:]

def test_disk_full_while_making_the_embedded_data(tmp_path, capsys, monkeypatch, small_files):
    monkeypatch.setenv('URBANSOUNDS_CACHE', str(tmp_path/'cache'))
    small_files(50_000)
    assert 'free space' in refused(capsys, urbansounds_prepare)
    assert not list((tmp_path/'cache').rglob('*'))

@pytest.mark.parametrize('size', [4_000, 1_000_000], ids=['predictions', 'checkpoint'])
def test_disk_full_while_training(tmp_path, capsys, three_folds, small_files, size):
    mels = prepared(three_folds, folder=tmp_path/'mels', progress=False)
    settings = dict(models='cnn1d', folds='1', epochs=1, jobs=1, tracking='disabled', results=str(tmp_path/'runs'))
    small_files(size)
    assert 'free space' in refused(capsys, urbansounds_crossval, str(mels), **settings)
    small_files(resource.RLIM_INFINITY)
    assert not list(tmp_path.rglob('*.unfinished')) and not list(tmp_path.rglob('*.parquet'))
    urbansounds_crossval(str(mels), **settings)
    assert (tmp_path/'runs'/'report.html').exists()

# --- as typed

def without_override():
    "Root too obeys permissions then (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE); anyone else does already"
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)

def test_typed_read_only_destination(tmp_path, three_folds, typed):
    (tmp_path/'locked').mkdir(mode=0o555)
    line = one_error(typed('urbansounds_prepare', '--data', three_folds, '--folder', tmp_path/'locked'/'mels', preexec_fn=without_override))
    assert 'locked' in line and 'ermission' in line and not list((tmp_path/'locked').iterdir())

def test_typed_push_without_a_token(tmp_path, typed):
    done = typed('urbansounds_prepare', '--push-to-hub', 'someone/something', '--folder', tmp_path/'mels', cwd=tmp_path, env=os.environ | {'HF_TOKEN': ''})
    assert 'HF_TOKEN' in one_error(done) and 'clip/s' not in done.stderr and not list(tmp_path.iterdir())

def test_typed_disk_full_in_a_worker(tmp_path, three_folds, typed):
    mels = prepared(three_folds, folder=tmp_path/'mels', progress=False)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_400_000, 2_400_000))   # above the shared spectrograms, below a checkpoint
    done = typed('urbansounds_crossval', '--data', mels, '--models', 'cnn1d', '--folds', '1,2', '--epochs', 1, '--jobs', 2, '--results', tmp_path/'runs', preexec_fn=limit)
    assert 'free space' in one_error(done) and not list(tmp_path.rglob('*.unfinished')) and not list((tmp_path/'runs').rglob('*.parquet'))
