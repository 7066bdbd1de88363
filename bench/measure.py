"Tools of the benchmarks: time and memory of functions, results as CSV and as a table, figures of page 08"
import csv
import os
import statistics
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from unittest import mock
import torch
from urbansounds_nb.core import DataError, atomic_write
from urbansounds_nb.study import environment

NAMES = 'front_end', 'preparation', 'training', 'compilation', 'attention', 'protocol', 'prediction', 'growth', 'gpu'
NUMBERS = 'clips', 'ours', 'baseline', 'ratio', 'bar'
FIELDS = ('claim', 'measure', 'unit', 'clips', 'ours', 'baseline', 'against', 'ratio', 'bar', 'met', 'quick', 'threads',
          'load', 'version', 'commit', 'python', 'torch', 'machine')


def compared(measure, unit, ours, baseline=None, against='', bar=None, clips=None):
    """One row of a result. `ratio` says how many times less ours takes; `bar` is the least ratio, or without a baseline
    the largest value of ours"""
    ratio = None if baseline is None else baseline/ours
    met = None if bar is None else 'yes' if (ours <= bar if ratio is None else ratio >= bar) else 'no'
    return dict(measure=measure, unit=unit, clips=clips, ours=ours, baseline=baseline, against=against, ratio=ratio, bar=bar, met=met)


