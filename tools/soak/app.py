#!/usr/bin/env python3
"""Many visitors at once, a thousand one after the other, and uploads that are too large: the web page goes on answering, in flat memory. Writes bench/soak-app.csv.

    python tools/soak/app.py [--rounds 1000]
"""
import argparse, contextlib, io, json, os, socket, subprocess, sys, tempfile, time, uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import httpx
import soundfile as sf
from audio import BENCH, write_rows
from urbansounds_nb.dataset import CLASSES
from urbansounds_nb.synthetic import synthesise

@contextlib.contextmanager
def served(*options):
    "(address, process id) of the command as typed"
    with socket.create_server(('127.0.0.1', 0)) as place: port = place.getsockname()[1]
    command = [Path(sys.executable).with_name('urbansounds_app'), '--port', str(port), *options]
    with tempfile.TemporaryDirectory() as folder:
        # else each thread that ever served, and each freed block of some megabytes, may stay with the process and look like a leak
        memory = dict(MALLOC_ARENA_MAX='2', MALLOC_MMAP_THRESHOLD_='131072', MALLOC_TRIM_THRESHOLD_='131072')
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | memory | dict(TMPDIR=folder))
        try: yield process.stdout.readline().split()[0], process.pid
        finally:
            process.kill()
            process.wait()

def megabytes(pid):
    "Memory of a process"
    return int(next(line for line in Path(f'/proc/{pid}/status').read_text().splitlines() if line.startswith('VmRSS')).split()[1])/1000

def sound(name='dog_bark', seed=1):
    "A file of a second"
    sf.write(file := io.BytesIO(), synthesise(name, seed)[:22050], 22050, format='WAV')
    return file.getvalue()

def upload(client, content): return client.post('/gradio_api/upload', files={'files': ('sound.wav', content, 'audio/wav')})

def ask(address, content, patience=120):
    "What comes of one visit: the headline of the answer, 'full' where the queue takes no more, or what went wrong"
    end = time.monotonic() + patience
    with httpx.Client(base_url=address, timeout=patience) as client:
        sent = upload(client, content)
        if sent.status_code != 200: return f'upload {sent.status_code}'
        function = next(one['id'] for one in client.get('/config').json()['dependencies'] if one['targets'][0][1] == 'change')
        visitor, file = uuid.uuid4().hex, dict(path=sent.json()[0], meta={'_type': 'gradio.FileData'})
        joined = client.post('/gradio_api/queue/join', json=dict(data=[file], fn_index=function, session_hash=visitor))
        if joined.status_code != 200: return 'full' if 'full' in joined.text.lower() else f'queue {joined.status_code}: {joined.text[:200]}'
        headline, failed = '', ''
        with client.stream('GET', '/gradio_api/queue/data', params=dict(session_hash=visitor)) as lines:
            for line in lines.iter_lines():
                if time.monotonic() > end: return f'no answer in {patience} s'         # the server's heartbeat alone would go on for ever
                if not line.startswith('data:'): continue
                message = json.loads(line[5:])
                if message['msg'] in ('process_generating', 'process_completed') and not headline: headline = str(message['output'].get('data', [''])[:1])
                if message['msg'] == 'process_completed' and not message['success']: failed = f'failed: {message["output"]}'
                if message['msg'] == 'close_stream': return failed or headline            # as a browser, which listens to the end
                if message['msg'] in ('queue_full', 'unexpected_error'): return 'full' if 'full' in str(message).lower() else str(message)
    return 'no answer'

def at_once(address, visitors=50):
    "So many visitors at once: each gets the answer that one alone gets, or is told that the queue is full"
    alone = ask(address, sound())
    assert '<h2>' in alone, alone
    with ThreadPoolExecutor(visitors) as pool: found = list(pool.map(lambda _: ask(address, sound()), range(visitors)))
    tally = Counter('refused' if one == 'full' else 'survived' if one == alone else 'lost' for one in found)
    if tally['lost']: print('  lost:', [one[:300] for one in found if one not in ('full', alone)][:2], flush=True)
    return tally

def too_large(address, size, times):
    "Files above the limit are refused while others are answered"
    alone = ask(address, sound())
    def visit(number):
        if number%2: return 'survived' if '<h2>' in alone == ask(address, sound()) else 'lost'
        with httpx.Client(base_url=address, timeout=60) as client:
            try: return 'refused' if upload(client, bytes(size)).status_code == 413 else 'lost'
            except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError): return 'refused'      # the connection was closed on us
    with ThreadPoolExecutor(4) as pool: return Counter(pool.map(visit, range(times)))

def one_after_the_other(address, pid, rounds, warm=60, most=50):
    "Memory after so many visits is that after the first few (MB more at most); of thirty readings the lowest, for a visit's own megabytes come and go"
    found, held = Counter(), []
    sounds = [sound(name, seed) for seed in range(3) for name in CLASSES]
    for number in range(rounds):
        found.update(['survived' if '<h2' in ask(address, sounds[number%len(sounds)]) else 'lost'])
        held.append(megabytes(pid))
    before, after = min(held[warm-30:warm]), min(held[-30:])
    print(f'  {rounds} visits: {before:.0f} MB after {warm}, {after-before:+.0f} MB at the end', flush=True)
    return found if after-before <= most else Counter(lost=rounds)

def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--rounds', type=int, default=1000, help='visits one after the other')
    arguments, found = parser.parse_args(), {}
    with served('--max-megabytes', '2') as (address, pid):
        found['50 visitors at once'] = at_once(address)
        found['files above the limit, others served'] = too_large(address, 5_000_000, 20)
        found['visitors one after the other, memory flat'] = one_after_the_other(address, pid, arguments.rounds)
    for what, tally in found.items(): print(what, dict(tally))
    write_rows(BENCH/'soak-app.csv', found)
    sys.exit(any(tally['lost'] for tally in found.values()))

if __name__ == '__main__': main()
