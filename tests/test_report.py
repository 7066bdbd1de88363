"What a report may say: ensembles of exactly their members, means of what belongs together, headings that are true of every row, names that are only names"
import csv, shutil, warnings
from types import SimpleNamespace
import numpy as np
import pytest
from tiny import tiny
from urbansounds_nb.core import DataError
from urbansounds_nb.crossval import run_fold
from urbansounds_nb.dataset import OFFICIAL_COUNTS
from urbansounds_nb.experiments import ENSEMBLES, get_experiment
from urbansounds_nb.metrics import bootstrap_interval, holm, paired_test
from urbansounds_nb.report import comparisons, report, score_table, table_rows, write_scores
from urbansounds_nb.study import RESULTS_VERSION, Run, Study, run_key, run_metrics
from urbansounds_nb.summary import by_experiment, combine, compare, mixtures, name_folds, read_results, summarise

CLASSES, QUICK = ('car_horn', 'dog_bark', 'siren'), get_experiment('cnn1d', epochs=1)
ROW = dict(data='0123456789abcdef', front_end={'n_mels': 64}, network={'class': 'ResidualCNN'}, recipe={'epochs': 3}, augmentation='', teachers=[],
           pretraining=None, code=RESULTS_VERSION, source='UrbanSound8K, 8-bit log-mel pictures', embedded=False, version='0.2.0', commit='abcdef1', probe=[],
           torch='2.14', python='3.11', machine='a laptop', parameters=308_538, threads=1, examples=48)

