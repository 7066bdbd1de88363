"Broken and hostile folders, archives and lists: nothing outside is read or written; what does not work is refused by one line"
import argparse, contextlib, csv, io, random, sys, tarfile, tempfile, time
from collections import Counter
from pathlib import Path
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf
from urbansounds_nb.core import DataError
from urbansounds_nb.dataset import CLASSES
from urbansounds_nb.features import load_features, prepare_features

BENCH = Path(__file__).resolve().parents[2]/'bench'
OFFICIAL = ('slice_file_name', 'fsID', 'start', 'end', 'salience', 'fold', 'classID', 'class')
SECRET = b'the secret outside'

def sound(number=0):
    sf.write(file := io.BytesIO(), .5*np.sin(np.arange(2000)*(1 + number/50)), 8000, format='WAV')
    return file.getvalue()

def table(rows, header, **how):
    csv.writer(text := io.StringIO(), **how).writerows([header, *rows])
    return text.getvalue()

def official(folder, rows=None, header=OFFICIAL):
    "A small folder in the official layout"
    rows = rows or [(f'{n}-{n%10}-0-0.wav', n, 0., .25, 1, 1 + n%10, n%10, CLASSES[n%10]) for n in range(20)]
    (folder/'metadata').mkdir(parents=True)
    (folder/'metadata'/'UrbanSound8K.csv').write_text(table(rows, header))
    for n in range(20):
        (place := folder/'audio'/f'fold{1 + n%10}').mkdir(parents=True, exist_ok=True)
        (place/f'{n}-{n%10}-0-0.wav').write_bytes(sound(n))
    return folder

def own(folder, text):
    "A folder of one's own with five sounds"
    folder.mkdir(parents=True)
    for n in range(5): (folder/f'{n}.wav').write_bytes(sound(n))
    (folder/'list.csv').write_bytes(text if isinstance(text, bytes) else text.encode('utf-8', 'surrogatepass'))
    return folder

GOOD = [(f'{n}.wav', 'cat' if n%2 else 'dog', n+1) for n in range(5)]
HEADER = ('path', 'class', 'fold')

# --- lists

BAD_NAMES = ['../outside.wav', '../../../../etc/passwd', '/etc/passwd', '{outside}', 'a/../../outside.wav', './../outside.wav', '~/outside.wav', 'link.wav', 'loop.wav', 'device.wav', 'pipe.wav', 'folder',
             '', '.', '..', 'x'*300, 'x/'*3000, 'a\0b.wav', 'a\nb.wav', 'a\rb.wav', '\ud800.wav', '$(touch x).wav', '`id`.wav', '; rm -rf .', '|cat', 'file:///etc/passwd', 'http://localhost/x.wav',
             'C:\\x.wav', '\\\\host\\x.wav', '%2e%2e/outside.wav', '\u202ewav.exe', 'con.wav', '-.wav', '*', '?.wav', '[0].wav', '0.wav/', '0.wav/0.wav', '//0.wav']

def list_with_a_bad_name(place, rng):
    folder = own(place/'in', '')
    (place/'outside.wav').write_bytes(sound())
    (folder/'link.wav').symlink_to(place/'outside.wav')
    (folder/'loop.wav').symlink_to('loop.wav')
    (folder/'device.wav').symlink_to('/dev/zero')
    (folder/'folder').mkdir()
    import os
    os.mkfifo(folder/'pipe.wav')
    rows = list(GOOD)
    name = rng.choice(BAD_NAMES).format(outside=place/'outside.wav') if rng.random() < .9 else rng.randbytes(9).decode('latin-1')
    rows[rng.randrange(5)] = (name, 'cat', 2)
    (folder/'list.csv').write_bytes(table(rows, HEADER).encode('utf-8', 'surrogatepass'))
    return folder

def official_list_with_a_bad_name(place, rng):
    (place/'outside.wav').write_bytes(sound())
    name = rng.choice(BAD_NAMES).format(outside=place/'outside.wav').encode('utf-8', 'replace').decode()
    rows = [(f'{n}-{n%10}-0-0.wav', n, 0., .25, 1, 1 + n%10, n%10, CLASSES[n%10]) for n in range(19)] + [(name, 19, 0, 1, 1, 10, 9, CLASSES[9])]
    return official(place/'in', rows)

ENCODINGS = ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'latin-1', 'cp1252', 'cp037', 'shift-jis', 'utf-7']

def list_in_an_encoding(place, rng):
    rows = [(name, kind if rng.random() < .5 else 'Hühner', fold) for name, kind, fold in GOOD]
    return own(place/'in', table(rows, HEADER).encode(rng.choice(ENCODINGS), 'replace'))

