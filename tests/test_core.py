"Plumbing: files survive kills, locks let one process in, workers end when they should, errors are one line"
import csv, errno, io, os, signal, subprocess, sys, threading, time
from pathlib import Path
import pytest
from urbansounds_nb import core
from urbansounds_nb.core import (DataError, atomic_folder, atomic_write, cache_folder, cli_errors,
    csv_text, file_lock, hub_errors, hub_token, optional_import, printable, run_jobs)

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT/'tools'/'soak'))
import kills

def python(code, *args, **kwargs):
    "Start Python with some code, deaf to nothing"
    ready = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen([sys.executable, '-c', code, *map(str, args)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=ready, **kwargs)

# --- atomic writes

def test_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    said = []
    real_sync, real_replace = os.fsync, Path.replace
    def sync(file):
        said.append(('fsync', os.readlink(f'/proc/self/fd/{file}')))
        real_sync(file)
    def replace(path, target):
        said.append(('rename', str(path)))
        return real_replace(path, target)
    monkeypatch.setattr(os, 'fsync', sync)
    monkeypatch.setattr(Path, 'replace', replace)
    with atomic_write(tmp_path/'new'/'a') as file: file.write_text('a')
    unfinished = str(tmp_path/'new'/'a.unfinished')
    assert said == [('fsync', unfinished), ('rename', unfinished), ('fsync', str(tmp_path/'new'))]

def test_a_folder_is_flushed_too(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(os, 'sync', lambda: said.append('sync'))
    monkeypatch.setattr(os, 'fsync', lambda file: said.append('fsync'))
    with atomic_folder(tmp_path/'a') as partial: (partial/'file').write_text('a')
    assert said == ['sync', 'fsync'] and [p.name for p in tmp_path.iterdir()] == ['a']

def test_ctrl_c_is_not_lost_while_the_embedded_data_are_made(tmp_path, monkeypatch):
    "An exception in a callback of libsndfile is printed and forgotten; signals come in the main thread alone"
    from urbansounds_nb import synthetic
    write, threads = synthetic.sf.write, set()
    def noted(*args, **kwargs):
        threads.add(threading.current_thread())
        write(*args, **kwargs)
    monkeypatch.setattr(synthetic.sf, 'write', noted)
    synthetic.write_synthetic(tmp_path/'embedded', n_folds=1)
    assert threads and threading.main_thread() not in threads

def test_a_folder_that_fails_or_stays_empty_is_not_made(tmp_path):
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path/'a') as partial:
        (partial/'file').write_text('a')
        1/0
    with atomic_folder(tmp_path/'a'): pass
    assert [*tmp_path.iterdir()] == []

def test_killed_while_it_writes(tmp_path):
    path = tmp_path/'a'
    path.write_text('old')
    code = '''if True:
        import sys, time
        from urbansounds_nb.core import atomic_write
        with atomic_write(sys.argv[1]) as file:
            file.write_text('half')
            print('now', flush=True)
            time.sleep(60)'''
    for stop in signal.SIGKILL, signal.SIGTERM, signal.SIGINT:
        process = python(code, path)
        process.stdout.readline()
        process.send_signal(stop)
        process.communicate(timeout=20)
        assert path.read_text() == 'old'
    with atomic_write(path) as file: file.write_text('new')      # over what was left behind
    assert path.read_text() == 'new' and [p.name for p in tmp_path.iterdir()] == ['a']

@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_says_where(tmp_path):
    def write():
        with cli_errors(), atomic_write(tmp_path/'a') as file:
            file.symlink_to('/dev/full')
            file.write_text('x')
    with pytest.raises(SystemExit, match='a: No space left on device: free space'): write()
    assert not list(tmp_path.iterdir())

def test_a_missing_or_closed_folder(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(SystemExit, match='file.*: (correct the name|choose another name)'):
        with cli_errors(), atomic_write(tmp_path/'file'/'a'): pass

def test_a_file_system_that_cannot_flush(tmp_path, monkeypatch):
    def sync(file): raise OSError(errno.EINVAL, 'Invalid argument')
    monkeypatch.setattr(os, 'fsync', sync)
    with atomic_write(tmp_path/'a') as file: file.write_text('a')
    def broken(file): raise OSError(errno.EIO, 'Input/output error')
    monkeypatch.setattr(os, 'fsync', broken)
    with pytest.raises(OSError, match='Input/output'):
        with atomic_write(tmp_path/'a') as file: file.write_text('b')
    assert (tmp_path/'a').read_text() == 'a' and len(list(tmp_path.iterdir())) == 1

# --- locks

HOLD = '''if True:
    import sys, time
    from urbansounds_nb.core import file_lock
    with file_lock(sys.argv[1]):
        print('in', flush=True)
        if sys.argv[2] == 'told': sys.stdin.readline()
        else: time.sleep(float(sys.argv[2]))
    print('out', flush=True)'''

def test_who_waits_says_for_what(tmp_path):
    first = python(HOLD, tmp_path/'a\nb', 'told', stdin=subprocess.PIPE)
    assert first.stdout.readline() == 'in\n'
    second = python(HOLD, tmp_path/'a\nb', 0)
    began = time.monotonic()
    said = second.stderr.readline()
    assert 'waiting for another process' in said and r'a\nb' in said
    assert time.monotonic() - began < 20
    first.stdin.write('\n')
    first.stdin.flush()
    assert second.communicate(timeout=20)[0] == 'in\nout\n'
    first.communicate(timeout=20)
    assert not list(tmp_path.iterdir())

def test_a_killed_process_blocks_nobody(tmp_path):
    first = python(HOLD, tmp_path/'a', 60)
    first.stdout.readline()
    first.kill()
    first.communicate()
    assert [path.name for path in tmp_path.iterdir()] == ['a.lock']
    with file_lock(tmp_path/'a'): pass
    assert not list(tmp_path.iterdir())

def test_ctrl_c_ends_the_waiting(tmp_path):
    with file_lock(tmp_path/'a'):
        second = python(HOLD, tmp_path/'a', 0)
        assert 'waiting' in second.stderr.readline()
        second.send_signal(signal.SIGINT)
        assert 'KeyboardInterrupt' in second.communicate(timeout=10)[1]

def test_never_two_inside(tmp_path):
    "Two processes go in and out; filelock below 4 let both in some times in a thousand"
    code = '''if True:
        import os, sys
        from urbansounds_nb.core import file_lock
        for _ in range(500):
            with file_lock(sys.argv[1]):
                os.close(os.open(sys.argv[1] + '.inside', os.O_CREAT | os.O_EXCL))
                os.unlink(sys.argv[1] + '.inside')'''
    both = [python(code, tmp_path/'a') for _ in range(2)]
    ends = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], ends

# --- what is printed

def test_printable():
    assert printable('a\x1b]0;title\x07b') == r'a\x1b]0;title\x07b'
    assert printable('a\r\nerror: b') == r'a\r\nerror: b'
    assert printable('\u202egpj.exe') == r'\u202egpj.exe'
    assert printable(b'\xff'.decode(errors='surrogateescape')) == r'\udcff'

def test_csv():
    rows = [['file', 'label', 'gain'], ['a,b.wav', '=1+1', -3.5], ['@x', '+cmd', '-2.5'],
            ['\t=1', '-1+cmd', '+1e-3'], ['"q"', 'a\nb\x1b', None]]
    back = list(csv.reader(io.StringIO(csv_text(rows))))
    assert back[1] == ['a,b.wav', "'=1+1", '-3.5'] and back[2] == ["'@x", "'+cmd", '-2.5']
    assert back[3] == ["'\\t=1", "'-1+cmd", '+1e-3'] and back[4] == ['"q"', r'a\nb\x1b', '']
    assert csv_text([]) == '' and csv_text(rows).count('\n') == 5

# --- cache, token, extras

def test_a_cache_without_home_or_user(tmp_path):
    code = 'from urbansounds_nb.core import cache_folder; print(cache_folder())'
    def cache(**environment):
        process = python(code, env={'PATH': os.environ['PATH'], 'TMPDIR': str(tmp_path)} | environment)
        said, errors = process.communicate(timeout=20)
        assert process.returncode == 0, errors
        return said.strip()
    assert cache(URBANSOUNDS_CACHE='~/x', HOME='/h') == '/h/x'
    assert cache(HOME=str(tmp_path)) == str(tmp_path/'.cache'/'urbansounds_nb')
    (tmp_path/'file').write_text('')
    assert Path(cache(HOME=str(tmp_path/'file'))).parent in (tmp_path, tmp_path/'file'/'.cache')

def test_a_cache_of_an_unknown_user(tmp_path, monkeypatch):
    def home(): raise RuntimeError('no home')
    monkeypatch.delenv('URBANSOUNDS_CACHE', raising=False)
    monkeypatch.setattr(Path, 'home', home)
    monkeypatch.setattr(core.tempfile, 'gettempdir', lambda: str(tmp_path))
    cache = cache_folder()
    assert cache.parent == tmp_path and cache.stat().st_mode & 0o777 == 0o700
    cache.rmdir()
    (tmp_path/'elsewhere').mkdir()
    cache.symlink_to(tmp_path/'elsewhere')                       # prepared by somebody else
    with pytest.raises(DataError, match='URBANSOUNDS_CACHE'): cache_folder()

@pytest.mark.parametrize('line', ['HF_TOKEN=hf_abc', 'export HF_TOKEN=hf_abc',
    '\ufeffHF_TOKEN=hf_abc', 'HF_TOKEN = "hf_abc"  # mine', "A=b\n\nHF_TOKEN='hf_abc'\r\n",
    '  HF_TOKEN =hf_abc # mine'])
def test_every_way_to_write_env(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('HF_TOKEN', raising=False)
    with pytest.raises(DataError, match='no token'): hub_token()
    Path('.env').write_text(line, encoding='utf-8')
    assert hub_token() == 'hf_abc'
    monkeypatch.setenv('HF_TOKEN', 'hf_first')
    assert hub_token() == 'hf_first'

def test_env_in_another_encoding(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('HF_TOKEN', raising=False)
    Path('.env').write_text('HF_TOKEN=hf_abc', encoding='utf-16')
    with pytest.raises(DataError, match='UTF-8'): hub_token()

def test_errors_of_the_hub():
    class Response: status_code = 403
    def fails(error):
        with hub_errors('user/name'): raise error
    refused = RuntimeError('Authorization: Bearer hf_secret')
    refused.response = Response()
    with pytest.raises(DataError, match='user/name: Hub error 403: not allowed') as e: fails(refused)
    assert 'secret' not in str(e.value) and e.value.__suppress_context__
    with pytest.raises(DataError, match='Hub error ConnectionError: go online'):
        fails(ConnectionError('hf_secret'))
    with pytest.raises(OSError, match='No space'): fails(OSError(errno.ENOSPC, 'No space'))
    with pytest.raises(DataError, match='^ours$'): fails(DataError('ours'))
    with pytest.raises(KeyboardInterrupt): fails(KeyboardInterrupt())

def test_an_extra_that_is_missing():
    with pytest.raises(DataError, match='nothing is missing.*pip install nothing'):
        optional_import('nothing', 'type `pip install nothing`')

# --- the end of a command

@pytest.mark.parametrize('error, line', [("DataError('a\\x1bb')", r'error: a\x1bb'),
    ("KeyboardInterrupt()", 'stopped'), ("KeyboardInterrupt('stopped: kept')", 'stopped: kept'),
    ("PermissionError(13, 'Permission denied', 'a')", 'a: Permission denied: change the permissions'),
    ("MemoryError()", 'not enough memory')])
def test_one_line_and_status_1(error, line):
    process = python(f'''if True:
        from urbansounds_nb.core import *
        with cli_errors(): raise {error}''')
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1 and line in said and said.count('\n') == 1

def test_the_reader_has_seen_enough():
    process = python('''if True:
        from urbansounds_nb.core import *
        with cli_errors():
            for number in range(10**6): print(number)''')
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(20) == 0 and process.stderr.read() == ''

def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), cli_errors(): 1/0
    with pytest.raises(ImportError), cli_errors(): raise ImportError('no such name')
    with pytest.raises(SystemExit, match='stopped'), cli_errors():
        raise ImportError('wrapped') from KeyboardInterrupt()

# --- worker processes

@pytest.fixture
def jobs(tmp_path):
    "A module of jobs, and a script without a main guard that runs one of them"
    (tmp_path/'some_jobs.py').write_text('''
import os, time, torch
from urbansounds_nb.core import DataError
def add(shared, x, tick):
    tick(x)
    shared['tensor'][x] = 1                   # seen by the main process: nothing was copied
    return shared['offset'] + x
def refuse(shared, x, tick): raise DataError(f'no {x}')
def die(shared, x, tick): os._exit(9)
def wait(shared, x, tick):
    tick(os.getpid())
    time.sleep(60)
''')
    (tmp_path/'script.py').write_text('''
import sys, torch, some_jobs
from urbansounds_nb.core import cli_errors, run_jobs
print('the script runs', flush=True)
shared = dict(offset=10, tensor=torch.zeros(4))
say = lambda value: print(value, flush=True)
with cli_errors():
    run_jobs(getattr(some_jobs, sys.argv[1]), [(1,), (2,), (3,)], 2, shared, say, lambda v: say(f'tick {v}'))
    print(shared['tensor'].tolist())
''')
    environment = os.environ | dict(PYTHONPATH=f'{tmp_path}{os.pathsep}{ROOT}')
    def start(name):
        ready = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen([sys.executable, tmp_path/'script.py', name], env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=ready)
    return start

def alive(pid):
    try: return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError: return False

def gone(pids, seconds=5):
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end: time.sleep(.05)
    return not any(map(alive, pids))

def descendants(pid): return [one for child in kills.children(pid) for one in (child, *descendants(child))]

def ticks(process, n=2):
    "The processes that wait, once n of them do"
    assert process.stdout.readline() == 'the script runs\n'
    return [int(process.stdout.readline().split()[1]) for _ in range(n)]

def test_a_script_without_a_main_guard(jobs):
    process = jobs('add')
    said, errors = process.communicate(timeout=300)
    lines = said.splitlines()
    assert process.returncode == 0 and lines.count('the script runs') == 1, errors
    assert sorted(lines[1:-1]) == ['11', '12', '13', 'tick 1', 'tick 2', 'tick 3']
    assert lines[-1] == '[0.0, 1.0, 1.0, 1.0]' and errors == ''

def test_an_error_of_a_job_comes_back(jobs):
    _, errors = jobs('refuse').communicate(timeout=300)
    assert errors.startswith('error: no ') and errors.count('\n') == 1

def test_a_worker_that_dies(jobs):
    _, errors = jobs('die').communicate(timeout=300)
    assert 'a worker process was killed' in errors and errors.count('\n') == 1

@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_the_main_process_ends_its_workers(jobs, stop):
    process = jobs('wait')
    workers = ticks(process)
    everything = descendants(process.pid)
    assert set(workers) < set(everything)
    if stop == signal.SIGINT: os.killpg(process.pid, stop)       # as a terminal does
    else: process.kill()
    assert gone(workers, 10)
    _, errors = process.communicate(timeout=20)
    assert errors == 'stopped\n' or stop == signal.SIGKILL      # Python cleans up and says so
    assert gone(everything)

@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_heard_while_workers_load(stop, tmp_path):
    "The fork server needs seconds for the libraries, here a minute"
    (tmp_path/'slow.py').write_text("""
import os, time
if 'SLOW' in os.environ: time.sleep(60)
def work(shared, number, tick): return number
""")
    process = python(f"""if True:
        import os, signal, sys
        sys.path.insert(0, {str(tmp_path)!r})
        import slow, torch
        from urbansounds_nb.core import run_jobs
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        os.environ['SLOW'] = 'yes'
        print('starts', flush=True)
        try: run_jobs(slow.work, [(1,), (2,)], 2)
        except KeyboardInterrupt: print('stopped', flush=True)
    """)
    assert process.stdout.readline() == 'starts\n'
    time.sleep(2)
    start = time.monotonic()
    process.send_signal(stop)
    assert process.stdout.readline() == 'stopped\n'
    process.wait(60)
    assert time.monotonic() - start < 20
    os.killpg(process.pid, signal.SIGKILL)          # the fork server, which still loads

def test_a_killed_worker_and_a_killed_fork_server(jobs):
    for which in 'worker', 'server':
        process = jobs('wait')
        workers = ticks(process)
        server = int(Path(f'/proc/{workers[0]}/stat').read_text().rpartition(')')[2].split()[1])
        os.kill(workers[0] if which == 'worker' else server, signal.SIGKILL)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1 and errors.startswith('error: a worker process was killed')
        assert errors.count('\n') == 1 and gone(workers)

def test_one_process_is_this_one():
    found = []
    run_jobs(lambda shared, x, tick: tick(x) or os.getpid(), [(1,)], 4, tick=found.append, done=found.append)
    assert found == [1, os.getpid()]
