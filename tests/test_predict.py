"Prediction beyond what cells can test: the command in processes, odd and endless sounds, level, silence"
import csv, io, json, os, shutil, subprocess, sys
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import REAL
from urbansounds_nb.audio import read_audio
from urbansounds_nb.core import DataError
from urbansounds_nb.models import build_classifier, default_classifier
from urbansounds_nb.predict import (Prediction, Segment, as_json, as_text, classify, classify_each,
    classify_stream, classify_windows, is_silence, merge_segments, print_predictions, summarise_segments, Window, windows)
from urbansounds_nb.synthetic import CLASSES, synthesise

ROOT = Path(__file__).resolve().parents[1]
DOG = synthesise('dog_bark', 1)

@pytest.fixture
def dog(tmp_path):
    sf.write(tmp_path/'dog.wav', DOG, 22050)
    return tmp_path/'dog.wav'

@pytest.fixture(scope='module')
def relative():
    "A model of today's front end, not trained; its answers depend on what it is given all the same"
    torch.manual_seed(0)
    return build_classifier('residual-cnn', CLASSES)

# --- the command, as typed

def strict(text):
    "JSON as every program reads it"
    def refuse(name): raise ValueError(name)
    return json.loads(text, parse_constant=refuse)

def test_one_file_in_an_empty_folder(typed, dog, tmp_path):
    (tmp_path/'empty').mkdir()
    env = os.environ | {'HOME': str(tmp_path/'empty'), 'HF_HUB_OFFLINE': '1'}
    done = typed('urbansounds_predict', dog, cwd=tmp_path/'empty', env=env)
    assert done.returncode == 0 and done.stderr == '' and not list((tmp_path/'empty').iterdir())
    assert done.stdout == as_text(classify(dog)) + '\n'

def test_text_json_and_csv_say_the_same(typed, tmp_path):
    sf.write(tmp_path/'long.wav', np.concatenate([synthesise('siren', 0, 6.), np.zeros(6*22050)]), 22050)
    text, by_json, by_csv = (typed('urbansounds_predict', tmp_path/'long.wav', *option) for option in ([], ['--json'], ['--csv']))
    assert text.returncode == by_json.returncode == by_csv.returncode == 0
    found, rows = strict(by_json.stdout), list(csv.DictReader(io.StringIO(by_csv.stdout)))
    assert set(found) == set(Prediction._fields) and set(found['segments'][0]) == set(Segment._fields)
    assert [row['label'] for row in rows] == [part['label'] for part in found['segments']] and rows[-1]['label'] == 'silence'
    for name in ('label', 'nearest_class', 'reason'): assert rows[0][name] == found['segments'][0][name]
    assert found['seconds'] == 12 and found['segments'][0]['start'] == 0 and found['segments'][-1]['end'] == 12
    assert found['label'] in text.stdout.splitlines()[0] and len(text.stdout.splitlines()) == 1+len(rows)

def test_a_folder(typed, dog, tmp_path):
    for name in ('a', 'long_name'): shutil.copy(dog, tmp_path/f'{name}.wav')
    sf.write(tmp_path/'none.flac', np.zeros(9000), 22050)
    for name, data in {'talk.m4a': b'any', 'empty.wav': b'', 'cut.wav': dog.read_bytes()[:9000], 'notes.txt': b'no'}.items():
        (tmp_path/name).write_bytes(data)
    done = typed('urbansounds_predict', '.', cwd=tmp_path)
    lines, errors = done.stdout.splitlines(), done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 4
    column = len('long_name.wav') + 2
    assert all(line[column-1] == ' ' != line[column] for line in lines)                            # aligned
    for name in ('talk.m4a', 'empty.wav', 'cut.wav'): assert sum(name in line and line.startswith('error: ') for line in errors) == 1
    assert errors[-1].startswith('total: ') and '3 not classified' in errors[-1] and '1 silence' in errors[-1] and len(errors) == 4

