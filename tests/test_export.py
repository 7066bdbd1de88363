"The exported file: PyTorch's answers for any batch and length, the script without this project, a stranger's file, and how the shipped checkpoint is made"
import json, re, subprocess, sys
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
import torch
from urbansounds_nb.core import DataError
from urbansounds_nb.export import OnnxClassifier, accuracy, export_files, export_onnx, quantise_onnx, unseen_clips
from urbansounds_nb.models import AudioClassifier, build_classifier
from urbansounds_nb.rejection import MahalanobisDetector
from urbansounds_nb.synthetic import CLASSES, synthesise

ROOT = Path(__file__).resolve().parents[1]

@pytest.fixture(scope='module')
def classifier():
    "An untrained network with the front end of the strong ones, and with a detector"
    torch.manual_seed(0)
    made = build_classifier('residual-cnn', CLASSES)
    waves = [synthesise(name, seed) for name in CLASSES for seed in range(2)]
    made.standardise.fit(torch.stack([made.front_end.fit(made.front_end.clip_mel(wave, 22050)) for wave in waves]))
    made.detector = MahalanobisDetector(10, 128).fit(made.predict_logits(waves, 22050)[1], np.arange(20)//2)
    with torch.no_grad(): made.network.head[1].weight.mul_(20)       # probabilities that differ
    made.temperature, made.min_confidence, made.ood_threshold = .9, .2, 30.
    made.header = dict(licence='CC BY-NC 4.0', results=dict(fold=3, source='UrbanSound8K', embedded=False))
    return made

@pytest.fixture(scope='module')
def exported(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp('onnx')/'model.onnx'
    assert export_onnx(path, classifier) < 1e-3
    return path

def test_any_batch_and_length(exported, classifier):
    import onnx
    model = onnx.load(exported)
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}                # nothing that only one runtime knows
    facts = {prop.key: prop.value for prop in model.metadata_props}
    assert facts['sample_rate'] == '22050' and json.loads(facts['classes'])[3] == 'dog_bark' and 'CC BY-NC' in facts['licence']
    onnx_classifier, rng = OnnxClassifier(exported), np.random.default_rng(0)
    for batch, samples in ((1, 1), (3, 300), (1, 1200), (3, 22050), (3, 88200), (1, 200_000)):
        waves = rng.normal(0, .1, (batch, samples)).astype(np.float32)
        probabilities, distances = onnx_classifier.run(waves)
        expected = classifier.decide(*classifier.predict_logits([*waves], 22050))
        assert np.abs(probabilities-expected[0]).max() < 2e-3 and np.abs(distances-expected[1]).max() < .05*expected[1].max()

@pytest.mark.parametrize('decibels', [-60, 0, 40])
def test_the_level_does_not_matter(exported, decibels):
    onnx_classifier, wave = OnnxClassifier(exported), synthesise('siren', 1)
    expected, found = (onnx_classifier.predict_proba(wave*np.float32(10**(x/20))*np.float32(.01), 22050) for x in (0, decibels))
    assert np.abs(found-expected).max() < 2e-3

def gaps(wave):
    "A sound with digital silence before, inside and behind, short and long, and silence alone"
    zeros = lambda seconds: np.zeros(int(seconds*22050), np.float32)
    yield from (np.concatenate([zeros(2), wave]), np.concatenate([wave, zeros(.05), wave, zeros(1)]), zeros(1), zeros(.01))
    yield np.concatenate([part for second in np.array_split(wave[:3*22050], 12) for part in (second, zeros(.2))])

def test_digital_silence(exported, classifier):
    onnx_classifier, wave = OnnxClassifier(exported), synthesise('drilling', 2)
    for sound in gaps(wave):
        found = onnx_classifier.predict_proba(sound, 22050)
        assert np.abs(found-classifier.predict_proba(sound, 22050)).max() < 2e-3
    assert np.abs(onnx_classifier.predict_proba(next(gaps(wave)), 22050)-onnx_classifier.predict_proba(wave, 22050)).max() < .3

def test_a_batch_is_its_clips(exported):
    onnx_classifier = OnnxClassifier(exported)
    sounds = np.stack([np.resize(sound, 100_000) for sound in gaps(synthesise('drilling', 2))])
    together = onnx_classifier.run(sounds)
    for row, sound in enumerate(sounds):
        for a, b in zip(onnx_classifier.run(sound[None]), together): assert np.allclose(a[0], b[row], atol=1e-3)

def test_kinds_of_samples(exported):
    onnx_classifier, wave = OnnxClassifier(exported), synthesise('dog_bark', 1)
    expected = onnx_classifier.predict_proba(wave, 22050)
    for same in (wave.astype(float), torch.tensor(wave), np.stack([wave]*2, 1), (wave*32767).astype(np.int16)):
        assert np.abs(onnx_classifier.predict_proba(same, 22050)-expected).max() < .02
    with pytest.raises(DataError): onnx_classifier.predict_proba(np.full(100, np.nan), 22050)

@pytest.mark.parametrize('wave, rate', [
    (np.zeros(0, np.float32), 22050), ([], 22050), (np.zeros((0, 2)), 22050), (torch.zeros(0), 44100), (np.ones((2, 3, 4)), 22050), ('dog.wav', 22050), (None, 22050),
    *((np.ones(500, np.float32), rate) for rate in ('22050', None, 0, -1, .5, float('nan'), float('inf'), [22050], 3e6))])
def test_no_samples_and_wrong_rates(exported, classifier, wave, rate):
    "One line, as from the model in PyTorch"
    for model in (OnnxClassifier(exported), classifier):
        with pytest.raises(DataError) as refusal: model.predict_proba(wave, rate)
        assert len(str(refusal.value).splitlines()) == 1

@pytest.mark.parametrize('name', ['conv-transformer', 'transformer', 'sb-cnn', 'duration'])
def test_other_networks(name, tmp_path):
    torch.manual_seed(0)
    assert export_onnx(tmp_path/'model.onnx', build_classifier(name, CLASSES)) < 1e-3

def test_native_rate_is_refused(tmp_path):
    with pytest.raises(DataError, match='export another model'): export_onnx(tmp_path/'a.onnx', build_classifier('cnn1d-native', CLASSES))
    assert not list(tmp_path.iterdir())

# --- without this project

def script_of(page):
    "The Python script in the text of a page"
    cells = json.loads((ROOT/'nbs'/page).read_text(encoding='utf-8'))['cells']
    text = '\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
    script, = re.findall(r'```python\n(.*?)```', text, re.S)
    return script

def test_the_script_of_the_page(exported, classifier, tmp_path):
    from urbansounds_nb.predict import classify_stream
    from urbansounds_nb.audio import open_audio
    (tmp_path/'classify.py').write_text(script_of('06b_export.ipynb'))
    (tmp_path/'urbansounds_nb.py').write_text('raise ImportError("without this project")')
    (tmp_path/'model.onnx').write_bytes(exported.read_bytes())
    quiet = np.random.default_rng(0).normal(0, 1e-5, 7*44100)
    wave = np.concatenate([synthesise('siren', 0, 5., 44100), quiet, synthesise('drilling', 1, 5., 44100)])
    sf.write(tmp_path/'a.wav', np.stack([wave, wave], 1), 44100, subtype='FLOAT')
    done = subprocess.run([sys.executable, 'classify.py', 'a.wav'], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == '', done.stderr
    stream = open_audio(tmp_path/'a.wav')
    segments = list(classify_stream(stream, stream.rate, classifier))
    lines = [re.match(r' *\d+ s  (\w+)  \(nearest class (\w+), probability (\d+)%', line).groups() for line in done.stdout.splitlines()]
    assert 12 <= len(lines) == len(segments) and ('silence' in {label for label, *_ in lines})
    for (label, nearest, percent), segment in zip(lines, segments):
        assert (label == 'silence') == (segment.label == 'silence')
        if label != 'silence': assert nearest == segment.nearest_class and abs(float(percent)/100-segment.probability) < .02

# --- a stranger's file

def with_metadata(path, to, **metadata):
    import onnx
    model = onnx.load(path)
    texts = {prop.key: prop.value for prop in model.metadata_props} | metadata
    del model.metadata_props[:]
    for name, text in texts.items():
        if text is not None: model.metadata_props.add(key=name, value=text)
    onnx.save(model, to)
    return to

@pytest.mark.parametrize('metadata', [
    dict(sample_rate='many'), dict(sample_rate='0'), dict(sample_rate='1e99'), dict(sample_rate='null'), dict(sample_rate='true'), dict(sample_rate=None),
    dict(classes='{"dog": 1}'), dict(classes='[{"a": 1}, null]'), dict(classes='["dog"]'), dict(classes='['*100_000), dict(classes=''), dict(classes='"abc"'),
    dict(min_confidence='[]'), dict(min_confidence='2'), dict(ood_threshold='NaN'), dict(ood_threshold='"x"'), dict(ood_threshold='9'*9000)])
def test_odd_metadata(exported, metadata, tmp_path):
    with pytest.raises(DataError) as refusal: OnnxClassifier(with_metadata(exported, tmp_path/'odd.onnx', **metadata))
    assert len(str(refusal.value).splitlines()) == 1 and len(str(refusal.value)) < 400

def test_other_files(exported, tmp_path):
    import onnx
    from onnx import TensorProto, helper
    facts = {prop.key: prop.value for prop in onnx.load(exported).metadata_props}
    def other(input_name, shape):
        "A model that gives back what it gets"
        info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        graph = helper.make_graph([helper.make_node('Identity', [input_name], ['out'])], 'g', [info(input_name)], [info('out')])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=8), tmp_path/'other.onnx')
        return with_metadata(tmp_path/'other.onnx', tmp_path/'other.onnx', **facts)
    (tmp_path/'text.onnx').write_text('no model')
    (tmp_path/'empty.onnx').write_bytes(b'')
    (tmp_path/'half.onnx').write_bytes(exported.read_bytes()[:10_000])
    paths = [tmp_path/f'{name}.onnx' for name in ('text', 'empty', 'half', 'none')]
    for path in [*paths, other('wave', [1, 1]), other('mel', ['a', 'b']), tmp_path]:
        with pytest.raises(DataError) as refusal: OnnxClassifier(path)
        assert len(str(refusal.value).splitlines()) == 1

