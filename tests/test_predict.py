"Prediction beyond what cells can test: commands in processes, odd, broken and endless sounds, streams, ONNX, the checkpoint that is shipped"
import io, json, os, random, shutil, subprocess, sys, zipfile
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
import torch
from test_memory import measured
from urbansounds_nb.crossval import cross_validate
from urbansounds_nb.dataset import DataError, load_clips, read_audio, resample
from urbansounds_nb.models import about, load as read_checkpoint, save
from urbansounds_nb.export import OnnxListener, export_onnx
from urbansounds_nb.predict import SILENCE, Heard, Listener, classify, classify_each, listen, load, model_card, push_to_hub, timeline, urbansounds_predict
from urbansounds_nb.spectrogram import load_mels, prepared
from urbansounds_nb.synthetic import synthesise

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT/'urbansounds_nb'/'checkpoint.safetensors'
REAL = Path(os.environ.get('URBANSOUNDS_DATA') or ROOT.parent/'shared'/'data')

@pytest.fixture(scope='session')
def listener(): return load()

@pytest.fixture(scope='session')
def exported(tmp_path_factory, listener):
    path = tmp_path_factory.mktemp('onnx')/'model.onnx'
    assert export_onnx(path, listener) < 1e-3
    return path

@pytest.fixture
def dog(tmp_path):
    sf.write(tmp_path/'dog.wav', synthesise('dog_bark', 1), 22050)
    return tmp_path/'dog.wav'

# --- the commands, as typed

def test_one_file_in_an_empty_folder(typed, dog, tmp_path):
    (tmp_path/'empty').mkdir()
    done = typed('urbansounds_predict', dog, cwd=tmp_path/'empty', env=os.environ | {'HOME': str(tmp_path/'empty'), 'HF_HUB_OFFLINE': '1'})
    heard = classify(dog)
    assert done.returncode == 0 and done.stderr == '' and not list((tmp_path/'empty').iterdir())
    assert done.stdout == f'{dog}: {heard.label} {100*heard.probability:.0f} %\n'

def test_json_and_csv_say_the_same(typed, tmp_path):
    sf.write(tmp_path/'long.wav', np.concatenate([synthesise('siren', 0, 6.), np.zeros(6*22050)]), 22050)
    by_json, by_csv = (typed('urbansounds_predict', tmp_path/'long.wav', option) for option in ('--json', '--csv'))
    assert by_json.returncode == by_csv.returncode == 0
    heard, (header, *rows) = json.loads(by_json.stdout), by_csv.stdout.splitlines()
    assert header.startswith('file,start,end,label,probability,air_conditioner')
    assert [row.split(',')[3] for row in rows] == [part['label'] for part in heard['timeline']] and heard['timeline'][-1]['label'] == 'silence'
    assert heard['seconds'] == 12 and heard['timeline'][0]['start'] == 0 and heard['timeline'][-1]['end'] == 12

def test_bad_files_cost_a_line_each_and_the_status(typed, dog, tmp_path):
    (tmp_path/'empty.wav').write_bytes(b'')
    (tmp_path/'text.wav').write_text('no sound')
    (tmp_path/'raw.raw').write_bytes(bytes(1000))
    (tmp_path/'cut.wav').write_bytes(dog.read_bytes()[:9000])
    done = typed('urbansounds_predict', tmp_path/'nowhere.wav', tmp_path/'empty.wav', tmp_path/'text.wav', tmp_path/'raw.raw', tmp_path/'cut.wav', dog, tmp_path/'*.mp3')
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and all(line.startswith('error: ') for line in lines) and 'Traceback' not in done.stderr
    assert [any(word in line for line in lines) for word in ('no such file', 'is empty', 'not readable', 'no header', 'truncated', '*.mp3')] == [True]*6 and len(lines) == 6
    assert len(done.stdout.splitlines()) == 1 and 'dog.wav' in done.stdout                              # the good one is answered

def test_odd_names(typed, dog, tmp_path):
    names = [b'a[1]*.wav', b'two words=1.wav', b'\xff\xfe.wav', '\u72ac.wav'.encode()]
    for name in names: shutil.copy(dog, os.fsencode(tmp_path)+b'/'+name)
    done = typed('urbansounds_predict', *(os.fsdecode(os.fsencode(tmp_path)+b'/'+name) for name in names), encoding='utf-8')
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 4, done.stderr

