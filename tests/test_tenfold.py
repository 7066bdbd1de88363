"The commands over all 8732 clips of the official ten folds (tiny generated sounds), and over a tenth of them from every kind of source"
import csv, re, subprocess, sys
from collections import Counter
from pathlib import Path
import pytest
import standin
from urbansounds_nb.dataset import SPLIT_RECORDINGS
from urbansounds_nb.study import Study

QUICK = '--experiments', 'duration', '--epochs', 1, '--jobs', 2, '--tracking', 'disabled'

def check(done, results, clips, scored_on='test', folds=range(1, 11)):
    "One run for each fold, every clip predicted exactly once, with the classes of its metadata"
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr and str(results) in done.stderr + done.stdout
    runs, truth = Study(results).runs(scored_on), {row['slice_file_name']: row for row in clips}
    assert [run.row['fold'] for run in runs] == list(folds)
    predicted = Counter(name for run in runs for name in run.names)
    assert predicted == Counter(name for name, row in truth.items() if int(row['fold']) in folds)
    for run in runs:
        rows = [truth[name] for name in run.names]
        assert {int(row['fold']) for row in rows} == {run.row['fold']}
        assert run.groups.tolist() == [row['fsID'] for row in rows]
        assert [run.classes[label] for label in run.labels] == [row['class'] for row in rows]

def test_all_clips_of_all_folds(tmp_path, typed):
    source, mels, results = standin.build(tmp_path), tmp_path/'mels', tmp_path/'results'
    done = typed('urbansounds_prepare', '--data', source, '--front-end', 'mel64-zeropad', '--folder', mels)
    assert done.returncode == 0 and done.stdout.strip() == str(mels), done.stderr
    done = typed('urbansounds_crossval', '--data', mels, '--results', results, *QUICK)
    check(done, results, standin.metadata())
    named = re.search('two of its folds: (.*)', done.stderr)[1]
    assert sorted(named.split(', ')) == sorted(SPLIT_RECORDINGS)
    assert done.stdout.startswith('all ten folds')
    done = typed('urbansounds_report', '--results', results)
    assert done.returncode == 0 and done.stdout.startswith('all ten folds'), done.stderr
    assert 'all ten folds' in (results/'report.html').read_text(encoding='utf-8')
    assert len(list(csv.DictReader((results/'scores.csv').open()))) == 10
    # what is finished is not made again
    before = {path: path.stat().st_mtime_ns for path in results.glob('predictions/*')}
    done = typed('urbansounds_crossval', '--data', mels, '--results', results, *QUICK)
    assert done.returncode == 0 and done.stdout.startswith('all ten folds'), done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in results.glob('predictions/*')}

@pytest.mark.parametrize('kind', standin.KINDS)
def test_every_kind_of_source(kind, tmp_path, typed):
    source, results = standin.build(tmp_path, kind, every=10), tmp_path/'results'
    done = typed('urbansounds_crossval', '--data', source, '--results', results, *QUICK)
    check(done, results, standin.rows(every=10))
    assert re.match(r'ten folds of \S+, \d+ of 8732 clips: not comparable', done.stdout)
    assert str(tmp_path) not in (results/'study.json').read_text()

def test_development_folds(tmp_path, typed):
    source, results = standin.build(tmp_path, 'parquet', every=10), tmp_path/'results'
    done = typed('urbansounds_crossval', '--data', source, '--results', results,
        '--scored-on', 'development', *QUICK)
    check(done, results, standin.rows(every=10), 'development', [1, 2, 3, 4, 10])
    assert 'all ten folds' not in done.stdout

def test_pictures_compared_with_recordings(tmp_path, typed):
    tool, mels, out = Path(__file__).parents[1]/'tools'/'compare_pictures.py', tmp_path/'mels', tmp_path/'pictures.csv'
    done = typed('urbansounds_prepare', '--front-end', 'mel128', '--folder', mels)
    assert done.returncode == 0, done.stderr
    subprocess.run([sys.executable, tool, mels, 'synthetic', '--out', out], check=True, cwd=tmp_path, capture_output=True)
    row, = csv.DictReader(out.open())
    assert (row['bands'], row['of'], float(row['below_db']), float(row['above_db'])) == ('119', '128', 0, 0) and int(row['clips']) > 100
