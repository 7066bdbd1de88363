"The same clips from every source, and whatever people bring: read, or refused in one line"
import io, json, os, resource, shutil, subprocess, sys, tarfile, time
from collections import Counter
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
import standin
from urbansounds_nb.audio import audio_bytes, content_digest, read_audio
from urbansounds_nb.core import DataError
from urbansounds_nb.dataset import (CLASSES, COLUMNS, HUB_ID, HUB_REVISION, OFFICIAL_COUNTS, SPLIT_RECORDINGS,
                                    check_folds, count_clips, leaked_share, load_clips, validate_clips)
from urbansounds_nb.features import prepare_features

@pytest.fixture(scope='module')
def small(tmp_path_factory): return standin.build(tmp_path_factory.mktemp('small'), every=100)

@pytest.fixture(scope='module')
def clips(small): return load_clips(small)

@pytest.fixture(scope='module')
def table(clips):
    "The clips with their sounds inside, as `datasets` holds them"
    from datasets import Audio, Dataset
    records = [clip | {'audio': {'bytes': audio_bytes(clip['audio']), 'path': clip['slice_file_name']}} for clip in clips]
    return Dataset.from_list(records).cast_column('audio', Audio(decode=False))

def assert_same(found, clips):
    "Same columns in every record, and the same sound, bit by bit"
    by_name = {clip['slice_file_name']: clip for clip in found}
    assert len(found) == len(clips) == len(by_name) and found.classes == clips.classes
    for clip in clips:
        other = by_name[clip['slice_file_name']]
        assert tuple(other) == COLUMNS and [other[c] for c in COLUMNS[1:]] == [clip[c] for c in COLUMNS[1:]]
        assert audio_bytes(other['audio']) == audio_bytes(clip['audio'])

def sound(path, number=0, seconds=.2, rate=8000):
    "A tone of its own for each number"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(rate*seconds))/rate
    sf.write(path, .5*np.sin(2*np.pi*(200+number)*t), rate)
    return path

def own(folder, lists=(), n=10, kinds=('cat', 'dog')):
    "A folder with ten sounds and some lists"
    for number in range(n): sound(folder/f'{number}.wav', number)
    for name, text in dict(lists).items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder

def lines(header, *rows, separator=','): return '\n'.join(separator.join(map(str, row)) for row in (header, *rows)) + '\n'
def ten(header=('filename', 'class'), name='{}.wav', separator=','):
    return lines(header, *((name.format(n), ('cat', 'dog')[n % 2]) for n in range(10)), separator=separator)

def refused(source, *words):
    "The one line with which a source is refused"
    with pytest.raises(DataError) as refusal: load_clips(source)
    line = str(refusal.value)
    assert len(line.splitlines()) == 1 and len(line) < 1000, line
    for word in words: assert word in line, line
    return line

# --- the whole of UrbanSound8K, as a stand-in

@pytest.mark.parametrize('kind', standin.KINDS)
def test_a_tenth_of_urbansound8k(kind, tmp_path):
    clips = load_clips(standin.build(tmp_path, kind, every=10))
    assert len(clips) == 874 and clips.classes == CLASSES and set(count_clips(clips)) == set(range(1, 11))
    assert clips.source == 'UrbanSound8K' and not clips.embedded
    assert check_folds(clips.itemgot('fsID'), clips.itemgot('fold')) == ['132016', '180937', '77751']
    wanted = {row['slice_file_name']: row for row in standin.rows(10)}
    for clip in clips:
        row = wanted[clip['slice_file_name']]
        assert (clip['fsID'], clip['class'], str(clip['fold']), str(clip['classID'])) == (row['fsID'], row['class'], row['fold'], row['classID'])
    assert read_audio(clips[5]['audio'])[1] == wanted[clips[5]['slice_file_name']]['rate']

def test_all_of_urbansound8k(tmp_path):
    start = time.process_time()
    source = standin.build(tmp_path)
    assert time.process_time()-start < 20
    clips = load_clips(source)
    assert len(clips) == 8732 and count_clips(clips) == OFFICIAL_COUNTS
    assert check_folds(clips.itemgot('fsID'), clips.itemgot('fold')) == sorted(SPLIT_RECORDINGS)
    assert all(isinstance(fs_id, str) for fs_id in clips.itemgot('fsID'))
    assert len({content_digest(audio_bytes(clip['audio'])) for clip in clips[::7]}) == len(clips[::7])

def test_the_official_metadata():
    rows = standin.metadata()
    assert len(rows) == 8732 and len({row['fsID'] for row in rows}) == 1297 and sum(standin.RATES.values()) == 8732
    counts = {fold: Counter(row['class'] for row in rows if row['fold'] == str(fold)) for fold in range(1, 11)}
    assert {fold: tuple(counts[fold][name] for name in CLASSES) for fold in counts} == OFFICIAL_COUNTS
    assert all(CLASSES[int(row['classID'])] == row['class'] for row in rows)
    found = Counter((row['fsID'], int(row['fold']), row['class']) for row in rows if row['fsID'] in SPLIT_RECORDINGS)
    assert found == {(group, fold, name): n for group, sides in SPLIT_RECORDINGS.items() for fold, (name, n) in sides.items()}
    assert check_folds([row['fsID'] for row in rows], [row['fold'] for row in rows]) == sorted(SPLIT_RECORDINGS)

def test_a_random_tenth_leaks():
    groups, rng = np.array([row['fsID'] for row in standin.metadata()]), np.random.default_rng(0)
    shares = [leaked_share(groups, rng.permutation(8732) < 873) for _ in range(20)]
    assert abs(np.mean(shares) - .967) < .005, np.mean(shares)

OFFICIAL = 'slice_file_name fsID start end salience fold classID class'.split()

