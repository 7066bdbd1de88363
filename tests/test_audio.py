"One decoder: every sound is read to its end, damage is told, samples of any kind mean the same"
import io, os, resource, shutil, subprocess, threading, time
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
import torch
from urbansounds_nb.audio import (AUDIO_SUFFIXES, Resampler, as_mono_float32, audio_bytes, content_digest, find_audio,
                                  open_audio, read_audio, resample)
from urbansounds_nb.core import DataError

RATE = 22050
TIME = np.arange(5*RATE)/RATE
WAVE = np.where(TIME < 1, .1*np.sin(2*np.pi*440*TIME), .2*np.random.default_rng(0).standard_normal(len(TIME))).clip(-1, 1)

def written(kind, wave=WAVE, rate=RATE, **kwargs):
    "The bytes of a file"
    sf.write(file := io.BytesIO(), wave, rate, format=kind, **kwargs)
    return file.getvalue()

def heard(source, **kwargs):
    "Samples and warnings"
    stream = open_audio(source, **kwargs)
    return np.concatenate(list(stream)), stream.warnings

def by(*command, data=None):
    "What a program makes of the sound, through pipes on both sides"
    if not shutil.which(command[0]): pytest.skip(f'{command[0]} is not installed')
    return subprocess.run(command, input=data or written('WAV'), capture_output=True, check=True).stdout

# --- samples

FORMS = {
    'float32': WAVE.astype(np.float32), 'float64': WAVE, 'float16': WAVE.astype(np.float16), '(n, 1)': WAVE[:, None], '(1, n)': WAVE[None],
    '(n, 2)': np.stack([WAVE, WAVE], 1), '(2, n)': np.stack([WAVE, WAVE]), '(n, 8)': np.stack([WAVE]*8, 1),
    'int16': (WAVE*32767).astype(np.int16), 'uint8': np.round(WAVE*127+128).astype(np.uint8), 'uint16': np.round(WAVE*32767+32768).astype(np.uint16),
    'int8': np.round(WAVE*127).astype(np.int8), '16 in int32': (WAVE*32767).astype(np.int32), '16 in int64': (WAVE*32767).astype(np.int64),
    '24 in int32': (WAVE*2**23).clip(1-2**23, 2**23-1).astype(np.int32), '32 in int32': (WAVE*(2**31-1)).astype(np.int32),
    '24 in int64': (WAVE*2**23).clip(1-2**23, 2**23-1).astype(np.int64), '16 in float32': np.round(WAVE*32767).astype(np.float32),
    'mean of two in float64': np.round(WAVE*32767)/2+np.round(WAVE*32767)/2, 'list': WAVE.tolist(), 'strided': np.repeat(WAVE, 2)[::2],
    'tensor': torch.tensor(WAVE), 'tensor (1, n)': torch.tensor(WAVE, dtype=torch.float32)[None].requires_grad_(), 'tensor (n, 2) int16': torch.tensor((WAVE*32767).astype(np.int16))[:, None].repeat(1, 2),
    'bfloat16': torch.tensor(WAVE).bfloat16()}

@pytest.mark.parametrize('form', FORMS)
def test_one_door_for_samples(form):
    wave = as_mono_float32(FORMS[form], form)
    assert wave.dtype == np.float32 and wave.shape == WAVE.shape
    assert np.abs(wave-WAVE).max() < (.01 if form in ('uint8', 'int8', 'bfloat16') else 1e-3)

REFUSED = {'shape (3, 4, 5)': np.zeros((3, 4, 5)), 'shape (100, 99)': np.zeros((100, 99)), 'no certain scale': WAVE*20000, 'NaN or infinite': np.array([0, np.nan]),
           'NaN or infinite ': np.array([0, -np.inf]), 'type bool': np.ones(9, bool), 'type complex128': np.ones(9, complex), 'type uint32': np.ones(9, np.uint32),
           'type <U1': np.array(['a', 'b']), 'type object': np.array([None, 1]), 'shape (0, 0)': [np.zeros(3), np.zeros(4)], 'shape ()': 3.}

@pytest.mark.parametrize('reason', REFUSED)
def test_uncertain_samples_are_refused(reason):
    with pytest.raises(DataError, match='^a sound: ') as e: as_mono_float32(REFUSED[reason], 'a sound')
    assert reason.strip() in str(e.value) and len(str(e.value).splitlines()) == 1