def test_odd_names(typed, dog, tmp_path):
    folder = tmp_path/'odd'
    folder.mkdir()
    names = [b'a[1]*.wav', b'two words=1.wav', b'\xff\xfe.wav', '\u72ac.wav'.encode(), b'-1.wav', b'=1,2.wav', b'\x1b[2J\n.wav', b'~.wav']
    for name in names: shutil.copy(dog, os.fsencode(folder)+b'/'+name)
    for option in ([], ['--csv'], ['--json']):
        done = typed('urbansounds_predict', *option, '--', *map(os.fsdecode, names), cwd=folder, encoding='utf-8')
        n_lines = len(done.stdout.splitlines())
        assert done.returncode == 0 and n_lines == 8 + (option == ['--csv']) and '\x1b' not in done.stdout, done.stderr
        if option == ['--csv']: assert "'=1,2.wav" in [row[0] for row in csv.reader(io.StringIO(done.stdout))]

def test_names_that_the_shell_leaves_alone(typed, dog, tmp_path):
    env = os.environ | {'HOME': str(tmp_path), 'URBANSOUNDS_CACHE': str(tmp_path/'cache')}
    done = typed('urbansounds_predict', '~/dog.wav', '', '-', env=env, input=None, stdin=open(dog, 'rb'))
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 2 and "''" in done.stderr, done.stdout + done.stderr

def test_linked_folders(typed, dog, tmp_path):
    "Named and not read, unless they are asked for; a circle of links ends"
    folder, other = tmp_path/'sounds', tmp_path/'elsewhere'
    for place in (folder, other): place.mkdir()
    shutil.copy(dog, folder/'a.wav')
    shutil.copy(dog, other/'b.wav')
    (folder/'link').symlink_to(other)
    (other/'back').symlink_to(folder)
    done = typed('urbansounds_predict', folder)
    assert done.returncode == 1 and len(done.stdout.splitlines()) == 1
    assert f'error: {folder/"link"}: a linked folder' in done.stderr and '--follow-links' in done.stderr
    done = typed('urbansounds_predict', folder, '--follow-links', '--json')
    assert done.returncode == 0 and 'link' not in done.stderr.replace(str(folder), ''), done.stderr
    assert [strict(line)['name'] for line in done.stdout.splitlines()] == [str(folder/'a.wav'), str(folder/'link'/'b.wav')]
    assert '--follow-links' in typed('urbansounds_predict', '--help').stdout

def test_standard_input_through_a_pipe(typed, dog):
    script = Path(sys.executable).parent/'urbansounds_predict'
    done = subprocess.run([script, '-'], input=dog.read_bytes(), capture_output=True)
    assert done.returncode == 0 and done.stdout.startswith(b'<stdin>  '), done.stderr

def test_a_pipe_of_another_encoding_loses_nothing(typed, dog, tmp_path):
    names = ('a.wav', '\U0001f415.wav', 'b.wav')
    for name in names: shutil.copy(dog, tmp_path/name)
    done = typed('urbansounds_predict', *names, cwd=tmp_path, env=os.environ | {'PYTHONIOENCODING': 'cp1252'}, encoding='cp1252')
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 3 and '\\U0001f415.wav' in done.stdout, done.stderr

@pytest.mark.parametrize('arguments, words', [
    ([], 'no sound given'), (['a.wav', '--checkpoint', 'none.safetensors'], 'no such checkpoint'), (['a.wav', '--checkpoint', 'me/none'], 'Hub'),
    (['.'], 'no sound in it'), (['a.wav'], 'correct the name'), (['*.mp3'], '*.mp3'), (['a.wav', '--hop', '0'], 'hop'), (['a.wav', '--csv', '--json'], 'json')])
def test_one_line_for_wrong_use(typed, tmp_path, arguments, words):
    done = typed('urbansounds_predict', *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2) and words in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr, done.stderr
    if done.returncode == 1: assert len(done.stderr.splitlines()) == 1

