#!/usr/bin/env python3
"""Kill long runs, fill disks, damage files: nothing may be lost. Writes bench/soak-kills.csv.

    python tools/soak/kills.py [--kills 6] [--seed 0]     (kills: for each kind of command and signal)
"""
import argparse, csv, io, os, random, shutil, signal, subprocess, sys, tempfile, time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from urbansounds_nb import commands
from urbansounds_nb.core import DataError, atomic_write
from urbansounds_nb.study import Run, Study
from urbansounds_nb.synthetic import write_synthetic

ROOT = Path(__file__).resolve().parents[2]
FIELDS, OUTCOMES = ('what', 'tried', 'survived', 'refused', 'lost'), ('survived', 'refused', 'lost')
QUICK = dict(experiments='cnn1d', folds='1,2', epochs=12, jobs=1, tracking='disabled')

# --- commands, and what they leave

def named_jobs(jobs): return f'{jobs} process{"es" if jobs > 1 else ""}'

def typed(command, *files, **settings):
    "The command line of a command"
    return [str(Path(sys.executable).parent/command), *map(str, files), *(part for name, value in settings.items() for part in (f'--{name}', str(value)))]

def start(command, *files, cache=None, **settings):
    "Start a command in a session of its own, so that a signal can reach all of its processes"
    ready = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)                    # whoever started us in the background made us deaf to it
    return subprocess.Popen(typed(command, *files, **settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=ready,
                            env=os.environ | dict(OMP_NUM_THREADS='1', WANDB_MODE='disabled') | ({'URBANSOUNDS_CACHE': str(cache)} if cache else {}))

class Forked:
    "A command in a process that begins with all libraries loaded, so that a random moment falls into its work"
    def __init__(self, command, cache, **settings):
        self.said = tempfile.TemporaryFile('w+')
        self.process = get_context('fork').Process(target=self.run, args=(command, cache, settings))
        self.process.start()
        self.pid = self.process.pid

    def run(self, command, cache, settings):
        "In the process"
        os.setsid()
        for output in (1, 2): os.dup2(self.said.fileno(), output)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(OMP_NUM_THREADS='1', WANDB_MODE='disabled', URBANSOUNDS_CACHE=str(cache))
        sys.argv = typed(command, **settings)
        getattr(commands, command).main()

    def communicate(self, timeout):
        "What it said, when it has ended"
        self.process.join(timeout)
        if self.process.exitcode is None: raise subprocess.TimeoutExpired(self.pid, timeout)
        self.said.seek(0)
        return self.said.read(), None

    @property
    def returncode(self): return self.process.exitcode

def lines(said): return [line.strip() for line in said.replace('\r', '\n').splitlines() if line.strip() and '%|' not in line]

def call(command, *files, cache=None, **settings):
    "Exit status and lines of a command, run to its end"
    process = start(command, *files, cache=cache, **settings)
    said, _ = process.communicate(timeout=300)
    return process.returncode, lines(said)

def here(command, *files, **settings):
    "As `call`, in this process"
    said, status = io.StringIO(), 0
    with redirect_stdout(said), redirect_stderr(said):
        try: getattr(commands, command).main(typed(command, *files, **settings)[1:])
        except SystemExit as stop: status, _ = 1, print(stop)
    return status, lines(said.getvalue())

def rows(folder):
    "The lines of scores.csv without the time, and without the commit, which somebody may make meanwhile"
    return [{name: value for name, value in row.items() if name not in ('seconds', 'commit')} for row in csv.DictReader((Path(folder)/'scores.csv').open())]

def timeless(run):
    "All that a run says, apart from times and the commit"
    row, history = {name: value for name, value in run.row.items() if name not in ('seconds', 'commit')}, [{**epoch, 'seconds': 0} for epoch in run.history]
    return row, history, run.classes, run.names.tolist(), run.groups.tolist(), run.labels.tolist(), run.logits.tobytes()

def same(folder, other):
    "Do two results folders say the same, bit by bit, apart from times?"
    runs = lambda place: [timeless(run) for run in Study(place).runs()]
    return rows(folder) == rows(other) and runs(folder) == runs(other)

def leftovers(folder):
    "Temporary files"
    return [path for path in Path(folder).rglob('*') if path.suffix in ('.unfinished', '.partial', '.lock') or path.parent.name == 'unfinished' and path.name != Path(OLD).name]

def refusal(status, said):
    "The one line of a refusal, if it was one"
    errors = [line for line in said if line.startswith('error: ')]
    return errors[0] if status == 1 and len(errors) == 1 and 'Traceback' not in ' '.join(said) else ''

# --- killed

def ended_well(stop, seconds, status, said):
    "Did a stopped command end as promised? A killed one promises nothing; a finished one has said so already"
    if stop == signal.SIGKILL: return True
    text = '\n'.join(said)
    quiet = 'Traceback' not in text and 'Exception ignored' not in text and 'error: ' not in text
    one_line = sum(line.startswith('stopped') for line in said) == 1 or status == 0 or 'report: ' in text or status == -stop == -signal.SIGTERM
    return seconds <= 2 and quiet and one_line

def duration(command, cache, **settings):
    "Seconds that a command takes when nobody disturbs it"
    began, process = time.monotonic(), Forked(command, cache, **settings)
    process.communicate(300)
    assert process.returncode == 0
    return time.monotonic()-began

def kill_chain(rng, kills, whole_seconds, command, stop, place, say=lambda *_: None, **settings):
    "Start a command and kill it, again and again, then let it end; how each kill went, exit status of the last run"
    went, finished = [], {}
    for number in range(kills + 1):
        process, moment = Forked(command, place/'cache', **settings), rng.uniform(.05, whole_seconds)
        try: said, _ = process.communicate(timeout=moment if number < kills else 300)
        except subprocess.TimeoutExpired:
            to_all, asked = rng.random() < .5, time.monotonic()
            (os.killpg if to_all else os.kill)(process.pid, stop)
            said, _ = process.communicate(timeout=60)
            seconds = time.monotonic()-asked
            went.append(ended_well(stop, seconds, process.returncode, lines(said)))
            say(f'  {stop.name} after {moment:.1f} s: ended in {seconds:.1f} s, {len(list(place.rglob("predictions/*.parquet")))} runs finished' + ('' if went[-1] else f' BADLY: {lines(said)}'))
        else:
            if number < kills: continue                                               # it was faster; try again, now that there is nothing to do
        now = {path: path.stat().st_mtime_ns for path in place.rglob('predictions/*.parquet')}
        if any(now.get(path) != made for path, made in finished.items()): went.append(False)    # a finished run was made again
        finished = now
    return went, process.returncode

def kill(rng, kills, whole, source, jobs, work, say=lambda *words: print(*words, flush=True)):
    "Kill cross-validations of a source, preparation included: a row for each signal"
    whole_seconds = duration('urbansounds_crossval', work/f'once-{jobs}', data=source, results=work/f'once-{jobs}'/'runs', **QUICK | dict(jobs=jobs))
    for stop in signal.SIGKILL, signal.SIGTERM, signal.SIGINT:
        tally, chain = Counter(), 0
        while sum(tally.values()) < kills:
            place, chain = work/f'{stop.name}-{jobs}-{chain}', chain + 1
            place.mkdir()
            went, status = kill_chain(rng, kills-sum(tally.values()), whole_seconds, 'urbansounds_crossval', stop, place, say, data=source, results=place/'runs', **QUICK | dict(jobs=jobs))
            good = status == 0 and same(whole, place/'runs') and not leftovers(place)
            say(f'{place.name}: {"same as never killed" if good else "DIFFERS"} {leftovers(place) or ""}')
            tally.update('survived' if good and one else 'lost' for one in went)
        yield f'cross-validation, {named_jobs(jobs)}, {stop.name}', tally

def prepared_bytes(cache):
    "What was prepared"
    return {path.name: path.read_bytes() for path in cache.glob('prepared/*/*')}

def kill_preparation(rng, kills, work, say=lambda *words: print(*words, flush=True)):
    "Kill `urbansounds_prepare`, which makes the embedded recordings first"
    whole_seconds = duration('urbansounds_prepare', work/'never-killed')
    whole = prepared_bytes(work/'never-killed')
    for stop in signal.SIGKILL, signal.SIGTERM, signal.SIGINT:
        tally, chain = Counter(), 0
        while sum(tally.values()) < kills:
            place, chain = work/f'prepare-{stop.name}-{chain}', chain + 1
            place.mkdir()
            went, status = kill_chain(rng, kills-sum(tally.values()), whole_seconds, 'urbansounds_prepare', stop, place, say)
            good = status == 0 and prepared_bytes(place/'cache') == whole and not leftovers(place)
            say(f'{place.name}: {"same as never killed" if good else "DIFFERS"} {leftovers(place) or ""}')
            tally.update('survived' if good and one else 'lost' for one in went)
        yield f'preparation of the embedded data, {stop.name}', tally

# --- two at once, a worker killed

def two_at_once(whole, source, place, jobs):
    "Two commands on one results folder and one cache, started together"
    both = [start('urbansounds_crossval', cache=place/'cache', data=source, results=place/'runs', **QUICK | dict(jobs=jobs)) for _ in range(2)]
    said = [process.communicate(timeout=300)[0] for process in both]
    good = [process.returncode for process in both] == [0, 0] and same(whole, place/'runs') and not leftovers(place)
    return 'survived' if good else f'lost: {said}'

def _tells(file):
    "What the system says of a process, nothing once it has ended"
    try: return file.read_text()
    except OSError: return ''

def children(pid): return [int(child) for file in Path(f'/proc/{pid}/task').glob('*/children') for child in _tells(file).split()]

def workers(pid):
    "Processes that train for a command: copies of the one that its fork server is"
    return [worker for child in children(pid) if 'forkserver' in _tells(Path(f'/proc/{child}/cmdline')) for worker in children(child)]

def worker_killed(whole, mels, place):
    "As when the system is out of memory: one worker gone, one clear line; the same command goes on"
    settings = dict(data=mels, results=place/'runs', **QUICK | dict(jobs=2))
    process = start('urbansounds_crossval', **settings)
    while process.poll() is None and not list(place.glob('runs/unfinished/*.safetensors')): time.sleep(.02)
    for pid in workers(process.pid)[:1]: os.kill(pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    line = refusal(process.returncode, lines(said))
    good = '--jobs' in line and call('urbansounds_crossval', **settings)[0] == 0 and same(whole, place/'runs') and not leftovers(place)
    return 'refused' if good else f'lost: {said}'

# --- damaged files

def cut(path): path.write_bytes(path.read_bytes()[:path.stat().st_size//2])
def emptied(path): path.write_bytes(b'')
def flipped(data, place): return data[:place] + bytes(byte ^ 255 for byte in data[place:place+8]) + data[place+8:]
def overwritten(path):
    data = path.read_bytes()
    for quarter in (1, 2, 3): data = flipped(data, quarter*len(data)//4)      # one place alone may be one that nobody reads
    path.write_bytes(data)
def gone(path): path.unlink()
def unfinished_too(path):
    path.with_name(f'{path.name}.unfinished').write_bytes(b'half')
    if path.parent.name in ('runs', 'unfinished'): path.with_name(f'{path.name}.lock').touch()
def left_behind(path): path.write_bytes(b'of a finished run')
def other_classes(path): path.write_text(path.read_text().replace('"siren"', '"sirens"'))
def row_cut(path): path.write_text(path.read_text().rstrip()[:-100])

PREDICTIONS, MODEL, PART, MANIFEST = 'runs/predictions/cnn1d-test-fold1-seed0.parquet', 'runs/models/cnn1d-test-fold1-seed0.safetensors', 'mels/part-00000.parquet', 'runs/study.json'
CHECKPOINT, OLD = 'runs/unfinished/cnn1d-test-fold2-seed0-*.safetensors', 'runs/unfinished/cnn1d-test-fold1-seed0-0123.safetensors'   # the digits are those of its identity
DAMAGES = [ # file, what happens to it, command that meets it, what shall come of it
    *((PREDICTIONS, spoil, 'urbansounds_crossval', 'refused') for spoil in (cut, emptied, overwritten)),
    *((PREDICTIONS, spoil, 'urbansounds_report', 'refused') for spoil in (cut, emptied, overwritten)),
    *(('runs/scores.csv', spoil, 'urbansounds_crossval', 'survived') for spoil in (row_cut, cut, emptied, gone)),
    *((CHECKPOINT, spoil, 'urbansounds_crossval', 'survived') for spoil in (cut, emptied, overwritten, gone, unfinished_too)),
    (OLD, left_behind, 'urbansounds_crossval', 'survived'),
    *((path, unfinished_too, 'urbansounds_crossval', 'survived') for path in ('runs/scores.csv', 'runs/report.html', 'runs/models/cnn1d-test-fold2-seed0.safetensors', PREDICTIONS.replace('fold1', 'fold2'))),
    *((MODEL, spoil, 'urbansounds_predict', 'refused') for spoil in (cut, emptied, overwritten, gone)),
    *((PART, spoil, 'urbansounds_crossval', 'refused') for spoil in (cut, emptied, overwritten, gone)),
    *((MANIFEST, spoil, 'urbansounds_crossval', 'refused') for spoil in (cut, emptied, other_classes)),
    *((MANIFEST, spoil, 'urbansounds_report', 'refused') for spoil in (cut, emptied, gone)),
    (MANIFEST, gone, 'urbansounds_crossval', 'survived'),
]

def damage(number, whole, interrupted, mels, sound, place):
    "What comes of one entry of `DAMAGES`; `interrupted` is a results folder whose second run has a checkpoint"
    name, spoil, command, expected = DAMAGES[number]
    shutil.copytree(mels, place/'mels')
    shutil.copytree(interrupted, place/'runs')
    spoil(next(place.glob(name), place/name))
    settings = {'urbansounds_crossval': dict(data=place/'mels', results=place/'runs', **QUICK), 'urbansounds_report': dict(results=place/'runs'), 'urbansounds_predict': dict(checkpoint=place/name)}
    status, said = here(command, *([sound] if command == 'urbansounds_predict' else []), **settings[command])
    if expected == 'survived': good = status == 0 and same(whole, place/'runs') and not leftovers(place)
    else: good = Path(name).name.split('.')[0] in (line := refusal(status, said)) or str(place/name.split('/')[0]) in line
    if good and expected == 'survived' and name == CHECKPOINT and spoil in (cut, emptied, overwritten): good = any('damaged' in line for line in said)
    if good and name == PREDICTIONS:                                    # following the advice
        (place/name).unlink()
        good = here('urbansounds_crossval', **settings['urbansounds_crossval'])[0] == 0 and same(whole, place/'runs')
    return expected if good else f'lost: {name} {spoil.__name__}: {said}'

def anywhere(rng, whole, folder, times=200):
    "Eight bytes of a file of predictions changed, anywhere: it is refused, or it is the run that it was"
    good, path, tally = whole/Path(PREDICTIONS).relative_to('runs'), folder/Path(PREDICTIONS).name, Counter()
    for _ in range(times):
        path.write_bytes(flipped(good.read_bytes(), rng.randrange(good.stat().st_size)))
        try: tally.update(['survived' if timeless(Run.read(path)) == timeless(Run.read(good)) else 'lost'])
        except DataError as error: tally.update(['refused' if path.name in str(error) else 'lost'])
    return tally

# --- disks

def on_small_disk(size, action):
    "Do something on a disk of so many bytes; needs the right to mount"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder], check=True)
        try: return action(Path(folder))
        finally: subprocess.run(['umount', folder], check=True)

def remount(folder, options): subprocess.run(['mount', '-o', f'remount,{options}', str(folder)], check=True)

def full_disk(size, command, check, disk, **settings):
    "A command on a disk that fills: one clear line; with space again, the same command ends as if nothing had been"
    status, said = call(command, **settings)
    line = refusal(status, said)
    halves = [path for path in disk.rglob('*.unfinished')]
    remount(disk, 'size=100m')
    good = 'No space left' in line and 'free space' in line and str(disk) in line and not halves and call(command, **settings)[0] == 0 and check() and not leftovers(disk)
    return 'refused' if good else f'lost: {size} {halves} {said}'

def read_only_disk(command, disk, **settings):
    "A command on a disk that cannot be written: one clear line, nothing changed"
    before = sorted(disk.rglob('*'))
    remount(disk, 'ro')
    status, said = call(command, **settings)
    remount(disk, 'rw')
    return 'refused' if 'Read-only' in refusal(status, said) and sorted(disk.rglob('*')) == before else f'lost: {said}'

def disks(whole, source, mels, work):
    "Full and read-only disks, for training and for preparing"
    found = [('a full disk while training', Counter()), ('a full disk while preparing', Counter()), ('a read-only disk', Counter())]
    training = lambda disk: dict(data=mels, results=disk/'runs', **QUICK)
    for size in (4, 2900, 5500, 6200):                                       # kB: for folders, less than a checkpoint, than two, than two and a model
        outcome = on_small_disk(size*1000, lambda disk, size=size: full_disk(size, 'urbansounds_crossval', lambda: same(whole, disk/'runs'), disk, **training(disk)))
        found[0][1].update([noted(outcome)])
    pages = -(-(mels/Path(PART).name).stat().st_size//4096)
    for size in (4000, 1_000_000, 4096*pages):                               # bytes; the last: for all but the description
        outcome = on_small_disk(size, lambda disk, size=size: full_disk(size, 'urbansounds_prepare', lambda: (disk/PART).read_bytes() == (mels/Path(PART).name).read_bytes(), disk, data=source, folder=disk/'mels'))
        found[1][1].update([noted(outcome)])
    def finished_there(disk):
        shutil.copytree(whole, disk/'runs')
        return disk
    for command, there in (('urbansounds_crossval', Path), ('urbansounds_crossval', finished_there), ('urbansounds_report', finished_there), ('urbansounds_prepare', Path)):
        settings = {'urbansounds_crossval': training, 'urbansounds_report': lambda disk: dict(results=disk/'runs'), 'urbansounds_prepare': lambda disk: dict(data=source, folder=disk/'mels')}[command]
        found[2][1].update([noted(on_small_disk('100m', lambda disk, command=command, there=there, settings=settings: read_only_disk(command, there(disk), **settings(disk))))])
    return found

# --- all of it

def noted(outcome):
    "Survived, refused or lost; what was lost is said"
    if outcome.startswith('lost'): print(f'  {outcome}', flush=True)
    return outcome.split(':')[0]

def materials(work):
    "Recordings, their spectrograms, a results folder that nobody disturbed, one that was stopped in its second run, a sound"
    source, mels = write_synthetic(work/'three', n_folds=3), work/'mels'
    assert call('urbansounds_prepare', data=source, folder=mels)[0] == 0
    assert call('urbansounds_crossval', cache=work/'cache', data=source, results=work/'whole', **QUICK)[0] == 0
    process = start('urbansounds_crossval', data=mels, results=work/'interrupted', **QUICK)
    while not list(work.glob('interrupted/unfinished/*fold2*.safetensors')): time.sleep(.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    return source, mels, work/'whole', work/'interrupted', next(source.glob('audio/fold1/*.wav'))

def kind(name, spoil, *_): return DAMAGED[name] if name in DAMAGED and spoil != unfinished_too else 'what a killed process leaves behind: temporary files, locks, a checkpoint'

def soak(kills, seed, work):
    "A row for each kind of fault, as they are done"
    rng, (source, mels, whole, interrupted, sound) = random.Random(seed), materials(work)
    def repeated(what, attempt, times):
        "What comes of several attempts, each in a folder of its own"
        places = [Path(tempfile.mkdtemp(dir=work)) for _ in range(times)]
        return what, Counter(noted(attempt(number, place)) for number, place in enumerate(places))
    yield from kill(rng, kills, whole, source, 1, work)
    yield from kill(rng, kills, whole, source, 2, work)
    yield from kill_preparation(rng, kills, work)
    yield repeated('one of two worker processes killed', lambda _, place: worker_killed(whole, mels, place), 3)
    for jobs in (1, 2): yield repeated(f'two commands at once on one results folder, {named_jobs(jobs)} each', lambda _, place, jobs=jobs: two_at_once(whole, source, place, jobs), 2)
    for what in dict.fromkeys(kind(*entry) for entry in DAMAGES):
        numbers = [number for number, entry in enumerate(DAMAGES) if kind(*entry) == what]
        yield repeated(what, lambda number, place, numbers=numbers: damage(numbers[number], whole, interrupted, mels, sound, place), len(numbers))
    yield 'predictions: eight bytes changed anywhere', anywhere(rng, whole, work)
    yield from disks(whole, source, mels, work)

DAMAGED = {PREDICTIONS: 'predictions cut, emptied, overwritten', 'runs/scores.csv': 'scores.csv: a row cut, half, empty, gone', CHECKPOINT: 'checkpoint of an unfinished run cut, emptied, overwritten, gone',
           MODEL: 'trained model cut, emptied, overwritten, gone', PART: 'part of a prepared data set cut, emptied, overwritten, gone',
           MANIFEST: 'study.json cut, emptied, of other classes, gone'}

def write(path, found):
    "The results, one row for each kind of fault"
    with atomic_write(path) as unfinished, open(unfinished, 'w', newline='', encoding='utf-8') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(FIELDS)
        table.writerows([what, sum(tally.values()), *(tally[outcome] for outcome in OUTCOMES)] for what, tally in found)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=6, help='for each kind of command and signal')
    parser.add_argument('--seed', type=int, default=0)
    wish = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix='soak-kills-') as work:
        for row in soak(wish.kills, wish.seed, Path(work)):
            print(*row, flush=True)
            found.append(row)
            write(ROOT/'bench'/'soak-kills.csv', found)
    print((ROOT/'bench'/'soak-kills.csv').read_text())
    sys.exit(any(tally['lost'] for _, tally in found))

if __name__ == '__main__': main()
