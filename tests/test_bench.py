"Benchmarks: what they compare is equal, their results are kept, and the table says what the files say"
import csv
from pathlib import Path
import pytest
import torch
from urbansounds_nb import bench
from urbansounds_nb.dataset import DataError

FOLDER = Path(__file__).resolve().parent.parent/'bench'

def test_both_front_ends_say_the_same():
    rows = bench._spectrogram_times('synthetic', quick=True)
    differences = [row for row in rows if row['unit'] == 'dB']
    assert len(differences) == 2 and all(row['met'] == 'yes' for row in differences)
    assert {row['against'] for row in rows} >= {'librosa', 'Fourier transforms alone'}

def test_files_at_high_rates(): assert bench._native_times('synthetic', quick=True)[0]['clips'] == 3

def test_a_step_of_attention():
    (_, theirs), (_, ours) = (bench.in_process(bench._attention_step, network, 2, 1, threads=1).value for network in (bench.PublishedTransformer, bench.AudioTransformer))
    print(f'2 x 128 x 1501: {theirs:.0f} MB the published way, {ours:.0f} MB here')
    assert theirs > 2*ours       # more with more clips, where fixed costs do not count

def test_a_process_that_fails():
    with pytest.raises(DataError, match='ended without a result'): bench.in_process(max, 3)

def test_a_command_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    calls = []
    def measure(data, quick):
        calls.append(quick)
        return [bench.compared('a race', 's', 2., 10., 'on foot', bar=4)]
    monkeypatch.setattr(bench, 'CLAIMS', dict(front_end=measure, growth=measure))
    bench.urbansounds_bench(['growth'], results=tmp_path, quick=True)
    assert calls == [True] and 'small inputs' in (tmp_path/'README.md').read_text()
    bench.urbansounds_bench([], results=tmp_path)                   # quick results give way
    assert calls == [True, False, False]
    bench.urbansounds_bench(['all'], results=tmp_path)
    assert len(calls) == 3 and 'measured before' in capsys.readouterr().out
    assert 'small inputs' not in (tmp_path/'README.md').read_text() and '| a race | 2 s | 10 (on foot) | 5 | 4 | yes |' in (tmp_path/'README.md').read_text()

def test_the_table_says_what_the_files_say(tmp_path):
    for path in FOLDER.glob('*.csv'): (tmp_path/path.name).write_bytes(path.read_bytes())
    bench._write_readme(tmp_path)
    assert (tmp_path/'README.md').read_text() == (FOLDER/'README.md').read_text()
    for claim in bench.CLAIMS: assert tuple(next(csv.reader((FOLDER/f'{claim}.csv').open()))) == bench.FIELDS

def test_the_parts_of_a_step_lose_their_names_again():
    before = torch.Tensor.backward, torch.nn.functional.cross_entropy
    epoch = bench.Epochs('cnn1d', 32)
    with bench._with_names(epoch): assert torch.Tensor.backward is not before[0]
    assert (torch.Tensor.backward, torch.nn.functional.cross_entropy) == before and 'forward' not in vars(epoch.model)
