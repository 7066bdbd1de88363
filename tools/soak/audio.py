"Broken audio by the thousand, through every function that reads a sound: what is not heard is refused by one line"
import argparse, csv, io, multiprocessing, random, struct, subprocess, sys, tempfile, time
from collections import Counter
from contextlib import redirect_stderr
from importlib.util import find_spec
from pathlib import Path
import numpy as np
import soundfile as sf
import torch
from urbansounds_nb.app import answer
from urbansounds_nb.audio import audio_bytes, open_audio, read_audio
from urbansounds_nb.core import DataError
from urbansounds_nb.dataset import load_clips
from urbansounds_nb.features import load_source
from urbansounds_nb.models import default_classifier
from urbansounds_nb.predict import Prediction, classify, windows
from urbansounds_nb.synthetic import CLASSES, synthesise

BENCH = Path(__file__).resolve().parents[2]/'bench'
SECONDS, MEGABYTES = 5., 500.   # what one input may cost, in computing time and memory; without an answer after twelve times as long, it hangs
FORMATS = [('WAV', 'PCM_16'), ('WAV', 'FLOAT'), ('WAV', 'DOUBLE'), ('WAV', 'IMA_ADPCM'), ('WAVEX', 'PCM_24'), ('FLAC', 'PCM_16'), ('OGG', 'VORBIS'), ('OGG', 'OPUS'),
           ('MP3', 'MPEG_LAYER_III'), ('AIFF', 'PCM_16'), ('AIFF', 'FLOAT'), ('AU', 'PCM_16'), ('AU', 'FLOAT'), ('CAF', 'PCM_16'), ('CAF', 'ALAC_16'), ('W64', 'PCM_16'),
           ('RF64', 'PCM_16'), ('NIST', 'PCM_16'), ('VOC', 'PCM_16'), ('PAF', 'PCM_16'), ('AVR', 'PCM_16'), ('MAT5', 'FLOAT'), ('HTK', 'PCM_16'), ('MPC2K', 'PCM_16')]
FORMATS = [kind for kind in FORMATS if sf.check_format(*kind)]

# Where the fields of headers are: bytes after a marker, and how the number is written
CHANNELS = [(b'fmt ', 10, '<H'), (b'fmt \xf3', 26, '<H'), (b'COMM', 8, '>H'), (b'.snd', 20, '>I'), (b'desc', 36, '>I'), (b'\x01vorbis', 11, '<B'), (b'OpusHead', 9, '<B')]
RATES = [(b'fmt ', 12, '<I'), (b'fmt \xf3', 28, '<I'), (b'COMM', 16, '>Q'), (b'.snd', 16, '>I'), (b'desc', 12, '>d'), (b'\x01vorbis', 12, '<I'), (b'OpusHead', 12, '<I')]
LENGTHS = [(b'RIFF', 4, '<I'), (b'RF64', 4, '<I'), (b'ds64', 8, '<Q'), (b'ds64', 16, '<Q'), (b'ds64', 24, '<Q'), (b'fact', 8, '<I'), (b'data', 4, '<I'), (b'data', 4, '>Q'), (b'data\xf3', 16, '<Q'),
           (b'COMM', 10, '>I'), (b'SSND', 4, '>I'), (b'FORM', 4, '>I'), (b'.snd', 8, '>I'), (b'.snd', 4, '>I'), (b'pakt', 12, '>Q'), (b'pakt', 20, '>Q'), (b'riff', 16, '<Q'), (b'fLaC', 18, '>Q')]

def encoded(wave, rate, form, subtype):
    "A sound as the bytes of a file"
    sf.write(file := io.BytesIO(), wave, 48000 if subtype == 'OPUS' else rate, format=form, subtype=subtype)
    return file.getvalue()