def invented(experiment, fold, seed=0, share=.8, scored_on='test', classes=CLASSES, n=24, **other):
    "A run of which a share of the recordings is right"
    rng = np.random.default_rng([fold, seed, len(experiment)])
    labels = np.arange(n) % 3
    right = np.repeat(rng.random((n+1)//2) < share, 2)[:n]
    logits = 2*np.eye(3)[np.where(right, labels, (labels+1) % 3)] + .5*rng.normal(size=(n, 3))
    accuracy = float((logits.argmax(1) == labels).mean())
    history = [dict(epoch=i+1, loss=1., accuracy=accuracy*a, seconds=30.) for i, a in enumerate((.5, 1.02, 1.))]
    groups = [f'{fold}{i//2:02}' for i in range(n)]
    row = dict(experiment=experiment, scored_on=scored_on, fold=fold, seed=seed) | ROW | other
    run = Run(row, history, [f'{fold}-{i}.wav' for i in range(n)], groups, labels, logits, classes)
    run.row |= run_metrics(run)
    return run

def of(experiment, folds=range(1, 11), seeds=range(3), **other): return [invented(experiment, fold, seed, **other) for fold in folds for seed in seeds]

def write(folder, runs):
    "A study of these runs"
    first, study = [run for run in runs if run_key(run.row)[0::3] == (runs[0].row['experiment'], runs[0].row['seed'])], Study(folder)
    pool = lambda part: np.concatenate([getattr(run, part) for run in first])
    columns = dict(slice_file_name=pool('names'), fold=np.repeat([run.row['fold'] for run in first], [len(run.names) for run in first]), fsID=pool('groups'))
    class Data(SimpleNamespace):
        def __len__(self): return len(self.labels)
    row = runs[0].row
    study.admit(Data(columns=columns, labels=pool('labels'), classes=runs[0].classes, digest=row['data'], source=row['source'], embedded=row['embedded']))
    for run in runs: run.write(study.path(*run_key(run.row)))
    return folder

BOTH = of('residual-cnn') + of('conv-transformer', share=.7)

# --- ensembles

def test_six_seeds_of_one_network_are_no_ensemble(tmp_path):
    runs = read_results(write(tmp_path/'runs', of('residual-cnn', folds=(1, 2, 3, 4), seeds=range(6))))
    assert {run.row['experiment'] for run in runs} == {'residual-cnn'} and len(runs) == 24

def test_members_are_exactly_those_that_are_named(tmp_path):
    runs = read_results(write(tmp_path/'runs', BOTH + of('duration')))
    made = {name: [run for run in runs if run.row['experiment'] == name] for name in ENSEMBLES}
    assert len(made['ensemble-2']) == 30 and len(made['ensemble-6']) == 10
    for run in made['ensemble-2']: assert run.row['members'] == [f'{name}-seed{run.row["seed"]}' for name in ('residual-cnn', 'conv-transformer')]
    six = sorted(f'{name}-seed{seed}' for name in ('residual-cnn', 'conv-transformer') for seed in range(3))
    for run in made['ensemble-6']: assert sorted(run.row['members']) == six

@pytest.mark.parametrize('missing', [('residual-cnn', 1), ('conv-transformer', 0)])
def test_no_ensemble_without_all_members(missing):
    runs = [run for run in BOTH if run.row['fold'] == 1 and (run.row['experiment'], run.row['seed']) != missing]
    assert combine(runs, 'ensemble-6') == [] and len(combine(runs, 'ensemble-2')) == 2

def test_an_ensemble_is_the_mean_of_probabilities_and_nothing_of_one_member():
    members = [run for run in BOTH if run.row['fold'] == 1]
    [made] = combine(members, 'ensemble-6')
    chances = [np.exp(run.logits)/np.exp(run.logits).sum(1, keepdims=True) for run in members]
    assert np.allclose(np.exp(made.logits), np.mean(chances, 0), atol=1e-6)
    assert made.history == [] and made.row['seed'] is None and made.row['parameters'] == 6*308_538 and made.row['seconds'] == 6*90
    assert not {'recipe', 'network', 'augmentation', 'machine', 'commit', 'threads', 'epochs', 'best_epoch_accuracy', 'last_epoch_accuracy'} & set(made.row)
    row = next(row for row in summarise([made]))
    assert row['oracle_gap'] is None and ['–'] == [cell for cell in table_rows([made])[row['rests_on']][0][7:8]]

def reversed_clips(run): return Run(run.row, run.history, run.names[::-1], run.groups[::-1], run.labels[::-1], run.logits[::-1], run.classes)

@pytest.mark.parametrize('change', ['data', 'code', 'scored_on', 'classes', 'order', 'clips'])
def test_only_what_scored_the_same_clips_is_combined(change):
    one, other = invented('residual-cnn', 1), invented('conv-transformer', 1)
    if change == 'classes': other = invented('conv-transformer', 1, classes=('cat', 'cow', 'hen'))
    elif change == 'order': other = reversed_clips(other)
    elif change == 'clips': other = invented('conv-transformer', 1, n=22)
    else: other.row[change] = 'another'
    with pytest.raises(DataError, match='^ensemble-2, fold 1: its members scored different clips$'): combine([one, other], 'ensemble-2')

# --- means

@pytest.mark.parametrize('key, value', [('data', 'f'*16), ('recipe', {'epochs': 9}), ('network', {'class': 'SBCNN'}), ('augmentation', 'Mixup()'), ('threads', 2),
                                        ('teachers', [['residual-cnn', 0, 'abc']]), ('pretraining', {'epochs': 1}), ('front_end', {'n_mels': 128}), ('code', '0.1'), ('scored_on', 'validation'), ('probe', [50.])])
def test_one_row_is_never_averaged_over_different_runs(key, value):
    runs = of('residual-cnn', (1, 2), (0,)) + [invented('residual-cnn', 3, **{key: value})]
    for average in (by_experiment, summarise, score_table):
        with pytest.raises(DataError, match='residual-cnn: its runs differ'): average(runs)

def test_interval_and_comparison_are_of_the_number_in_the_table():
    small = [invented('residual-cnn', 1, share=1.), invented('residual-cnn', 2, share=0., n=240)]       # folds of 24 and 240 clips count half each
    [row] = summarise(small)
    assert row['low'] - 3 <= row['accuracy'] <= row['high'] + 3 and 40 < row['accuracy'] < 60
    other = [invented('conv-transformer', 1, share=0.), invented('conv-transformer', 2, share=0., n=240)]
    [(better, _, points, _)] = compare(small + other)
    accuracy = {row['experiment']: row['accuracy'] for row in summarise(small + other)}
    assert points == pytest.approx(accuracy[better] - min(accuracy.values()), abs=1e-3)

def test_the_same_without_weights_where_folds_are_equal():
    runs = of('residual-cnn', seeds=(0,))
    correct, groups = (np.concatenate([getattr(run, part) for run in runs]) for part in ('correct', 'groups'))
    [row] = summarise(runs)
    assert (row['low'], row['high']) == pytest.approx(tuple(100*end for end in bootstrap_interval(correct, groups)), abs=.5)

# --- headings

def official(experiment, less=0, **other):
    "A run for each fold of UrbanSound8K with as many clips as the fold has; the first fold may have less"
    return [invented(experiment, fold, n=sum(counts)-less*(fold == 1), **other) for fold, counts in OFFICIAL_COUNTS.items()]

def test_a_heading_is_true_of_all_its_rows():
    text = score_table(official('residual-cnn') + of('duration', (1, 2, 3))).splitlines()
    assert text[0] == 'all ten folds of UrbanSound8K, from 8-bit log-mel pictures:' and text[2].split()[0] == 'residual-cnn'
    assert text[3].startswith('3 folds (1, 2, 3) of UrbanSound8K, from 8-bit log-mel pictures: not comparable') and text[5].split()[0] == 'duration'
    assert 'ten folds' not in '\n'.join(score_table(of('duration', (1, 2, 3))).splitlines()[1:])

def test_embedded_data_are_no_result(tmp_path):
    runs = of('residual-cnn', embedded=True, source='embedded data')
    folder = write(tmp_path/'runs', runs)
    for text in (score_table(runs), report(folder).read_text()): assert 'embedded data, not a result' in text and 'ten folds' not in text
    assert {line['note'] for line in csv.DictReader(write_scores(folder).open())} == {'embedded data, not a result'}
    assert name_folds(official('duration', embedded=True, source='UrbanSound8K')) == 'embedded data, not a result'

@pytest.mark.parametrize('source, less, heading', [
    ('UrbanSound8K', 0, 'all ten folds of UrbanSound8K'), ('danavery/urbansound8K', 0, 'all ten folds of danavery/urbansound8K'),
    ('UrbanSound8K', 1, 'ten folds of UrbanSound8K, 8731 of 8732 clips: not comparable with scores over all of UrbanSound8K'),
    ('UrbanSound8K, 8-bit log-mel pictures', 800, 'ten folds of UrbanSound8K, from 8-bit log-mel pictures, 7932 of 8732 clips: not comparable with scores over all of UrbanSound8K'),
    ('own recordings', 0, 'ten folds of own recordings: not comparable with scores over all of UrbanSound8K'),
    ('own recordings', 9, 'ten folds of own recordings: not comparable with scores over all of UrbanSound8K')])
def test_all_ten_folds_are_all_clips_of_the_official_data(source, less, heading):
    runs = official('duration', less, source=source)
    assert name_folds(runs) == heading and score_table(runs).startswith(f'{heading}:\n')
    complete = official('residual-cnn', source=source)
    headings = {line for line in score_table(runs + complete).splitlines() if line.startswith(('all ten', 'ten folds'))}
    assert headings == {f'{name_folds(complete)}:', f'{heading}:'}

def test_a_row_says_that_its_runs_were_made_with_several_versions(tmp_path):
    runs = [invented('residual-cnn', fold, torch='2.14' if fold < 3 else '2.15\x1b[2J') for fold in (1, 2, 3)]
    others = of('conv-transformer', (1, 2, 3), (0,)) + of('duration', (1, 2, 3), (0,))
    runs += others + combine(runs + others, 'ensemble-2')
    named = [f'{name}: its runs were made with torch 2.14 and 2.15\\x1b[2J' for name in ('residual-cnn', 'ensemble-2')]
    assert mixtures(runs) == named and score_table(runs).splitlines()[-2:] == named
    page = report(write(tmp_path/'runs', [run for run in runs if 'members' not in run.row])).read_text()
    assert all(f'<p>{line}</p>' in page for line in named) and 'duration: its runs' not in page

def test_folds_5_to_9_alone():
    [row] = summarise(of('residual-cnn'))
    assert row['accuracy_5_to_9'] == pytest.approx(100*np.mean([run.row['accuracy'] for run in of('residual-cnn', range(5, 10))]))
    assert summarise(of('residual-cnn', (1, 2, 3, 4, 10)))[0]['accuracy_5_to_9'] is None

# --- comparisons

def test_validation_is_called_validation():
    "Its fold 5 is scored on other clips, so there is no score of folds 5 to 9"
    runs = official('residual-cnn', scored_on='validation')
    assert name_folds(runs) == 'all ten folds of UrbanSound8K, from 8-bit log-mel pictures, scored on validation clips'
    assert summarise(runs)[0]['accuracy_5_to_9'] is None and '–' in score_table(runs)

def test_many_recordings_need_little_memory():
    import tracemalloc
    groups, right = np.arange(20_000), np.random.default_rng(0).random((2, 20_000)) < .7
    tracemalloc.start()
    low, high = bootstrap_interval(right[0], groups)
    _, p = paired_test(*right, groups)
    assert low < right[0].mean() < high and 0 < p <= 1 and tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()

def test_p_values_are_corrected_and_say_so():
    runs = BOTH + of('duration', share=.4)
    pairs, clips = compare(runs), {name: some for name, some in by_experiment(runs).items()}
    mean = lambda name: np.mean([np.concatenate([run.correct for run in clips[name] if run.row['seed'] == seed]) for seed in range(3)], 0)
    groups = np.concatenate([run.groups for run in clips['residual-cnn'] if run.row['seed'] == 0])
    raw = [paired_test(mean('residual-cnn'), mean(other), groups)[1] for other in ('conv-transformer', 'duration')]
    assert [p for *_, p in pairs] == pytest.approx(holm(raw), abs=.01)
    assert comparisons(runs)[0] == 'Paired tests over recordings, p-values corrected for 2 comparisons (Holm):'
    alike = comparisons(of('residual-cnn', share=.7) + of('conv-transformer', share=.7))[1]
    assert alike.endswith(', which may be chance')

def test_other_clips_or_data_are_not_compared():
    assert compare(of('residual-cnn') + of('duration', (1, 2, 3))) == []
    with pytest.raises(DataError, match='different data'): compare(of('residual-cnn') + of('duration', data='f'*16))

def test_a_row_with_few_folds_on_top_hides_no_comparison():
    runs = of('residual-cnn') + of('duration', share=.4)
    few = of('conv-transformer', (1, 2), share=.99)
    assert summarise(runs + few)[0]['experiment'] == 'conv-transformer' and compare(runs + few) == compare(runs) != []

# --- names are names

STRANGE = ('$\\frac$', '<script>alert(1)</script>', '=HYPERLINK("x")\x1b]0;owned\x07\n')

@pytest.fixture(scope='module')
def strange(tmp_path_factory):
    return write(tmp_path_factory.mktemp('strange')/'runs', of('residual-cnn', (1, 2, 3), (0,), classes=STRANGE, source='=1+1\x1b[2J, $\\sum$'))

def test_odd_names_in_the_report(strange):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        page = report(strange).read_text()
    assert '<script' not in page and '\x1b' not in page and '\x07' not in page and '$\\frac$' in page and '&lt;script&gt;' in page

def test_odd_names_in_the_terminal_and_the_spreadsheet(strange):
    text = score_table(read_results(strange)) + write_scores(strange).read_text()
    assert '\x1b' not in text
    [cell] = {line['source'] for line in csv.DictReader((strange/'scores.csv').open())}
    assert cell.startswith("'=")

def test_the_page_needs_nothing_from_elsewhere(tmp_path):
    page = report(write(tmp_path/'runs', BOTH)).read_text()
    for link in ('src=', 'url(', '@import', '<script', '<link'): assert link not in page.replace('url(#', ''), link
    for cell in ('78', ' ± '): assert cell in page
    assert 'white-space:nowrap' in page and 'color-scheme:light dark' in page and 'width=device-width' in page and page.count('<figure') == 3 + 4
    for line in score_table(read_results(tmp_path/'runs')).splitlines()[2:5]:                    # the same words as in the terminal
        for cell in line.split('  '): assert f'>{cell.strip()}<' in page or not cell.strip(), cell

# --- folders

@pytest.mark.parametrize('change', [dict(source='UrbanSound8K'), dict(embedded=False), dict(source='UrbanSound8K', embedded=False)])
def test_a_run_cannot_call_its_data_something_else(tmp_path, change):
    "Embedded sounds are no result, whatever one row, or every row, says"
    runs = of('duration', (1, 2, 3), (0,), embedded=True, source='embedded data')
    folder = write(tmp_path/'runs', runs)
    assert score_table(read_results(folder)).startswith('embedded data, not a result')
    for run in runs:
        run.row |= change
        run.write(Study(folder).path(*run_key(run.row)))
        for read in (read_results, report, write_scores):
            with pytest.raises(DataError, match='predictions.duration-test-fold1-seed0.parquet: not of .*study.json: remove it'): read(folder)

def test_the_same_clips_under_another_name(tmp_path):
    "They may be copied, or come from the Hub: the runs of a study call them what its first run called them"
    first, other = tiny(), tiny()
    other.source = 'someone/tiny'
    for fold, data in ((1, first), (2, other)): run_fold(data, QUICK, fold, folder=tmp_path)
    assert {run.row['source'] for run in read_results(tmp_path)} == {'tiny'} and Study(tmp_path).manifest['source'] == 'tiny'
    other.embedded = True
    with pytest.raises(DataError, match='a study with other embedded'): run_fold(other, QUICK, 3, folder=tmp_path)

def test_a_folder_without_runs(tmp_path):
    with pytest.raises(DataError, match='no finished test runs: run urbansounds_crossval first'): report(tmp_path)
    with pytest.raises(DataError, match='no finished validation runs'): report(write(tmp_path/'runs', of('duration', seeds=(0,))), 'validation')
    assert not (tmp_path/'report.html').exists()

def test_copies_are_not_counted_twice(tmp_path):
    folder = write(tmp_path/'runs', of('duration', (1, 2, 3, 4), (0,)))
    one = next(folder.glob('predictions/*-fold1-*'))
    for name in ('duration-test-fold1-seed0 (conflicted copy).parquet', 'duration-test-fold1-seed7.parquet', 'duration-validation-fold1-seed0.parquet'):
        shutil.copy(one, one.with_name(name))
        for read in (read_results, report, write_scores):
            if 'validation' in name and read != write_scores: continue
            with pytest.raises(DataError, match='fold1'): read(folder)
        one.with_name(name).unlink()
    assert len(read_results(folder)) == 4

def test_every_kind_of_run_is_in_the_spreadsheet(tmp_path):
    folder = write(tmp_path/'runs', BOTH)
    lines = list(csv.DictReader(write_scores(folder).open()))
    assert len(lines) == 60 + 30 + 10 and {line['source'] for line in lines} == {ROW['source']}
    assert {line['recipe'] for line in lines if line['experiment'] == 'ensemble-6'} == {''}
    assert {line['recipe'] for line in lines if line['experiment'] == 'residual-cnn'} == {'{"epochs": 3}'}

# --- on a phone

def test_a_table_that_goes_on_to_the_right_shows_it(tmp_path):
    "A shadow at the right edge, gone at the end of the way; a table that fits has none"
    import shutil as programs
    path = next(filter(None, map(programs.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not path: pytest.skip('chromium is not installed (Debian: apt-get install chromium)')
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: it is part of the extra dev')
    page_file = report(write(tmp_path/'runs', of('residual-cnn', (1, 2, 3)))).absolute().as_uri()
    def edge(page):
        "How much the colours differ in the last pixels of the table's box"
        from PIL import Image
        import io
        box = page.locator('.wide').first.bounding_box()
        clip = dict(x=box['x']+box['width']-30, y=box['y']+3, width=30, height=3)
        pixels = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=clip))).convert('L'), int)
        return int(abs(pixels[:, -1]-pixels[:, 0]).max())
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=['--no-sandbox', '--disable-gpu'])
        page = browser.new_page(viewport=dict(width=390, height=844))
        page.goto(page_file)
        assert edge(page) > 20
        page.locator('.wide').first.evaluate('box => box.scrollLeft = box.scrollWidth')
        assert edge(page) < 20
        page.set_viewport_size(dict(width=1400, height=900))
        page.reload()
        assert edge(page) < 20
        browser.close()
