"Lines of the issues about records and about what people bring that no other test holds"
import json, os, re
from pathlib import Path
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

PAGES = {path.stem: [''.join(cell['source']) for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']
         for path in sorted((Path(__file__).parents[1]/'nbs').glob('*.ipynb'))}
READING = [name for name, cells in PAGES.items() if any(re.search(r'\.\./(results|bench)', cell) for cell in cells)]

@pytest.mark.parametrize('name', READING)
def test_a_page_that_reads_files_of_the_repository_runs_from_its_root_too(name, tmp_path, monkeypatch):
    "VSCode and others start notebooks there; the others start them in nbs/, which has no folder nbs"
    before = next(n for n, cell in enumerate(PAGES[name]) if re.search(r'\.\./(results|bench)', cell))
    line, = [line for cell in PAGES[name][:before+1] for line in cell.splitlines() if 'os.chdir(' in line and "'nbs'" in line]
    (tmp_path/'nbs').mkdir()
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(line, dict(Path=Path, os=os))
        assert Path.cwd() == tmp_path/'nbs'
    imports = '\n'.join(PAGES[name])
    assert re.search(r'^import .*\bos\b', imports, re.M) and 'from pathlib import Path' in imports

def test_pages_that_read_files_are_known(): assert {'04a_cluster', '04c_report', '05_results', '05a_honest', '08_speed', '09_robustness'} <= {*READING}