# --- 8 bits, and what a score is of

@pytest.fixture(scope='module')
def clips(three_folds):
    from urbansounds_nb.dataset import load_clips
    return load_clips(three_folds)

def test_eight_bits(exported, classifier, clips, tmp_path):
    quantise_onnx(exported, tmp_path/'small.onnx', clips[::10])
    exact, small = OnnxClassifier(exported), OnnxClassifier(tmp_path/'small.onnx')
    waves = np.stack([synthesise(name, 1) for name in CLASSES])
    (p, d), (q, e) = exact.run(waves), small.run(waves)
    assert np.abs(p-q).mean() < .1 and np.median(np.abs(d-e)) < .3*np.median(d)
    assert (tmp_path/'small.onnx').stat().st_size < exported.stat().st_size
    assert abs(accuracy(exact, clips[::6])-accuracy(small, clips[::6])) <= .4

def test_a_score_says_what_it_is_of(classifier, clips, monkeypatch, tmp_path):
    scored, others, words = unseen_clips(classifier.header, clips)
    assert {clip['fold'] for clip in scored} == {3} and 3 not in {clip['fold'] for clip in others} and f'{len(scored)} clips of fold 3' in words
    assert 'perhaps training clips' in words                                           # other data than it was trained on
    for odd in ({}, dict(results={}), dict(results=dict(fold=[1])), dict(results=dict(fold=99)), dict(classes=['bird', 'kettle'], results=dict(fold=3))):
        with pytest.raises(DataError, match='needs clips in fold'): unseen_clips(odd, clips)
    for name in ('export_onnx', 'quantise_onnx'): monkeypatch.setattr(f'urbansounds_nb.export.{name}', lambda *a: .001)
    monkeypatch.setattr('urbansounds_nb.export.OnnxClassifier', lambda path: classifier)
    monkeypatch.setattr('urbansounds_nb.export.accuracy', lambda model, clips: len(clips)/100)
    for name in ('model.onnx', 'model.int8.onnx'): (tmp_path/name).write_bytes(bytes(10))
    lines = list(export_files(tmp_path/'model.onnx', classifier, True, clips))
    assert len(lines) == 2 and words in lines[1] and f'{len(scored)}.0 % before' in lines[1]