def sources(data=None, seed=0):
    "Intact files: an embedded sound in each format, in mono and stereo; with `data`, pieces of real recordings too"
    rng, made = random.Random(seed), []
    waves = [(synthesise(name, 1, rng.uniform(.05, .6)), 22050) for name in CLASSES[:4]]
    if data:
        clips = rng.sample(list(load_clips(data)), 20)
        made += [('as it is', audio_bytes(clip['audio'])) for clip in clips]
        waves += [(wave[:rate//3], rate) for wave, rate in (read_audio(clip['audio']) for clip in clips)]
    for number, (form, subtype) in enumerate(FORMATS*(5 if data else 1)):
        wave, rate = waves[number % len(waves)]
        if (number//3) % 2 and form not in ('HTK',): wave = np.stack([wave, wave/2], 1)
        made.append((form, encoded(wave, rate, form, subtype)))
    return made

def put(data, fields, values, rng):
    "The data with a number of its header replaced; the first bytes overwritten where it has no such field"
    places = [(at+offset, form) for marker, offset, form in fields if (at := data.find(marker)) >= 0 and at+offset+8 <= len(data)]
    at, form = rng.choice(places or [(rng.randrange(min(64, len(data)-8)), '<I')])
    value = rng.choice(values)
    if form[1] == 'd': number = struct.pack(form, float(value))
    else: number = struct.pack(form, value & 256**struct.calcsize(form)-1)
    return data[:at] + number + data[at+len(number):]

def truncated(data, rng, others): return data[:rng.randrange(len(data))]
def flipped(data, rng, others, within=None):
    data = bytearray(data)
    for _ in range(rng.choice([1, 2, 5, 20])): data[rng.randrange(min(len(data), within or len(data)))] ^= 1 << rng.randrange(8)
    return bytes(data)
def header_flipped(data, rng, others): return flipped(data, rng, others, rng.choice([48, 120]))
def length_lies(data, rng, others): return put(data, LENGTHS, [0, 1, 7, 2**16-1, 2**31-1, 2**31, 2**32-2, 2**32-1, 2**40, 2**62, 2**63-1, 2**63, 2**64-1], rng)
def length_lies_at_the_end(data, rng, others): return length_lies(data, rng, others)[:rng.choice([44, 60, 100, 200])]
def sample_rate(data, rng, others): return put(data, RATES, [0, 1, 7, 999, 2**20, 2**31-1, 2**31, 2**32-1, 2**63], rng)
def channels(data, rng, others): return put(data, CHANNELS, [0, 3, 9, 255, 256, 1024, 65535], rng)
def spliced(data, rng, others):
    other = rng.choice(others)[1]
    return data[:rng.randrange(len(data))] + other[rng.randrange(len(other)):]
def zeroed(data, rng, others):
    start = rng.randrange(len(data))
    return data[:start] + bytes(rng.choice([1, 16, 400])) + data[start+400:]
def repeated(data, rng, others):
    start, size = rng.randrange(len(data)), rng.choice([4, 8, 64])
    return data[:start] + data[start:start+size]*rng.choice([2, 50, 1000]) + data[start+size:]
def noise_after_magic(data, rng, others): return data[:rng.choice([4, 12, 20])] + rng.randbytes(rng.choice([0, 30, 3000]))
def not_numbers(data, rng, others):
    wave = synthesise('siren', 1, .05).copy()
    wave[rng.randrange(len(wave))] = rng.choice([np.nan, np.inf, -np.inf])
    return encoded(wave, 22050, *rng.choice([kind for kind in FORMATS if kind[1] in ('FLOAT', 'DOUBLE')]))
def four_gigabytes_in_44_bytes(data, rng, others):
    n_channels, rate, bits = rng.choice([1, 2, 255]), rng.choice([8000, 44100]), rng.choice([8, 16, 32])
    size = rng.choice([2**32-1, 2**32-2, 2**32-8, 2**31])
    return struct.pack('<4sI4s4sIHHIIHH4sI', b'RIFF', size, b'WAVE', b'fmt ', 16, 1, n_channels, rate, rate*n_channels*bits//8 % 2**32, n_channels*bits//8, bits, b'data', size)
def a_bomb(data, rng, others):
    "Much silence in few bytes"
    return encoded(np.zeros((rng.choice([100_000, 3_000_000]), rng.choice([1, 8])), np.int16), rng.choice([8000, 44100]), 'FLAC', 'PCM_16')
def wrong_extension(data, rng, others): return data

DAMAGES = {kind.__name__.replace('_', ' '): kind for kind in (truncated, flipped, header_flipped, length_lies, length_lies_at_the_end, sample_rate, channels, spliced, zeroed, repeated,
                                                            noise_after_magic, not_numbers, four_gigabytes_in_44_bytes, a_bomb, wrong_extension)}
EXTENSIONS = ('.wav', '.flac', '.ogg', '.mp3', '.aiff', '.raw', '.txt', '', '.w64', '.sd2', '.gsm', '.vox')

def corpus(n, found, seed=0):
    "Yields (kind of damage, name, data) of `n` broken files"
    names = list(DAMAGES)
    for number in range(n):
        rng, kind = random.Random(f'{seed} {number}'), names[number % len(names)]
        if kind == 'a bomb' and number//len(names) % 20: kind = 'flipped'              # they take a second each
        own, data = rng.choice(found)
        extension = rng.choice(EXTENSIONS) if kind == 'wrong extension' else '.'+own.lower() if own != 'as it is' else '.wav'
        yield kind, f'{number}{extension}', DAMAGES[kind](data, rng, found)

# --- the doors: each takes a path and is done with it, or raises `DataError`

def by_read_audio(path):
    wave, rate = read_audio(path)
    assert wave.dtype == np.float32 and wave.ndim == 1 and np.isfinite(wave).all() and rate > 0

def by_windows(path):
    for audio in (path, path.read_bytes()):
        stream = open_audio(audio, name=path.name)
        for window in windows(stream, stream.rate, 22050): assert np.isfinite(window.wave).all()

def by_classify(path): assert isinstance(classify(path.read_bytes()), Prediction)

def by_app(path):
    shown = list(answer(path, default_classifier(), 60.))
    alert = '<p role="alert">'
    if shown[0][0].startswith(alert): raise DataError(shown[0][0].removeprefix(alert))

DOORS = {'read_audio': by_read_audio, 'windows': by_windows, 'classify': by_classify, 'app': by_app}

def resident(field):
    "Memory of this process (MB)"
    line, = (line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])/1024

def outcome(door, path):
    "What one door does with one file: survived, refused, or the reason why it is lost"
    Path('/proc/self/clear_refs').write_text('5')                                       # the peak is counted anew
    before, start = resident('VmRSS'), time.process_time()                              # what else runs on the machine does not count
    try: found = DOORS[door](path) or 'survived'
    except DataError as e: found = 'refused' if len(str(e).splitlines()) == 1 else f'{len(str(e).splitlines())} lines'
    except BaseException as e: found = f'{type(e).__name__}: {e}'[:200]
    if (took := time.process_time()-start) > SECONDS: return f'took {took:.0f} s'
    return f'{grown:.0f} MB' if (grown := resident('VmHWM')-before) > MEGABYTES else found

def _work(pipe):
    "A process that may crash"
    torch.set_num_threads(1)
    import matplotlib
    matplotlib.use('agg')
    classify(synthesise('siren', 0, .1), 22050)                                         # what is made once is no cost of an input
    pipe.send('ready')
    while True: pipe.send(outcome(*pipe.recv()))

class Worker:
    "Judges files in another process, which is started again where it dies or hangs"
    def __init__(self): self.process = None

    def start(self):
        self.pipe, there = multiprocessing.Pipe()
        self.process = multiprocessing.get_context('spawn').Process(target=_work, args=(there,), daemon=True)
        self.process.start()
        there.close()
        self.pipe.recv()

    def judge(self, door, path):
        if not self.process: self.start()
        self.pipe.send((door, path))
        try:
            if self.pipe.poll(12*SECONDS): return self.pipe.recv()
            self.process.kill()
        except (EOFError, ConnectionError): pass
        self.process.join()
        status, self.process = self.process.exitcode, None
        return 'hangs' if status == -9 else f'crash, status {status}'

    def close(self):
        if self.process: self.process.kill()

def judge_all(files, judge, shares, folder, lost):
    "Gives every file to the doors, the slower ones only a share (every n-th); outcomes by kind of damage"
    rows = {}
    for number, (kind, name, data) in enumerate(files):
        path = Path(folder)/name
        path.write_bytes(data)
        found = [judge(door, path) for door, every in shares.items() if number//len(DAMAGES) % every == 0]
        bad = [reason for reason in found if reason not in ('survived', 'refused')]
        if bad: lost.append((kind, name, bad))
        else: path.unlink()
        rows.setdefault(kind, Counter())['lost' if bad else 'refused' if 'refused' in found else 'survived'] += 1
    return rows

def prepared_folder(files, folder):
    "One folder of broken files and a good one through the command: each is there or named as left out"
    (source := Path(folder)/'own').mkdir(parents=True)
    names = []
    for data, name in {data: name for _, name, data in files}.items():      # the same sound twice would be one clip
        (source/name).write_bytes(data)
        names.append(name)
    for number in range(5): sf.write(source/f'good{number}.wav', synthesise('dog_bark', number, .2), 22050)
    names += [f'good{number}.wav' for number in range(5)]
    with open(source/'list.csv', 'w', newline='') as file:
        table = csv.writer(file)
        table.writerows([('path', 'class', 'fold'), *((name, 'cat' if number % 2 else 'dog', 1 + number % 5) for number, name in enumerate(names))])
    with redirect_stderr(said := io.StringIO()): data = load_source(source, folder=Path(folder)/'mels', progress=False)
    file = lambda name: name.partition('#')[0]                             # long files are several clips
    kept = {file(name) for name in data.columns['slice_file_name'].tolist()}
    left_out = {file(line.removeprefix('left out: ').partition(':')[0]) for line in said.getvalue().splitlines() if line.startswith('left out: ')}
    both = Counter('survived' if name in kept else 'refused' if name in left_out else 'lost' for name in names)
    assert {f'good{number}.wav' for number in range(5)} <= kept
    return both

def coverage_guided(seconds, found, report):
    "Fuzz what reads sounds, guided by which branches are reached (atheris); (executions, survived, refused, status), or `None` without atheris"
    if not find_spec('atheris'): return None
    with tempfile.TemporaryDirectory() as folder:
        (seeds := Path(folder)/'seeds').mkdir()
        for number, (_, data) in enumerate(found): (seeds/str(number)).write_bytes(data[:3000])
        code = f'''
import atheris, sys
with atheris.instrument_imports(include=['urbansounds_nb.audio', 'urbansounds_nb.containers', 'urbansounds_nb.predict']):
    from urbansounds_nb import audio, core, predict
import numpy as np
counts = np.memmap({str(Path(folder)/"counts")!r}, np.int64, 'w+', shape=(2,))
def one(data):
    refused = 0
    try: audio.read_audio(data)
    except core.DataError as e: refused = 1; assert len(str(e).splitlines()) == 1
    try:
        stream = audio.open_audio(data)
        for window in predict.windows(stream, stream.rate, 22050): pass
    except core.DataError as e: refused = 1; assert len(str(e).splitlines()) == 1
    counts[refused] += 1
atheris.Setup([sys.argv[0], '-max_total_time={seconds}', '-max_len=4000', '-seed=1', '-timeout={SECONDS:.0f}', '-rss_limit_mb=2500', '-print_final_stats=1', {str(seeds)!r}], one)
atheris.Fuzz()
'''
        done = subprocess.run([sys.executable, '-c', code], cwd=folder, capture_output=True, text=True, errors='replace')
        if done.returncode: report(done.stderr[-3000:])
        survived, refused = map(int, np.fromfile(Path(folder)/'counts', np.int64))
        executed = [int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith('stat::number_of_executed_units')]
    return (executed or [survived+refused])[0], survived, refused, done.returncode

def write_rows(path, rows):
    "A CSV of outcomes"
    with open(path, 'w', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(('what', 'tried', 'survived', 'refused', 'lost'))
        table.writerows((what, sum(counts.values()), counts['survived'], counts['refused'], counts['lost']) for what, counts in rows.items())

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data', help='recordings to damage, besides the embedded sounds')
    parser.add_argument('--n', type=int, default=10_000, help='broken files')
    parser.add_argument('--guided', type=int, default=60, help='seconds of coverage-guided fuzzing')
    arguments, lost, worker = parser.parse_args(), [], Worker()
    found = sources() + (sources(arguments.data) if arguments.data else [])
    with tempfile.TemporaryDirectory() as folder:
        rows = judge_all(corpus(arguments.n, found), worker.judge, {'read_audio': 1, 'windows': 1, 'classify': 5, 'app': 40}, folder, lost)
        worker.close()
        every = [file for number, file in enumerate(corpus(arguments.n, found)) if number//len(DAMAGES) % 5 == 0]
        rows['a folder prepared'] = prepared_folder(every, Path(folder)/'prepare')
    guided = coverage_guided(arguments.guided, found, print) if arguments.guided else None
    if guided: rows['guided by coverage (atheris)'] = Counter(survived=guided[1], refused=guided[2], lost=guided[0]-guided[1]-guided[2] + bool(guided[3] and guided[0] == guided[1]+guided[2]))
    elif arguments.guided: print('atheris is not installed: no fuzzing guided by coverage (pip install atheris)')
    write_rows(BENCH/'soak-audio.csv', rows)
    for what in lost: print('lost:', *what)
    print(f'{sum(counts["lost"] for counts in rows.values())} lost of {sum(sum(counts.values()) for counts in rows.values())}')
    sys.exit(any(counts['lost'] for counts in rows.values()))

if __name__ == '__main__': main()
