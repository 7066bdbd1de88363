"Lines of the issues about records and about what people bring that no other test holds"
import pytest
from urbansounds_nb.commands import urbansounds_prepare
from urbansounds_nb.features import prepare_features

@pytest.mark.parametrize('option, private', [([], False), (['--private'], True)])
def test_a_data_set_is_published_for_oneself_alone_where_asked_for(option, private, three_folds, tmp_path, monkeypatch):
    import huggingface_hub
    sent, folder = [], tmp_path/'mels'
    monkeypatch.setenv('HF_TOKEN', 'hf_marker')
    monkeypatch.setattr(huggingface_hub.HfApi, 'create_repo', lambda self, **how: sent.append((how['repo_id'], how['private'])))
    monkeypatch.setattr(huggingface_hub.HfApi, 'upload_folder', lambda self, **how: sent.append((how['repo_id'], how['folder_path'])))
    urbansounds_prepare.main(['--data', str(three_folds), '--folder', str(folder), '--push-to-hub', 'me/mels', *option])
    assert sent == [('me/mels', private), ('me/mels', prepare_features(folder))]