def rearranged(clips, change):
    "The clips, changed as if they came from elsewhere"
    from urbansounds_nb.dataset import ClipList
    made = ClipList([dict(clip, audio=dict(clip['audio'])) for clip in clips], clips.classes, clips.source, clips.embedded)
    one, other = (next(clip for clip in made if clip['fold'] == fold) for fold in (1, 3))
    if change == 'folds': one['fold'], other['fold'] = 3, 1
    if change == 'sound': one['audio'] = other['audio']
    if change == 'label': one['class'] = next(name for name in clips.classes if name != one['class'])
    if change == 'recording': one['fsID'] = other['fsID']
    if change == 'fewer': made = ClipList(made[1:], clips.classes, clips.source, clips.embedded)
    if change == 'order': made = ClipList(made[::-1], clips.classes, clips.source, clips.embedded)
    if change == 'source': made.source, made.embedded = 'own recordings', False
    return made

@pytest.mark.parametrize('change, known', [('', True), ('order', True), ('source', True), ('folds', False), ('sound', False), ('label', False),
                                           ('recording', False), ('fewer', False)])
def test_clips_are_new_to_a_model_only_where_their_content_says_so(clips, three_folds, change, known):
    "The digest that a run keeps of its prepared data, against that of these clips; names of sources say nothing"
    from urbansounds_nb.features import load_source
    run = dict(fold=3, source=clips.source, embedded=clips.embedded, data=load_source(three_folds, progress=False).digest)
    words = unseen_clips(dict(results=run), rearranged(clips, change))[2]
    assert ('not used in training' in words) == known and ('perhaps training clips' in words) == (not known)
    for lacking in ({}, dict(data=None), dict(data=[run['data']])):
        assert 'perhaps' in unseen_clips(dict(results={key: run[key] for key in ('fold', 'source', 'embedded')} | lacking), clips)[2]