@pytest.mark.parametrize('gain', [1e-3, .1, 1, 10, 30])
def test_a_level_that_people_have_is_kept(gain):
    assert np.allclose(as_mono_float32(gain*WAVE), gain*WAVE, rtol=1e-6)

# --- what other libraries hand over

class Decoder:
    "As `datasets` 4 has it"
    def get_all_samples(self): return self
    data, sample_rate = torch.tensor(WAVE, dtype=torch.float32)[None], RATE

AS_16_BITS = (WAVE*32767).astype(np.int16)
SOURCES = {
    'librosa': lambda: (WAVE, RATE), 'torchaudio': lambda: (torch.tensor(WAVE)[None], RATE), 'scipy, gradio': lambda: (RATE, AS_16_BITS),
    'float rate': lambda: (WAVE, float(RATE)), 'datasets': lambda: {'array': WAVE, 'sampling_rate': RATE, 'path': None}, 'datasets 4': Decoder,
    'as lists': lambda: {'array': WAVE.tolist(), 'sampling_rate': RATE, 'path': 'x.wav'}, 'undecoded': lambda: {'bytes': written('WAV'), 'path': 'a.wav'},
    'record': lambda: {'audio': {'bytes': written('WAV'), 'path': 'a.wav'}, 'class': 'dog_bark'}, 'bytes': lambda: written('WAV'),
    'bytearray': lambda: bytearray(written('WAV')), 'memoryview': lambda: memoryview(written('WAV')), 'BytesIO': lambda: io.BytesIO(written('WAV')),
    'BytesIO at its end': lambda: (file := io.BytesIO(written('WAV')), file.seek(0, 2))[0], 'chunks': lambda: ((WAVE[n:n+1000] for n in range(0, len(WAVE), 1000)), RATE),
    'chunks (1, n)': lambda: ((AS_16_BITS[None, n:n+1000] for n in range(0, len(WAVE), 1000)), RATE)}

@pytest.mark.parametrize('source', SOURCES)
def test_what_libraries_hand_over(source):
    wave, rate = read_audio(SOURCES[source]())
    assert rate == RATE and wave.shape == WAVE.shape and np.abs(wave-WAVE).max() < 1e-3

@pytest.mark.parametrize('source, reason', [
    (None, 'NoneType is not a sound'), (3, 'int is not a sound'), ({}, 'is not a sound'), ([WAVE, WAVE], 'list is not a sound'), ('', 'no such file'), ('nowhere.wav', 'nowhere.wav: no such file'),
    ('/', 'is a directory'), ('a\0b', 'null'), (b'', 'empty'), (b'a text, no sound'*99, 'not readable as audio'), (io.StringIO('text'), "'rb'"), (WAVE, 'give `rate`'),
    ((WAVE, '44100'), "'44100'"), ((WAVE, 7), '7'), ((WAVE, float('nan')), 'nan'), ((WAVE, True), 'True'), ((np.zeros(0), RATE), 'no samples'), ((iter(()), RATE), 'no samples'),
    ({'bytes': written('WAV'), 'path': 'a.wav', 'start': 9.}, 'a.wav: no sound at 9 s'), ({'bytes': written('WAV'), 'path': 'a.wav', 'start': 2., 'end': 1.}, 'a.wav: a part from'),
    ({'path': 'a.parquet', 'group': 0, 'row': 3}, 'a.parquet: no sound in row 3')])
