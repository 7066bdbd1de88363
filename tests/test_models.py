"Models and their files: what was trained is what is served, old files load, a stranger's file can do nothing but be refused"
import json, random, resource, struct, subprocess, sys, time
from pathlib import Path
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import REAL
from urbansounds_nb.audio import read_audio
from urbansounds_nb.checkpoint import model_card, read_checkpoint
from urbansounds_nb.cnn import ResidualCNN
from urbansounds_nb.core import DataError
from urbansounds_nb.models import default_classifier
from urbansounds_nb.models import (
    ARCHITECTURES, AudioClassifier, build_classifier, load_classifier, push_classifier)
from urbansounds_nb.rejection import MahalanobisDetector, out_of_class_sounds
from urbansounds_nb.spectrogram import LogMel
from urbansounds_nb.synthetic import CLASSES, synthesise

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT/'urbansounds_nb'/'checkpoint.safetensors'

def saved(path, classifier, **header):
    classifier.save(path, **header)
    return path

@pytest.fixture(scope='module')
def fitted():
    "An untrained strong network with everything that a trained one has"
    torch.manual_seed(0)
    classifier = build_classifier('residual-cnn', CLASSES)
    waves = [synthesise(name, seed) for name in CLASSES for seed in range(3)]
    mels = torch.stack([classifier.front_end.fit(classifier.front_end.clip_mel(wave, 22050)) for wave in waves])
    classifier.standardise.fit(mels)
    _, features = classifier.predict_logits(waves, 22050)
    classifier.detector = MahalanobisDetector(10, features.shape[1]).fit(features, np.arange(30)//3)
    classifier.temperature, classifier.min_confidence, classifier.ood_threshold = .8, .05, 50.
    return classifier

@pytest.fixture(scope='module')
def checkpoint(fitted, tmp_path_factory):
    return saved(tmp_path_factory.mktemp('models')/'model.safetensors', fitted, licence='CC BY-NC 4.0', recall={'siren': .5})

# --- the same in use as in training

@pytest.mark.parametrize('name', ARCHITECTURES)
def test_every_architecture_comes_back_as_it_was(name, tmp_path):
    torch.manual_seed(0)
    made = build_classifier(name, ('cat', 'dog'))
    found = AudioClassifier.load(saved(tmp_path/'a.safetensors', made))
    wave = synthesise('siren', 0, .7)
    assert found.network_settings == made.network_settings and found.front_end.settings == made.front_end.settings
    assert np.array_equal(found.predict_proba(wave, 22050), made.predict_proba(wave, 22050))
    assert found.header['network']['arguments']['n_classes'] == 2

def test_all_settings_are_kept(fitted, checkpoint):
    found, wave = AudioClassifier.load(checkpoint), synthesise('drilling', 5)
    for a, b in zip(fitted.decide(*fitted.predict_logits([wave], 22050)), found.decide(*found.predict_logits([wave], 22050))):
        assert np.array_equal(a, b)
    assert repr(found) == repr(fitted) and found.header['licence'] == 'CC BY-NC 4.0'
    assert read_checkpoint(checkpoint)[0]['recall'] == {'siren': .5}

def test_the_level_does_not_matter(fitted):
    for name in CLASSES:
        wave = synthesise(name, 3)
        expected = fitted.predict_proba(wave, 22050)
        for decibels in (-60, -40, -20, 20, 60):
            found = fitted.predict_logits([wave*np.float32(10**(decibels/20))], 22050)[0]
            assert np.abs(fitted.decide(found)[0][0]-expected).max() < 2e-3, (name, decibels)

@pytest.mark.parametrize('where', ['before', 'inside', 'behind'])
def test_digital_silence_does_not_matter(fitted, where):
    wave, gap = synthesise('jackhammer', 3, 2.), np.zeros(22050, np.float32)
    parts = dict(before=[gap, wave], inside=[wave[:22016], gap, wave[22016:]], behind=[wave, gap])[where]
    with_gap, without = fitted.predict_logits([np.concatenate(parts)], 22050)[0], fitted.predict_logits([wave], 22050)[0]
    assert np.abs(with_gap-without).max() < .25*np.abs(without).max()                  # the frames at the border of the gap differ

def test_kinds_of_samples(fitted):
    wave = synthesise('dog_bark', 1)
    expected = fitted.predict_proba(wave, 22050)
    for same in (wave.astype(float), torch.tensor(wave), (wave*32767).astype(np.int16), np.stack([wave]*2, 1)):
        assert np.abs(fitted.predict_proba(same, 22050)-expected).max() < .01
    assert fitted.predict_proba(np.ones(1), 192_000).shape == (10,)

def test_prepared_clips_and_files_give_the_same(fitted):
    from urbansounds_nb.dataset import load_clips
    from urbansounds_nb.features import load_source
    data = load_source('synthetic', 'mel128', progress=False)
    names = data.columns['slice_file_name'].tolist()
    for clip in load_clips('synthetic')[::30]:
        row = names.index(clip['slice_file_name'])
        with torch.inference_mode(): trained = fitted.eval()(data.mel[row:row+1].float(), data.lengths[row:row+1])
        wave, rate = read_audio(clip['audio'])
        assert np.abs(fitted.predict_logits([wave], rate)[0]-trained.numpy()).max() < 1e-3

# --- decisions

def test_reasons(fitted):
    logits, near, far = np.eye(10)[:1]*9, fitted.detector.means[:1].numpy(), 1e3*np.ones((1, 128))
    decide = lambda logits, features: fitted.decide(logits, features)[2][0]
    assert decide(logits, near) == '' and decide(logits, None) == ''
    assert decide(logits, far) == 'unlike all classes (distance above 50.0)'
    fitted.min_confidence = .9999
    try: assert decide(0*logits, far) == 'probability below 100 % and unlike all classes (distance above 50.0)'
    finally: fitted.min_confidence = .05
    assert decide(logits*np.nan, near) and decide(logits, near*np.nan)                  # no number is no answer

def test_known_sounds_are_accepted_and_far_ones_rejected(fitted):
    known = np.eye(10)*9, fitted.detector.means.numpy()
    unknown = np.eye(10)[:4]*9, np.concatenate([fitted.detector.means[:1].numpy(), 1e3*np.ones((3, 128))])
    reasons, others = (fitted.decide(*pair)[2] for pair in (known, unknown))
    assert (reasons.count(''), others.count('')) == (10, 1)

def test_out_of_class_sounds():
    sounds = out_of_class_sounds([0, 1], rate=8000)
    assert len(sounds) == 18 and {len(wave) for _, wave in sounds} == {32000}
    assert all(np.isfinite(wave).all() and .009 < np.abs(wave).max() <= 1 for _, wave in sounds)
    assert not np.array_equal(sounds[0][1], sounds[len(sounds)//2][1])

# --- version 0.1

def version_01(path):
    "A checkpoint as version 0.1 wrote it, with a header like that of the one it shipped; and its network"
    torch.manual_seed(0)
    network = ResidualCNN(128, 173, 10, dropout=.2).eval()
    old = lambda name: 'network.' + name.replace('.shortcut.', '.around.')
    tensors = {old(name): value for name, value in network.state_dict().items()}
    tensors |= {'standardise.mean': torch.full((128, 1), -40.), 'standardise.spread': torch.full((128, 1), 20.)}
    header = dict(
        model='residual-cnn', classes=CLASSES, network=dict(widths=[16, 32, 64, 128], strides=[2, 2, 2, 2], dropout=.2),
        front_end=dict(sample_rate=22050, n_fft=1024, hop_length=512, n_mels=128, f_min=0., f_max=0., top_db=80., relative=False, n_frames=173, padding='repeat'),
        temperature=.89, unknown_below=.25, unknown_beyond=19.2, unknown='an answer below 25 %', recall={'siren': .8},
        licence='CC BY-NC 4.0', citation='J. Salamon', trained_on='1761 clips', score='79.7 %', calibration='temperature 0.89', not_for='surveillance',
        false_alarms={'tone': 0.}, usual=dict(means=np.zeros((10, 128)).tolist(), precision=np.eye(128).tolist()),
        results=dict(model='residual-cnn', fold=10, scored_on='test'))
    path.write_bytes(safetensors.torch.save(tensors, {name: json.dumps(value) for name, value in header.items()}))
    return network

def test_a_checkpoint_of_version_01(tmp_path):
    network = version_01(tmp_path/'old.safetensors')
    classifier, wave = load_classifier(tmp_path/'old.safetensors'), synthesise('siren', 0)
    assert (classifier.name, classifier.temperature, classifier.min_confidence, classifier.ood_threshold) == ('residual-cnn', .89, .25, 19.2)
    front_end = LogMel(22050, 1024, 512, 128, relative=False)
    mel = front_end.fit(front_end.clip_mel(wave, 22050).half().float())
    with torch.inference_mode(): logits = network((mel[None]+40)/20)
    found, features = classifier.predict_logits([wave], 22050)
    assert np.allclose(found, logits.numpy(), atol=1e-4)
    assert np.allclose(classifier.decide(found, features)[1], np.linalg.norm(features), atol=1e-3)
    assert classifier.header['rejection'] == 'an answer below 25 %' and '| siren | 80 % |' in model_card(classifier.header)
    again = AudioClassifier.load(saved(tmp_path/'new.safetensors', classifier))         # and becomes one of today's
    assert np.array_equal(again.predict_logits([wave], 22050)[0], found) and 'usual' not in read_checkpoint(tmp_path/'new.safetensors')[0]

@pytest.mark.parametrize('change', [dict(model=3), dict(model='x'), dict(network=None), dict(usual={'means': [[1], [2, 3]]}), dict(usual=[]), dict(unknown_below='1')])
def test_an_odd_checkpoint_of_version_01(change, tmp_path):
    version_01(path := tmp_path/'old.safetensors')
    data = path.read_bytes()
    header = json.loads(data[8:8+int.from_bytes(data[:8], 'little')])['__metadata__']
    header |= {name: json.dumps(value) for name, value in change.items()}
    path.write_bytes(safetensors.torch.save(safetensors.torch.load(data), header))
    assert refused(path)

# --- a stranger's file

def refused(path):
    "The one line of the refusal, after little work, however busy the machine is"
    began = time.process_time()
    with pytest.raises(DataError) as refusal: load_classifier(path)
    text = str(refusal.value)
    assert len(text.splitlines()) == 1 and len(text) < 400 + len(str(path)) and time.process_time()-began < 5, text
    return text

def small(path, **header):
    "A checkpoint of less than 3 kB with this in its header"
    facts = dict(format=2, classes=['cat', 'dog'], front_end=LogMel().settings, network={'class': 'DurationTable', 'arguments': {}})
    facts |= header
    tensors = {'a': torch.zeros(1)}
    facts['checksum'] = read_checksum(tensors)
    path.write_bytes(safetensors.torch.save(tensors, {name: json.dumps(value) for name, value in facts.items()}))
    assert path.stat().st_size < 3000
    return path

def read_checksum(tensors):
    from zlib import crc32
    data = safetensors.torch.save(tensors)
    return crc32(data[8+int.from_bytes(data[:8], 'little'):])

BIG = 10**8
HEADERS = {
    'layers': dict(network={'class': 'AudioTransformer', 'arguments': {'n_layers': BIG}}),
    '64 wide layers': dict(network={'class': 'AudioTransformer', 'arguments': {'n_layers': 64, 'width': 65_536, 'hidden': 65_536}}),
    'conv layers': dict(network={'class': 'ConvTransformer', 'arguments': {'n_layers': BIG}}),
    'widths': dict(network={'class': 'ResidualCNN', 'arguments': {'widths': [5_000_000]*4}}),
    'widths in range': dict(network={'class': 'ResidualCNN', 'arguments': {'widths': [65_536]*64, 'strides': [1]*64}}),
    'many widths': dict(network={'class': 'ResidualCNN', 'arguments': {'widths': [1]*300}}),
    'patches': dict(network={'class': 'SBCNN', 'arguments': {'n_patches': BIG}}),
    'steps': dict(network={'class': 'DurationTable', 'arguments': {'n_steps': BIG}}),
    'negative': dict(network={'class': 'ResidualCNN', 'arguments': {'widths': [-1]*4}}),
    'text': dict(network={'class': 'ResidualCNN', 'arguments': {'widths': 'abcd'}}),
    'deep': dict(network={'class': 'ResidualCNN', 'arguments': {'widths': [[[[[[1]]]]]]}}),
    'no class': dict(network={'class': 'os.system', 'arguments': {}}),
    'class of a list': dict(network={'class': ['ResidualCNN'], 'arguments': {}}),
    'network of text': dict(network='ResidualCNN'),
    'other arguments': dict(network={'class': 'ResidualCNN', 'arguments': {'__class__': 1}}),
    'frames': dict(front_end=LogMel().settings | dict(n_frames=BIG)),
    'bands': dict(front_end=LogMel().settings | dict(n_mels=BIG)),
    'window': dict(front_end=LogMel().settings | dict(n_fft=2**40)),
    'rate': dict(front_end=LogMel().settings | dict(sample_rate=1e300)),
    'padding': dict(front_end=LogMel().settings | dict(padding='no such')),
    'front end of a list': dict(front_end=[1]),
    'front end of nulls': dict(front_end=dict.fromkeys(LogMel().settings)),
    'unknown setting': dict(front_end=dict(colour=True)),
    'classes of dicts': dict(classes=[{'a': 1}, None]), 'classes null': dict(classes=None), 'classes text': dict(classes='cat'),
    'many classes': dict(classes=[str(i) for i in range(200)]), 'no classes': dict(classes=[]), 'twice': dict(classes=['a', 'a']), 'reserved': dict(classes=['silence', 'dog']),
    'recall of lists': dict(recall=[.1]), 'recall of texts': dict(recall={'cat': 'x'}), 'recall above': dict(recall={'cat': 7}),
    'temperature': dict(temperature=float('nan')), 'zero': dict(temperature=0), 'null': dict(min_confidence=None), 'boolean': dict(ood_threshold=True),
    'licence': dict(licence={'a': 1}), 'results': dict(results=[1]), 'name': dict(name=5),
}

@pytest.mark.parametrize('name', HEADERS)
def test_a_small_file_with_a_large_wish(name, tmp_path, monkeypatch):
    "Refused with little memory, and before a single layer is built"
    for layer in (torch.nn.Linear, torch.nn.Conv2d, torch.nn.Conv1d, torch.nn.Embedding, torch.nn.LayerNorm, torch.nn.BatchNorm2d):
        monkeypatch.setattr(layer, '__init__', lambda *args, **kwargs: pytest.fail('built a layer'))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(small(tmp_path/'a.safetensors', **HEADERS[name]))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before < 400_000          # kB

@pytest.mark.parametrize('name', sorted(ARCHITECTURES))
def test_no_network_is_refused_for_its_size(name, tmp_path):
    "Few classes and the smallest networks that somebody may train, too"
    build_classifier(name, ('cat', 'dog')).save(tmp_path/'a.safetensors')
    assert AudioClassifier.load(tmp_path/'a.safetensors').classes == ('cat', 'dog')

@pytest.mark.parametrize('name, arguments', [
    ('residual-cnn', dict(widths=(1,), strides=(2,))), ('residual-cnn', dict(widths=(1, 64, 1), strides=(1, 2, 1))), ('residual-cnn', dict(widths=(4,)*20, strides=(1,)*20)),
    ('transformer', dict(width=4, n_heads=1, n_layers=1, hidden=1)), ('transformer', dict(width=4, n_layers=12, hidden=300)), ('sb-cnn', dict(n_patches=64)),
    ('conv-transformer', dict(channels=(1, 2), width=8, n_layers=9, hidden=200)), ('duration', dict(n_steps=64)), ('duration', dict(n_steps=1))])
def test_networks_of_other_sizes_load(name, arguments, tmp_path):
    build_classifier(name, ('cat', 'dog'), **arguments).save(tmp_path/'a.safetensors')
    assert AudioClassifier.load(tmp_path/'a.safetensors').network_settings['arguments'].items() >= arguments.items()

def raw(facts, tensors=b'', size=None):
    text = json.dumps(facts).encode()
    return struct.pack('<Q', len(text) if size is None else size) + text + tensors

def changed(path, change):
    "A good checkpoint with another table of tensors or other metadata"
    data = path.read_bytes()
    size, = struct.unpack('<Q', data[:8])
    change(facts := json.loads(data[8:8+size]))
    return raw(facts, data[8+size:])

def reshaped(facts):
    name = next(name for name in facts if (facts[name].get('shape') or [0])[0] > 1)
    facts[name]['shape'] = facts[name]['shape'][::-1] + [1]

FILES = {
    'another shape': lambda good: changed(good, reshaped),
    'an unfit name': lambda good: changed(good, lambda facts: facts.update(x=facts.pop(next(name for name in facts if name != '__metadata__')))),
    'no metadata': lambda good: changed(good, lambda facts: facts.pop('__metadata__')),
    'no classes': lambda good: changed(good, lambda facts: facts['__metadata__'].pop('classes')),
    'deep JSON': lambda good: changed(good, lambda facts: facts['__metadata__'].update(classes='['*100_000)),
    'a long number': lambda good: changed(good, lambda facts: facts['__metadata__'].update(temperature='9'*100_000)),
    'no JSON': lambda good: changed(good, lambda facts: facts['__metadata__'].update(classes='cat')),
    'damaged weights': lambda good: good.read_bytes()[:-2] + b'ab',
    'half': lambda good: good.read_bytes()[:len(good.read_bytes())//2],
    'empty': lambda good: b'', 'text': lambda good: b'a model', 'zeros': lambda good: bytes(10_000),
    'header of 2^60 bytes': lambda good: raw({}, size=2**60),
    'header of 100 MB': lambda good: raw({'__metadata__': {'x': 'y'*101_000_000}}),
    'tensor of 2^62 bytes': lambda good: raw({'x': {'dtype': 'F32', 'shape': [2**60], 'data_offsets': [0, 2**62]}}),
}

@pytest.mark.parametrize('name', FILES)
def test_a_hostile_file(name, checkpoint, tmp_path):
    (path := tmp_path/'bad.safetensors').write_bytes(FILES[name](checkpoint))
    refused(path)

def test_weights_that_are_no_numbers(fitted, tmp_path):
    broken = build_classifier('residual-cnn', CLASSES)
    with torch.no_grad(): broken.network.head[1].weight.fill_(float('nan'))
    assert 'finite' in refused(saved(tmp_path/'a.safetensors', broken))

def test_fuzzed_checkpoints(checkpoint, tmp_path):
    rng, good, path = random.Random(0), checkpoint.read_bytes(), tmp_path/'bad.safetensors'
    outcomes = {'loaded': 0, 'refused': 0}
    for _ in range(80):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)): data[rng.randrange(rng.choice([16, 8000]))] = rng.randrange(256)
        path.write_bytes(data[:rng.choice([len(data), rng.randrange(9000)])])
        try: outcomes['loaded'] += isinstance(load_classifier(path), AudioClassifier)
        except DataError as e: outcomes['refused'] += len(str(e).splitlines()) == 1
    assert sum(outcomes.values()) == 80 and outcomes['refused'] > 20

def test_a_card_is_safe_to_print(fitted, tmp_path):
    fitted_name, fitted.name = fitted.name, '\x1b]0;title\x07'
    try: path = saved(tmp_path/'a.safetensors', fitted, licence='a\nb\x1b[2J\u202e', recall={'\x1b[31mdog': .5})
    finally: fitted.name = fitted_name
    card = model_card(read_checkpoint(path)[0])
    assert not set(card) & {'\x1b', '\x07', '\u202e'} and 'a\nb' not in card

# --- the Hub, the package

def test_from_the_hub(monkeypatch, checkpoint):
    import huggingface_hub
    asked = []
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', lambda *what, revision=None: asked.append((*what, revision)) or str(checkpoint))
    assert load_classifier('me/sounds', revision='abc').classes == CLASSES
    assert asked == [('me/sounds', 'model.safetensors', 'abc')]
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', lambda *what, **how: 1/0)
    assert 'me/none' in refused('me/none')
    assert 'no such checkpoint' in refused('me/none.safetensors')

def test_publishing(monkeypatch, checkpoint):
    import huggingface_hub
    sent = []
    monkeypatch.setenv('HF_TOKEN', 'hf_marker')
    monkeypatch.setattr(huggingface_hub.HfApi, 'create_repo', lambda self, name, **how: sent.append((name, how['private'], self.token)))
    monkeypatch.setattr(huggingface_hub.HfApi, 'upload_file', lambda self, path_or_fileobj, **how: sent.append((how['path_in_repo'], path_or_fileobj)))
    push_classifier(checkpoint, 'me/sounds', private=True)
    assert sent[0] == ('me/sounds', True, 'hf_marker') and sent[1] == ('model.safetensors', checkpoint.read_bytes())
    assert sent[2][0] == 'README.md' and b'license: cc-by-nc-4.0' in sent[2][1] and b'hf_marker' not in sent[2][1]

def test_the_shipped_checkpoint():
    header = read_checkpoint(SHIPPED)[0]
    assert SHIPPED.stat().st_size < 3_000_000
    assert {'licence', 'citation', 'trained_on', 'score', 'recall', 'temperature', 'min_confidence', 'ood_threshold', 'rejection', 'not_for'} <= set(header)
    assert len(header['recall']) == 10 and 'CC BY-NC 4.0' in header['licence']
    assert 'detector.means' in read_checkpoint(SHIPPED)[1]
    assert '/' not in json.dumps(header['results'])                                     # no path of anybody's machine
    if 'format' in header: assert SHIPPED.with_suffix('.md').read_text(encoding='utf-8') == model_card(header)

def test_a_model_needs_no_heavy_library(checkpoint):
    code = f'''import sys, numpy as np
from urbansounds_nb.models import load_classifier
load_classifier({str(checkpoint)!r}).predict_proba(np.ones(9), 8000)
print(*[name for name in ('datasets', 'wandb', 'sklearn', 'pandas', 'matplotlib', 'onnx', 'huggingface_hub', 'librosa') if name in sys.modules])'''
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == [], done.stdout + done.stderr

@pytest.mark.recordings
def test_real_recordings_in_training_and_in_use(fitted):
    from urbansounds_nb.dataset import load_clips
    from urbansounds_nb.features import load_source
    data, clips = load_source(REAL/'native', 'mel128', progress=False), load_clips(REAL/'native')
    names = data.columns['slice_file_name'].tolist()
    for clip in clips[:40]:
        row = names.index(clip['slice_file_name'])
        with torch.inference_mode(): trained = fitted.eval()(data.mel[row:row+1].float(), data.lengths[row:row+1]).numpy()
        wave, rate = read_audio(clip['audio'])
        used, _ = fitted.predict_logits([wave], rate)
        assert np.abs(used-trained).max() < 1e-3, clip['slice_file_name']

@pytest.mark.parametrize('wave, rate', [(np.ones(9), '22050'), (np.ones(9), 0), (np.ones(9), None), (np.zeros(0), 22050)])
def test_samples_and_rates_that_cannot_be(wave, rate):
    with pytest.raises(DataError): default_classifier().predict_proba(wave, rate)
    with pytest.raises(DataError): default_classifier().predict_logits([], 22050)