@pytest.mark.parametrize('arguments, words', [
    ([], 'no sound given'), (['a.wav', '--checkpoint', 'none.safetensors'], 'no such checkpoint'), (['a.wav', '--checkpoint', 'me/none'], 'Hub'), (['.'], 'no sound in it')])
def test_one_line_for_wrong_use(typed, tmp_path, arguments, words):
    done = typed('urbansounds_predict', *arguments, cwd=tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and words in done.stderr, done.stderr

def test_card_and_a_reader_that_goes_away(dog):
    script = Path(sys.executable).parent/'urbansounds_predict'
    card = subprocess.run([script, '--card'], capture_output=True, text=True)
    assert card.returncode == 0 and 'CC BY-NC 4.0' in card.stdout and 'Salamon' in card.stdout
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([script, dog], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert 'Traceback' not in done.stderr and 'free space' not in done.stderr

def test_mic_says_what_is_missing(typed, tmp_path):
    (tmp_path/'sounddevice.py').write_text('raise OSError("PortAudio library not found")')
    done = typed('urbansounds_predict', '--mic', env=os.environ | {'PYTHONPATH': str(tmp_path)})
    assert done.returncode == 1 and 'pip install sounddevice' in done.stderr and len(done.stderr.splitlines()) == 1

def test_mic_answers(monkeypatch, capsys):
    class Stream:
        def __init__(self, samplerate, channels, dtype): self.left = 60
        def __enter__(self): return self
        def __exit__(self, *_): pass
        def read(self, n):
            self.left -= 1
            if not self.left: raise KeyboardInterrupt
            return np.zeros((n, 1), np.float32), False
    monkeypatch.setitem(sys.modules, 'sounddevice', type('Fake', (), dict(InputStream=Stream, PortAudioError=RuntimeError)))
    urbansounds_predict([], mic=True)
    assert capsys.readouterr().out.splitlines() == ['     4.0 s  silence 100 %', '     5.0 s  silence 100 %']

def test_a_fresh_process_loads_nothing_heavy(dog):
    code = f'''import sys, urbansounds_nb.predict as predict
predict.classify({str(dog)!r})
print(*[name for name in ('datasets', 'wandb', 'sklearn', 'librosa', 'matplotlib', 'onnx', 'huggingface_hub') if name in sys.modules])'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr

# --- any sound

def test_any_format(tmp_path, listener):
    rng, n = np.random.default_rng(0), 0
    for form, subtypes in dict(WAV=('PCM_U8', 'PCM_16', 'PCM_24', 'PCM_32', 'FLOAT', 'DOUBLE', 'ULAW', 'IMA_ADPCM'), WAVEX=('PCM_24',), FLAC=('PCM_16', 'PCM_24'), OGG=('VORBIS', 'OPUS'),
                               MP3=('MPEG_LAYER_III',), AIFF=('PCM_16',), AU=('PCM_16',), CAF=('PCM_16',), W64=('PCM_16',), RF64=('PCM_16',)).items():
        for subtype in subtypes:
            if not sf.check_format(form, subtype): continue
            for channels in (1, 2) if form in ('MP3', 'OGG') or 'ADPCM' in subtype else (1, 8):
                path, n = tmp_path/f'{n}.{form.lower()}', n+1
                sf.write(path, rng.uniform(-.5, .5, (48000*6, channels)), 48000, format=form, subtype=subtype)
                assert abs(classify(path, listener=listener).seconds-6) < .1, (form, subtype)
    assert n > 20

@pytest.mark.parametrize('rate', [8000, 11024, 22050, 44100, 96000, 192000])
@pytest.mark.parametrize('seconds', [.01, .05, 1, 4, 4.001, 9.7])
def test_any_rate_and_length(rate, seconds, listener):
    heard = classify(synthesise('siren', 0, seconds, rate), rate, listener)
    assert abs(heard.seconds-seconds) < .026 and heard.timeline[-1].end == heard.seconds               # a rest of less than a frame is not listened to
    assert (len({answer.label for answer in heard.timeline}) == len(heard.timeline) == 1) or seconds > 4.02
    assert all(a.end == b.start for a, b in zip(heard.timeline, heard.timeline[1:]))

def test_one_sample(listener): assert isinstance(classify(np.ones(1), 192000, listener), Heard)

def test_silence(listener, tmp_path):
    hiss = np.random.default_rng(0).normal(0, 2e-5, 5*22050)                                           # the last bit of a 16-bit recorder
    for wave in (np.zeros(100), np.zeros(22050*9), np.full(22050, .7), hiss): assert classify(wave, 22050, listener).label == 'silence'

def test_integers_are_the_same_sound(listener):
    wave = synthesise('dog_bark', 1)
    same = [classify(x, 22050, listener).probabilities['dog_bark'] for x in (wave, wave.astype(np.float64), (wave*32767).astype(np.int16), (wave*2.**31*.999).astype(np.int32), torch.tensor(wave), np.stack([wave]*2, 1))]
    assert np.ptp(same) < .01

def test_fuzzed_sounds(tmp_path, listener):
    rng, wave, kinds = random.Random(0), synthesise('dog_bark', 1, 1.), []
    for form, subtype in (('WAV', 'PCM_16'), ('FLAC', 'PCM_16'), ('OGG', 'VORBIS'), ('MP3', 'MPEG_LAYER_III'), ('AIFF', 'PCM_16'), ('WAVEX', 'FLOAT')):
        sf.write(file := io.BytesIO(), wave, 22050, format=form, subtype=subtype)
        kinds.append(file.getvalue())
    outcomes = {'heard': 0, 'refused': 0}
    for _ in range(240):
        data = bytearray(rng.choice(kinds))
        for _ in range(rng.randrange(1, 12)): data[rng.randrange(min(len(data), rng.choice([64, 400, len(data)])))] = rng.randrange(256)
        if rng.random() < .3: data = data[:rng.randrange(len(data))]
        try: outcomes['heard'] += isinstance(classify(bytes(data), listener=listener), Heard)
        except DataError as e: outcomes['refused'] += len(str(e).splitlines()) == 1
    print(outcomes)
    assert sum(outcomes.values()) == 240 and min(outcomes.values()) > 20

def test_fuzzed_checkpoints(tmp_path):
    rng, good, path = random.Random(0), SHIPPED.read_bytes(), tmp_path/'bad.safetensors'
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)): data[rng.randrange(rng.choice([16, 8000]))] = rng.randrange(256)
        path.write_bytes(data[:rng.choice([len(data), rng.randrange(9000)])])
        try: assert isinstance(load(path), Listener)
        except DataError as e: assert len(str(e).splitlines()) == 1

LONG = '''
import numpy as np, soundfile as sf
from urbansounds_nb.predict import classify, listen
path, seconds = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
with sf.SoundFile(path, 'w', 32000, 2, format='WAV') as file:
    for _ in range(seconds//10): file.write(rng.uniform(-.1, .1, (320000, 2)))
heard = classify(path, hop=4.)
assert abs(heard.seconds-seconds) < .01
assert sum(1 for _ in listen((rng.uniform(-1, 1, 3200).astype('float32') for _ in range(seconds)), 32000, hop=4.)) > 0
print(peak())
'''

def test_memory_does_not_grow_with_length(tmp_path):
    (short,), (long,) = (measured(LONG, tmp_path/f'{seconds}.wav', seconds) for seconds in (200, 1600))
    print(f'200 s: {short:.0f} MB, 1600 s: {long:.0f} MB')
    assert long < short + 60                                                                           # 200 MB more in the file, 360 MB more as numbers

@pytest.mark.skipif(not (REAL/'fold10.parquet').exists(), reason='no real recordings here')
def test_no_real_recording_is_silence(listener):
    clips = load_clips(REAL)[::6]
    assert min(read_audio(clip['audio'])[0].std(dtype=np.float64) for clip in clips) > SILENCE

# --- streams

def test_a_stream_says_what_the_file_says(tmp_path, listener):
    wave = np.concatenate([synthesise(name, 1, 5., 44100) for name in ('siren', 'dog_bark', 'drilling')])
    sf.write(tmp_path/'street.wav', wave, 44100, subtype='FLOAT')
    whole, rng = classify(tmp_path/'street.wav', listener=listener), np.random.default_rng(0)
    for sizes in (rng.integers(1, 3, 4000), rng.integers(0, 3000, 4000), [10**7]):                     # from single samples to all at once
        cuts = np.unique(np.minimum(np.cumsum(sizes), len(wave)))
        parts = timeline(listen(np.split(wave, cuts), 44100, listener))
        assert [(a.start, a.end, a.label) for a in parts] == [(a.start, a.end, a.label) for a in whole.timeline]
        assert np.allclose([a.probability for a in parts], [a.probability for a in whole.timeline], atol=1e-5)

def test_answers_come_as_soon_as_they_can(listener):
    given = []
    def chunks():
        for second in range(8): given.append(second); yield np.zeros(22050, np.float32)
    answers = listen(chunks(), 22050, listener)
    assert next(answers).end == 4 and len(given) == 4
    assert next(answers).end == 5 and len(given) == 5

def test_sounds_are_taken_one_after_the_other(listener):
    taken = []
    def sounds():
        for number in range(1000): taken.append(number); yield synthesise('siren', 0)
    heard = classify_each(sounds(), 22050, listener, batch_size=4)
    assert next(heard).name == 'sound 1' and len(taken) <= 5

# --- what was trained is what is served

def agree(clips, data, rows, listener, exported):
    "Logits through the prepared data set, logits of the file, and probabilities of ONNX"
    with torch.inference_mode(): trained = listener.model(data.mel[rows].float(), data.lengths[rows]).numpy()
    onnx, rate = OnnxListener(exported), listener.front_end.sample_rate
    for clip, logits in zip(clips, trained):
        wave, own_rate = read_audio(clip['audio'])
        served = listener.hear([resample(wave, own_rate, rate)], rate)[0][0]
        assert np.abs(served-logits).max() < 1e-3
        chances = list(classify((wave, own_rate), listener=listener).probabilities.values())
        assert np.abs(np.log(chances) - np.log(listener.judge(logits[None])[0][0])).max() < 1e-3       # the logits, but for a constant
        assert np.abs(onnx.probabilities(wave, own_rate)-chances).max() < 1e-3

def test_the_same_through_three_doors(listener, exported):
    agree(load_clips()[::20], load_mels(prepared(setting='fine', progress=False), 'fine'), torch.arange(0, 300, 20), listener, exported)

@pytest.mark.skipif(not (REAL/'native').exists(), reason='no real recordings here')
def test_real_recordings_through_three_doors(listener, exported):
    clips = load_clips(REAL/'native')
    agree(clips, load_mels(prepared(REAL/'native', 'fine', progress=False), 'fine'), torch.arange(len(clips)), listener, exported)

def test_onnx_takes_any_batch_and_length(exported, listener):
    import onnx
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert facts['sample_rate'] == '22050' and json.loads(facts['classes'])[3] == 'dog_bark' and 'CC BY-NC' in facts['licence']
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}                               # nothing that only one runtime knows
    session = OnnxListener(exported).session
    for batch in (1, 3):
        for samples in (1, 300, 22050, 88200, 200_000):
            waves = np.random.default_rng(samples).normal(0, .1, (batch, samples)).astype(np.float32)
            chances, strangeness = session.run(None, {'wave': waves})
            logits, features = map(np.concatenate, zip(*(listener.hear([wave], 22050) for wave in waves)))
            assert np.abs(chances-listener.judge(logits)[0]).max() < 1e-3
            assert np.abs(strangeness-listener.usual(torch.tensor(features)).numpy()).max() < .01

@pytest.mark.parametrize('name', ['conv-transformer', 'transformer'])
def test_other_networks_export(name, tmp_path):
    from urbansounds_nb.models import Classifier
    torch.manual_seed(0)
    assert export_onnx(tmp_path/'model.onnx', Listener(Classifier(name))) < 1e-3

def test_export_as_typed(typed, tmp_path, three_folds):
    done = typed('urbansounds_export', 'model.onnx', '--int8', '--data', three_folds, '--fold', 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.int8.onnx', 'model.onnx'] and '% in 8 bits' in done.stdout and done.stderr == ''

# --- the checkpoint

def test_the_shipped_checkpoint():
    header = about(SHIPPED)
    assert SHIPPED.stat().st_size < 3_000_000
    assert {'licence', 'citation', 'trained_on', 'score', 'recall', 'temperature', 'unknown_below', 'unknown_beyond', 'usual', 'false_alarms', 'not_for'} <= set(header)
    assert len(header['recall']) == 10 and 'CC BY-NC 4.0' in header['licence']
    assert SHIPPED.with_suffix('.md').read_text(encoding='utf-8') == model_card(header)
    assert '/' not in json.dumps(header['results'])                                                   # no path of anybody's machine

def test_a_checkpoint_without_thresholds(tmp_path, dog):
    save(read_checkpoint(SHIPPED), tmp_path/'plain.safetensors')
    plain = load(tmp_path/'plain.safetensors')
    assert (plain.temperature, plain.unknown_below, plain.unknown_beyond) == (1., 0., float('inf'))
    assert classify(dog, listener=plain).label in plain.classes

def test_it_is_in_the_wheel(tmp_path):
    source = tmp_path/'source'
    source.mkdir()
    for name in ('setup.py', 'settings.ini', 'README.md', 'LICENSE', 'MANIFEST.in'): shutil.copy(ROOT/name, source)
    shutil.copytree(ROOT/'urbansounds_nb', source/'urbansounds_nb', ignore=shutil.ignore_patterns('__pycache__'))
    for kind in ('bdist_wheel', 'sdist'):
        done = subprocess.run([sys.executable, 'setup.py', '-q', kind, '-d', tmp_path/'built'], cwd=source, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-500:]
    wheel, = (tmp_path/'built').glob('*.whl')
    assert 'urbansounds_nb/checkpoint.safetensors' in zipfile.ZipFile(wheel).namelist()
    source_files = subprocess.run(['tar', 'tzf', *(tmp_path/'built').glob('*.tar.gz')], capture_output=True, text=True).stdout
    assert 'checkpoint.safetensors' in source_files and 'settings.ini' in source_files
    installed = subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--target', tmp_path/'installed', wheel], capture_output=True, text=True)
    assert installed.returncode == 0 and (tmp_path/'installed'/'bin'/'urbansounds_export').is_file(), installed.stderr[-500:]
    used = "import urbansounds_nb, numpy as np; from urbansounds_nb.predict import classify; print(urbansounds_nb.__file__, classify(np.zeros(9), 8000).label)"
    done = subprocess.run([sys.executable, '-c', used], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(tmp_path/'installed')), capture_output=True, text=True)
    assert done.stdout.split() == [str(tmp_path/'installed'/'urbansounds_nb'/'__init__.py'), 'silence'], done.stderr[-500:]

def test_publishing(monkeypatch):
    import huggingface_hub
    sent = []
    monkeypatch.setenv('HF_TOKEN', 'hf_marker')
    monkeypatch.setattr(huggingface_hub.HfApi, 'create_repo', lambda self, name, **how: sent.append((name, how['private'], self.token)))
    monkeypatch.setattr(huggingface_hub.HfApi, 'upload_file', lambda self, path_or_fileobj, **how: sent.append((how['path_in_repo'], path_or_fileobj)))
    push_to_hub(SHIPPED, 'me/sounds', private=True)
    assert sent[0] == ('me/sounds', True, 'hf_marker') and sent[1] == ('model.safetensors', SHIPPED.read_bytes())
    assert sent[2][0] == 'README.md' and b'license: cc-by-nc-4.0' in sent[2][1] and b'hf_marker' not in sent[2][1]

def test_making_the_shipped_checkpoint(three_folds, tmp_path):
    train = lambda validate: cross_validate(str(three_folds), ('residual-cnn',), folder=tmp_path, folds=(3,), epochs=1, n_jobs=1, validate=validate, progress=False)
    tool = [sys.executable, ROOT/'tools'/'ship_checkpoint.py', '--data', three_folds, '--results', tmp_path, '--fold', '3', '--to', tmp_path/'new.safetensors']
    train(False)
    early = subprocess.run(tool, capture_output=True, text=True)
    assert early.returncode == 1 and early.stderr.startswith('error: ') and 'validation' in early.stderr
    train(True)
    done = subprocess.run(tool, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = load(tmp_path/'new.safetensors')
    assert made.temperature != 1 and np.isfinite(made.unknown_beyond) and 'folds 1, 2' in made.about['trained_on']
