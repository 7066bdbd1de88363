"wandb offline: one group, a run for each fold with all its metrics, one summary run; and no result is lost when it fails"
import json, os, struct, subprocess, sys, time
import pytest
from urbansounds_nb.crossval import cross_validate
from urbansounds_nb.report import Tracker, write_scores
from urbansounds_nb.summary import read_results

def tracked_run(data, folder, tracking, epochs=2):
    "A small cross-validation as `urbansounds_crossval` makes it, with its tracker"
    tracker = Tracker(tracking, folder, 'a test')
    def on_run(run):
        write_scores(folder)
        tracker.fold(run)
    runs = cross_validate(data, ('cnn1d',), folder=folder, folds=(1, 2), epochs=epochs, n_jobs=1, progress=False, on_run=on_run)
    tracker.summary(runs, data)
    return runs

def records(path):
    "The records of a `.wandb` file (LevelDB's log format after a header of 7 bytes)"
    from wandb.proto.wandb_internal_pb2 import Record
    data, place, parts = path.read_bytes(), 7, b''
    assert data[:4] == b':W&B'
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        size, kind = struct.unpack('<HB', data[place+4:place+7])      # after a checksum of 4 bytes
        if left < 7 or kind == 0: place += left; continue             # the rest of a block is filled with zeros
        if place + 7 + size > len(data): return                       # its second half is still to come
        parts += data[place+7:place+7+size]
        place += 7 + size
        if kind in (1, 4): yield Record.FromString(parts); parts = b''   # whole, or the last part

def complete(path, seconds=20):
    "The records of a run, once wandb's own process has written the last one"
    end = time.monotonic() + seconds
    while True:
        found = list(records(path))
        if any(record.HasField('exit') for record in found): return found
        assert time.monotonic() < end, f'{path}: no end of the run in it'
        time.sleep(.1)

