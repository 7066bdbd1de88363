"Commands that are stopped before there is anything to keep, and short versions of tools/soak/kills.py"
import shutil, signal, subprocess, sys, time
from pathlib import Path
import pytest
from urbansounds_nb.crossval import run_fold
from urbansounds_nb.experiments import get_experiment
from urbansounds_nb.features import load_features, prepare_features

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tools'/'soak'))
import kills

@pytest.fixture(scope='module')
def mels(three_folds, tmp_path_factory): return prepare_features(three_folds, 'mel64', tmp_path_factory.mktemp('resume')/'mels', progress=False)

def stopped(process, when):
    "The lines of a command that gets Ctrl-C, in all its processes, once something is so"
    while process.poll() is None and not when(): time.sleep(.005)
    kills.os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and 'Traceback' not in said, said
    return kills.lines(said)

def test_stopped_while_it_loads(tmp_path):
    process = kills.start('urbansounds_crossval', results=tmp_path/'runs')
    said = stopped(process, lambda: 'libtorch' in Path(f'/proc/{process.pid}/maps').read_text())
    assert said[-1].startswith('stopped') and not list(tmp_path.iterdir())

def test_stopped_while_it_prepares(tmp_path):
    process = kills.start('urbansounds_prepare', folder=tmp_path/'mels')           # three parts, so that the first is not the last
    said = stopped(process, lambda: list(tmp_path.rglob('*part-*')))
    assert said[-1] == 'stopped: what is prepared is kept; the same command continues'

def test_processes_end_while_one_looks_for_workers():
    process = subprocess.Popen(['bash', '-c', 'for i in {1..300}; do /bin/true; done'])
    while process.poll() is None: assert kills.workers(process.pid) == []

def test_workers_do_not_see_ctrl_c_while_they_load(tmp_path, mels):
    process = kills.start('urbansounds_crossval', data=mels, results=tmp_path/'runs', **kills.QUICK | dict(jobs=2))
    said = stopped(process, lambda: kills.workers(process.pid))
    assert [line[:7] for line in said if line.startswith('stopped')] == ['stopped']

@pytest.fixture(scope='module')
def quick(mels, tmp_path_factory):
    "A results folder that nobody disturbed, and one that was stopped in its second run"
    folder = tmp_path_factory.mktemp('quick')
    assert kills.here('urbansounds_crossval', data=mels, results=folder/'whole', **kills.QUICK)[0] == 0
    shutil.copytree(folder/'whole', folder/'interrupted')
    for path in folder.glob('interrupted/*/*fold2*'): path.unlink()
    def stop(news):
        if news[2]['epoch'] == 6: raise InterruptedError
    with pytest.raises(InterruptedError):
        run_fold(load_features(mels), get_experiment('cnn1d', kills.QUICK['epochs']), 2, folder=folder/'interrupted', tick=stop)
    return folder/'whole', folder/'interrupted'

def quickly(name, spoil, command, expected):
    "Leave out what needs another training to show the same"
    if name == kills.PREDICTIONS: return (spoil, command) in ((kills.cut, 'urbansounds_report'), (kills.overwritten, 'urbansounds_crossval'))
    return expected == 'refused' or spoil in (kills.row_cut, kills.overwritten, kills.left_behind) or name == kills.CHECKPOINT and spoil in (kills.cut, kills.unfinished_too)

@pytest.mark.parametrize('number', [number for number, entry in enumerate(kills.DAMAGES) if quickly(*entry)],
                         ids=lambda number: f'{Path(kills.DAMAGES[number][0]).name} {kills.DAMAGES[number][1].__name__}')
def test_damaged_files(mels, quick, three_folds, tmp_path, number):
    assert kills.damage(number, *quick, mels, next(three_folds.glob('audio/fold1/*.wav')), tmp_path) == kills.DAMAGES[number][3]

def test_the_damages_are_seen(quick, tmp_path):
    shutil.copytree(quick[0], tmp_path/'runs')
    assert kills.same(quick[0], tmp_path/'runs') and not kills.leftovers(tmp_path)
    kills.row_cut(tmp_path/'runs'/'scores.csv')
    assert not kills.same(quick[0], tmp_path/'runs')
    kills.unfinished_too(tmp_path/'runs'/'report.html')
    assert len(kills.leftovers(tmp_path)) == 2

def test_a_worker_is_killed(quick, mels, tmp_path): assert kills.worker_killed(quick[0], mels, tmp_path) == 'refused'
