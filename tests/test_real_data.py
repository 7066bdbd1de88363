"The real recordings, where they are: twelve native files, three folds"
from collections import Counter
import librosa
import numpy as np
import pytest
import soundfile as sf
from conftest import REAL
from urbansounds_nb.audio import audio_bytes, read_audio, resample
from urbansounds_nb.dataset import OFFICIAL_COUNTS, count_clips, load_clips, validate_clips
from urbansounds_nb.spectrogram import FRONT_ENDS, LogMel

pytestmark = pytest.mark.recordings       # in the folder URBANSOUNDS_DATA

@pytest.fixture(scope='module')
def native(): return load_clips(REAL/'native'/'UrbanSound8K')

@pytest.fixture(scope='module')
def folds(tmp_path_factory):
    "The three folds alone: their folder holds other lists, too"
    place = tmp_path_factory.mktemp('folds')
    for fold in 1, 2, 10: (place/f'fold{fold}.parquet').symlink_to(REAL/f'fold{fold}.parquet')
    return load_clips(place)

def test_the_native_files(native):
    infos = [sf.info(clip['audio']['path']) for clip in native]
    assert len(native) == 12 and {info.samplerate for info in infos} >= {22050, 44100, 48000, 96000}
    assert {info.subtype for info in infos} >= {'PCM_16', 'PCM_24'} and 'WAVEX' in {info.format for info in infos} and {info.channels for info in infos} == {1, 2}
    assert not validate_clips(native, checksums=REAL/'sha256.csv')
    wave, rate = read_audio(native[0]['audio'])
    assert wave.ndim == 1 and abs(len(wave)/rate - (native[0]['end'] - native[0]['start'])) < .01

def test_a_changed_bit_is_noticed(native, tmp_path):
    clip, path = dict(native[0]), tmp_path/native[0]['slice_file_name']
    data = bytearray(audio_bytes(clip['audio']))
    data[-100] ^= 1
    path.write_bytes(data)
    problem, = validate_clips([clip | {'audio': {'path': str(path), 'bytes': None}}], checksums=REAL/'sha256.csv')
    assert 'SHA-256' in problem

def test_the_three_folds(folds):
    assert Counter(clip['fold'] for clip in folds) == {1: 873, 2: 888, 10: 837}
    assert count_clips(folds) == {fold: OFFICIAL_COUNTS[fold] for fold in (1, 2, 10)}
    assert all(clip['audio']['bytes'] is None for clip in folds)                  # read when asked for, not before
    problems = validate_clips(folds, counts={fold: OFFICIAL_COUNTS[fold] for fold in (1, 2, 10)})
    lasting = [line for line in problems if 'the same sound' not in line]
    assert [line.split(':')[0] for line in lasting] == ['fold10/26344-4-1-0.wav'], problems     # lasts longer than its metadata say

@pytest.mark.parametrize('front_end', FRONT_ENDS)
def test_spectrograms_equal_librosas(native, folds, front_end):
    front_end = LogMel(**FRONT_ENDS[front_end])
    for clip in [*native, *folds[::20]]:
        wave, rate = read_audio(clip['audio'])
        if front_end.sample_rate: wave, rate = resample(wave, rate, front_end.sample_rate), front_end.sample_rate
        power = librosa.feature.melspectrogram(y=wave, sr=rate, n_fft=front_end.n_fft, hop_length=front_end.hop_length, n_mels=front_end.n_mels)
        theirs = librosa.power_to_db(power, ref=np.max if front_end.relative else 1., top_db=front_end.top_db, amin=1e-30 if front_end.relative else 1e-10)
        # most are within .001; a frame of 55 to 75 dB in single precision has up to .005 (page 01 uses double only above 75 dB)
        assert np.abs(front_end.clip_mel(wave, rate).numpy() - theirs).max() < .01, clip['slice_file_name']

def test_a_spectrogram_is_the_same_through_parquet_and_file(folds):
    clip, front_end = folds[500], LogMel()
    wave, rate = read_audio(clip['audio'])
    assert np.array_equal(front_end.clip_mel(wave, rate), front_end.clip_mel(*read_audio(audio_bytes(clip['audio']))))