class Tracked:
    "One offline run: its name, group, settings, metrics by step, summary, artifacts"
    def __init__(self, folder):
        self.folder, self.history, self.summary, self.artifacts, self.config = folder, [], {}, [], {}
        value = lambda items: {'/'.join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
        for record in complete(next(folder.glob('run-*.wandb'))):
            if record.HasField('run'):
                self.name, self.group = record.run.display_name, record.run.run_group
                self.config |= value(record.run.config.update)
            if record.HasField('history'): self.history.append(value(record.history.item))
            if record.HasField('summary'): self.summary |= value(record.summary.update)
            if record.HasField('artifact'): self.artifacts.append(record.artifact)

@pytest.fixture(scope='module')
def tracked(three_folds, tmp_path_factory):
    "The finished runs of a small cross-validation, and what wandb kept of it"
    folder, wandb_before = tmp_path_factory.mktemp('tracked'), pytest.MonkeyPatch()
    wandb_before.setenv('WANDB_MODE', 'offline')
    runs = tracked_run(three_folds, folder/'runs', 'auto')
    wandb_before.undo()
    kept = [Tracked(path) for path in (folder/'runs'/'wandb').glob('offline-run-*')]
    return runs, {run.name: run for run in kept}, len(kept)

def test_one_run_for_each_fold_and_a_summary_in_one_group(tracked):
    runs, kept, number = tracked
    assert set(kept) == {'cnn1d-test-fold1-seed0', 'cnn1d-test-fold2-seed0', 'summary'} and number == 3
    assert len({run.group for run in kept.values()}) == 1 and kept['summary'].group

def test_every_metric_of_every_fold(tracked):
    runs, kept, _ = tracked
    for run in runs:
        there = kept[f'cnn1d-test-fold{run.row["fold"]}-seed0']
        assert [{key: epoch[key] for key in ('epoch', 'loss', 'accuracy')} for epoch in there.history] == \
               [{key: epoch[key] for key in ('epoch', 'loss', 'accuracy')} for epoch in run.history] and len(run.history) == 2
        for key in ('accuracy', 'macro_f1', 'accuracy_without_split_recordings', 'calibration_error'): assert there.summary[key] == run.row[key]
        assert there.config['fold'] == run.row['fold'] and there.config['recipe'] == run.row['recipe']

def test_the_summary_run(tracked):
    runs, kept, _ = tracked
    summary = kept['summary']
    logged = {key for step in summary.history for key in step}
    for part in ('cnn1d/confusion', 'scores', 'sounds', 'fold_scores', 'curves', 'recalls'): assert any(part in key for key in logged), (part, logged)
    tables = [json.loads(path.read_text()) for path in (summary.folder/'files'/'media'/'table').rglob('*.json')]
    confusion = next(table for table in tables if {'Actual', 'Predicted', 'nPredictions'} <= set(table['columns']))
    count = confusion['columns'].index('nPredictions')
    assert len(confusion['data']) == 100 and sum(row[count] for row in confusion['data']) == 60          # every clip of both folds
    [row] = next(table['data'] for table in tables if table['columns'][:2] == ['rests on', 'experiment'])
    assert row[:2] == ['embedded data, not a result', 'cnn1d'] and summary.config['rests_on'] == ['embedded data, not a result']
    assert len(list((summary.folder/'files'/'media'/'images').glob('*.png'))) == 3
    assert list((summary.folder/'files'/'media'/'audio').rglob('*.wav'))
    models, = (artifact for artifact in summary.artifacts if artifact.type == 'model')
    assert {entry.path for entry in models.manifest.contents} == {f'cnn1d-test-fold{fold}-seed0.safetensors' for fold in (1, 2)}
    assert summary.summary['cnn1d/accuracy'] == pytest.approx(50*sum(run.row['accuracy'] for run in runs))

@pytest.mark.parametrize('broken', ['init', 'Table', 'Artifact'])
def test_a_failure_of_wandb_loses_nothing(three_folds, tmp_path, monkeypatch, capsys, broken):
    import wandb
    def fail(*args, **kwargs): raise RuntimeError('the network is gone')
    monkeypatch.setattr(wandb, broken, fail)
    runs = tracked_run(three_folds, tmp_path/'runs', 'offline', 1)
    assert [run.row['fold'] for run in runs] == [1, 2] and len(read_results(tmp_path/'runs')) == 2
    assert len((tmp_path/'runs'/'scores.csv').read_text().splitlines()) == 3
    assert capsys.readouterr().err.count('wandb: switched off') == 1            # said once

def test_no_key_means_offline_and_is_said_once(three_folds, tmp_path, monkeypatch, capsys):
    for name in ('WANDB_MODE', 'WANDB_API_KEY'): monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    tracked_run(three_folds, tmp_path/'runs', 'auto', 1)
    assert capsys.readouterr().err.count('wandb: no key') == 1 and len(list((tmp_path/'runs'/'wandb').glob('offline-run-*'))) == 3

# --- in a process of their own: wandb keeps one beside it, which the other tests need alive

UNREACHABLE = """
settings = wandb.Settings
wandb.Settings = lambda **how: settings(**how | dict(init_timeout=5))          # not a minute
"""
KILLED = """
init = wandb.init
def killed(**how):
    run, found = init(**how), 0
    for place in Path('/proc').glob('[0-9]*'):
        with suppress(OSError):
            ours = int((place/'stat').read_text().rpartition(')')[2].split()[1]) == os.getpid()
            if ours and 'wandb-core' in (place/'cmdline').read_text(): os.kill(int(place.name), signal.SIGKILL); found += 1
    assert found == 1
    return run
wandb.init = killed
"""
RUN = """
import os, signal, sys, wandb
from contextlib import suppress
from pathlib import Path
from urbansounds_nb.commands import urbansounds_crossval
{play}
if __name__ == '__main__':
    urbansounds_crossval(sys.argv[1], ('cnn1d',), folds=(1, 2), epochs=2, jobs=1, tracking={tracking!r}, results=sys.argv[2])
"""

@pytest.mark.parametrize('play, tracking', [(UNREACHABLE, 'online'), (KILLED, 'offline')], ids=['server unreachable', 'process killed'])
def test_wandb_is_gone(three_folds, tmp_path, play, tracking):
    undisturbed = cross_validate(three_folds, ('cnn1d',), folder=tmp_path/'undisturbed', folds=(1, 2), epochs=2, n_jobs=1, progress=False)
    environment = {name: value for name, value in os.environ.items() if name != 'WANDB_MODE'} | dict(WANDB_BASE_URL='http://127.0.0.1:1', WANDB_API_KEY='0123456789'*4)
    done = subprocess.run([sys.executable, '-c', RUN.format(play=play, tracking=tracking), three_folds, tmp_path/'runs'], env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0 and done.stderr.count('wandb: switched off') == 1, (done.stdout + done.stderr)[-2000:]
    for one, other in zip(undisturbed, read_results(tmp_path/'runs'), strict=True): assert one.logits.astype('float16').tobytes() == other.logits.astype('float16').tobytes()

def test_a_home_that_cannot_be_written(three_folds, tmp_path):
    "As in a container of an unknown user: everything is kept below the results, in silence"
    code = f"""if True:
        import os
        from pathlib import Path
        access = os.access
        os.access = lambda path, *args, **how: not str(path).startswith('/nonexistent') and access(path, *args, **how)   # root may write anywhere
        from test_tracking import tracked_run
        tracked_run({str(three_folds)!r}, Path('runs'), 'offline', epochs=1)"""
    # without the address of the process that keeps the runs of the tests before
    env = {name: value for name, value in os.environ.items() if not name.startswith(('WANDB_', 'XDG_'))} | dict(MPLCONFIGDIR=str(tmp_path))
    tests = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, timeout=300, env=env | dict(HOME='/nonexistent', PYTHONPATH=tests))
    assert done.returncode == 0 and 'INFO' not in done.stderr and 'wandb: switched off' not in done.stderr, done.stderr
    kept = [Tracked(path) for path in (tmp_path/'runs'/'wandb').glob('offline-run-*')]
    assert len(kept) == 3 and [artifact.type for run in kept for artifact in run.artifacts].count('model') == 1
    assert not os.path.exists('/nonexistent')
