"The same clips from every source: folder, archive, parquet, Arrow, Hub"
import io, tarfile
from pathlib import Path
import pytest
from urbansounds_nb.dataset import COLUMNS, HUB_ID, HUB_REVISION, DataError, load_clips, read_audio, read_bytes

@pytest.fixture(scope='module')
def clips(three_folds): return load_clips(three_folds)

@pytest.fixture(scope='module')
def table(clips):
    "The clips with their sounds inside, as `datasets` holds them"
    from datasets import Audio, Dataset
    records = [clip | {'audio': {'bytes': read_bytes(clip['audio']), 'path': clip['slice_file_name']}} for clip in clips]
    return Dataset.from_list(records).cast_column('audio', Audio(decode=False))

def assert_same(found, clips):
    "Same columns in every record, and the same sound, bit by bit"
    by_name = {clip['slice_file_name']: clip for clip in found}
    assert len(found) == len(clips) == len(by_name)
    for clip in clips:
        other = by_name[clip['slice_file_name']]
        assert tuple(other) == COLUMNS and [other[c] for c in COLUMNS[1:]] == [clip[c] for c in COLUMNS[1:]]
        assert read_bytes(other['audio']) == read_bytes(clip['audio'])

def test_a_parent_of_the_official_folder(three_folds, clips, tmp_path):
    (tmp_path/'UrbanSound8K').symlink_to(three_folds)
    assert_same(load_clips(tmp_path), clips)

@pytest.mark.parametrize('inner', ['UrbanSound8K', '.'])
def test_an_archive_extracted_once(three_folds, clips, tmp_path, inner):
    with tarfile.open(tmp_path/'UrbanSound8K.tar.gz', 'w:gz', compresslevel=1) as archive: archive.add(three_folds, inner)
    assert_same(load_clips(tmp_path/'UrbanSound8K.tar.gz'), clips)
    made = (tmp_path/'UrbanSound8K'/'metadata').stat()
    assert_same(load_clips(tmp_path/'UrbanSound8K.tar.gz'), clips)
    assert (tmp_path/'UrbanSound8K'/'metadata').stat().st_ctime_ns == made.st_ctime_ns and len(list(tmp_path.iterdir())) == 2

@pytest.mark.parametrize('name', ['../outside.txt', '/tmp/urbansounds-outside.txt'])
def test_an_archive_writes_nothing_outside(tmp_path, name):
    (tmp_path/'in').mkdir()
    with tarfile.open(tmp_path/'in'/'evil.tar.gz', 'w:gz') as archive:
        member = tarfile.TarInfo(name)
        member.size = 4
        archive.addfile(member, io.BytesIO(b'evil'))
    with pytest.raises(DataError, match='evil.tar.gz'): load_clips(tmp_path/'in'/'evil.tar.gz')
    assert [path.name for path in tmp_path.rglob('*')] == ['in', 'evil.tar.gz'] and not Path('/tmp/urbansounds-outside.txt').exists()

def test_parquet_with_several_row_groups(table, clips, tmp_path):
    table.to_parquet(tmp_path/'all.parquet', batch_size=7)
    assert_same(load_clips(tmp_path/'all.parquet'), clips)
    assert_same(load_clips(tmp_path), clips)

def test_an_arrow_copy(table, clips, tmp_path):
    table.save_to_disk(tmp_path/'copy', num_shards=2)
    found = load_clips(tmp_path/'copy')
    assert len({clip['audio']['path'] for clip in found}) == 2 and found[0]['audio']['bytes'] is None     # read when asked for
    assert_same(found, clips)

@pytest.mark.parametrize('source, revision', [(HUB_ID, HUB_REVISION), (f'{HUB_ID}@abc123', 'abc123'), ('someone/else', None)])
def test_the_hub(table, clips, tmp_path, monkeypatch, source, revision):
    import huggingface_hub
    (tmp_path/'data').mkdir()
    table.to_parquet(tmp_path/'data'/'train-00000-of-00001.parquet')
    asked = []
    monkeypatch.setattr(huggingface_hub, 'snapshot_download', lambda *args, **kwargs: asked.append((args, kwargs)) or str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert_same(load_clips(source), clips)
    (args, kwargs), = asked
    assert args == (source.partition('@')[0],) and kwargs['revision'] == revision and kwargs['repo_type'] == 'dataset'

def test_a_hub_that_cannot_be_reached(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HF_HOME', str(tmp_path))
    with pytest.raises(DataError, match=r'^someone/nothing: .*local copy$'): load_clips('someone/nothing')

def test_a_pinned_revision_is_a_commit(): assert len(HUB_REVISION) == 40 and int(HUB_REVISION, 16)
