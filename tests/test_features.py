"Prepared data: damage is named, identity is content, a changed front end is refused, any level gives the same"
import json, os, shutil
import numpy as np
import pyarrow as pa, pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch
from urbansounds_nb.audio import audio_bytes, content_digest
from urbansounds_nb.core import DataError
from urbansounds_nb.dataset import load_clips
from urbansounds_nb.features import load_features, load_source, prepare_features, prepared_parts
from urbansounds_nb.spectrogram import FRONT_ENDS, LogMel

@pytest.fixture(scope='module')
def prepared(three_folds, tmp_path_factory):
    return prepare_features(three_folds, folder=tmp_path_factory.mktemp('features')/'mel64', progress=False)

@pytest.fixture
def copy(prepared, tmp_path): return shutil.copytree(prepared, tmp_path/'copy')

def write_list(folder, sound, times=(10**9, 10**9)):
    "Forty clips of two classes; sizes and times do not depend on the sound"
    folder.mkdir()
    lines = ['path,class,fold']
    for n in range(40):
        sf.write(folder/f'{n}.wav', sound(n), 8000, subtype='PCM_16')
        os.utime(folder/f'{n}.wav', times)
        lines.append(f'{n}.wav,{"ab"[n%2]},{1+n//8}')
    (folder/'list.csv').write_text('\n'.join(lines) + '\n')
    return folder

def test_every_flipped_byte_is_noticed_or_harmless(prepared, copy):
    data, rng = load_features(prepared), np.random.default_rng(0)
    part = copy/'part-00000.parquet'
    whole, refused = part.read_bytes(), 0
    # the last bytes hold the footer, where a checksum of the pages does not reach
    places = [*rng.integers(0, len(whole), 40), *rng.integers(len(whole)-8000, len(whole), 40)]
    for place in places:
        part.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << int(rng.integers(8))]) + whole[place+1:])
        try: found = load_features(copy)
        except DataError as e: refused += 'part-00000.parquet' in str(e) or str(copy) in str(e)
        else: assert found.digest == data.digest and torch.equal(found.mel, data.mel), place
    assert refused > 50

@pytest.mark.parametrize('error', [OSError(24, 'Too many open files'), PermissionError(13, 'Permission denied'), pa.ArrowMemoryError('realloc')])
def test_what_is_no_damage_is_not_called_so(copy, monkeypatch, error):
    "Nobody may delete sound data because of it"
    def fail(*args, **kwargs): raise error
    monkeypatch.setattr(pq, 'read_schema', fail)
    with pytest.raises(type(error)): load_features(copy)

def test_prepared_data_in_another_front_end(prepared):
    with pytest.raises(DataError, match='n_mels 64, not 128'): prepare_features(prepared, 'mel128', progress=False)

def test_prepared_data_do_not_go_to_another_folder(prepared, tmp_path):
    with pytest.raises(DataError, match='give the data with their sounds'): prepare_features(prepared, folder=tmp_path/'there', progress=False)
    assert not list(tmp_path.iterdir())

def test_a_part_cut_off_is_made_again(three_folds, copy, prepared):
    part = copy/'part-00000.parquet'
    part.write_bytes(part.read_bytes()[:9000])
    with pytest.raises(DataError, match='part-00000.parquet: damaged'): load_features(copy)
    prepare_features(three_folds, folder=copy, progress=False)
    assert torch.equal(load_features(copy).mel, load_features(prepared).mel)

def test_identity_is_content_not_name_size_or_time(tmp_path, monkeypatch):
    monkeypatch.setenv('URBANSOUNDS_CACHE', str(tmp_path/'cache'))
    rng = np.random.default_rng(0)
    tone = lambda n: .5*np.sin(np.arange(4000)*.1*(1+n/40))
    tones = write_list(tmp_path/'tones', tone)
    noise = write_list(tmp_path/'noise', lambda n: rng.uniform(-.5, .5, 4000))
    first, second = (load_source(folder, progress=False) for folder in (tones, noise))
    assert first.digest != second.digest and not torch.equal(first.mel, second.mel)
    assert load_source(write_list(tmp_path/'again', tone), progress=False).digest == first.digest

def test_an_older_front_end_is_refused_and_made_again(three_folds, copy, monkeypatch):
    before = load_features(copy).mel
    forward = LogMel.forward
    monkeypatch.setattr(LogMel, 'forward', lambda self, *args: .5*forward(self, *args))
    with pytest.raises(DataError, match='another version of the front end'): load_features(copy)
    prepare_features(three_folds, folder=copy, progress=False)
    assert torch.allclose(load_features(copy).mel.float(), .5*before.float(), atol=.05)