def list_with_odd_marks(place, rng):
    text = table(GOOD*rng.choice([1, 1, 2]), HEADER, quoting=rng.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), lineterminator=rng.choice(['\n', '\r\n', '\r', '\n\n', '\x0b', '\u2028']))
    for _ in range(rng.choice([0, 1, 3])):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(['"', '""', '"\n', '\n', '\r', '\0', ',', ';', '\t', "'", '\\', '\ufeff', '\x1a', '\x85', '\u2028', '=1+1', ' ']) + text[at:]
    return own(place/'in', text)

def list_with_odd_values(place, rng):
    rows, at = [list(row) for row in GOOD], rng.randrange(5)
    rows[at][rng.choice([1, 2])] = rng.choice(['', '0', '-1', '11', 'NaN', 'inf', '1e3', '1.0', '9'*30, '9'*5000, '0x1', '١', '1_0', ' 1', 'None', 'x'*200_000, '<b>', '\x1b[31m'])
    return own(place/'in', table(rows, HEADER))

def official_list_with_odd_values(place, rng):
    rows = [[f'{n}-{n%10}-0-0.wav', n, 0., .25, 1, 1 + n%10, n%10, CLASSES[n%10]] for n in range(20)]
    rows[rng.randrange(20)][rng.randrange(1, 8)] = rng.choice(['', '0', '-1', '11', 'NaN', 'inf', '-inf', '1e400', '9'*30, '9'*5000, '2147483648', '9223372036854775808', '0x1', '1_0', 'cat', 'x'*200_000])
    return official(place/'in', rows)

def list_with_other_columns(place, rng):
    columns = rng.sample(OFFICIAL, rng.randrange(8)) + rng.choice([[], ['fold'], ['', ''], ['class', 'class']])
    return official(place/'in', [[dict(zip(OFFICIAL, ('0-0-0-0.wav', 0, 0, 1, 1, 1, 0, CLASSES[0]))).get(column, 'x') for column in columns]]*3, columns)

def list_of_parts(place, rng):
    "Parts of files, right and wrong, and other columns that lists have"
    rows, names = [[*row, 0, .1] for row in GOOD], [*HEADER, *rng.choice([('start', 'end'), ('onset', 'offset'), ('start_time', 'end_time')])]
    rows[rng.randrange(5)][rng.choice([3, 4])] = rng.choice(['', '0', '-1', '.05', '7', 'NaN', 'inf', '1e9', 'x', '0:01', '1e-9'])
    if rng.random() < .3: names[rng.choice([3, 4])] = rng.choice(['split', 'x', 'start', 'Offset', ''])
    return own(place/'in', table(rows, names, delimiter=rng.choice(',;\t')))

def class_folders(place, rng):
    "Class folders with odd names and bystanders"
    for n in range(12):
        kind = rng.choice(['cat', 'dog', 'cow']) if n > 1 else ('cat', 'dog')[n]
        path = place/'in'/rng.choice(['', '', 'train'])/kind/f'{n}.wav'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sound(n if rng.random() < .95 else 0))
    for _ in range(3):
        name = rng.choice(['Cat', 'silence', 'unknown ', ' dog', 'a\nb', '\x1b[2J', 'x'*200, '.hidden', 'fold1', 'train', '$x', '\u202egod', 'dog_'])
        path = place/'in'/rng.choice(['', 'dog'])/name/rng.choice(['0.wav', '1.m4a', 'x\ny.wav', '._0.wav', 'notes.txt'])
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() or path.is_symlink(): continue
        how = rng.choice(['sound', 'link', 'loop', 'empty', 'folder'])
        if how in ('link', 'loop'): path.symlink_to(path if how == 'loop' else place/'secret')
        elif how == 'folder': path.mkdir()
        else: path.write_bytes(sound(rng.randrange(99)) if how == 'sound' else b'')
    return place/'in'

