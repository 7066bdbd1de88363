"What would be sent to the Hub: the prepared data, then its card, both with the token, which stands in no file"
import huggingface_hub
from datasets import Dataset
from urbansounds_nb.spectrogram import urbansounds_prepare

def test_publishing(three_folds, tmp_path, monkeypatch):
    sent = []
    monkeypatch.setenv('HF_TOKEN', 'hf_marker')
    monkeypatch.setattr(Dataset, 'push_to_hub', lambda self, name, token: sent.append((name, self.num_rows, token)))
    monkeypatch.setattr(huggingface_hub.HfApi, 'upload_file', lambda self, path_or_fileobj, **kwargs: sent.append((kwargs['repo_id'], path_or_fileobj.decode(), self.token)))
    urbansounds_prepare(str(three_folds), str(tmp_path/'mels'), push_to_hub='me/mels')
    (data_name, rows, data_token), (card_name, card, card_token) = sent
    assert (data_name, rows, card_name) == ('me/mels', 90, 'me/mels') and data_token == card_token == 'hf_marker'
    assert '| siren | 9 |' in card and 'hf_marker' not in card
    assert not [path for path in tmp_path.rglob('*') if path.is_file() and b'hf_marker' in path.read_bytes()]