def test_parts_of_two_data_sets_do_not_mix(three_folds, copy, tmp_path):
    other = prepare_features(load_clips(three_folds)[:60], folder=tmp_path/'other', progress=False)
    shutil.copy(other/'part-00000.parquet', copy/'part-00001.parquet')
    with pytest.raises(DataError, match='belongs to another data set'): load_features(copy)

def test_a_folder_of_something_else_is_left_alone(three_folds, tmp_path):
    (tmp_path/'README.md').write_text('mine')
    with pytest.raises(DataError, match='holds something else'): prepare_features(three_folds, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ['README.md']

def test_what_a_stranger_reads(prepared):
    about = json.loads(pq.read_schema(prepared/'part-00000.parquet').metadata[b'urbansounds'])
    assert about['embedded'] in (True, False) and len(about['classes']) == 10 and about['key']
    assert str(prepared.parent) not in (prepared/'README.md').read_text()

@pytest.mark.parametrize('name', FRONT_ENDS)
def test_level_changes_nothing(name):
    front_end = LogMel(**FRONT_ENDS[name])
    wave = torch.randn(1, 30_000, generator=torch.manual_seed(0))*torch.linspace(0, 1, 30_000)
    heard = front_end(wave, 22050)
    for gain in (1e-3, .03, 20., 1e3): assert (front_end(gain*wave, 22050)-heard).abs().max() < .01

@pytest.mark.parametrize('name', FRONT_ENDS)
def test_silence_around_a_sound_changes_nothing(name):
    front_end = LogMel(**FRONT_ENDS[name])
    rng = np.random.default_rng(0)
    wave = rng.normal(size=20*front_end.hop_length).astype(np.float32)
    zeros = np.zeros(86*front_end.hop_length, np.float32)
    alone, with_zeros = (front_end.clip_mel(w, 22050) for w in (wave, np.concatenate([zeros, wave, zeros])))
    # windows longer than two hops contain some sound before its first frame
    early = front_end.n_fft//2//front_end.hop_length - 1
    difference = front_end.fit(with_zeros)[:, early:early+18] - front_end.fit(alone)[:, :18]
    assert difference.abs().max() < .01

def test_reasons_name_the_clip_and_no_folder(three_folds, tmp_path):
    "Prepared parts are published, and the name of a customer may be in a path"
    place = tmp_path/'confidential'
    place.mkdir()
    clips = load_clips(three_folds)[:40]
    sounds = [{'bytes': None if n in (3, 8) else audio_bytes(clip['audio']), 'path': clip['slice_file_name']} for n, clip in enumerate(clips)]
    pq.write_table(pa.table({'audio': sounds, 'class': clips.itemgot('class')}), place/'x.parquet')
    folder = prepare_features(place/'x.parquet', folder=tmp_path/'mels', progress=False)
    assert [reason.split(':')[0] for _, reason in next(iter(prepared_parts(folder).values()))['left_out']] == [clips[n]['slice_file_name'] for n in (3, 8)]
    assert not [path for path in folder.iterdir() if b'confidential' in path.read_bytes()]

@pytest.mark.parametrize('value', [None, 3, 'x', [], {}, [None], [[1]], {'a': 'b'}, 10**9, -1, 1e300])
@pytest.mark.parametrize('name', ['front_end', 'probe', 'classes', 'source', 'embedded', 'parts', 'key', 'left_out', 'counts', None])
def test_a_part_that_says_what_cannot_be(copy, name, value):
    "Whole parts of a stranger, whose description has other types or numbers: one line, no memory, no traceback"
    path = copy/'part-00000.parquet'
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b'urbansounds'])
    about = about | {name: value} if name else value
    text = json.dumps(about).encode()
    pq.write_table(table.replace_schema_metadata({'urbansounds': text, 'urbansounds_digest': content_digest(text)}), path)
    if name == 'left_out' and value in ([], {}) or name in ('source', 'key') and value == 'x': return    # texts and empty lists can be true
    with pytest.raises(DataError): load_features(copy)

def test_counts_that_fill_the_memory_are_refused(copy):
    path = copy/'part-00000.parquet'
    table = pq.read_table(path)
    about = json.loads(table.schema.metadata[b'urbansounds'])
    text = json.dumps(about | {'counts': {'siren': 10**9}}).encode()
    pq.write_table(table.replace_schema_metadata({'urbansounds': text, 'urbansounds_digest': content_digest(text)}), path)
    with pytest.raises(DataError, match='part-00000.parquet: damaged'): load_features(copy)