def huge_list(place, rng):
    row = table([(f'{"x"*rng.choice([5, 200])}.wav', 'cat', 1)], GOOD[0]).encode().splitlines(True)[1]
    size = rng.choice([2_000_000, 60_000_000, 200_000_000])
    return own(place/'in', b'path,class,fold\n' + (row*(size//len(row)) if rng.random() < .7 else b'"' + b'a'*size))

def no_list_but_something(place, rng):
    (folder := place/'in').mkdir()
    import os
    at = folder/rng.choice(['list.csv', 'metadata/UrbanSound8K.csv', 'x.parquet', 'x.arrow'])
    at.parent.mkdir(exist_ok=True)
    rng.choice([at.mkdir, lambda: os.mkfifo(at), lambda: at.symlink_to(at), lambda: at.symlink_to('/dev/zero'), lambda: at.symlink_to(place/'secret'), lambda: at.write_bytes(rng.randbytes(500))])()
    return folder

# --- archives

def member(name, kind=tarfile.REGTYPE, data=b'', link='', mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
    return info, io.BytesIO(data)

def hostile_members(place, rng):
    outside = str(place/'outside')
    name = rng.choice(['../evil', '../../evil', f'{outside}/evil', 'audio/../../../evil', './/../evil', 'UrbanSound8K/metadata/UrbanSound8K.csv', 'x'*300, 'a\nb', '..', '.', ''])
    link = rng.choice(['..', '/etc/passwd', outside, '../../secret', 'metadata', 'UrbanSound8K', '/', '.'])
    some = [member(name, data=b'evil'), member('way', tarfile.SYMTYPE, link=link), member('way', tarfile.LNKTYPE, link=link), member('UrbanSound8K/audio', tarfile.SYMTYPE, link=link),
            member('UrbanSound8K/metadata', tarfile.SYMTYPE, link=link), member('null', tarfile.CHRTYPE), member('disk', tarfile.BLKTYPE), member('pipe', tarfile.FIFOTYPE),
            member('UrbanSound8K/metadata/UrbanSound8K.csv', tarfile.SYMTYPE, link=link), member('set', data=b'x', mode=0o6777), member('UrbanSound8K/audio/fold1/0-0-0-0.wav', tarfile.SYMTYPE, link=link)]
    return rng.sample(some, rng.choice([1, 2, 3])) + [member('way/evil', data=b'evil'), member('UrbanSound8K/audio/evil', data=b'evil')][:rng.randrange(3)]

def hostile_archive(place, rng):
    tree, path = official(place/'tree'/'UrbanSound8K'), place/rng.choice(['in.tar.gz', 'in.tar', 'in.tgz'])
    steps = [lambda file: [file.addfile(*one) for one in hostile_members(place, rng)], lambda file: file.add(tree, 'UrbanSound8K')]
    with tarfile.open(path, 'w' if path.suffix == '.tar' else 'w:gz') as file:
        for step in rng.sample(steps, 2): step(file)
    return path

def damaged_archive(place, rng):
    path = place/rng.choice(['in.tar.gz', 'in.tar'])
    with tarfile.open(path, 'w' if path.suffix == '.tar' else 'w:gz') as file: file.add(official(place/'tree'/'UrbanSound8K'), 'UrbanSound8K')
    path.write_bytes(spoiled(path.read_bytes(), rng))
    return path

def spoiled(data, rng):
    data = bytearray(data)
    for _ in range(rng.choice([0, 1, 5, 40])): data[rng.randrange(rng.choice([min(600, len(data)), len(data)]))] ^= 1 << rng.randrange(8)
    for _ in range(rng.choice([0, 3])): data[-1-rng.randrange(min(2000, len(data)))] ^= 1 << rng.randrange(8)      # parquet ends with its header
    return bytes(data[:rng.randrange(len(data))] if rng.random() < .2 else data)

def zip_archive(place, rng):
    import zipfile
    path = place/rng.choice(['in.zip', 'in.tar.gz', 'in.parquet'])
    with zipfile.ZipFile(path, 'w') as file: file.writestr(rng.choice(['../evil', '/tmp/evil', 'UrbanSound8K/metadata/UrbanSound8K.csv']), 'evil')
    return path

# --- tables and prepared folders

def damaged_parquet(place, rng):
    records = [dict(zip(OFFICIAL, (f'{n}.wav', n, 0., 1., 1, 1 + n%2, n%10, CLASSES[n%10]))) | {'audio': {'bytes': sound(n), 'path': '/etc/passwd'}} for n in range(12)]
    made, path = pa.Table.from_pylist(records), place/'in.parquet'
    if rng.random() < .5:
        column = rng.choice(made.column_names)
        odd = rng.choice([None, 0, -1, 2**62, float('nan'), 'x', b'x', [1], {'bytes': None, 'path': str(place/'secret')}, {'bytes': 'text'}, {}])
        try: made = made.set_column(made.column_names.index(column), column, pa.array([odd]*12)) if rng.random() < .8 else made.drop_columns([column])
        except pa.ArrowException: pass
    if rng.random() < .5:
        try: pq.write_table(made, path, row_group_size=5)
        except pa.ArrowException: path.write_bytes(b'PAR1')
    else:
        path = place/'in'/'data.arrow'
        path.parent.mkdir()
        with pa.OSFile(str(path), 'wb') as file, pa.ipc.new_stream(file, made.schema) as stream: stream.write_table(made)
    if rng.random() < .6: path.write_bytes(spoiled(path.read_bytes(), rng))
    return path if path.suffix == '.parquet' else path.parent

def damaged_preparation(place, rng):
    folder = prepare_features(official(place/'tree'), folder=place/'in', progress=False)
    path = rng.choice(sorted(folder.iterdir()))
    if rng.random() < .2: path.unlink()
    elif path.suffix == '.json' and rng.random() < .7:
        path.write_text(rng.choice(['', '{', '[]', 'null', '{}', '"x"', '['*50_000, '{"_data_files": [{"filename": "../../../../etc/passwd"}]}', '{"sample_rate": "x"}', path.read_text().replace('22050', '1e999'), '\0']))
    else: path.write_bytes(spoiled(path.read_bytes(), rng) if path.stat().st_size else b'x')
    return folder

KINDS = {kind.__name__.replace('_', ' '): kind for kind in (list_with_a_bad_name, official_list_with_a_bad_name, list_in_an_encoding, list_with_odd_marks, list_with_odd_values,
         official_list_with_odd_values, list_with_other_columns, list_of_parts, class_folders, huge_list, no_list_but_something, hostile_archive, damaged_archive, zip_archive, damaged_parquet, damaged_preparation)}

def contents(folder): return {path: path.lstat().st_mtime_ns if path.is_symlink() or not path.is_file() else path.read_bytes() for path in sorted(folder.rglob('*'))}

def outcome(kind, seed, folder):
    "What becomes of one of them: survived, refused, or the reason why it is lost"
    place, rng = Path(folder)/'place', random.Random(f'{kind} {seed}')
    for one in ('place', 'outside', 'mels'): assert not (Path(folder)/one).exists()
    (place/'outside').mkdir(parents=True)
    (place/'secret').write_bytes(SECRET)
    source, start = KINDS[kind](place, rng), time.monotonic()
    before, said = {path: what for path, what in contents(place).items() if not path.is_relative_to(source) and path.is_file() and not path.is_symlink()}, io.StringIO()
    try:
        with contextlib.redirect_stderr(said): data = load_features(prepare_features(source, folder=Path(folder)/'mels', progress=False))
        found = 'survived' if len(data) and np.isfinite(data.mel.numpy()).any() else 'nothing in it'
        if any('outside' in name or 'passwd' in name for name in data.columns['slice_file_name'].tolist()): found = 'read outside'
    except DataError as e: found, said = 'refused' if len(str(e).splitlines()) == 1 and len(str(e)) < 1500 else 'several lines', io.StringIO(str(e))
    except OSError as e: found = 'refused' if e.errno and len(str(e).splitlines()) == 1 else f'OSError: {e}'     # the commands make one line of it
    except BaseException as e: found = f'{type(e).__name__}: {e}'[:200]
    after, reached = contents(place), Path('/tmp/evil').exists() or (Path(folder)/'evil').exists() or (place/'evil').exists()
    if reached or list((place/'outside').iterdir()) or any(after.get(path) != what for path, what in before.items()): return 'written outside'
    if SECRET.decode() in said.getvalue() or 'root:' in said.getvalue(): return 'read outside'
    if list(place.glob('.*.partial')): return 'half-written'
    return f'took {took:.0f} s' if (took := time.monotonic()-start) > 30 else found

def judge(n, kinds=KINDS, seed=0):
    "Counts by kind, and what was lost"
    rows, lost = {}, []
    for kind in kinds:
        rows[kind] = Counter()
        for number in range(n if kind != 'huge list' else min(n, 8)):
            with tempfile.TemporaryDirectory() as folder: found = outcome(kind, number + 1000*seed, folder)
            if found not in ('survived', 'refused'): lost.append((kind, number, found))
            rows[kind][found if found in ('survived', 'refused') else 'lost'] += 1
    return rows, lost

def write_rows(path, rows):
    "A CSV of outcomes"
    with open(path, 'w', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(('what', 'tried', 'survived', 'refused', 'lost'))
        table.writerows((what, sum(counts.values()), counts['survived'], counts['refused'], counts['lost']) for what, counts in rows.items())

if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('n', type=int, nargs='?', default=60, help='attempts of each kind')
    rows, lost = judge(parser.parse_args().n)
    write_rows(BENCH/'soak-folders.csv', rows)
    for what in lost: print('lost:', *what)
    print(f'{len(lost)} lost of {sum(sum(counts.values()) for counts in rows.values())}')
    sys.exit(bool(lost))