def like_urbansound8k(folder, seconds=.2, **changed):
    "Own sounds in a table with the columns of UrbanSound8K"
    for n in range(20): sound(folder/f'{n}.wav', n, seconds)
    row = lambda n: dict(zip(OFFICIAL, (f'{n}.wav', n, 5, 5.2, 1, 1 + n//2, 0, ('siren', 'dog_bark')[n % 2]))) | changed
    (folder/'a.csv').write_text(lines(OFFICIAL, *(row(n).values() for n in range(20))))
    return folder

def test_columns_alone_are_not_urbansound8k(tmp_path):
    "Its name, its licence and \"all ten folds\" are earned by the clips"
    assert load_clips(like_urbansound8k(tmp_path)).source == 'own recordings'

def test_columns_alone_switch_off_no_check(tmp_path):
    clips = load_clips(like_urbansound8k(tmp_path/'long', 6.))
    assert {(clip['audio']['start'], clip['audio']['end']) for clip in clips} == {(5, 5.2)}
    sound(like_urbansound8k(tmp_path/'copies')/'2.wav', 0)
    clips = load_clips(tmp_path/'copies')
    assert clips[0]['fsID'] == clips[2]['fsID'] and clips[0]['fold'] != clips[2]['fold']
    with pytest.raises(DataError): check_folds(clips.itemgot('fsID'), clips.itemgot('fold'))

def test_more_clips_of_a_fold_than_were_published_are_not_urbansound8k(small):
    table = small/'metadata'/'UrbanSound8K.csv'
    rows = table.read_text().splitlines()[1:]
    label = OFFICIAL.index('class')
    sirens = [row.split(',') for row in rows if row.split(',')[label] == 'siren']
    from urbansounds_nb.dataset import _is_urbansound8k
    rows = [dict(zip(OFFICIAL, row), fold=4, official=True) for row in sirens]
    assert _is_urbansound8k(rows) and not _is_urbansound8k(rows*(1 + OFFICIAL_COUNTS[4][8]//len(rows)))

# --- one data set, every form

def test_the_embedded_data_are_known_everywhere(three_folds, tmp_path):
    clips = load_clips(three_folds)
    assert clips.embedded and clips.source == 'embedded data' 
    shutil.copytree(three_folds, tmp_path/'a client')
    assert load_clips(tmp_path/'a client').embedded
    assert 'client' not in load_clips(own(tmp_path/'client', {'a.csv': ten()})).source

def test_a_parent_of_the_official_folder(small, clips, tmp_path):
    (tmp_path/'UrbanSound8K').symlink_to(small)
    assert_same(load_clips(tmp_path), clips)

@pytest.mark.parametrize('at', ['', 'audio'])
def test_the_list_beside_the_folds(small, clips, tmp_path, at):
    shutil.copytree(small/'audio', tmp_path/'x'/at, dirs_exist_ok=True)
    shutil.copy(small/'metadata'/'UrbanSound8K.csv', tmp_path/'x')
    assert_same(load_clips(tmp_path/'x'), clips)

@pytest.mark.parametrize('name, mode', [('a.tar.gz', 'w:gz'), ('a.tgz', 'w:gz'), ('a.tar', 'w'), ('a.tar.bz2', 'w:bz2'), ('a.tar.xz', 'w:xz')])
@pytest.mark.parametrize('inner', ['UrbanSound8K', '.', 'deep'])
def test_archives(small, clips, tmp_path, name, mode, inner):
    with tarfile.open(tmp_path/name, mode, **{'compresslevel': 1} if mode[2:] in ('gz', 'bz2') else {}) as archive: archive.add(small, inner)
    assert_same(load_clips(tmp_path/name), clips)
    made = (tmp_path/f'{name}.extracted').stat()
    assert_same(load_clips(tmp_path/name), clips)
    assert (tmp_path/f'{name}.extracted').stat().st_ino == made.st_ino and len(list(tmp_path.iterdir())) == 2

def pack(path, *files):
    with tarfile.open(path, 'w:gz') as archive:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path

def test_an_archive_replaced_by_another_of_its_name(tmp_path):
    "Also where size and time are the same"
    data = [sound(tmp_path/'x.wav', n).read_bytes() for n in range(12)]
    pack(tmp_path/'a.tar.gz', ('a.csv', ten().encode()), *((f'{n}.wav', data[n]) for n in range(10)))
    before = [audio_bytes(clip['audio']) for clip in load_clips(tmp_path/'a.tar.gz')]
    old = (tmp_path/'a.tar.gz').stat()
    pack(tmp_path/'b.tar.gz', ('a.csv', ten().encode()), *((f'{n}.wav', data[11-n]) for n in range(10)))
    (tmp_path/'b.tar.gz').replace(tmp_path/'a.tar.gz')
    os.utime(tmp_path/'a.tar.gz', ns=(old.st_atime_ns, old.st_mtime_ns))
    after = [audio_bytes(clip['audio']) for clip in load_clips(tmp_path/'a.tar.gz')]
    assert before == data[:10] and after == data[:1:-1]

def test_a_folder_of_ones_own_is_not_replaced(small, tmp_path):
    pack(tmp_path/'a.tar.gz', ('metadata/x', b''))
    (tmp_path/'a.tar.gz.extracted').mkdir()
    (tmp_path/'a.tar.gz.extracted'/'mine.txt').write_text('mine')
    refused(tmp_path/'a.tar.gz', 'move it away')
    assert (tmp_path/'a.tar.gz.extracted'/'mine.txt').read_text() == 'mine'

def test_parquet_with_several_row_groups(table, clips, tmp_path):
    table.to_parquet(tmp_path/'all.parquet', batch_size=7)
    assert_same(load_clips(tmp_path/'all.parquet'), clips)
    assert_same(load_clips(tmp_path), clips)

def test_an_arrow_copy(table, clips, tmp_path):
    table.save_to_disk(tmp_path/'copy', num_shards=2)
    found = load_clips(tmp_path/'copy')
    assert len({clip['audio']['path'] for clip in found}) == 2 and found[0]['audio']['bytes'] is None
    assert_same(found, clips)

SHRINKS = '''
import os, sys
import pyarrow as pa, pyarrow.parquet as pq
from pathlib import Path
from urbansounds_nb.audio import audio_bytes
from urbansounds_nb.core import DataError
from urbansounds_nb.sources import _stored_rows
path = Path(sys.argv[1])
table = pa.table({'audio': [{'bytes': os.urandom(50_000), 'path': None} for _ in range(400)], 'class': ['cat', 'dog']*200})
def write():
    if path.suffix == '.parquet': return pq.write_table(table, path, row_group_size=100)
    with pa.OSFile(str(path), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer: writer.write_table(table, 100)
write()
whole = list(_stored_rows(path))
assert len(whole) == 400 and [audio_bytes(row['audio']) for row in whole] == [x['bytes'].as_py() for x in table['audio']]
size = path.stat().st_size
for left in (size//2, size-8, size-9, size-size//3, 5000, 1, 0):
    write()
    rows = _stored_rows(path)
    next(rows)
    for row in whole[:200:100]: audio_bytes(row['audio'])      # two parts are remembered
    os.truncate(path, left)
    try: print('whole', len(list(rows)) == 399)
    except DataError as e: print('refused', e)
    try: print('whole', audio_bytes(whole[-1]['audio']) == table['audio'][-1]['bytes'].as_py())
    except DataError as e: print('refused', e)
'''

@pytest.mark.parametrize('name', ['a.arrow', 'a.parquet'])
def test_a_table_that_shrinks_while_it_is_read(tmp_path, name):
    "In a process of its own, since a mapped file would end it"
    done = subprocess.run([sys.executable, '-c', SHRINKS, tmp_path/name], capture_output=True, text=True, timeout=120)
    said = done.stdout.splitlines()
    assert done.returncode == 0 and len(said) == 14, (done.returncode, done.stderr[-500:], said)
    assert all(line == 'whole True' or line.startswith('refused') and name in line for line in said), said
    assert not any(line.startswith('whole') for line in [*said[:2], *said[6:]]), said

def test_a_dataset_dict(table, clips, tmp_path):
    from datasets import DatasetDict
    DatasetDict(train=table.select(range(60)), test=table.select(range(60, 88))).save_to_disk(tmp_path/'copy')
    (tmp_path/'copy'/'train'/'cache-123.arrow').write_bytes(b'not data')
    assert_same(load_clips(tmp_path/'copy'), clips)

@pytest.mark.parametrize('source, revision', [(HUB_ID, HUB_REVISION), (f'{HUB_ID}@abc123', 'abc123'), ('someone/else', None), ('someone/else@refs/pr/1', 'refs/pr/1'), ('someone/else@v1.0-rc', 'v1.0-rc')])
def test_the_hub(table, clips, tmp_path, monkeypatch, source, revision):
    import huggingface_hub
    (tmp_path/'data').mkdir()
    table.to_parquet(tmp_path/'data'/'train-00000-of-00001.parquet')
    asked = []
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', lambda *args, **kwargs: asked.append((args, kwargs)) or str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert_same(load_clips(source), clips)
    (args, kwargs), = asked
    assert args == (source.partition('@')[0],) and kwargs['revision'] == revision and kwargs['repo_type'] == 'dataset'

def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HF_HOME', str(tmp_path))
    with pytest.raises(DataError, match=r'^someone/nothing: '): load_clips('someone/nothing')

def test_a_pinned_revision_is_a_commit(): assert len(HUB_REVISION) == 40 and int(HUB_REVISION, 16)

# --- data of other people

def hub_table(n=20, **columns):
    "A table as on the Hub: sounds inside, other columns as given"
    from datasets import Audio, Dataset
    def data(number):
        file = io.BytesIO()
        sf.write(file, .5*np.sin(np.arange(1000)*(number+1)/99), 8000, format='WAV')
        return file.getvalue()
    records = {'audio': [{'bytes': data(k), 'path': f'/home/me/{k}.wav'} for k in range(n)]} | {name: [value(k) for k in range(n)] for name, value in columns.items()}
    return Dataset.from_dict(records).cast_column('audio', Audio(decode=False))

def test_esc50_as_on_the_hub(tmp_path):
    table = hub_table(20, filename=lambda k: f'{k%5+1}-{k}-A-{k%2}.wav', fold=lambda k: k % 5 + 1, target=lambda k: k % 2,
                      category=lambda k: ('rain', 'dog')[k % 2], esc10=lambda k: True, src_file=lambda k: 100 + k, take=lambda k: 'A')
    table.to_parquet(tmp_path/'esc.parquet')
    clips = load_clips(tmp_path/'esc.parquet')
    assert clips.classes == ('dog', 'rain') and clips.itemgot('fold') == [k % 5 + 1 for k in range(20)]
    assert clips[3]['fsID'] == '103' and clips[3]['classID'] == 0 and clips[2]['classID'] == 1

def test_class_labels(tmp_path):
    from datasets import ClassLabel
    table = hub_table(20, label=lambda k: k % 2).cast_column('label', ClassLabel(names=['tap', 'kettle', 'nothing']))
    table.to_parquet(tmp_path/'a.parquet')
    table.save_to_disk(tmp_path/'b')
    for source in (tmp_path/'a.parquet', tmp_path/'b'):
        clips = load_clips(source)
        assert clips.classes == ('kettle', 'tap') and clips.itemgot('class') == ['tap', 'kettle']*10
        assert clips[0]['slice_file_name'] == '0.wav' and set(clips.itemgot('fold')) == {1, 2, 3, 4, 5}

def test_a_clip_without_a_label_is_named(tmp_path):
    from datasets import ClassLabel
    hub_table(20, label=lambda k: k % 2 if k != 7 else -1).cast_column('label', ClassLabel(names=['tap', 'kettle'])).to_parquet(tmp_path/'a.parquet')
    refused(tmp_path/'a.parquet', 'row 7 of part 0: class')

@pytest.mark.parametrize('number', [lambda k: 1 + k % 2, lambda k: 0, lambda k: -7, lambda k: 2**40], ids=['from 1', 'all 0', 'negative', 'huge'])
def test_class_numbers_do_not_count(tmp_path, number):
    hub_table(20, **{'class': lambda k: ('cat', 'dog')[k % 2], 'classID': number}).to_parquet(tmp_path/'a.parquet')
    clips = load_clips(tmp_path/'a.parquet')
    assert clips.classes == ('cat', 'dog') and clips.itemgot('classID') == [0, 1]*10

def test_a_subset_of_the_ten_classes(tmp_path):
    names = ('siren', 'dog_bark')
    clips = load_clips(own(tmp_path/'a', {'a.csv': ten().replace('cat', names[0]).replace('dog\n', f'{names[1]}\n')}))
    assert clips.classes == ('dog_bark', 'siren') and set(clips.itemgot('classID')) == {0, 1} and clips.source == 'own recordings'

def test_class_folders(tmp_path, capsys):
    for n in range(10): sound(tmp_path/('cat', 'dog')[n % 2]/'inside'/f'{n}.wav', n)
    for name in ('.DS_Store', 'cat/._0.wav', 'cat/notes.txt', '._list.csv', 'scores.csv'): (tmp_path/name).write_text('filename,class\n')
    (tmp_path/'dog'/'b.m4a').write_bytes(b'nothing that we read')
    sound(tmp_path/'loose.wav', 20)
    clips = load_clips(tmp_path)
    said = capsys.readouterr().err
    assert clips.classes == ('cat', 'dog') and len(clips) == 10 and clips[0]['slice_file_name'] == 'cat/inside/0.wav'
    assert 'b.m4a' in said and 'loose.wav' in said and 'DS_Store' not in said and 'notes' not in said

@pytest.mark.parametrize('listed', [False, True])
def test_an_audiofolder(tmp_path, listed, capsys):
    for n in range(12):
        place = tmp_path/('train', 'test')[n > 8]
        sound((place if listed else place/('cat', 'dog')[n % 2])/f'{n}.wav', n)
    if listed:
        for part, numbers in (('train', range(9)), ('test', range(9, 12))):
            (tmp_path/part/'metadata.csv').write_text(lines(('file_name', 'label'), *((f'{n}.wav', ('cat', 'dog')[n % 2]) for n in numbers)))
    clips = load_clips(tmp_path)
    assert len(clips) == 12 and clips.classes == ('cat', 'dog') and all(Path(clip['audio']['path']).is_file() for clip in clips)

def test_an_audiofolder_with_json_lines(tmp_path):
    for n in range(12): sound(tmp_path/('train', 'test')[n > 8]/f'{n}.wav', n)
    for part, numbers in (('train', range(9)), ('test', range(9, 12))):
        rows = [{'file_name': f'{n}.wav', 'label': ('cat', 'dog')[n % 2], 'text': None, **{f'other {n}': [1]}} for n in numbers]
        (tmp_path/part/'metadata.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    clips = load_clips(tmp_path)
    assert len(clips) == 12 and clips.classes == ('cat', 'dog') and all(Path(clip['audio']['path']).is_file() for clip in clips)
    assert len(load_clips(tmp_path/'train'/'metadata.jsonl')) == 9

@pytest.mark.parametrize('text, message', [('{"file": "0.wav"', 'not a JSON object in each line'), ('["0.wav", "dog"]', 'not a JSON object in each line'),
    ('['*100_000, 'not a JSON object'), ('{"file": "0.wav"}', 'no column `class`'), ('{"file": "0.wav", "class": "dog"}\n{"file": "1.wav"}', "line 2: class is ''"),
    ('{"file": "0.wav", "class": ["dog"]}', 'line 1: class is'), ('', 'no column `class`')])
def test_json_lines_that_are_no_list(tmp_path, text, message):
    own(tmp_path/'x')
    (tmp_path/'x'/'metadata.jsonl').write_text(text)
    refused(tmp_path/'x'/'metadata.jsonl', message)

LISTS = {'semicolons': ten(separator=';'), 'tabs': ten(separator='\t'), 'BOM': '\ufeff' + ten(), 'DOS': ten().replace('\n', '\r\n'), 'blank lines': '\n' + ten().replace('\n', '\n\n'),
         'blanks': ten(separator=' , '), 'quotes': ten(('"filename"', '"class"'), '"{}.wav"'), 'capitals': ten(('FileName', 'Category')), 'dots': ten(name='./{}.wav'), 'backslashes': ten(name='.\\{}.wav'),
         **{name: ten((name, 'class')) for name in ('filename', 'file', 'filepath', 'path', 'file_name')}, **{name: ten(('path', name)) for name in ('category', 'label', 'target')}}

@pytest.mark.parametrize('name', LISTS)
def test_lists_as_people_write_them(tmp_path, name):
    clips = load_clips(own(tmp_path/'x', {'sounds.csv': LISTS[name]}))
    assert clips.classes == ('cat', 'dog') and clips.itemgot('slice_file_name') == [f'{n}.wav' for n in range(10)]
    assert all(Path(clip['audio']['path']).is_file() for clip in clips) and clips[0]['end'] == .2

TIMES = [('start', 'end'), ('Begin Time (s)', 'End Time (s)'), ('begin', 'finish'), ('START_SEC', 'END_SEC'), ('onset [s]', 'offset [s]'), ('t_start', 't_end'), ('start-seconds', 'stop-seconds'), ('from', 'to'), ('segment_start', 'segment_end (s)'), ('xmin', 'xmax')]

@pytest.mark.parametrize('names', TIMES, ids=str)
@pytest.mark.parametrize('kind', ['a.csv', 'a.txt', 'a.jsonl', 'a.parquet', 'a.arrow'])
def test_times_by_any_name_are_used(tmp_path, capsys, names, kind):
    "Recordings of 12 s, of which one second has a label"
    rows = [dict(zip(('Begin File', *names, 'Species'), (f'{n}.wav', 5., 6., ('cat', 'dog')[n % 2]))) for n in range(10)]
    for n in range(10): sound(tmp_path/f'{n}.wav', n, 12)
    path = tmp_path/kind
    if path.suffix in ('.parquet', '.arrow'):
        from datasets import Dataset
        data = [{'audio': {'bytes': (tmp_path/row['Begin File']).read_bytes(), 'path': None}} | row for row in rows]
        if path.suffix == '.parquet': Dataset.from_list(data).to_parquet(path)
        else: Dataset.from_list(data).save_to_disk(path := tmp_path/'saved')
    elif path.suffix == '.jsonl': path.write_text('\n'.join(map(json.dumps, rows)))
    else: path.write_text(lines(rows[0], *(row.values() for row in rows), separator='\t'))
    clips = load_clips(path)
    assert len(clips) == 10 and {(clip['audio']['start'], clip['audio']['end']) for clip in clips} == {(5, 6)}
    assert len(read_audio(clips[3]['audio'])[0]) == 8000 and 'not used' not in capsys.readouterr().err

def test_times_of_raven_in_one_of_several_files(tmp_path):
    "`Begin Time` counts from the first file, `File Offset` in the file"
    rows = [(n+1, 12*n+2, 12*n+3.5, 2, f'{n}.wav', ('cat', 'dog')[n % 2]) for n in range(10)]
    for n in range(10): sound(tmp_path/f'{n}.wav', n, 12)
    (tmp_path/'a.txt').write_text(lines(('Selection', 'Begin Time (s)', 'End Time (s)', 'File Offset (s)', 'Begin File', 'Annotation'), *rows, separator='\t'))
    clips = load_clips(tmp_path/'a.txt')
    assert len(clips) == 10 and {(clip['start'], clip['end']) for clip in clips} == {(2, 3.5)}

@pytest.mark.parametrize('name', ['start_ms', 'Begin (ms)', 'onset samples', 'start_time_minutes', 'begin_frame'])
def test_times_that_are_not_in_seconds_are_refused(tmp_path, name):
    refused(own(tmp_path, {'a.csv': lines(('path', 'class', name), *((f'{n}.wav', ('cat', 'dog')[n % 2], 0) for n in range(10)))}), f'column `{name}`', 'in seconds')

@pytest.mark.parametrize('name', ['split', 'Subset', 'partition', ' SPLIT '])
def test_a_division_by_any_name_is_refused_by_name(tmp_path, name):
    rows = [(f'{n}.wav', ('cat', 'dog')[n % 2], 'train', n % 5 + 1) for n in range(10)]
    refused(own(tmp_path/'a', {'a.csv': lines(('path', 'class', name), *(row[:3] for row in rows))}), f'column `{name}`')
    assert set(load_clips(own(tmp_path/'b', {'a.csv': lines(('path', 'class', name, 'fold'), *rows)})).itemgot('fold')) == {1, 2, 3, 4, 5}

def test_columns_that_are_not_used_are_told_once(tmp_path, capsys):
    rows = [(n, f'{n}.wav', ('cat', 'dog')[n % 2], 'x', 3) for n in range(10)]
    clips = load_clips(own(tmp_path/'a', {'a.csv': lines(('', 'path', 'class', 'weath\x1b[2Jer', 'min_freq'), *rows)}))
    said = capsys.readouterr().err
    assert said == 'note: columns not used: weath\\x1b[2Jer, min_freq\n' and len(clips) == 10
    load_clips(own(tmp_path/'b', {'a.csv': ten()}))
    load_clips(standin.build(tmp_path/'c', every=200))
    load_clips(like_urbansound8k(tmp_path/'d'))
    assert not capsys.readouterr().err
    many = [f'column{n}' for n in range(999)]
    load_clips(own(tmp_path/'e', {'a.csv': lines(('path', 'class', *many), *((f'{n}.wav', ('cat', 'dog')[n % 2], *many) for n in range(10)))}))
    assert len(capsys.readouterr().err) < 300

@pytest.mark.parametrize('first', ['sep=;\n', 'SEP=;\r\n', '"sep=;"\n', '\ufeffsep=;\n'])
def test_the_first_line_of_a_german_excel(tmp_path, first):
    own(tmp_path, {'a.csv': first + ten(separator=';')})
    assert len(load_clips(tmp_path)) == 10
    (tmp_path/'a.csv').write_text(first + ten(separator=';') + '9.wav;\n', encoding='utf-8')
    refused(tmp_path, "line 13: class is ''")

def test_a_list_by_its_name(tmp_path):
    assert len(load_clips(own(tmp_path/'x', {'a.tsv': ten(separator='\t'), 'b.csv': ten()})/'a.tsv')) == 10

def test_a_list_in_a_folder_for_lists(tmp_path):
    own(tmp_path/'audio')
    (tmp_path/'meta').mkdir()
    (tmp_path/'meta'/'esc.csv').write_text(ten())
    assert len(load_clips(tmp_path)) == 10

def test_several_lists(tmp_path):
    own(tmp_path/'x', {'a.csv': ten(), 'b.csv': ten()})
    line = refused(tmp_path/'x', '2 lists of clips')
    source = line.split('--data ')[1]
    assert len(load_clips(source)) == 10                            # the line to type

def test_lists_in_two_places_are_all_seen(tmp_path):
    half = lines(('filename', 'class'), *((f'{n}.wav', ('cat', 'dog')[n % 2]) for n in range(5)))
    refused(own(tmp_path, {'a.csv': half, 'meta/all.csv': ten()}), 'is in', 'keep one')

def test_sounds_in_no_list_are_counted(tmp_path, capsys):
    load_clips(own(tmp_path, {'a.csv': ten()}, n=13))
    assert '3 of 13 sounds are in no list' in capsys.readouterr().err

def test_answers_of_a_model_are_no_labels(tmp_path):
    answers = lines(('file', 'label', 'nearest_class'), *((f'{n}.wav', 'cat', 'cat') for n in range(10)))
    assert load_clips(own(tmp_path/'a', {'a.csv': ten(), 'b.csv': answers})).classes == ('cat', 'dog')
    refused(own(tmp_path/'b', {'b.csv': answers}), 'answers of a model')

def test_class_folders_that_are_links(tmp_path, capsys):
    for n in range(12): sound(tmp_path/'disk'/('kitten', 'dog')[n % 2]/'deep'/f'{n}.wav', n)
    data = tmp_path/'data'
    data.mkdir()
    (data/'cat').symlink_to(tmp_path/'disk'/'kitten')
    (data/'dog').symlink_to(tmp_path/'disk'/'dog')
    (tmp_path/'disk'/'dog'/'loop').symlink_to(data)
    clips = load_clips(data)
    assert len(clips) == 12 and clips.classes == ('cat', 'dog') and not capsys.readouterr().err
    assert {clip['slice_file_name'].split('/')[0] for clip in clips} == {'cat', 'dog'}
    (data/'puppy').symlink_to(tmp_path/'disk'/'dog')
    assert load_clips(data).classes == ('cat', 'dog') and 'puppy: the same folder as' in capsys.readouterr().err

@pytest.mark.parametrize('linked', ['audio', 'audio/fold3'])
def test_linked_folders_beside_a_list(small, clips, tmp_path, linked):
    place = shutil.copytree(small, tmp_path/'x')
    shutil.move(place/linked, tmp_path/'disk')
    (place/linked).symlink_to(tmp_path/'disk')
    assert_same(load_clips(place), clips)

@pytest.mark.parametrize('place, mark', [('runs/own/wandb/offline/files', None), ('runs/own', 'runs/own/study.json'), ('a.tar.extracted/bird', 'a.tar.extracted/.version')])
def test_what_our_commands_wrote_is_no_data(tmp_path, place, mark):
    for n in range(12): sound(tmp_path/('cat', 'dog')[n % 2]/f'{n}.wav', n)
    sound(tmp_path/place/'x.wav', 99)
    if mark: (tmp_path/mark).write_text('{}')
    assert load_clips(tmp_path).classes == ('cat', 'dog')

@pytest.mark.parametrize('parts', [('Train', 'Test'), ('training', 'testing'), ('train', 'Evaluation')])
def test_parts_of_a_division_are_no_classes(tmp_path, parts):
    for n in range(20): sound(tmp_path/parts[n % 2]/('cat', 'dog')[n//2 % 2]/f'{n}.wav', n)
    assert load_clips(tmp_path).classes == ('cat', 'dog')

@pytest.mark.parametrize('name', ['fold_{}', 'Fold {}', 'FOLD-{}', 'fold{}'])
def test_folds_are_no_classes(tmp_path, name):
    for n in range(6): sound(tmp_path/name.format(1 + n % 2)/f'{n}.wav', n)
    refused(tmp_path, 'folds, not classes')

def test_names_that_only_look_alike_are_one(tmp_path):
    for n, label in enumerate(('caf\u00e9', 'cafe\u0301', 'dog')*4): sound(tmp_path/label/f'{n}.wav', n)
    refused(tmp_path, 'write them alike')

@pytest.mark.parametrize('thing', [None, 5, ['a.wav'], object(), {'a.wav': 'dog'}], ids=lambda thing: type(thing).__name__)
@pytest.mark.parametrize('function', [load_clips, prepare_features])
def test_what_is_no_source(function, thing):
    with pytest.raises(DataError, match='give a path'): function(thing)

@pytest.mark.parametrize('function', [load_clips, prepare_features])
def test_data_that_datasets_has_loaded(tmp_path, function):
    "One line that says what to do, and doing it works"
    from datasets import DatasetDict
    table = hub_table(20, label=lambda k: ('cat', 'dog')[k % 2])
    for thing in (table, DatasetDict(train=table), table.to_iterable_dataset()):
        with pytest.raises(DataError, match=r'save_to_disk\(FOLDER\)') as e: function(thing)
        assert len(str(e.value).splitlines()) == 1
    table.save_to_disk(tmp_path/'x')
    assert len(load_clips(tmp_path/'x')) == 20

def test_bystanders_are_no_lists(tmp_path):
    own(tmp_path/'x', {'a.csv': ten(), '._a.csv': b'\0\5\x16\7', '.DS_Store': b'\0', 'scores.csv': ten(), 'sums.csv': 'path,sha256\n0.wav,00\n', 'notes.csv': 'a\n1\n'})
    assert len(load_clips(tmp_path/'x')) == 10

def test_groups_and_folds_of_a_list(tmp_path):
    rows = [(f'{n}.wav', ('cat', 'dog')[n % 2], f' yard {n//2} ', f'{n//2 + 1}.0') for n in range(10)]
    clips = load_clips(own(tmp_path/'x', {'a.csv': lines(('file', 'label', 'group', 'fold'), *rows)}))
    assert clips.itemgot('fsID') == [f'yard {n//2}' for n in range(10)] and clips.itemgot('fold') == [n//2 + 1 for n in range(10)]

# --- long files and windows

def test_long_files_are_cut_into_windows_of_one_recording(tmp_path, capsys):
    for n in range(10): sound(tmp_path/('cat', 'dog')[n % 2]/f'{n}.wav', n, seconds=9 if n < 2 else 1)
    clips = load_clips(tmp_path)
    assert len(clips) == 14 and '4 more clips, from files longer than 4 s' in capsys.readouterr().err
    windows = [clip for clip in clips if clip['fsID'] == 'cat/0.wav']
    assert [(clip['start'], clip['end']) for clip in windows] == [(0, 4), (2.5, 6.5), (5, 9)] and len({clip['fold'] for clip in windows}) == 1
    assert len({clip['slice_file_name'] for clip in clips}) == 14
    wave, rate = read_audio(windows[1]['audio'])
    assert len(wave) == 4*rate
    whole, _ = read_audio(windows[1]['audio']['path'])
    assert np.abs(wave - whole[round(2.5*rate):][:len(wave)]).max() < 1e-3

@pytest.mark.parametrize('names', [('start', 'end'), ('onset', 'offset'), ('start_time', 'end_time')])
def test_the_windows_of_a_list_are_used(tmp_path, names):
    for n in range(5): sound(tmp_path/f'{n}.wav', n, seconds=12)
    rows = [(f'{n}.wav', start, start+length, name) for n in range(5) for start, length, name in ((0, 2, 'cat'), (5, 3.5, 'dog'), (6, 6, 'cow'))]
    (tmp_path/'a.csv').write_text(lines(('path', *names, 'class'), *rows))
    clips = load_clips(tmp_path)
    first = [clip for clip in clips if clip['fsID'] == '0.wav']
    assert [(clip['start'], clip['end'], clip['class']) for clip in first] == [(0, 2, 'cat'), (5, 8.5, 'dog'), (6, 10, 'cow'), (8, 12, 'cow')]
    assert len(read_audio(first[0]['audio'])[0]) == 2*8000 and len({clip['fold'] for clip in first}) == 1

def test_an_mp3_whose_header_says_too_little(tmp_path, monkeypatch):
    if 'MP3' not in sf.available_formats(): pytest.skip('this libsndfile writes no MP3')
    for n in range(10):
        (tmp_path/('cat', 'dog')[n % 2]).mkdir(exist_ok=True)
        sf.write(tmp_path/('cat', 'dog')[n % 2]/f'{n}.mp3', .1*np.random.default_rng(n).normal(size=5*16000), 16000, format='MP3')
    assert len(load_clips(tmp_path)) == 20

# --- copies and labels

def test_copies_are_one_recording(tmp_path, capsys):
    own(tmp_path/'x', {'a.csv': ten()})
    for name in ('2', '4', '6'): shutil.copy(tmp_path/'x'/'0.wav', tmp_path/'x'/f'{name}.wav')
    clips = load_clips(tmp_path/'x')
    copies = [clip for clip in clips if clip['slice_file_name'] in ('0.wav', '2.wav', '4.wav', '6.wav')]
    assert len({clip['fsID'] for clip in copies}) == len({clip['fold'] for clip in copies}) == 1 and '3 clips are copies' in capsys.readouterr().err
    assert ['2.wav', '4.wav', '6.wav'] == sorted(problem.split(':')[0].split('/')[1] for problem in validate_clips(clips) if 'the same sound as' in problem)

def test_copies_in_two_folds_are_a_leak(tmp_path):
    rows = [(f'{n}.wav', ('cat', 'dog')[n % 2], n % 5 + 1) for n in range(10)]
    own(tmp_path/'x', {'a.csv': lines(('file', 'class', 'fold'), *rows)})
    clips = load_clips(tmp_path/'x')
    assert check_folds(clips.itemgot('fsID'), clips.itemgot('fold')) == []
    shutil.copy(tmp_path/'x'/'0.wav', tmp_path/'x'/'2.wav')
    clips = load_clips(tmp_path/'x')
    with pytest.raises(DataError, match='more than one fold'): check_folds(clips.itemgot('fsID'), clips.itemgot('fold'))

def test_groups_that_share_a_copy_become_one(tmp_path):
    rows = [(f'{n}.wav', 'cat' if n < 6 else 'dog', f'g{n//2}') for n in range(20)]
    own(tmp_path/'x', {'a.csv': lines(('file', 'class', 'group'), *rows)}, n=20)
    shutil.copy(tmp_path/'x'/'0.wav', tmp_path/'x'/'2.wav')
    shutil.copy(tmp_path/'x'/'3.wav', tmp_path/'x'/'4.wav')
    assert len({clip['fsID'] for clip in load_clips(tmp_path/'x')[:6]}) == 1

# --- refused in one line

def written(path, data):
    path.write_bytes(data)
    return path

def with_lines(*rows, header=('path', 'class')): return lambda place: own(place/'x', {'a.csv': lines(header, *rows)})
GOOD = [(f'{n}.wav', ('cat', 'dog')[n % 2]) for n in range(10)]

def with_no_file(make):
    "A good list, where something that is no file has the name of the last sound"
    def built(place):
        folder = with_lines(*GOOD)(place)
        (folder/'9.wav').unlink()
        make(folder/'9.wav')
        return folder
    return built

REFUSED = {
    'nothing there': (lambda place: place/'nowhere', 'no such file or folder'),
    'no name': (lambda place: '', "'': 0 clips"),
    'empty folder': (lambda place: (place/'x').mkdir() or place/'x', 'x: no sound'),
    'one class': (with_lines(*((f'{n}.wav', 'dog') for n in range(10))), "one class only, 'dog'"),
    'no class': (with_lines(*GOOD[:-1], ('9.wav', '')), "line 11: class is ''"),
    'a class by case': (with_lines(*GOOD[:-1], ('9.wav', 'Dog')), 'differ only in case or blanks'),
    'a class by blanks': (with_lines(*GOOD[:-2], ('9.wav', 'the_dog'), ('8.wav', 'the  dog')), 'differ only in case or blanks'),
    'silence': (with_lines(*GOOD[:-1], ('9.wav', 'Silence')), "a class 'Silence'"),
    'unknown': (with_lines(*GOOD[:-1], ('9.wav', 'unknown')), "a class 'unknown'"),
    'one file, two classes': (with_lines(*GOOD, ('./9.wav', 'cat')), "9.wav is 'cat', but 'dog' in"),
    'one file twice': (with_lines(*GOOD, ('./9.wav', 'dog')), 'line 12: 9.wav is in'),
    'control characters': (with_lines(*GOOD[:-1], ('9.wav', 'd\x1b[2Jog')), 'line 11: class is'),
    'a new line in a name': (with_lines(*GOOD[:-1], ('"9\n.wav"', 'dog')), 'slice_file_name is'),
    'outside': (with_lines(*GOOD[:-1], ('../9.wav', 'dog')), 'outside the folder'),
    'outside by a backslash': (with_lines(*GOOD[:-1], ('..\\..\\9.wav', 'dog')), 'outside the folder'),
    'a pipe': (with_no_file(os.mkfifo), '9.wav is outside the folder or no file'),
    'a device': (with_no_file(lambda path: path.symlink_to('/dev/zero')), '9.wav is outside the folder or no file'),
    'a folder': (with_no_file(Path.mkdir), '9.wav is outside the folder or no file'),
    'no column for files': (with_lines(('a', 'dog'), header=('name', 'class')), 'no column `filename`'),
    'no column for classes': (with_lines(*GOOD, header=('path', 'colour')), 'no column `class`'),
    'a split': (with_lines(*((*row, 'train') for row in GOOD), header=('path', 'class', 'split')), 'cannot use a column `split`'),
    'an onset alone': (with_lines(*((*row, 0) for row in GOOD), header=('path', 'class', 'onset')), '`start` and `end`'),
    'an end before its start': (with_lines(*((*row, 1, 1) for row in GOOD), header=('path', 'class', 'start', 'end')), 'from 1.0 to 1.0 s'),
    'an end beyond the file': (with_lines(*((*row, 0, 3) for row in GOOD), header=('path', 'class', 'start', 'end')), 'ends at 3.0 s'),
    'fold 0': (with_lines(*((*row, 0) for row in GOOD), header=('path', 'class', 'fold')), 'line 2: fold 0'),
    'fold -1': (with_lines(*((*row, -1) for row in GOOD), header=('path', 'class', 'fold')), "line 2: fold is '-1'"),
    'fold x': (with_lines(*((*row, 'x') for row in GOOD), header=('path', 'class', 'fold')), "line 2: fold is 'x'"),
    'fold 1.5': (with_lines(*((*row, 1.5) for row in GOOD), header=('path', 'class', 'fold')), "fold is '1.5'"),
    'fold nan': (with_lines(*((*row, 'nan') for row in GOOD), header=('path', 'class', 'fold')), "fold is 'nan'"),
    'few recordings': (with_lines(*GOOD[:4]), 'too few for 5 folds'),
    'a short line': (with_lines(*GOOD, ('9.wav',)), 'line 12: not as many values'),
    'a long line': (with_lines(*GOOD, ('9.wav', 'dog', 'x')), 'line 12: not as many values'),
    'only a header': (with_lines(), 'no line with a clip'),
    'latin-1': (lambda place: own(place/'x', {'a.csv': ten().replace('dog', 'türe').encode('latin-1')}), 'not UTF-8'),
    'folds without a list': (lambda place: [sound(place/'x'/f'fold{n}'/'1.wav', n) for n in (1, 2)] and place/'x', 'add UrbanSound8K.csv'),
    'an empty Parquet': (lambda place: written(place/'x.parquet', b''), 'not Parquet'),
    'a text': (lambda place: written(place/'x.parquet', b'text'*99), 'not Parquet'),
    'a zip archive': (lambda place: written(place/'x.zip', b'PK'), 'unpack it'),
    'a text as an archive': (lambda place: written(place/'x.tar.gz', b'text'*99), 'not extracted'),
}

@pytest.mark.parametrize('name', REFUSED)
def test_refused_in_one_line(tmp_path, name):
    make, words = REFUSED[name]
    source = make(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    refused(source, words)
    assert sorted(tmp_path.rglob('*')) == before, 'something was left behind'

def test_a_name_with_a_new_line_in_a_class_folder(tmp_path):
    for n in range(6): sound(tmp_path/('cat', 'dog')[n % 2]/f'{n}.wav', n)
    sound(tmp_path/'dog'/'a\nb.wav', 9)
    refused(tmp_path, 'a\\nb.wav')

@pytest.mark.parametrize('label', [None, 2.5, [1], -1], ids=str)
def test_labels_that_are_none(tmp_path, label):
    hub_table(20, label=lambda k: label).to_parquet(tmp_path/'a.parquet')
    refused(tmp_path/'a.parquet', *(['row 0 of part 0: class is'] if label != -1 else ['one class only']))

# --- hostile files

def member(name, kind=tarfile.REGTYPE, data=b'', link=''):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), link
    return info, io.BytesIO(data)

HOSTILE = {
    'out of the folder': [member('../evil', data=b'x')], 'absolute': [member('/tmp/urbansounds-evil', data=b'x')], 'inside out': [member('a/../../evil', data=b'x')],
    'a link': [member('a', tarfile.SYMTYPE, link='..'), member('a/evil', data=b'x')], 'a hard link': [member('a', tarfile.LNKTYPE, link='../evil')], 'a device': [member('a', tarfile.CHRTYPE)],
    'a pipe': [member('a', tarfile.FIFOTYPE)], 'a new line': [member('a\nb', data=b'x')], 'an endless name': [member('/'.join(['x'*200]*40), data=b'x')], 'a file as a folder': [member('a', data=b'x'), member('a/b', data=b'x')],
}

@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_archives(tmp_path, name):
    (tmp_path/'in').mkdir()
    with tarfile.open(tmp_path/'in'/'a.tar.gz', 'w:gz', format=tarfile.PAX_FORMAT) as archive:
        for info, data in HOSTILE[name]: archive.addfile(info, data)
    refused(tmp_path/'in'/'a.tar.gz', 'not extracted')
    assert [path.name for path in tmp_path.rglob('*')] == ['in', 'a.tar.gz'] and not Path('/tmp/urbansounds-evil').exists()

def test_cve_2025_4517(tmp_path):
    "Links that lead out by a path longer than PATH_MAX, as `extractall(filter='data')` once followed them"
    name, steps = 'd'*247, 'abcdefghijklmnop'
    (tmp_path/'in').mkdir()
    (tmp_path/'victim').write_text('mine')
    with tarfile.open(tmp_path/'in'/'a.tar', 'w') as archive:
        path = ''
        for step in steps:
            archive.addfile(*member(path + name, tarfile.DIRTYPE))
            archive.addfile(*member(path + step, tarfile.SYMTYPE, link=name))
            path += f'{name}/'
        link = '/'.join(steps) + '/' + 'l'*254
        archive.addfile(*member(link, tarfile.SYMTYPE, link='../'*len(steps)))
        archive.addfile(*member('escape', tarfile.SYMTYPE, link=f'{link}/../../victim'))
        archive.addfile(*member('victim-link', tarfile.LNKTYPE, link='escape'))
        archive.addfile(*member('victim-link', data=b'evil'))
    refused(tmp_path/'in'/'a.tar', 'a link or a device')
    assert (tmp_path/'victim').read_text() == 'mine' and sorted(path.name for path in tmp_path.rglob('*')) == ['a.tar', 'in', 'victim']

BOMBS = '''
import io, os, sys, tarfile, gzip
import pyarrow as pa, pyarrow.parquet as pq
what, path = sys.argv[1:]
if what == 'rows':
    part = pa.table({'audio': pa.nulls(1_000_000, pa.string()), 'slice_file_name': pa.nulls(1_000_000, pa.string()), 'class': pa.array(['x'])
                     .take(pa.array([0]*1_000_000))})
    with pq.ParquetWriter(path, part.schema) as writer:
        for _ in range(30): writer.write_table(part)
elif what == 'text':
    words = pa.DictionaryArray.from_arrays(pa.array([0]*200_000, pa.int32()), pa.array(['x'*1_000_000]))
    pq.write_table(pa.table({'audio': pa.nulls(200_000, pa.string()), 'class': words}), path)
else:
    zeros = gzip.compress(bytes(1_000_000))             # a gzip file may have many members
    info = tarfile.TarInfo('a.wav')
    info.type, info.size = {'zeros': tarfile.REGTYPE, 'header': tarfile.XHDTYPE}[what], 3_000_000_000
    with open(path, 'wb') as file: file.write(gzip.compress(info.tobuf()) + zeros*3000)
'''

@pytest.mark.parametrize('what, name', [('rows', 'a.parquet'), ('text', 'a.parquet'), ('zeros', 'a.tar.gz'), ('header', 'a.tar.gz')])
def test_small_files_that_would_be_large(tmp_path, what, name):
    "One line within seconds and 1 GB"
    subprocess.run([sys.executable, '-c', BOMBS, what, tmp_path/name], check=True)
    assert (tmp_path/name).stat().st_size < 20_000_000
    code = ('import sys\nfrom urbansounds_nb.dataset import load_clips, DataError\ntry: load_clips(sys.argv[1])\n'
            'except DataError as e: print(e)\n'
            'print(next(int(line.split()[1])//1000 for line in open("/proc/self/status") if line.startswith("VmHWM")))')
    start = time.monotonic()
    done = subprocess.run([sys.executable, '-c', code, tmp_path/name], capture_output=True, text=True, timeout=60)
    line, memory = done.stdout.splitlines()
    assert name in line and int(memory) < 1000 and time.monotonic()-start < 30, (done.stdout, done.stderr)
    assert [path.name for path in tmp_path.iterdir()] == [name]

def test_an_archive_interrupted_on_a_full_disk(tmp_path, small):
    with tarfile.open(tmp_path/'a.tar', 'w') as archive: archive.add(small, 'UrbanSound8K')
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, before[1]))
    try:
        with pytest.raises(OSError): load_clips(tmp_path/'a.tar')
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ['a.tar'] and len(load_clips(tmp_path/'a.tar')) == 88
