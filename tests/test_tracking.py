"wandb, offline: every fold's metrics are in the run folders, one group, one summary; and its failure costs nothing"
import json, struct
import pytest
from urbansounds_nb.crossval import cross_validate

def records(path):
    "The records of a run file: after seven bytes, blocks of 32 KiB with pieces (checksum, length, kind; whole 1, first 2, middle 3, last 4)"
    from wandb.proto.wandb_internal_pb2 import Record
    data, place, found, pieces = path.read_bytes(), 7, [], b''
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, size, kind = struct.unpack('<IHB', data[place:place+7])
        if kind == 0: break
        pieces += data[place+7:place+7+size]
        place += 7 + size
        if kind in (1, 4):
            found.append(Record.FromString(pieces))
            pieces = b''
    return found

def tracked(path):
    "Group, name, metrics of each step, final numbers and kinds of records of one run file"
    run, steps, summary, artifacts = None, [], {}, 0
    for record in records(path):
        kind = record.WhichOneof('record_type')
        if kind == 'run': run = record.run
        if kind == 'history': steps.append({item.key or '/'.join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
        if kind == 'summary': summary |= {item.key or '/'.join(item.nested_key): json.loads(item.value_json) for item in record.summary.update}
        artifacts += kind == 'artifact'
    return dict(group=run.run_group, name=run.display_name, steps=steps, summary=summary, artifacts=artifacts)

@pytest.fixture
def arguments(three_folds, tmp_path):
    return dict(source=str(three_folds), models=['cnn1d'], folds=(1, 2), epochs=2, n_jobs=1, folder=tmp_path/'runs', progress=False)

def test_every_metric_is_in_the_run_folders(arguments):
    runs = cross_validate(tracking='offline', **arguments)
    found = {run['name']: run for run in map(tracked, arguments['folder'].glob('wandb/offline-run-*/run-*.wandb'))}
    assert set(found) == {'cnn1d-fold1-seed0', 'cnn1d-fold2-seed0', 'summary'} and len({run['group'] for run in found.values()}) == 1
    for run in runs:
        fold = found[f'cnn1d-fold{run.row["fold"]}-seed0']
        assert [{name: step[name] for name in run.history[0]} for step in fold['steps']] == run.history
        assert all(fold['summary'][name] == run.row[name] for name in ('accuracy', 'macro_f1', 'calibration_error'))
    summary = found['summary']
    logged = ' '.join(name for step in summary['steps'] for name in step)
    assert all(part in logged for part in ('cnn1d/confusion', 'cnn1d/classes', 'sounds')) and summary['artifacts'] >= 1
    assert abs(summary['summary']['cnn1d/accuracy'] - 50*sum(run.row['accuracy'] for run in runs)) < 1e-6

def test_a_failure_of_tracking_costs_nothing(arguments, monkeypatch, capsys):
    import wandb
    def broken(*args, **kwargs): raise OSError('no service')
    monkeypatch.setattr(wandb, 'init', broken)
    runs = cross_validate(tracking='offline', **arguments)
    assert len(runs) == 2 and (arguments['folder']/'scores.csv').exists()
    assert capsys.readouterr().out.count('wandb: given up') == 1
