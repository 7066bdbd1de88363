"A run that is killed goes on where it was and ends with the same numbers; a finished one is never made again"
import csv, signal, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
from urbansounds_nb.crossval import read_runs
from urbansounds_nb.spectrogram import prepared

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
    for stop in signal.SIGKILL, signal.SIGINT:                           # at moments that depend on the machine
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
    assert not list(tmp_path.glob('unfinished/*')) and not list(tmp_path.rglob('*.unfinished'))
    rows = list(csv.DictReader((tmp_path/'scores.csv').open()))
    assert [(row['model'], row['fold'], row['seed']) for row in rows] == [('cnn1d', '1', '0'), ('cnn1d', '2', '0')]

def test_a_finished_run_is_kept(mels, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.glob('predictions/*')}
    subprocess.run(command(mels, whole, 1), check=True, capture_output=True, timeout=120)
    assert len(before) == 2 and before == {path: path.stat().st_mtime_ns for path in whole.glob('predictions/*')}