def test_card_and_a_reader_that_goes_away(dog):
    script = Path(sys.executable).parent/'urbansounds_predict'
    card = subprocess.run([script, '--card'], capture_output=True, text=True)
    assert card.returncode == 0 and 'CC BY-NC 4.0' in card.stdout and 'Salamon' in card.stdout
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([script, dog, dog], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == '', done.stderr

def test_mic_says_what_is_missing(typed, tmp_path):
    (tmp_path/'sounddevice.py').write_text('raise OSError("PortAudio library not found")')
    done = typed('urbansounds_predict', '--mic', env=os.environ | {'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 1 and 'pip install sounddevice' in done.stderr and len(done.stderr.splitlines()) == 1

FAKE = '''
import numpy as np
class PortAudioError(Exception): pass
class InputStream:
    def __init__(self, samplerate, channels, dtype): self.left = 60
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def read(self, n):
        self.left -= 1
        if not self.left: raise KeyboardInterrupt
        return np.random.default_rng(self.left).normal(0, 1e-6, (n, 1)).astype('float32'), False
'''

def test_mic_answers(typed, tmp_path):
    (tmp_path/'sounddevice.py').write_text(FAKE)
    done = typed('urbansounds_predict', '--mic', env=os.environ | {'PYTHONPATH': str(tmp_path)})
    assert [line.split()[-1] for line in done.stdout.splitlines()][:1] == ['silence'] and 'Traceback' not in done.stderr, done.stderr

def test_a_fresh_process_loads_nothing_heavy(dog, tmp_path):
    "And a script needs no main guard"
    code = f'''import sys, urbansounds_nb.predict as predict
predict.classify({str(dog)!r})
print(*[name for name in ('datasets', 'wandb', 'sklearn', 'pandas', 'librosa', 'matplotlib', 'onnx', 'huggingface_hub') if name in sys.modules])'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr

# --- what is said

def test_an_answer_that_was_refused_says_why_everywhere(capsys):
    tone = .5*np.sin(2*np.pi*1500*np.arange(4*22050)/22050)
    torch.manual_seed(0)
    never = build_classifier('residual-cnn', CLASSES)
    never.min_confidence = .99
    found = classify(tone, 22050, classifier=never)
    assert found.label == 'unknown' and found.nearest_class in CLASSES and 'probability below 99 %' in found.reason
    assert found.probability == found.probabilities[found.nearest_class] == max(found.probabilities.values())
    assert f'nearest {found.nearest_class} {100*found.probability:.0f} %' in as_text(found) and found.reason in as_text(found)
    for item in (strict(as_json(found)), strict(as_json(found))['segments'][0]):
        assert {'label', 'nearest_class', 'probability', 'distance', 'reason'} <= set(item) and item['label'] == 'unknown'

def test_headline_and_bars_agree():
    rng = np.random.default_rng(0)
    def window(start):
        values = dict(zip(CLASSES, rng.dirichlet(np.ones(10)/2).tolist()))
        nearest = max(values, key=values.get)
        kind = int(rng.integers(4))
        if kind == 0: return Segment(start, start+4, 'silence', '', 0., 0., '', dict.fromkeys(CLASSES, 0.))
        return Segment(start, start+4, 'unknown' if kind == 1 else nearest, nearest, values[nearest], rng.uniform(0, 30), 'far'*(kind == 1), values)
    for _ in range(300):
        segments = merge_segments([window(start) for start in range(rng.integers(1, 30))])
        found = summarise_segments('x', segments)
        seconds = {label: sum(s.end-s.start for s in segments if s.label == label) for label in {s.label for s in segments}}
        for item in (found, *segments):
            if item.label in CLASSES: assert item.nearest_class == item.label
            if item.label == 'silence': assert (item.nearest_class, item.probability) == ('', 0)
            else: assert abs(item.probability - max(item.probabilities.values())) < 1e-9 and item.probabilities[item.nearest_class] == item.probability
            assert bool(item.reason) == (item.label == 'unknown')
        assert found.label == 'silence' if set(seconds) == {'silence'} else seconds[found.label] == max(t for label, t in seconds.items() if label != 'silence')
        assert all(a.end == b.start and a.label != b.label for a, b in zip(segments, segments[1:]))

def test_a_long_recording_is_not_a_line_a_second(relative, tmp_path, capsys):
    rng = np.random.default_rng(0)
    parts = [synthesise(CLASSES[rng.integers(10)], n, 2.) for n in range(60)]
    sf.write(tmp_path/'long.flac', np.concatenate(parts), 22050)
    assert print_predictions([str(tmp_path/'long.flac')]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= 22

# --- any sound

@pytest.mark.parametrize('rate', [8000, 11024, 22050, 44100, 96000, 192000])
@pytest.mark.parametrize('seconds', [.01, .05, 1, 4, 4.001, 9.7])
def test_any_rate_and_length(rate, seconds):
    found = classify(synthesise('siren', 0, seconds, rate), rate)
    assert abs(found.seconds-seconds) < .026 and found.segments[-1].end == found.seconds           # less than a frame is left out
    assert len(found.segments) == 1 or seconds > 4.02
    assert all(a.end == b.start for a, b in zip(found.segments, found.segments[1:]))

def test_one_sample(): assert classify(np.ones(1), 192000).label == 'silence'

def test_what_other_libraries_hand_over(dog):
    stereo, librosa, wave = np.stack([DOG, DOG]), (DOG, 22050), torch.tensor(DOG)
    sounds = [dog, str(dog), dog.read_bytes(), io.BytesIO(dog.read_bytes()), open(dog, 'rb'), librosa, (wave[None], 22050), (stereo, 22050), (stereo.T, 22050),
              (22050, (32767*DOG).astype(np.int16)), {'bytes': dog.read_bytes(), 'path': None}, {'array': DOG, 'sampling_rate': 22050, 'path': 'a'},
              {'audio': {'bytes': None, 'path': str(dog)}}]
    found = [classify(sound) for sound in sounds]
    assert all(isinstance(p, Prediction) for p in found)
    assert np.ptp([p.probabilities['dog_bark'] for p in found]) < .01
    assert [p.label for p in classify(sounds[:2])] == [found[0].label]*2 == [p.label for p in classify(iter(sounds[:2]))]
    assert [p.label for p in classify(dog.parent)] == [found[0].label]

def test_integers_are_the_same_sound():
    waves = (DOG, DOG.astype(np.float64), (DOG*32767).astype(np.int16), (DOG*32767).astype(np.int64), (DOG*2.**31*.999).astype(np.int32), torch.tensor(DOG))
    assert np.ptp([classify(wave, 22050).probabilities['dog_bark'] for wave in waves]) < .01

@pytest.mark.parametrize('how, words', [
    (dict(batch_size=0), 'batch_size is 0'), (dict(batch_size='8'), 'batch_size'), (dict(hop=0), 'hop is 0'), (dict(hop=float('nan')), 'hop is nan'), (dict(hop=5), 'at most 4')])
def test_settings_out_of_range(how, words):
    with pytest.raises(DataError, match=words): classify(DOG, 22050, **how)

@pytest.mark.parametrize('sound, rate', [
    (DOG, '44100'), (DOG, 0), (DOG, -1), (DOG, True), (DOG, float('nan')), ([], 0), ((), 0), ('', 0), (7, 0), (None, 0), (np.zeros(0), 22050), (np.zeros((2, 3, 4)), 22050),
    ([.1, .2], 22050), ([[]], 0), ('https://example.org/a.wav', 0)])
def test_one_line_for_what_is_no_sound(sound, rate):
    with pytest.raises(DataError) as caught: classify(sound, rate)
    assert len(str(caught.value).splitlines()) == 1

def test_chunks_of_every_shape():
    same = [[s[:4] for s in classify_stream(chunks, 22050)] for chunks in ([DOG], [DOG[None]], [DOG[:, None]], [torch.tensor(DOG)], np.split(DOG, 4))]
    assert all(segments == same[0] for segments in same)
    for rate in ('44100', 0, None):
        with pytest.raises(DataError): list(classify_stream([DOG], rate))

SOUND = DOG[:22050]
WRONG = {
    'no chunks': lambda: list(classify_stream(5, 22050)), 'no chunks at all': lambda: list(classify_stream(None, 22050)),
    'a name as chunks': lambda: list(classify_stream('dog.wav', 22050)), 'samples as chunks': lambda: list(classify_stream(SOUND, 22050)),
    'chunks of text': lambda: list(classify_stream(['x'], 22050)), 'a stream that ends at once': lambda: list(classify_stream([], 22050)),
    'windows of no chunks': lambda: list(windows(5, 22050, 22050)), 'windows of a name': lambda: list(windows('a.wav', 22050, 22050)),
    'windows of None': lambda: list(windows([None], 44100, 22050)), 'windows of 3 axes': lambda: list(windows([np.zeros((2, 3, 4))], 44100, 22050)),
    'a length as text': lambda: list(windows([SOUND], 22050, 22050, length='4')), 'no length': lambda: list(windows([SOUND], 22050, 22050, length=0)),
    'a hop of NaN': lambda: list(windows([SOUND], 22050, 22050, hop=float('nan'))), 'no segments': lambda: summarise_segments('x', []),
    'nothing merged': lambda: summarise_segments('x', merge_segments([])), 'an empty window': lambda: is_silence(np.zeros(0), 22050),
    'an empty window classified': lambda: classify_windows([Window(0., 0., SOUND[:0], 22050)], default_classifier())} | {
    f'{rates}': lambda rates=rates: list(windows([SOUND], *rates))
    for rate in ('22050', None, 0, -1, .5, float('nan'), float('inf'), [22050]) for rates in ((rate, 22050), (22050, rate))}

@pytest.mark.parametrize('what', WRONG)
def test_one_line_for_wrong_arguments(what):
    with pytest.raises(DataError) as caught: WRONG[what]()
    assert len(str(caught.value).splitlines()) == 1 and 'Error' not in str(caught.value)

@pytest.mark.parametrize('rate', [22050, 44100])
def test_windows_take_what_arrays_there_are(rate):
    "Kinds and shapes of chunks, as `classify_stream` does"
    wave = synthesise('dog_bark', 1, 5., rate)
    same = [[window.wave for window in windows(chunks, rate, 22050)] for chunks in (
        [wave], [wave.astype(float)], [np.stack([wave]*2, 1)], [torch.tensor(wave)], [list(map(float, wave))])]
    for found in same[1:]: assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(found, same[0], strict=True))

# --- level and silence

def probabilities(wave, classifier, rate=22050): return np.array(list(classify(wave, rate, classifier=classifier).probabilities.values()))

def test_the_level_does_not_matter(relative):
    assert relative.front_end.relative
    rng = np.random.default_rng(0)
    for label in CLASSES:
        wave = synthesise(label, int(rng.integers(99)))
        as_is = probabilities(wave, relative)
        assert as_is.sum() > .99
        for gain in (-40, -20, 10, 20): assert np.abs(probabilities(wave*10**(gain/20), relative)-as_is).max() < .01, (label, gain)

def test_zeros_and_offsets_are_no_sound(relative):
    wave, rate = synthesise('drilling', 2, 2.), 22050
    as_is, zeros = probabilities(wave, relative), np.zeros(2*rate, np.float32)
    for changed in (np.concatenate([zeros, wave]), np.concatenate([wave, zeros]), np.concatenate([zeros[:rate], wave, zeros[:rate]])):
        assert np.abs(probabilities(changed, relative)-as_is).max() < .1
    for offset in (.9, -.5): assert np.abs(probabilities(wave+offset, relative)-as_is).max() < .02
    high = synthesise('drilling', 2, 4., 44100)
    assert np.abs(probabilities(high+.9, relative, 44100)-probabilities(high, relative, 44100)).max() < .02

def test_silence():
    rng, n = np.random.default_rng(0), 5*22050
    step = 2.**-15
    rounding = np.round(rng.uniform(-.5, .5, (n, 2)).sum(1))*step
    for wave in (np.zeros(100), np.zeros(9*22050), np.full(22050, .7), rounding, rng.integers(0, 2, n)*step, .7+rounding): assert classify(wave, 22050).label == 'silence'
    assert classify((rounding/step).astype(np.int16), 22050).label == 'silence'                    # as read from a file of 16 bits
    for label in CLASSES: assert not is_silence(synthesise(label, 0), 22050)
    for level in (-90, -130): assert not is_silence(10**(level/20)*DOG, 22050)                     # a sound that is not steady is one at any level
    click = np.zeros(n, np.float32)
    click[n//2:n//2+200] = rng.uniform(-.01, .01, 200)
    assert classify(click, 22050).label != 'silence'

@pytest.mark.recordings
def test_no_real_recording_is_silence():
    from urbansounds_nb.dataset import load_clips
    for clip in load_clips(REAL/'fold10.parquet')[::4]:
        wave, rate = read_audio(clip['audio'])
        assert not is_silence(wave, rate) and not is_silence(wave/100, rate), clip['slice_file_name']   # 40 dB lower

# --- streams

def test_a_stream_says_what_the_file_says(tmp_path):
    wave = np.concatenate([synthesise(name, 1, 5., 44100) for name in ('siren', 'dog_bark', 'drilling')])
    sf.write(tmp_path/'street.wav', wave, 44100, subtype='FLOAT')
    whole, rng = classify(tmp_path/'street.wav'), np.random.default_rng(0)
    for sizes in (rng.integers(1, 3, 4000), rng.integers(0, 3000, 4000), [10**7]):                 # from single samples to all at once
        cuts = np.unique(np.minimum(np.cumsum(sizes), len(wave)))
        parts = merge_segments(classify_stream(np.split(wave, cuts), 44100))
        assert [s[:3] for s in parts] == [s[:3] for s in whole.segments]
        assert np.allclose([s.probability for s in parts], [s.probability for s in whole.segments], atol=1e-5)

def test_answers_come_as_soon_as_they_can():
    given = []
    def chunks():
        for second in range(8): given.append(second); yield DOG[:22050]
    answers = classify_stream(chunks(), 22050)
    assert next(answers).end == 4 and len(given) == 4
    assert next(answers).end == 5 and len(given) == 5

def test_sounds_are_taken_one_after_the_other():
    taken = []
    def sounds():
        for number in range(1000): taken.append(number); yield DOG
    found = classify_each(sounds(), 22050, batch_size=4)
    assert next(found).name == 'sound 1' and len(taken) <= 5

def test_a_sound_that_breaks_off_is_not_half_answered(tmp_path, dog):
    def breaks():
        for _ in range(90): yield DOG
        raise DataError('broken: the cable')
    refused = []
    found = list(classify_each([dog, (breaks(), 22050), dog], refused=lambda name, error: refused.append(str(error))))
    assert len(found) == 2 and refused == ['broken: the cable']

PEAK = '''
import sys
def peak(): return next(int(line.split()[1])/1024 for line in open('/proc/self/status') if line.startswith('VmHWM'))
'''

LONG = PEAK + '''
import numpy as np, soundfile as sf
from urbansounds_nb.predict import classify, classify_stream
path, seconds = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
with sf.SoundFile(path, 'w', 32000, 2, format='WAV') as file:
    for _ in range(seconds//10): file.write(rng.uniform(-.1, .1, (320000, 2)))
found = classify(path, hop=4.)
assert abs(found.seconds-seconds) < .01
chunks = (rng.uniform(-1, 1, 3200).astype('float32') for _ in range(seconds))
assert sum(1 for _ in classify_stream(chunks, 32000, hop=4.)) > 0
print(peak())
'''

@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='Linux tells')
def test_memory_does_not_grow_with_length(tmp_path):
    def measured(seconds):
        done = subprocess.run([sys.executable, '-c', LONG, tmp_path/f'{seconds}.wav', str(seconds)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)
    short, long = measured(200), measured(1600)
    print(f'200 s: {short:.0f} MB, 1600 s: {long:.0f} MB')
    assert long < short + 60                                    # 200 MB more in the file, 360 MB more as numbers

# --- what was trained is what is served

def test_prepared_and_served_clips_agree(tmp_path):
    from urbansounds_nb.dataset import load_clips
    from urbansounds_nb.features import load_source
    classifier, clips = default_classifier(), load_clips()
    data = load_source('synthetic', classifier.front_end, folder=tmp_path, progress=False)
    names = data.columns['slice_file_name'].tolist()
    for clip in clips[::40]:
        row = names.index(clip['slice_file_name'])
        with torch.inference_mode(): trained = classifier(data.mel[row:row+1].float(), data.lengths[row:row+1])[0].numpy()
        wave, rate = read_audio(clip['audio'])
        assert np.abs(classifier.predict_logits([wave], rate)[0][0]-trained).max() < 1e-3
        served = np.array(list(classify((wave, rate)).probabilities.values()))
        expected = classifier.decide(trained[None])[0][0]
        assert np.abs(served-expected).max() < 1e-3
