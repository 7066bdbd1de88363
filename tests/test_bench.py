"Benchmarks: what they compare is equal, results are kept, and the table says what the files say"
import csv
import sys
from pathlib import Path
import pytest
import torch
from urbansounds_nb.core import DataError

FOLDER = Path(__file__).resolve().parent.parent/'bench'
sys.path.insert(0, str(FOLDER))
import claims    # noqa: E402
import measure   # noqa: E402
import run       # noqa: E402

def test_both_front_ends_agree():
    rows = claims.spectrogram_times('synthetic', quick=True)
    differences = [row for row in rows if row['unit'] == 'dB']
    assert len(differences) == 2 and all(row['met'] == 'yes' for row in differences)
    assert {row['against'] for row in rows} >= {'librosa', 'Fourier transforms alone'}

def test_attention_needs_less_memory():
    networks = claims.PublishedTransformer, claims.AudioTransformer
    (_, theirs), (_, ours) = (measure.in_process(claims.attention_step, network, 2, 1, threads=1).value for network in networks)
    assert theirs > 2*ours

def test_repeated_clips_can_be_prepared(tmp_path):
    assert 30 < claims.write_repeated('synthetic', tmp_path/'mels', 40) < 40
    assert list((tmp_path/'mels').glob('part-*.parquet'))

def test_the_operators_of_a_step_have_names():
    shares = claims.operator_shares(2, 1)
    assert sum(shares.values()) == pytest.approx(100) and shares['convolutions, backward'] > shares['ReLU, backward'] > 0, shares
    assert shares['convolutions, forward'] > 0 and shares['batch normalisation'] > 0, shares

def test_several_trainings_at_once():
    steps, memory = claims.steps_per_second(2, True, 32, 1)
    assert steps > 0 and memory == 0

def test_without_a_gpu_its_benchmark_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(SystemExit, match='no GPU that PyTorch can use'): run.main(['gpu', '--results', '/nowhere'])

def test_a_process_that_fails():
    with pytest.raises(DataError, match='ended without a result'): measure.in_process(max, 3)

def test_a_row_is_judged_by_its_bar():
    assert measure.compared('a race', 's', 2., 10., bar=4)['met'] == 'yes'
    assert measure.compared('a race', 's', 2., 10., bar=6)['met'] == 'no'
    assert measure.compared('a race', 's', 2., bar=1)['met'] == 'no'
    assert measure.compared('a race', 's', 2.)['met'] is None

def test_a_command_continues_where_it_stopped(tmp_path, monkeypatch, capsys):
    calls = []
    def race(data, quick):
        calls.append(quick)
        return [measure.compared('a race', 's', 2., 10., 'on foot', bar=4)]
    for name in measure.NAMES: monkeypatch.setattr(claims, name, race)
    run.main(['growth', '--quick', '--results', str(tmp_path)])
    assert calls == [True] and 'small inputs' in (tmp_path/'README.md').read_text()
    run.main(['growth', '--results', str(tmp_path)])
    assert calls == [True, False]
    run.main(['growth', '--results', str(tmp_path)])
    assert len(calls) == 2 and 'measured before' in capsys.readouterr().out
    text = (tmp_path/'README.md').read_text()
    assert 'small inputs' not in text and '| a race | 2 s | 10 (on foot) | 5 | 4 | yes |' in text

def test_the_table_says_what_the_files_say(tmp_path):
    for path in FOLDER.glob('*.csv'): (tmp_path/path.name).write_bytes(path.read_bytes())
    measure.write_readme(tmp_path)
    assert (tmp_path/'README.md').read_text() == (FOLDER/'README.md').read_text()
    for claim in measure.NAMES:
        if claim == 'gpu' and not (FOLDER/'gpu.csv').exists(): continue   # made where there is one
        assert tuple(next(csv.reader((FOLDER/f'{claim}.csv').open()))) == measure.FIELDS

def test_the_parts_of_a_step_lose_their_names_again():
    before = torch.Tensor.backward, torch.nn.functional.cross_entropy
    epoch = claims.Epochs('cnn1d', 32)
    with claims.with_names(epoch): assert torch.Tensor.backward is not before[0]
    assert (torch.Tensor.backward, torch.nn.functional.cross_entropy) == before and 'forward' not in vars(epoch.model)