def write_bench(path, claim, rows, quick=False, load=0.):
    "Write the rows of a benchmark with what they were measured on; `load`: processes that wanted a core before it began"
    common = environment() | dict(claim=claim, quick='yes' if quick else '', threads=os.cpu_count(), load=f'{load:.1f}')
    def as_text(value): return '' if value is None else f'{value:.4g}' if isinstance(value, float) else value
    with atomic_write(path) as unfinished, open(unfinished, 'w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator='\n')
        writer.writeheader()
        writer.writerows({name: as_text(value) for name, value in (common | row).items()} for row in rows)


def read_bench(folder, claim=None):
    "Rows of all benchmarks of a folder, or of one of them; numbers are floats, or None"
    rows = []
    for name in NAMES:
        path = Path(folder)/f'{name}.csv'
        if path.is_file() and claim in (None, name): rows += csv.DictReader(path.read_text(encoding='utf-8').splitlines())
    def number(name, value): return (float(value) if value else None) if name in NUMBERS else value
    return [{name: number(name, value) for name, value in row.items()} for row in rows]


def as_table(rows):
    "Rows as a Markdown table"
    if not rows: return 'Not measured yet.'
    def say(value): return '' if value is None else f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'
    def line(r):
        name = r['measure'] + (f', {r["clips"]:.0f} clips' if r['clips'] else '')
        other = f'{say(r["baseline"])} ({r["against"]})' if r['baseline'] is not None else ''
        return f'| {name} | {say(r["ours"])} {r["unit"]} | {other} | {say(r["ratio"])} | {say(r["bar"])} | {r["met"] or ""} |'
    return '\n'.join(['| what | ours | baseline | times less | bar | met |', '|---|---|---|---|---|---|', *map(line, rows)])


def write_readme(folder):
    "`README.md` with all results of a folder"
    rows = read_bench(folder)
    machines = sorted({f'{r["machine"]}, Python {r["python"]}, torch {r["torch"]}, version {r["version"]}, commit {r["commit"]}'
                       + (' (small inputs: rough)' if r['quick'] else '') for r in rows})
    parts = [f'## {name}\n\n{as_table(some)}\n' for name in NAMES if (some := [r for r in rows if r['claim'] == name])]
    head = ('# Benchmarks\n\nWritten by `python bench/run.py NAME --data path/to/recordings`. '
            'The page 08_speed says what the numbers mean.\n\n')
    with atomic_write(Path(folder)/'README.md') as file:
        file.write_text(head + 'Measured on: ' + '; '.join(machines) + '.\n\n' + '\n'.join(parts), encoding='utf-8')


def medians(repeats, *functions):
    "Median seconds of each function over `repeats` rounds in which they take turns; a round before does not count"
    times = [[] for _ in functions]
    for function in functions: function()
    for _ in range(repeats):
        for function, seconds in zip(functions, times):
            start = time.perf_counter()
            function()
            seconds.append(time.perf_counter()-start)
    return [statistics.median(seconds) for seconds in times]


def peak_memory():
    "Largest memory that this process ever had (MB)"
    try: return next(int(line.split()[1])/1024 for line in open('/proc/self/status') if line.startswith('VmHWM'))
    except OSError:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(2**20 if sys.platform == 'darwin' else 1024)


def tree_memory(pid):
    "Memory of a process and its children now (MB), shared memory counted once; 0 where the system does not tell"
    try:
        with open(f'/proc/{pid}/smaps_rollup') as file:
            own = next(int(line.split()[1])/1024 for line in file if line.startswith('Pss:'))
        children = [child for path in Path(f'/proc/{pid}/task').glob('*/children') for child in path.read_text().split()]
    except (OSError, StopIteration): return 0.
    return own + sum(map(tree_memory, children))


_STARTING = Lock()


def _answer(pipe, threads, function, args):
    torch.set_num_threads(threads)
    pipe.send((function(*args), peak_memory()))


def in_process(function, *args, threads=0, tree=False):
    """Call a module's function in a fresh process: its `value`, the `seconds` with the start, the `megabytes` at most.
    `threads`: cores it may use (0: all); `tree`: it starts processes itself"""
    context, threads, largest = get_context('spawn'), threads or os.cpu_count(), 0.
    receive, send = context.Pipe(duplex=False)
    process, start = context.Process(target=_answer, args=(send, threads, function, args)), time.perf_counter()
    limits = dict.fromkeys(('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'), str(threads))
    # one at a time sets the environment that a process starts with
    with _STARTING, mock.patch.dict(os.environ, limits): process.start()
    send.close()
    while not receive.poll(.2 if tree else 5.):
        if tree: largest = max(largest, tree_memory(process.pid))
    try: value, megabytes = receive.recv()
    except EOFError: raise DataError(f'{function.__name__}: ended without a result, see above: is there memory enough?') from None
    process.join()
    return SimpleNamespace(value=value, seconds=time.perf_counter()-start, megabytes=largest or megabytes)


def show_ratios(rows, ax):
    "For each row with a baseline and a bar: how many times less ours takes"
    some = [row for row in rows if row['ratio'] is not None and row['bar'] is not None]
    places = range(len(some))
    ax.plot([row['ratio'] for row in some], places, 'o', label='measured')
    ax.plot([row['bar'] for row in some], places, 'x', color='black', label='bar')
    ax.axvline(1, color='gray', lw=.5)
    ax.set(xscale='log', xlabel='times less time or memory than the baseline', yticks=places)
    ax.set_yticklabels([row['measure'] for row in some], fontsize=8)
    ax.invert_yaxis()
    ax.legend()
    return ax


def show_shares(rows, ax):
    "What the time of an epoch is spent on, as one bar"
    left = 0
    for row in rows:
        if not row['measure'].startswith('share: ') or row['bar'] is not None: continue
        name = row['measure'].removeprefix('share: ')
        ax.barh(0, row['ours'], left=left, label=f'{name} {row["ours"]:.0f} %')
        left += row['ours']
    ax.set(yticks=[], xlabel='share of an epoch (%)', xlim=(0, 100))
    ax.legend(ncols=3, loc='upper center', bbox_to_anchor=(.5, -.45), fontsize=8)
    return ax


def show_growth(rows, ax):
    "Time against the number of clips; dashed: proportional to the largest"
    for name in dict.fromkeys(row['measure'] for row in rows if row['measure'].startswith('growth: ')):
        clips, seconds = zip(*((row['clips'], row['ours']) for row in rows if row['measure'] == name))
        line, = ax.plot(clips, seconds, 'o-', label=name.removeprefix('growth: '))
        ax.plot([0, clips[-1]], [0, seconds[-1]], '--', lw=.7, color=line.get_color())
    ax.set(xlabel='clips', ylabel='seconds', xlim=(0, None), ylim=(0, None))
    ax.legend()
    return ax