def test_export_as_typed(typed, tmp_path, three_folds, classifier):
    classifier.save(tmp_path/'model.safetensors')
    done = typed('urbansounds_export', '--checkpoint', 'model.safetensors', '--to', 'model.onnx', '--int8', '--data', three_folds, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['model.int8.onnx', 'model.onnx', 'model.safetensors']
    assert '% in 8 bits' in done.stdout and 'clips of fold 3' in done.stdout and done.stderr == ''

# --- the checkpoint that is shipped

def test_making_the_shipped_checkpoint(three_folds, tmp_path):
    from urbansounds_nb.crossval import cross_validate
    train = lambda scored_on: cross_validate(str(three_folds), ('residual-cnn',), folder=tmp_path, folds=(3,), epochs=1, n_jobs=1, scored_on=scored_on, progress=False)
    tool = [sys.executable, ROOT/'tools'/'ship_checkpoint.py', '--data', three_folds, '--results', tmp_path, '--fold', '3', '--to', tmp_path/'new.safetensors']
    train('test')
    early = subprocess.run(tool, capture_output=True, text=True)
    assert early.returncode == 1 and early.stderr.startswith('error: ') and 'validation' in early.stderr and len(early.stderr.splitlines()) == 1
    train('validation')
    done = subprocess.run(tool, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = AudioClassifier.load(tmp_path/'new.safetensors')
    assert made.temperature != 1 and np.isfinite(made.ood_threshold) and 'folds 1, 2' in made.header['trained_on']
    assert made.header['results']['fold'] == 3 and 'of fold 3' in made.header['score'] and len(made.header['recall']) == 10
    assert (tmp_path/'new.md').read_text() and 'clips of fold 3' in (tmp_path/'new.md').read_text()
