"Sources that a notebook cannot show without a network: the Hub, and copies that `datasets` wrote"
import huggingface_hub
import pyarrow as pa, pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset
from urbansounds_nb.dataset import HUB_ID, HUB_REVISION, load_clips, read_audio, read_bytes

@pytest.fixture
def clips(three_folds): return load_clips(three_folds)

def as_rows(clips): return [clip | {'audio': {'bytes': read_bytes(clip['audio']), 'path': clip['slice_file_name']}} for clip in clips]

@pytest.mark.parametrize('name, revision', [(HUB_ID, HUB_REVISION), (f'{HUB_ID}@abc123', 'abc123'), ('somebody/sounds', None)])
def test_the_hub(clips, tmp_path, monkeypatch, name, revision):
    (tmp_path/'data').mkdir()
    pq.write_table(pa.Table.from_pylist(as_rows(clips)), tmp_path/'data'/'train-00000.parquet', row_group_size=40)
    asked = {}
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', lambda name, **kwargs: asked.update(kwargs, name=name) or tmp_path)
    found = load_clips(name)
    assert asked['name'] == name.split('@')[0] and asked['revision'] == revision and asked['repo_type'] == 'dataset'
    assert [clip['slice_file_name'] for clip in found] == [clip['slice_file_name'] for clip in clips]
    assert read_bytes(found[50]['audio']) == read_bytes(clips[50]['audio'])

def test_a_copy_saved_by_datasets(clips, tmp_path):
    Dataset.from_list(as_rows(clips)).cast_column('audio', Audio(decode=False)).save_to_disk(str(tmp_path/'saved'))
    found = load_clips(tmp_path/'saved')
    assert [clip['fold'] for clip in found] == [clip['fold'] for clip in clips]
    for a, b in zip(found[::17], clips[::17]):
        (wave_a, rate_a), (wave_b, rate_b) = read_audio(a['audio']), read_audio(b['audio'])
        assert rate_a == rate_b and (wave_a == wave_b).all()

def test_publishing(three_folds, tmp_path, monkeypatch):
    "What would be sent to the Hub: the prepared data, then its card, both with the token"
    from urbansounds_nb.spectrogram import urbansounds_prepare
    sent = []
    monkeypatch.setenv('HF_TOKEN', 'hf_marker')
    monkeypatch.setattr(Dataset, 'push_to_hub', lambda self, name, token: sent.append((name, self.num_rows, token)))
    monkeypatch.setattr(huggingface_hub.HfApi, 'upload_file', lambda self, path_or_fileobj, **kwargs: sent.append((kwargs['repo_id'], path_or_fileobj.decode(), self.token)))
    urbansounds_prepare(str(three_folds), str(tmp_path/'mels'), push_to_hub='me/mels')
    (data_name, rows, data_token), (card_name, card, card_token) = sent
    assert (data_name, rows, card_name) == ('me/mels', 90, 'me/mels') and data_token == card_token == 'hf_marker'
    assert '| siren | 9 |' in card and 'hf_marker' not in card
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and b'hf_marker' in path.read_bytes()]