def test_what_is_no_sound(source, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as e: read_audio(source)
    assert reason in str(e.value) and len(str(e.value).splitlines()) == 1

def test_paths(tmp_path, monkeypatch):
    for name in ('a.wav', 'ä ö 🐕.wav', 'line\nbreak.wav', '-dash.wav', '[x].wav', 'no suffix'): (tmp_path/name).write_bytes(written('WAV'))
    for path in tmp_path.iterdir():
        assert len(read_audio(str(path))[0]) == len(read_audio(path)[0]) == len(WAVE)
        assert '\n' not in open_audio(path).name
    monkeypatch.setenv('HOME', str(tmp_path))
    assert len(read_audio('~/a.wav')[0]) == len(WAVE)
    with open(tmp_path/'a.wav', 'rb') as file: assert len(read_audio(file)[0]) == len(WAVE) and not file.closed

@pytest.mark.parametrize('kind', ['WAV', 'MP3', 'FLAC', 'OGG'])
def test_pipes(kind, tmp_path):
    reader, writer = os.pipe()
    def write():
        with open(writer, 'wb') as file: file.write(written(kind))
    threading.Thread(target=write).start()
    with open(reader, 'rb') as file: assert len(read_audio(file)[0]) == len(WAVE)

# --- headers that are wrong

def announced(data, size):
    "The same WAV file with another size of its samples in the header"
    start = data.index(b'data')+4
    return data[:start] + size.to_bytes(4, 'little') + data[start+4:]

WAV = written('WAV')
@pytest.mark.parametrize('size, warned', [(0, 1), (1000, 1), (0x7FFFF000, 0), (0xFFFFFFFF, 0), (0xFFFFFFFE, 0), (0x80000000, 0)], ids=hex)
def test_wav_that_announces(size, warned):
    wave, warnings = heard(announced(WAV, size), name='a.wav')
    assert len(wave) == len(WAVE) and np.abs(wave-WAVE).max() < 1e-3
    assert len(warnings) == warned and all(warning.startswith(f'a.wav: announces {size} bytes, {2*len(WAVE)} were read') for warning in warnings)

def test_aiff_that_announces_nothing():
    data = written('AIFF')
    start = data.index(b'SSND')+4
    wave, warnings = heard(data[:start] + bytes(4) + data[start+4:])
    assert len(wave) == len(WAVE) and np.abs(wave-WAVE).max() < 1e-3 and len(warnings) == 1

@pytest.mark.parametrize('behind', [b'LIST'+(2000).to_bytes(4, 'little')+b'a'*2000, bytes(9999), b'ID3\3'+b'x'*5000, b'TAG'+b'x'*125, b'x'], ids=lambda data: str(data[:4]))
def test_what_is_behind_the_samples_is_not_read(behind):
    wave, warnings = heard(WAV + behind)
    assert len(wave) == len(WAVE) and not warnings

def test_an_empty_wav_is_empty():
    for data in (announced(WAV[:44], 0), announced(WAV[:44], 0)+b'LIST'+(2000).to_bytes(4, 'little')+b'a'*2000):
        with pytest.raises(DataError, match='no samples'): read_audio(data)

def test_caf_and_w64_from_a_pipe():
    "Their sizes are not known when the header is written: as ffmpeg does it"
    data = written('CAF')
    at = data.index(b'data')+4
    caf = data[:at] + b'\xff'*8 + data[at+8:]
    data = written('W64', subtype='PCM_16')
    at = data.index(b'data')+16
    w64 = data[:16] + b'\xff'*8 + data[24:at] + b'\xff'*7 + b'\x7f' + data[at+8:]
    for piped in (caf, w64):
        with pytest.raises(sf.SoundFileError): sf.read(io.BytesIO(piped))
        wave, warnings = heard(piped)
        assert len(wave) == len(WAVE) and np.abs(wave-WAVE).max() < 1e-3 and not warnings
        part, _ = heard({'bytes': piped, 'path': '', 'start': 3., 'end': 4.})
        assert np.array_equal(part, wave[3*RATE:4*RATE])

def test_more_than_2_gb_that_are_missing():
    "Where sizes have 64 bits, a large one is no sign of a pipe"
    for kind, start, order in (('W64', 16, 'little'), ('CAF', 4, 'big'), ('RF64', None, 'little')):
        data = written(kind)
        at = 28 if kind == 'RF64' else data.index(b'data')+start
        data = data[:at] + (5*10**9).to_bytes(8, order) + data[at+8:]
        with pytest.raises(DataError, match='truncated, 49.* bytes missing'): read_audio(data)

@pytest.mark.parametrize('kind', ['RIFF', 'RF64', 'FORM', 'caff', 'riff'])
def test_chunks_of_impossible_sizes(kind):
    for size in (b'\0'*16, b'\xff'*16, b'\x7f'+b'\xff'*15, b'\0'*7+b'\x80'+b'\xff'*8):
        for name in (b'data', b'junk'):
            with pytest.raises(DataError): read_audio(kind.encode() + (b'....WAVE' + name + size)*40)

def test_a_part_longer_than_any_file(tmp_path):
    sf.write(path := tmp_path/'a.caf', WAVE, RATE, format='CAF')
    data = path.read_bytes()
    path.write_bytes(data[:12] + (2**62).to_bytes(8, 'big') + data[20:])      # no system goes to such a place
    with pytest.raises(DataError, match='a.caf: not readable as audio'): read_audio(path)

@pytest.mark.parametrize('kind', ['WAV', 'WAVEX', 'RF64', 'W64', 'AIFF', 'SVX', 'AU', 'CAF', 'OGG', 'FLAC', 'MP3'])
@pytest.mark.parametrize('share', [.5, .9, .999])
def test_a_cut_file_is_told(kind, share):
    data = written(kind)
    assert len(read_audio(data)[0]) == len(WAVE)
    with pytest.raises(DataError, match='^a sound: .*(truncated|damaged|ends after|not readable)'): read_audio(data[:int(share*len(data))], name='a sound')

def mp3_without_table(**kwargs):
    data = written('MP3', bitrate_mode='VARIABLE', **kwargs)
    return data[data.index(data[:2], max(data.find(b'Xing'), data.find(b'Info'))):]

def test_an_mp3_without_a_table_is_read_to_its_end():
    data = mp3_without_table()
    assert len(sf.read(io.BytesIO(data))[0]) < 4.5*RATE, 'soundfile stops early: else this test shows nothing'
    wave, warnings = heard(data)
    assert 0 <= len(wave)-len(WAVE) < 2*1152 and not warnings
    part, _ = heard({'bytes': data, 'path': '', 'start': 3., 'end': 4.})
    assert np.abs(part-wave[3*RATE:4*RATE])[1152:].max() < 1e-5, 'all but a frame, whose beginning is in the one before'

def test_what_is_behind_an_mp3():
    data = mp3_without_table()
    n_samples = len(heard(data)[0])
    assert len(heard(data + b'TAG' + bytes(125))[0]) == n_samples
    wave, warnings = heard(data[:-40])
    assert 0 < n_samples-len(wave) < 2*1152 and len(warnings) == 1

@pytest.mark.parametrize('kind', ['MP3', 'FLAC', 'WAV'])
@pytest.mark.parametrize('junk', [b'', bytes(17)+b'Info'+bytes(950)], ids=['tag', 'tag and a broken frame'])
def test_a_tag_before_the_sound(kind, junk):
    wave, warnings = heard(b'ID3\3\0\0\0\0\x10\0' + bytes(2048) + junk + written(kind))
    assert len(wave) == len(WAVE) and not warnings

@pytest.mark.parametrize('kind', ['MP3', 'OGG'])
def test_joined_files_are_told(kind):
    wave, warnings = heard(written(kind)*3)
    assert len(wave) == len(WAVE) and 'bytes not read after 5.0 s' in warnings[0]

@pytest.mark.parametrize('command, tolerance', [
    ('ffmpeg -v error -i - -f flac -', 0), ('flac -s -c -', 0), ('ffmpeg -v error -i - -f wav -', 0), ('sox -t wav - -t wav -', 0), ('ffmpeg -v error -i - -f aiff -', 0),
    ('ffmpeg -v error -i - -f au -', 0), ('ffmpeg -v error -i - -f caf -', 0), ('ffmpeg -v error -i - -f w64 -', 0), ('ffmpeg -v error -i - -rf64 always -f wav -', 0), ('ffmpeg -v error -i - -c:a libmp3lame -f wav -', 3*1152),
    ('ffmpeg -v error -i - -c:a libmp3lame -write_xing 0 -q:a 4 -f mp3 -', 3*1152), ('ffmpeg -v error -i - -c:a mp2 -f mp2 -', 3*1152), ('ffmpeg -v error -i - -c:a libvorbis -f ogg -', 0),
    ('sox -t wav - -t flac -', 0), ('sox -t wav - -t ogg -', 0), ('sox -t wav - -t au -', 0), ('lame --quiet -V 4 -t - -', 3*1152)], ids=str)
def test_files_of_other_programs_through_pipes(command, tolerance):
    wave, warnings = heard(by(*command.split()))
    assert abs(len(wave)-len(WAVE)) <= tolerance and all('announces 0 bytes' in warning for warning in warnings)
    assert .8*WAVE.std() < wave.std() < 1.25*WAVE.std()

def test_flac_of_unknown_length_that_is_cut(): # told unless it is cut between two frames
    data = by('ffmpeg', '-v', 'error', '-i', '-', '-f', 'flac', '-')
    with pytest.raises(DataError, match='damaged after'): read_audio(data[:len(data)//2])

def test_mp3_in_wav_that_is_cut(tmp_path):
    by('ffmpeg', '-v', 'error', '-i', '-', '-c:a', 'libmp3lame', str(tmp_path/'a.wav'))
    data = (tmp_path/'a.wav').read_bytes()
    assert 0 <= len(heard(data)[0])-len(WAVE) < 4*1152
    with pytest.raises(DataError, match='truncated'): read_audio(data[:len(data)//2])

# --- level and offset

@pytest.mark.parametrize('offset', [.9, -.5, .01])
@pytest.mark.parametrize('padding', [0, RATE, 5*RATE])
def test_an_offset_is_removed_and_gaps_stay_gaps(offset, padding):
    tone = .05*np.sin(2*np.pi*440*np.arange(4*RATE)/RATE)
    padded = lambda wave: np.concatenate([np.zeros(padding), wave, np.zeros(padding)])
    wave, _ = heard((padded(tone+offset), RATE))
    assert np.abs(wave-padded(tone)).max() < 2e-3
    assert not wave[:padding].any()

@pytest.mark.parametrize('silence', [.1, -.5, 1/128, 1., 3])
@pytest.mark.parametrize('padding', [RATE//5, RATE, 5*RATE])
def test_constant_padding_is_silence(silence, padding):
    "As of 8-bit files whose silence is 127; by an offset of the whole file it would become a step"
    tone = .05*np.sin(2*np.pi*440*np.arange(4*RATE)/RATE)
    padded = lambda silence: np.concatenate([np.full(padding, silence), tone, np.full(padding, silence)]).astype(np.float32)
    for size in (len(padded(0)), 441, 4*RATE):
        wave = np.concatenate(list(open_audio(iter(np.split(padded(silence), range(size, len(padded(0)), size))), RATE)))
        assert np.array_equal(wave, padded(0)), size

def test_padding_of_an_8_bit_file():
    tone = np.round(20*np.sin(2*np.pi*440*np.arange(4*RATE)/RATE))
    sound = np.concatenate([np.full(RATE, 127), 128+tone, np.full(RATE, 127)]).astype(np.uint8)
    data = written('WAV', np.zeros(len(sound)), subtype='PCM_U8')
    wave, _ = heard(data[:-len(sound)] + sound.tobytes())
    assert not wave[:RATE].any() and not wave[-RATE:].any() and np.abs(wave[RATE:-RATE]-tone/128).max() < 1e-3

def test_flat_parts_of_sounds_are_no_padding():
    clipped = (3*np.sin(2*np.pi*60*TIME)).clip(-1, 1).astype(np.float32)
    slow = np.round(4*np.sin(2*np.pi*20*TIME)).astype(np.float32)/128
    square = np.sign(np.sin(2*np.pi*50*TIME)+1e-9).astype(np.float32)
    for wave in (clipped, slow, square): assert np.array_equal(heard((wave, RATE))[0], wave)

def test_endless_infinity_is_refused():
    for value in (np.inf, np.nan):
        with pytest.raises(DataError, match='NaN or infinite'): list(open_audio(iter([np.full(RATE, value)]), RATE))

def test_an_offset_makes_no_click():
    tone = .01*np.sin(2*np.pi*440*np.arange(4*RATE)/RATE)
    wave, _ = heard((tone+.9, RATE))
    assert np.abs(resample(wave, RATE, 16000)).max() < .011
    assert np.abs(resample((tone+.9).astype(np.float32), RATE, 16000)).max() > .9

def test_a_constant_is_silence():
    assert not np.abs(heard((np.full(RATE, .7), RATE))[0]).max() > 1e-6

def test_sounds_without_an_offset_are_not_touched():
    assert np.array_equal(heard((WAVE, RATE))[0], WAVE.astype(np.float32))
    assert np.array_equal(read_audio(written('WAV', subtype='FLOAT'))[0], WAVE.astype(np.float32))

@pytest.mark.parametrize('wave', [WAVE + .3, AS_16_BITS.astype(np.int64), np.concatenate([np.zeros(3*RATE), WAVE+.1])], ids=['offset', 'int64', 'gap'])
def test_the_cut_of_a_stream_changes_nothing(wave):
    whole = np.concatenate(list(open_audio(iter([wave]), RATE)))
    for size in (441, 1000, 4*RATE, 7*RATE):
        cut = np.concatenate(list(open_audio((wave[n:n+size] for n in range(0, len(wave), size)), RATE)))
        assert np.abs(cut-whole).max() < 1e-6
    assert np.abs(heard((wave, RATE))[0]-whole).max() < 1e-6

def test_a_stream_whose_scale_changes_is_refused():
    blocks = lambda: iter([WAVE, AS_16_BITS.astype(float)])
    with pytest.raises(DataError, match='level changes'): list(open_audio(blocks(), RATE))

# --- parts, records

@pytest.mark.parametrize('kind', ['WAV', 'FLAC', 'OGG', 'MP3', 'AIFF'])
def test_a_part_is_what_the_whole_has_there(kind):
    data = written(kind)
    whole, _ = read_audio(data)
    for start, end in ((0, 1.), (1.5, 2.25), (3.999, None)):
        part, rate = read_audio({'bytes': data, 'path': None, 'start': start, 'end': end})
        expected = whole[round(start*RATE):round(end*RATE) if end else None]
        skipped = 1152*(kind == 'MP3')       # a frame may begin in the one before
        assert len(part) == len(expected) and np.abs(part-expected)[skipped:].max() < 1e-5

def test_a_part_of_a_long_recording_reads_no_more(tmp_path):
    with open(tmp_path/'long.wav', 'wb') as file:
        file.write(announced(WAV, 0xFFFFFFFF))
        file.truncate(1_000_000_000)
    begin = time.perf_counter()
    wave, _ = read_audio({'path': str(tmp_path/'long.wav'), 'bytes': None, 'start': 1., 'end': 2.})
    assert np.abs(wave-WAVE[RATE:2*RATE]).max() < 1e-3 and time.perf_counter()-begin < 1

def test_audio_of_records(tmp_path):
    import pyarrow as pa, pyarrow.parquet as pq
    table = pa.table({'audio': [{'bytes': bytes([n])*9, 'path': ''} for n in range(6)]})
    pq.write_table(table, tmp_path/'a.parquet', row_group_size=2)
    with pa.OSFile(str(tmp_path/'a.arrow'), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer: writer.write_table(table)
    assert audio_bytes({'path': str(tmp_path/'a.parquet'), 'group': 2, 'row': 1}) == b'\5'*9
    assert audio_bytes({'path': str(tmp_path/'a.arrow'), 'group': 0, 'row': 4}) == b'\4'*9
    (tmp_path/'a.wav').write_bytes(WAV)
    assert audio_bytes({'path': str(tmp_path/'a.wav'), 'bytes': None}) == WAV
    assert content_digest(WAV) == content_digest(bytearray(WAV)) != content_digest(WAV[:-1])
    assert len(content_digest(WAVE)) == 16

# --- nothing explodes

@pytest.fixture
def small_memory():
    "No more than 600 MB beyond what is in use"
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path('/proc/self/statm').read_text().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 600_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)

@pytest.mark.parametrize('head', [b'RIFF\xff\xff\xff\x7fWAVE', WAV[:36], WAV[:40]+bytes(4), b'FORM\0\0\0\0AIFF', b'OggS', b'fLaC', b'.snd', b'\xff\xfb\x90\0'], ids=str)
def test_a_header_followed_by_100_mb_of_zeros(head, tmp_path, small_memory):
    with open(tmp_path/'a.wav', 'wb') as file:
        file.write(head)
        file.truncate(100_000_000)
    begin = time.process_time()
    try: next(iter(open_audio(tmp_path/'a.wav')))
    except DataError: pass
    assert time.process_time()-begin < 1

def test_a_clip_of_9_gb(tmp_path, small_memory):
    with open(tmp_path/'a.wav', 'wb') as file:
        file.write(announced(WAV, 0xFFFFFFFF))
        file.truncate(9_000_000_000)
    begin = time.process_time()
    with pytest.raises(DataError, match='longer than 300 s'): read_audio(tmp_path/'a.wav')
    with pytest.raises(DataError, match='9.0 GB'): audio_bytes({'path': str(tmp_path/'a.wav')})
    assert time.process_time()-begin < 3

def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    path = tmp_path/'a.wav'
    sf.write(path, np.tile(WAVE, 20), RATE)
    blocks = iter(open_audio(path))
    next(blocks)
    os.truncate(path, 500_000)
    with pytest.raises(DataError, match='ends after'): list(blocks)

def test_a_disk_that_fails(capfd):
    class Broken(io.BytesIO):
        def read(self, n=-1):
            if self.tell() > 100_000: raise OSError(5, 'Input/output error')
            return super().read(n)
    with pytest.raises((DataError, OSError)): read_audio(Broken(WAV))
    assert 'Traceback' not in capfd.readouterr().err

# --- folders

def test_every_sound_of_a_folder_is_answered_or_named(tmp_path):
    for name in ('b.wav', 'A.FLAC', 'deep/er/c.mp3', 'without_suffix', 'odd.dat'):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_bytes(written('WAV'))
    for name in ('a.m4a', 'film.mp4', 'x.wma'): (tmp_path/name).write_bytes(b'...')
    for name in ('notes.txt', '.DS_Store', '._b.wav', 'list.csv', 'picture.webp'): (tmp_path/name).write_bytes(b'RIFF....WEBP')
    os.mkfifo(tmp_path/'pipe.wav')
    (tmp_path/'broken.wav').symlink_to(tmp_path/'nowhere')
    (tmp_path/'.hidden').mkdir()
    (tmp_path/'.hidden'/'h.wav').write_bytes(WAV)
    files, passed_over = find_audio(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in files] == ['A.FLAC', 'b.wav', 'deep/er/c.mp3', 'odd.dat', 'without_suffix']
    assert {path.name for path, _ in passed_over} == {'a.m4a', 'film.mp4', 'x.wma', 'pipe.wav', 'broken.wav'}
    assert dict((path.name, reason) for path, reason in passed_over)['a.m4a'] == 'no reader for .m4a: convert it to WAV or FLAC'

HEADS = {'mp4': b'\0\0\0\x20ftypM4B ', 'matroska': b'\x1aE\xdf\xa3\x9fB\x86\x81', 'asf': b'0&\xb2u\x8ef\xcf\x11', 'dsf': b'DSD \x1c\0\0\0', 'tta': b'TTA1\1\0\1\0',
         'musepack': b'MPCKSH\x0f\0', 'adts': b'\xff\xf1P\x80', 'flv': b'FLV\1\5\0\0\0', 'avi': b'RIFF\xff\0\0\0AVI LIST', 'amr': b'#!AMR\n<\x91\x17'}
@pytest.mark.parametrize('name', [f'x.{suffix}' for suffix in ('m4b', '3gpp', 'dsf', 'tta', 'mpc', 'weba', 'mp4', 'flv')] + ['unknown', 'x.other', 'x.bak'])
def test_sounds_that_we_cannot_read_are_named(tmp_path, name):
    "By suffix, by the kind that the system has for it, or by the first bytes"
    (tmp_path/'b.wav').write_bytes(WAV)
    for head in [*HEADS.values()] + [b''.join(HEADS.values())]*(name.startswith('x.') and name[2:] not in ('other', 'bak')):
        (tmp_path/name).write_bytes(head + bytes(99))
        sounds, passed_over = find_audio(tmp_path)
        assert [path.name for path in sounds] == ['b.wav']
        (path, reason), = passed_over
        assert path.name == name and reason.startswith('no reader for') and 'convert it' in reason

@pytest.mark.parametrize('name, data', [('a.txt', b'MAC address: 1'), ('a.csv', b'ID3,x\n1,2\n'), ('list.m3u', b'#EXTM3U\nb.wav\n'), ('x.heic', b'\0\0\0\x18ftypheic\0\0'), ('p.png', b'\x89PNG\r\n\x1a\n'),
    ('utf16.txt', 'a text'.encode('utf-16')), ('n.npy', b'\x93NUMPY\1\0'), ('p.jpg', b'\xff\xd8\xff\xe0'), ('empty', b''), ('w.webp', b'RIFF\xff\0\0\0WEBPVP8')])
def test_what_is_no_sound_is_left_out(tmp_path, name, data):
    (tmp_path/'b.wav').write_bytes(WAV)
    (tmp_path/name).write_bytes(data)
    assert find_audio(tmp_path) == ([tmp_path/'b.wav'], [])

@pytest.mark.parametrize('kind', ['WAV', 'AIFF', 'CAF', 'FLAC', 'OGG', 'MP3'])
def test_a_sound_of_any_name_is_a_sound(tmp_path, kind):
    for name in ('recording', 'x.tmp'): (tmp_path/name).write_bytes(written(kind))
    assert len(find_audio(tmp_path)[0]) == 2

def test_one_folder_by_two_ways_is_read_once(tmp_path):
    (tmp_path/'a').mkdir()
    (tmp_path/'a'/'1.wav').write_bytes(WAV)
    (tmp_path/'b').symlink_to(tmp_path/'a')
    sounds, passed_over = find_audio(tmp_path, follow_links=True)
    assert sounds == [tmp_path/'a'/'1.wav'] and passed_over == [(tmp_path/'b', f'the same folder as {tmp_path}/a: read once')]

def test_linked_folders_are_told_or_followed(tmp_path):
    (tmp_path/'real').mkdir()
    (tmp_path/'real'/'a.wav').write_bytes(WAV)
    (tmp_path/'here').mkdir()
    (tmp_path/'here'/'b.wav').write_bytes(WAV)
    (tmp_path/'here'/'there').symlink_to(tmp_path/'real')
    (tmp_path/'here'/'loop').symlink_to(tmp_path/'here')
    (tmp_path/'real'/'back').symlink_to(tmp_path/'here')
    files, passed_over = find_audio(tmp_path/'here')
    assert [path.name for path in files] == ['b.wav'] and {path.name for path, _ in passed_over} == {'there', 'loop'}
    files, passed_over = find_audio(tmp_path/'here', follow_links=True)
    assert sorted(path.name for path in files) == ['a.wav', 'b.wav'] and not passed_over

def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path/'locked').mkdir()
    (tmp_path/'a.wav').write_bytes(WAV)
    real = os.scandir
    def scandir(path):
        if 'locked' in str(path): raise PermissionError(13, 'Permission denied', str(path))
        return real(path)
    monkeypatch.setattr(os, 'scandir', scandir)
    files, passed_over = find_audio(tmp_path)
    assert len(files) == 1 and [(path.name, reason[:17]) for path, reason in passed_over] == [('locked', 'Permission denied')]

def test_patterns_and_folders_without_a_sound(tmp_path, monkeypatch):
    for name in ('a.wav', 'b.wav', 'c[1].wav', 'notes.txt'): (tmp_path/name).write_bytes(WAV)
    assert len(find_audio(f'{tmp_path}/*.wav')[0]) == 3
    assert find_audio(tmp_path/'c[1].wav') == ([tmp_path/'c[1].wav'], [])
    assert find_audio(tmp_path/'nowhere.wav') == ([tmp_path/'nowhere.wav'], [])
    monkeypatch.setenv('HOME', str(tmp_path))
    assert len(find_audio('~')[0]) == 4 and len(find_audio('~/*.wav')[0]) == 3      # a text that is a WAV file is one
    (tmp_path/'empty').mkdir()
    (tmp_path/'empty'/'a.m4a').write_bytes(b'')
    for nothing in (tmp_path/'empty', f'{tmp_path}/*.ogg'):
        with pytest.raises(DataError, match='no sound in it'): find_audio(nothing)
    for nothing in ('', ' '):
        with pytest.raises(DataError, match='no name'): find_audio(nothing)

def test_suffixes_are_what_soundfile_reads():
    kinds = {f'.{kind.lower()}' for kind in sf.available_formats()}
    assert kinds - set(AUDIO_SUFFIXES) == {'.raw', '.mat4', '.mat5', '.sd2', '.mpc2k'}, 'without a header, or seldom a sound'

# --- sample rates

@pytest.mark.parametrize('rate, new_rate', [(44100, 22050), (8000, 22050), (22050, 22050), (11024, 22050)])
def test_a_stream_is_resampled_like_the_whole(rate, new_rate):
    wave = WAVE[:2*rate].astype(np.float32)
    stream = Resampler(rate, new_rate)
    parts = [stream.chunk(wave[n:n+999], n+999 >= len(wave)) for n in range(0, len(wave), 999)]
    whole = resample(wave, rate, new_rate)
    assert abs(len(np.concatenate(parts))-len(whole)) <= 1
    n = min(len(whole), len(np.concatenate(parts)))
    assert np.abs(np.concatenate(parts)[:n]-whole[:n]).max() < 1e-4

@pytest.mark.parametrize('rates', [(.5, 22050), (22050, .5), (0, 22050), (22050, 0), (22050, -8000), (22050, float('nan')), ('44100', 22050), (22050, None), (22050, 10**9)], ids=str)
def test_rates_that_cannot_be(rates):
    "soxr would end the process"
    for function in (lambda: Resampler(*rates), lambda: resample(WAVE, *rates)):
        with pytest.raises(DataError, match='a sample rate of'): function()
