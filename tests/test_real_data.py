"The real recordings, where they are: twelve native files, three folds, the official metadata"
import csv, os
from collections import Counter
from pathlib import Path
import librosa
import numpy as np
import pytest
import soundfile as sf
from urbansounds_nb.dataset import (OFFICIAL_COUNTS, SPLIT_RECORDINGS, check_folds, count_clips, leaked_share, load_clips, load_parquet, read_audio,
                                    read_bytes, resample, validate_clips)
from urbansounds_nb.spectrogram import SETTINGS, LogMel

DATA = Path(os.environ.get('URBANSOUNDS_DATA') or Path(__file__).parents[2]/'shared'/'data')
if not (DATA/'fold1.parquet').exists(): pytest.skip('the real recordings are not here (URBANSOUNDS_DATA)', allow_module_level=True)

@pytest.fixture(scope='module')
def native(): return load_clips(DATA/'native')

@pytest.fixture(scope='module')
def folds(): return load_clips(DATA)

@pytest.fixture(scope='module')
def metadata(): return list(csv.DictReader((DATA/'UrbanSound8K.csv').open()))

def test_the_native_files(native):
    infos = [sf.info(clip['audio']['path']) for clip in native]
    assert len(native) == 12 and {info.samplerate for info in infos} >= {22050, 44100, 48000, 96000}
    assert {info.subtype for info in infos} >= {'PCM_16', 'PCM_24'} and 'WAVEX' in {info.format for info in infos} and {info.channels for info in infos} == {1, 2}
    report = validate_clips(native, checksums=DATA/'sha256.csv')
    assert not report.problems, report
    wave, rate = read_audio(native[0]['audio'])
    assert wave.ndim == 1 and abs(len(wave)/rate - (native[0]['end'] - native[0]['start'])) < .01

def test_a_changed_bit_is_noticed(native, tmp_path):
    clip, path = dict(native[0]), tmp_path/native[0]['slice_file_name']
    data = bytearray(read_bytes(clip['audio']))
    data[-100] ^= 1
    path.write_bytes(data)
    report = validate_clips([clip | {'audio': {'path': str(path), 'bytes': None}}], checksums=DATA/'sha256.csv')
    assert len(report.problems) == 1 and 'SHA-256' in report.problems[0]

def test_the_three_folds(folds):
    assert Counter(clip['fold'] for clip in folds) == {1: 873, 2: 888, 10: 837}
    assert count_clips(folds) == {fold: OFFICIAL_COUNTS[fold] for fold in (1, 2, 10)}
    assert all(clip['audio']['bytes'] is None for clip in folds)                  # read when asked for, not before
    report = validate_clips(folds, counts={fold: OFFICIAL_COUNTS[fold] for fold in (1, 2, 10)})
    assert [line.split(':')[0] for line in report.problems] == ['fold10/26344-4-1-0.wav'], report     # lasts longer than its metadata say

@pytest.mark.parametrize('setting', SETTINGS)
def test_spectrograms_equal_librosas(native, folds, setting):
    front_end = LogMel(**SETTINGS[setting])
    for clip in [*native, *folds[::20]]:
        wave, rate = read_audio(clip['audio'])
        if front_end.sample_rate: wave, rate = resample(wave, rate, front_end.sample_rate), front_end.sample_rate
        power = librosa.feature.melspectrogram(y=wave, sr=rate, n_fft=front_end.n_fft, hop_length=front_end.hop_length, n_mels=front_end.n_mels)
        theirs = librosa.power_to_db(power, ref=np.max if front_end.relative else 1., top_db=front_end.top_db)
        assert np.abs(front_end.clip_mel(wave, rate).numpy() - theirs).max() < 1e-3, clip['slice_file_name']

def test_a_random_tenth_leaks(metadata):
    groups, rng = np.array([line['fsID'] for line in metadata]), np.random.default_rng(0)
    assert len(metadata) == 8732 and len(set(groups)) == 1297
    shares = [leaked_share(groups, rng.permutation(8732) < 873) for _ in range(20)]
    assert abs(np.mean(shares) - .967) < .005, np.mean(shares)

def test_the_five_split_recordings(metadata):
    groups, folds = ([int(line[name]) for line in metadata] for name in ('fsID', 'fold'))
    assert check_folds(groups, folds) == sorted(SPLIT_RECORDINGS)
    found = Counter((int(line['fsID']), int(line['fold']), line['class']) for line in metadata if int(line['fsID']) in SPLIT_RECORDINGS)
    assert found == {(group, fold, name): n for group, sides in SPLIT_RECORDINGS.items() for fold, (name, n) in sides.items()}
    assert {fold: tuple(Counter(int(line['classID']) for line in metadata if int(line['fold']) == fold)[c] for c in range(10)) for fold in range(1, 11)} == OFFICIAL_COUNTS

def test_a_spectrogram_is_the_same_through_parquet_and_file(folds):
    clip = folds[500]
    assert load_parquet([DATA/'fold1.parquet'])[500]['slice_file_name'] == clip['slice_file_name']
    wave, rate = read_audio(clip['audio'])
    front_end = LogMel()
    assert np.array_equal(front_end.clip_mel(wave, rate), front_end.clip_mel(*read_audio(read_bytes(clip['audio']))))
