"A run that is killed goes on where it was and ends with the same numbers; a finished one is never made again; what is damaged is named"
import csv, random, shutil, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
from urbansounds_nb.crossval import read_runs, run_fold
from urbansounds_nb.spectrogram import load_mels, prepared

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tools'/'soak'))
import kills

def command(mels, folder, jobs):
    return [str(part) for part in (Path(sys.executable).parent/'urbansounds_crossval', '--data', mels, '--models', 'cnn1d', '--folds', '1,2', '--epochs', 40,
                                   '--jobs', jobs, '--results', folder, '--tracking', 'disabled')]

def hears_ctrl_c(): signal.signal(signal.SIGINT, signal.SIG_DFL)         # a shell may have started the tests deaf to it, in the background

@pytest.fixture(scope='module')
def mels(three_folds, tmp_path_factory): return prepared(three_folds, folder=tmp_path_factory.mktemp('resume')/'mels', progress=False)

@pytest.fixture(scope='module')
def whole(mels, tmp_path_factory):
    "The results folder of a command that nobody disturbed, with one process"
    folder = tmp_path_factory.mktemp('resume')/'whole'
    subprocess.run(command(mels, folder, 1), check=True, capture_output=True, timeout=120)
    return folder

def facts(run): return {name: value for name, value in run.row.items() if name != 'seconds'}

@pytest.mark.parametrize('jobs', [1, 2])
def test_killed_and_continued(mels, whole, tmp_path, jobs):
    for stop in signal.SIGKILL, signal.SIGTERM, signal.SIGINT:           # at moments that depend on the machine
        started = time.time()
        process = subprocess.Popen(command(mels, tmp_path, jobs), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=hears_ctrl_c)
        while process.poll() is None and not any(path.stat().st_mtime > started for path in tmp_path.glob('unfinished/*.safetensors')): time.sleep(.02)
        time.sleep(.2)
        process.send_signal(stop)
        _, said = process.communicate(timeout=30)
        assert stop == signal.SIGKILL or 'stopped: what is finished is kept' in said and 'Traceback' not in said, said
    subprocess.run(command(mels, tmp_path, jobs), check=True, capture_output=True, timeout=120)
    again = read_runs(tmp_path)
    for a, b in zip(read_runs(whole), again, strict=True):
        assert np.array_equal(a.logits, b.logits) and facts(a) == facts(b)
        assert [epoch['loss'] for epoch in a.history] == [epoch['loss'] for epoch in b.history]
    assert not list(tmp_path.glob('unfinished/*')) and not kills.leftovers(tmp_path)
    rows = list(csv.DictReader((tmp_path/'scores.csv').open()))
    assert [(row['model'], row['fold'], row['seed']) for row in rows] == [('cnn1d', '1', '0'), ('cnn1d', '2', '0')]

def test_a_finished_run_is_kept(mels, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.glob('predictions/*')}
    subprocess.run(command(mels, whole, 1), check=True, capture_output=True, timeout=120)
    assert len(before) == 2 and before == {path: path.stat().st_mtime_ns for path in whole.glob('predictions/*')}

# --- stopped before there is anything to keep

def stopped(process, when):
    "The lines of a command that hears Ctrl-C, in all its processes, once something is so"
    while process.poll() is None and not when(): time.sleep(.005)
    kills.os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and 'Traceback' not in said, said
    return kills.lines(said)

def test_stopped_while_it_loads(tmp_path):
    process = kills.start('urbansounds_crossval', results=tmp_path/'runs')
    assert stopped(process, lambda: 'libtorch' in Path(f'/proc/{process.pid}/maps').read_text()) == ['stopped']
    assert not list(tmp_path.iterdir())

def test_stopped_while_it_prepares(tmp_path, three_folds):
    process = kills.start('urbansounds_prepare', data=three_folds, folder=tmp_path/'mels')
    assert stopped(process, lambda: list(tmp_path.glob('*.partial'))) == ['stopped: what is prepared is kept; the same command goes on from there']
    assert [path.suffix for path in tmp_path.iterdir()] == ['.partial']           # to go on from

def test_workers_do_not_hear_ctrl_c_while_they_load(tmp_path, mels):
    process = kills.start('urbansounds_crossval', data=mels, results=tmp_path/'runs', **kills.QUICK | dict(jobs=2))
    assert [line[:7] for line in stopped(process, lambda: kills.workers(process.pid)) if 'folds' not in line] == ['stopped']

# --- short versions of tools/soak/kills.py

@pytest.fixture(scope='module')
def quick(mels, tmp_path_factory):
    "A results folder that nobody disturbed, and one that was stopped in its second run"
    folder = tmp_path_factory.mktemp('quick')
    assert kills.here('urbansounds_crossval', data=mels, results=folder/'whole', **kills.QUICK)[0] == 0
    shutil.copytree(folder/'whole', folder/'interrupted')
    for path in folder.glob('interrupted/*/*fold2*'): path.unlink()
    ticks = iter(range(5))
    with pytest.raises(StopIteration): run_fold(load_mels(mels), 'cnn1d', 2, folder=folder/'interrupted', epochs=kills.QUICK['epochs'], tick=lambda: next(ticks))
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

def test_predictions_changed_anywhere(quick, tmp_path):
    tally = kills.anywhere(random.Random(0), quick[0], tmp_path)
    assert tally['lost'] == 0 and tally['refused'] > 50, tally

def test_two_commands_on_one_folder(quick, three_folds, tmp_path): assert kills.two_at_once(quick[0], three_folds, tmp_path, 1) == 'survived'

def test_a_worker_is_killed(quick, mels, tmp_path): assert kills.worker_killed(quick[0], mels, tmp_path) == 'refused'
