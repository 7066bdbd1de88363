"Six commands: help without PyTorch, one name for one option, one line for an error, output that any terminal takes"
import inspect, os, signal, subprocess, sys, time
from pathlib import Path
import pytest
from urbansounds_nb import commands

NAMES = [f'urbansounds_{name}' for name in ('prepare', 'crossval', 'report', 'predict', 'export', 'app')]

def options(name): return inspect.signature(getattr(commands, name)).parameters

@pytest.mark.parametrize('name', NAMES)
def test_help(typed, name):
    done = typed(name, '--help')
    assert done.returncode == 0 and 'example:' in done.stdout and done.stderr == ''
    for option in options(name): assert option == 'files' or f'--{option.replace("_", "-")}' in done.stdout
    assert f'usage: {name} [options]' in done.stdout and max(map(len, done.stdout.splitlines())) <= 80

def test_help_needs_no_heavy_library():
    code = '''if True:
        import sys
        from urbansounds_nb import commands
        for name in sys.argv[1:]:
            try: getattr(commands, name).main(['--help'])
            except SystemExit as stop: assert stop.code == 0
        print('heavy:', *{'torch', 'numpy', 'pyarrow', 'datasets', 'matplotlib', 'soundfile'} & set(sys.modules))'''
    done = subprocess.run([sys.executable, '-c', code, *NAMES], capture_output=True, text=True)
    assert done.stdout.endswith('heavy:\n'), done.stdout + done.stderr

def test_one_name_for_one_thing():
    "The same option has the same type and default everywhere, apart from the results folder"
    seen = {}
    for name in NAMES:
        for option, p in options(name).items():
            if option not in ('data', 'results'): assert seen.setdefault(option, (p.annotation, p.default)) == (p.annotation, p.default), (name, option)

@pytest.mark.parametrize('name', NAMES)
def test_version(typed, name):
    from urbansounds_nb import __version__
    assert typed(name, '--version').stdout == f'urbansounds_nb {__version__}\n'

@pytest.mark.parametrize('line', ['urbansounds_predict --hop x', 'urbansounds_predict --nothing', 'urbansounds_report a', 'urbansounds_crossval --folds 1,x',
    'urbansounds_predict --check a.wav', 'urbansounds_predict --nothing\x1b[2J'])
def test_wrong_options(typed, line):
    done = typed(*line.split())
    assert done.returncode == 1 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    assert '--help' in done.stderr and '\x1b' not in done.stderr

@pytest.mark.parametrize('line', ['urbansounds_report --results nothing', 'urbansounds_predict', 'urbansounds_predict a.wav --json --csv', 'urbansounds_predict --mic --json',
    'urbansounds_predict --mic a.wav', 'urbansounds_app --port 78600',
    'urbansounds_crossval --experiments nothing', 'urbansounds_crossval --seeds 0', 'urbansounds_crossval --experiments ,', 'urbansounds_report --scored-on x',
    'urbansounds_prepare --data nothing'])
def test_what_cannot_be_done(typed, tmp_path, line):
    done = typed(*line.split(), cwd=tmp_path)
    errors = [said for said in done.stderr.splitlines() if said.startswith('error: ')]
    assert done.returncode == 1 and len(errors) == 1 and 'Traceback' not in done.stderr and not list(tmp_path.iterdir()), done.stderr

def test_stopped_while_the_libraries_load(tmp_path):
    ready = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen([Path(sys.executable).parent/'urbansounds_report', '--results', tmp_path], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ready)
    while 'libtorch' not in Path(f'/proc/{process.pid}/maps').read_text() and process.poll() is None: time.sleep(.005)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == 'stopped\n' and process.returncode == 1

def test_a_command_that_ignores_ctrl_c_still_does(capsys):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    @commands.command('x', Options='')
    def work(): print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, 'and', signal.getsignal(signal.SIGTERM) == signal.default_int_handler)
    work.__doc__ = 'Work'
    try: work.main([])
    finally: signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().out == 'True and True\n'

def test_a_terminal_that_knows_few_letters(tmp_path):
    "The name of one file costs no other its answer"
    from urbansounds_nb.synthetic import synthesise
    import soundfile as sf
    for name in ('犬 🐕.wav', 'siren.wav'): sf.write(tmp_path/name, synthesise('siren', 1), 22050)
    done = subprocess.run([Path(sys.executable).parent/'urbansounds_predict', tmp_path], capture_output=True, env=os.environ | dict(PYTHONIOENCODING='cp1252', PYTHONUTF8='0'), timeout=120)
    said = done.stdout.decode('cp1252')
    assert done.returncode == 0 and 'siren.wav' in said and r'\u72ac' in said, done.stderr

@pytest.mark.skipif(not hasattr(signal, 'pthread_kill'), reason='signals of POSIX')
@pytest.mark.parametrize('while_it', ['loads', 'works'])
@pytest.mark.parametrize('stop', [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_python_drops_is_heard(stop, while_it, tmp_path):
    "A signal may arrive while an object is freed: what its handler raises there is printed and dropped by Python"
    script = tmp_path/'script.py'
    script.write_text(f'''
import os, signal, time, weakref
from urbansounds_nb import commands
class Thing: pass
def stopped(_):
    thing = Thing()
    def freed(_):
        os.kill(os.getpid(), signal.{stop.name})
        for _ in range(100): pass
    callback = weakref.ref(thing, freed)
    del thing
    print('goes on', flush=True)
    time.sleep(200)
    print('finished')
if {while_it!r} == 'loads': commands.import_module = stopped
@commands.command('work', 'core')
def work():
    "Work"
    stopped(0)
signal.signal(signal.SIGINT, signal.default_int_handler)
work.main([])
''')
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (1, 'goes on\n', 'stopped\n')
