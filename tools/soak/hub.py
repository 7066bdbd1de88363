#!/usr/bin/env python3
"""Publish spectrograms and models through a local Hub that fails as the Hub fails, or be killed at it: what is on the disk stays, and the same command then succeeds. Writes bench/soak-hub.csv.

    python tools/soak/hub.py [--rounds 5]
"""
import argparse, os, random, signal, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path
from audio import BENCH, write_rows
from hub_server import serving
from urbansounds_nb.features import prepare_features

TOKEN, SHIPPED = 'hf_marker_that_must_not_leak', Path(__file__).resolve().parents[2]/'urbansounds_nb'/'checkpoint.safetensors'
PUSH_MODEL = "import sys; from urbansounds_nb.core import cli_errors; from urbansounds_nb.models import push_classifier\nwith cli_errors(): push_classifier(*sys.argv[1:])"

def push_mels(mels): return Path(sys.executable).with_name('urbansounds_prepare'), '--data', mels, '--push-to-hub', 'me/mels'
def push_model(_): return sys.executable, '-c', PUSH_MODEL, SHIPPED, 'me/sounds'

# Where a request is met, by what, how often, and what the one line must then say; where nothing is said to be needed, the client may try again by itself
FAULTS = {
    'an unknown token': ('POST /api/repos', 401, 30, 'does not know the token'), 'no right to write': ('preupload', 403, 30, 'give the token write access'),
    'a wrong name': ('POST /api/repos', 404, 30, 'no such repository'), 'too many requests': ('batch', 429, 30, 'wait some minutes'), 'an outage': ('commit', 503, 30, 'try again later'),
    'an outage for a moment': ('PUT', 503, 1, ''), 'cut in a file': ('PUT', 'cut', 1, ''), 'cut in the commit': ('commit', 'cut', 1, '')}

def start(hub, home, *command):
    "A command against the local Hub"
    environment = os.environ | dict(HF_ENDPOINT=hub.address, HF_TOKEN=TOKEN, HF_HOME=str(home), HF_HUB_OFFLINE='0', HF_HUB_DISABLE_XET='1', HF_HUB_DISABLE_TELEMETRY='1')
    return subprocess.Popen([*map(str, command)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

def call(*args):
    "Exit status, and all that was said"
    process = start(*args)
    said, _ = process.communicate(timeout=200)
    return process.returncode, said

def contents(folder): return {path.name: path.read_bytes() for path in Path(folder).iterdir()}
def refusals(said): return [line for line in said.splitlines() if line.startswith('error: ')]
def arrived(hub): return any(path.endswith(('.parquet', '.safetensors')) for files in hub.repositories.values() for path in files)

def after(hub, home, push, mels, before):
    "What must be true after anything: the data as they were, the token nowhere, and the same command succeeds"
    hub.faults = []
    status, said = call(hub, home, *push(mels))
    leaked = [path for path in Path(home).rglob('*') if path.is_file() and TOKEN.encode() in path.read_bytes()]
    return status == 0 and arrived(hub) and contents(mels) == before and not leaked

def met(push, mels, home, where, fault, times, advice):
    "One attempt that meets a fault"
    before = contents(mels)
    with serving(TOKEN) as hub:
        hub.faults = [(where, fault)]*times
        status, said = call(hub, home, *push(mels))
        lines, tried = refusals(said), len(hub.faults) < times
        clean = tried and TOKEN not in said and 'Traceback' not in said and contents(mels) == before
        told = status == 1 and len(lines) == 1 and advice in lines[0]
        good = clean and (told or not advice and status == 0) and after(hub, home, push, mels, before)
    if not good: print(f'  lost: {push.__name__} {where} {fault}: {status} {said[-300:]}', flush=True)
    return 'lost' if not good else 'refused' if status else 'survived'

def killed(push, mels, home, moment, stop=signal.SIGKILL):
    "One attempt that is killed so many seconds after its first request"
    before = contents(mels)
    with serving(TOKEN) as hub:
        process = start(hub, home, *push(mels))
        while not hub.calls and process.poll() is None: time.sleep(.01)
        time.sleep(moment)
        if process.poll() is None: os.killpg(process.pid, stop)
        process.communicate()
        good = after(hub, home, push, mels, before)
    return 'survived' if good else 'lost'

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=5, help='attempts of each kind')
    arguments, found, chance = parser.parse_args(), {}, random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        mels = prepare_features(folder=Path(place)/'mels', progress=False)
        for what, push in dict(spectrograms=push_mels, model=push_model).items():
            for name, fault in FAULTS.items(): found[f'{what}, {name}'] = Counter(met(push, mels, place, *fault) for _ in range(arguments.rounds))
            found[f'{what}, killed on the way'] = Counter(killed(push, mels, place, chance.uniform(0, .6)) for _ in range(arguments.rounds))
            print(*(f'{name}: {dict(tally)}' for name, tally in found.items() if name.startswith(what)), sep='\n', flush=True)
    write_rows(BENCH/'soak-hub.csv', found)
    sys.exit(any(tally['lost'] for tally in found.values()))

if __name__ == '__main__': main()
