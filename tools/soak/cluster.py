#!/usr/bin/env python3
"""A cluster of two machines, each a process here: workers, machines and commands are killed, and nothing may be lost. Writes bench/soak-cluster.csv.

    python tools/soak/cluster.py [--times 3]
"""
import argparse, contextlib, os, shutil, signal, subprocess, sys, tempfile, time
from collections import Counter
from functools import partial
from pathlib import Path
import ray.cluster_utils
from kills import QUICK, ROOT, leftovers, lines, noted, refusal, same, typed, write
from urbansounds_nb.synthetic import write_synthetic

LONGER = QUICK | dict(epochs=40)                                              # long enough to be killed in the middle

@contextlib.contextmanager
def two_machines():
    "A Ray cluster of two machines with a core each, as processes of this one"
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    cluster = ray.cluster_utils.Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False, object_store_memory=2*10**8))
    cluster.add_node(num_cpus=1, object_store_memory=2*10**8)
    try: yield cluster
    finally: cluster.shutdown()

def start(command, address, **settings):
    "Start a command that finds the cluster"
    ready = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)                      # whoever started us in the background made us deaf to it
    return subprocess.Popen(typed(command, engine='ray', **settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, preexec_fn=ready,
                            env=os.environ | dict(RAY_ADDRESS=address, OMP_NUM_THREADS='1', WANDB_MODE='disabled'))

def finished(process):
    "Exit status and lines of a command, at its end"
    said, _ = process.communicate(timeout=300)
    return process.returncode, lines(said)

def workers(function, cluster):
    "Processes that compute such a function on a cluster"
    found = []
    for place in Path('/proc').glob('[0-9]*'):
        with contextlib.suppress(OSError):
            parent = place.with_name((place/'stat').read_text().rpartition(')')[2].split()[1])
            ours = cluster.address.encode() in (parent/'cmdline').read_bytes()
            if ours and (place/'cmdline').read_bytes().startswith(b'ray::' + function.encode()): found.append(int(place.name))
    return found

def wait_until(when, process, seconds=300):
    "Wait until something is so, while a command runs"
    end = time.monotonic() + seconds
    while not (found := when()):
        if process.poll() is not None or time.monotonic() > end: raise AssertionError(f'it never came to that: {finished(process)}')
        time.sleep(.02)
    return found

def training(place): return lambda: list(place.glob('runs/unfinished/*.safetensors'))

# --- folds on a cluster

def undisturbed(whole, mels, place, cluster):
    "Both folds on the cluster: the files of a local command"
    status, said = finished(start('urbansounds_crossval', cluster.address, data=mels, results=place/'runs', **LONGER))
    return 'survived' if status == 0 and same(whole, place/'runs') and not leftovers(place) else f'lost: {said}'

def worker_killed(whole, mels, place, cluster):
    "One process dies in the middle of its run: it is started again"
    process = start('urbansounds_crossval', cluster.address, data=mels, results=place/'runs', **LONGER)
    wait_until(training(place), process)
    os.kill(workers('_work', cluster)[0], signal.SIGKILL)
    status, said = finished(process)
    return 'survived' if status == 0 and same(whole, place/'runs') and not leftovers(place) else f'lost: {said}'

def machine_killed(whole, mels, place, cluster):
    "A machine goes down with its run: another takes it over"
    process = start('urbansounds_crossval', cluster.address, data=mels, results=place/'runs', **LONGER)
    wait_until(training(place), process)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    status, said = finished(process)
    cluster.add_node(num_cpus=1, object_store_memory=2*10**8)
    return 'survived' if status == 0 and same(whole, place/'runs') and not leftovers(place) else f'lost: {said}'

def killed_too_often(whole, mels, place, cluster):
    "Every process is killed as it begins, as where memory is too small: one line; the same command goes on"
    settings = dict(data=mels, results=place/'runs', **LONGER)
    process, end = start('urbansounds_crossval', cluster.address, **settings), time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end:
        for pid in workers('_work', cluster):
            with contextlib.suppress(ProcessLookupError): os.kill(pid, signal.SIGKILL)
        time.sleep(.02)
    status, said = finished(process)
    good = 'the same command continues' in refusal(status, said)
    status, again = finished(start('urbansounds_crossval', cluster.address, **settings))
    return 'refused' if good and status == 0 and same(whole, place/'runs') and not leftovers(place) else f'lost: {said} {again}'

def command_stopped(stop, whole, mels, place, cluster):
    "The command itself is stopped and given again"
    settings = dict(data=mels, results=place/'runs', **LONGER)
    process = start('urbansounds_crossval', cluster.address, **settings)
    wait_until(training(place), process)
    process.send_signal(stop)
    _, said = finished(process)
    good = stop == signal.SIGKILL or any('stopped: what is finished is kept' in line for line in said) and 'Traceback' not in ' '.join(said)
    status, again = finished(start('urbansounds_crossval', cluster.address, **settings))
    return 'survived' if good and status == 0 and same(whole, place/'runs') and not leftovers(place) else f'lost: {said} {again}'

# --- preparing on a cluster

def with_broken_files(source, place):
    "A copy of recordings with two of them damaged"
    copy = shutil.copytree(source, place/'in')
    for path in sorted(copy.glob('audio/fold2/*.wav'))[:2]: path.write_bytes(path.read_bytes()[:30])
    return copy

def prepared_alike(source, place, cluster, disturb=lambda process: None):
    "Spectrograms made on the cluster are those that one machine makes; what is broken is named in the same words"
    here, there = subprocess.run(typed('urbansounds_prepare', data=source, folder=place/'here'), capture_output=True, text=True, timeout=300), start('urbansounds_prepare', cluster.address, data=source, folder=place/'there')
    disturb(there)
    status, said = finished(there)
    same_files = lambda name: {path.name: path.read_bytes() for path in (place/name).iterdir()}
    named = [line for line in lines(here.stdout + here.stderr) if '.wav' in line]
    good = status == here.returncode == 0 and same_files('here') == same_files('there') and named == [line for line in said if '.wav' in line] and not leftovers(place)
    return 'survived' if good else f'lost: {named} {said}'

def preparing_worker_killed(source, place, cluster):
    def disturb(process): os.kill(wait_until(lambda: workers('_mels', cluster), process)[0], signal.SIGKILL)
    return prepared_alike(source, place, cluster, disturb)

# --- all of it

def soak(times, work):
    "A row for each kind of fault, as they are done"
    source, mels, whole = write_synthetic(work/'three', n_folds=3), work/'mels', work/'whole'
    subprocess.run(typed('urbansounds_prepare', data=source, folder=mels), check=True, capture_output=True)
    subprocess.run(typed('urbansounds_crossval', data=mels, results=whole, **LONGER), check=True, capture_output=True)
    with two_machines() as cluster:
        def repeated(what, attempt, *inputs):
            return what, Counter(noted(attempt(*inputs, Path(tempfile.mkdtemp(dir=work)), cluster)) for _ in range(times))
        yield repeated('folds on a cluster, as on one machine', undisturbed, whole, mels)
        yield repeated('a process of the cluster killed', worker_killed, whole, mels)
        yield repeated('a machine of the cluster killed', machine_killed, whole, mels)
        yield repeated('processes of the cluster killed whenever they start', killed_too_often, whole, mels)
        for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            yield repeated(f'the command that uses the cluster, {stop.name}', partial(command_stopped, stop), whole, mels)
        yield repeated('preparation on a cluster, two files broken', lambda place, cluster: prepared_alike(with_broken_files(source, place), place, cluster))
        yield repeated('preparation on a cluster, a process killed', preparing_worker_killed, source)

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--times', type=int, default=3, help='attempts of each kind')
    arguments, found = parser.parse_args(), {}
    with tempfile.TemporaryDirectory() as work:
        for what, tally in soak(arguments.times, Path(work)):
            found[what] = tally
            print(what, dict(tally), flush=True)
    write(ROOT/'bench'/'soak-cluster.csv', found.items())
    sys.exit(any(tally['lost'] for tally in found.values()))

if __name__ == '__main__': main()
