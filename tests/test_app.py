"The web page: served by its command, used in Chromium with real files, wide and narrow; and the page of the site that does the same without a server"
import os, re, signal, socket, subprocess, sys, urllib.error, urllib.request
from pathlib import Path
import numpy as np
import pytest
import soundfile as sf
from test_site import BROWSER, QUIET, WIDE, address, built, opened, site
from urbansounds_nb.app import build_page
from urbansounds_nb.dataset import resample
from urbansounds_nb.predict import classify, default_listener
from urbansounds_nb.synthetic import synthesise

COMMAND = Path(sys.executable).parent/'urbansounds_app'
FAKE_MICROPHONE = ['--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream']
HEADLINE = '.answer h2'

def free_port():
    with socket.create_server(('127.0.0.1', 0)) as place: return place.getsockname()[1]

@pytest.fixture(scope='module')
def served(tmp_path_factory):
    "(address, process) of the command as typed, with small limits"
    place = tmp_path_factory.mktemp('served')
    process = subprocess.Popen([COMMAND, '--port', str(free_port()), '--max-seconds', '20', '--max-megabytes', '2'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=os.environ | dict(TMPDIR=str(place)), preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    line = process.stdout.readline()
    assert 'http://127.0.0.1:' in line, process.communicate(timeout=60)
    yield line.split()[0], process, place
    if process.poll() is None: process.kill()

@pytest.fixture(scope='module')
def chromium():
    if not BROWSER: pytest.skip('chromium is not installed (Debian: apt-get install chromium)')
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: it is part of the extra dev')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET + FAKE_MICROPHONE)
        yield browser
        browser.close()

@pytest.fixture
def visit(chromium, request):
    "Opens an address at a size; at the end there must have been no error and no request to another host"
    problems, pages = [], []
    def go(address, size='desktop', **settings):
        page = opened(chromium, size, problems, **settings)
        page.set_default_timeout(120_000)
        pages.append(page)
        page.goto(address)
        return page
    go.problems, go.allowed = problems, [r' blob:', r'/queue/data\?.* failed$', r'Method not implemented\.$']  # the player lets go of a sound, Gradio's page of a finished stream
    yield go
    for page in pages: page.context.close()
    problems[:] = [problem for problem in problems if not re.search('|'.join(go.allowed), problem)]
    assert not problems, '\n'.join(problems)

@pytest.fixture(scope='module')
def sounds(tmp_path_factory):
    "Files as people have them: a clip, the same in stereo at 48 kHz, several sounds and a pause, silence, and what is no sound"
    folder = tmp_path_factory.mktemp('sounds')
    dog = synthesise('dog_bark', 1)
    wide = resample(dog, 22050, 48000)
    sf.write(folder/'dog.wav', dog, 22050)
    sf.write(folder/'stereo.wav', np.stack([wide, .5*wide], 1), 48000)
    sf.write(folder/'street.wav', np.concatenate([synthesise('siren', 1, 5.), np.zeros(5*22050), synthesise('drilling', 0, 6.)]), 22050)
    sf.write(folder/'night.wav', np.zeros(22050), 22050)
    sf.write(folder/'long.wav', np.zeros(8000*70, np.float32), 8000)
    sf.write(folder/'large.wav', np.zeros(2_000_000, np.float32), 96000)
    (folder/'empty.wav').write_bytes(b'')
    (folder/'<i>song.wav').write_text('no sound')
    return folder

def drop(page, path): page.set_input_files('input[type=file]', path)

def word(label): return label.replace('_', ' ')

# --- the page that urbansounds_app serves

@pytest.mark.parametrize('size, scheme', [('desktop', 'light'), ('phone', 'dark')])
def test_label_bars_time_line_and_map(served, visit, sounds, size, scheme):
    page, heard = visit(served[0], size, color_scheme=scheme), classify(sounds/'dog.wav')
    page.wait_for_selector('input[type=file]', state='attached')
    drop(page, sounds/'dog.wav')
    assert page.wait_for_selector(HEADLINE).inner_text() == word(heard.label)
    page.wait_for_selector('img[alt*="coloured tiles"]')
    shown = page.locator('main, body').first.inner_text()
    assert all(word(name) in shown for name in default_listener().classes) and 'Orange' in shown
    assert page.evaluate("[...document.querySelectorAll('figure img')].map(image => image.complete && image.naturalWidth > 500 && image.alt != '')") == [True, True]
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')

def test_a_street_with_a_pause_and_an_example(served, visit, sounds):
    page, heard = visit(served[0]), classify(sounds/'street.wav')
    page.wait_for_selector('input[type=file]', state='attached')
    drop(page, sounds/'street.wav')
    page.wait_for_selector('img[alt*="coloured tiles"]')
    assert page.inner_text(HEADLINE) == word(heard.label)
    assert [line.split(':')[1].split(',')[0].strip() for line in page.locator('figcaption li').all_inner_texts()] == [word(part.label) for part in heard.timeline]
    page.get_by_text('one after the other').click()                                 # half a minute, and 20 s are allowed here
    assert 'longer than 20 s' in page.wait_for_selector('.answer [role=alert]').inner_text()

@pytest.mark.parametrize('name, words', [('<i>song.wav', 'not readable as audio'), ('empty.wav', 'empty'), ('long.wav', 'longer than 20 s')])
def test_bad_files_get_a_sentence(served, visit, sounds, name, words):
    visit.allowed.append('Waveform load error|REQUEST_RANGE|status of 416|/gradio_api/file=.* failed$')   # the player cannot play what is no sound, and may still try when the page is left
    page = visit(served[0])
    page.wait_for_selector('input[type=file]', state='attached')
    drop(page, sounds/name)
    assert words in page.wait_for_selector('.answer [role=alert]').inner_text()
    assert str(served[2]) not in page.inner_text('body') and page.locator(HEADLINE).count() == 0

def test_silence_is_no_class(served, visit, sounds):
    page = visit(served[0])
    page.wait_for_selector('input[type=file]', state='attached')
    drop(page, sounds/'night.wav')
    assert page.wait_for_selector(HEADLINE).inner_text() == 'silence'

def test_large_files_are_refused(served, visit, sounds):
    page = visit(served[0])
    page.wait_for_selector('input[type=file]', state='attached')
    drop(page, sounds/'large.wav')
    page.wait_for_selector('text=/maximum|too large|exceed/i')
    visit.problems.clear()                                                         # the refusal, status 413, stands in the console

def test_a_recording(served, visit):
    page = visit(served[0], permissions=['microphone'])
    page.get_by_role('button', name='Record audio').click()
    page.get_by_role('button', name='Record', exact=True).click()
    page.wait_for_timeout(2000)
    page.get_by_role('button', name='Stop', exact=True).first.click()
    page.wait_for_selector(HEADLINE)                                                # whatever the beeps of a fake microphone are

def test_nobody_reads_other_files_or_comes_from_outside(served):
    base, _, place = served
    secret = place.parent/'secret.txt'
    secret.write_text('secret')
    for path in f'/gradio_api/file={secret}', f'/gradio_api/file={place}/../secret.txt', '/gradio_api/file=/etc/passwd':
        with pytest.raises(urllib.error.HTTPError) as refusal: urllib.request.urlopen(base.rstrip('/') + path, timeout=30)
        assert refusal.value.code in (403, 404)
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {'127.0.0.1'}
    for other in others:
        if not other.startswith('127.') and other != '::1':
            with pytest.raises(OSError): socket.create_connection((other, int(base.rstrip('/').rpartition(':')[2])), timeout=5)

def test_one_line_for_wrong_use(served, typed):
    taken = typed('urbansounds_app', '--port', served[0].rstrip('/').rpartition(':')[2])
    none = typed('urbansounds_app', '--model', 'nowhere.safetensors')
    for done, words in (taken, '--port'), (none, 'no such checkpoint'):
        assert done.returncode == 1 and done.stdout == '' and len(done.stderr.splitlines()) == 1 and words in done.stderr, done.stderr

def test_the_line_is_short(tmp_path):
    page = build_page(default_listener(), tmp_path)
    assert (page._queue.max_size, [fn.concurrency_limit for fn in page.fns.values() if fn.queue and fn.targets[0][1] == 'change']) == (8, [1])

def test_ctrl_c_leaves_nothing_behind(served):
    _, process, place = served
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == '' and process.returncode == 0
    assert not list(place.iterdir())

# --- the page of the site that needs no server

@pytest.mark.parametrize('size, name', [('desktop', 'street.wav'), ('phone', 'stereo.wav'), ('desktop', 'dog.wav')])
def test_the_site_says_what_python_says(visit, address, sounds, size, name):
    page, heard = visit(f'{address}/browser.html', size), classify(sounds/name)
    drop(page, sounds/name)
    page.wait_for_selector('.hear-shown h3')
    said = page.evaluate("document.getElementById('hear').result")
    assert page.inner_text('.hear-shown h3') == word(heard.label) == word(said['label'])
    assert [part['label'] for part in said['timeline']] == [part.label for part in heard.timeline]
    np.testing.assert_allclose([[part['start'], part['end']] for part in said['timeline']], [part[:2] for part in heard.timeline], atol=.01)
    np.testing.assert_allclose(said['probabilities'], list(heard.probabilities.values()), atol=.1 if name == 'stereo.wav' else .01)     # the browser's resampler lets the highest bands fade
    assert said['classes'] == list(heard.probabilities) and page.locator('.hear-bars li').count() == 10
    assert not page.evaluate(WIDE)

def test_the_site_on_examples_silence_and_a_recording(visit, address, sounds):
    page = visit(f'{address}/browser.html', permissions=['microphone'])
    page.get_by_role('button', name='siren').click()
    assert 'A synthetic siren' in page.wait_for_selector('.hear-shown h3 + p').inner_text()
    drop(page, sounds/'night.wav')
    page.wait_for_selector('.hear-shown h3:text("silence")')
    page.get_by_role('button', name='Record').click()
    page.wait_for_timeout(1500)
    page.get_by_role('button', name='Stop').click()
    page.wait_for_selector('.hear-shown p:text("Your recording")')

@pytest.mark.parametrize('name, words', [('<i>song.wav', 'cannot read it as sound'), ('empty.wav', 'empty'), ('long.wav', 'longer than 60 s')])
def test_the_site_on_bad_files(visit, address, sounds, name, words):
    page = visit(f'{address}/browser.html')
    drop(page, sounds/name)
    assert words in page.wait_for_selector('.hear-wrong').inner_text() and page.locator('.hear-shown h3').count() == 0

def test_the_site_as_a_file_says_why_not(visit, site):
    page = visit((site/'browser.html').as_uri())
    assert 'http.server' in page.inner_text('#hear')

def test_the_runtime_comes_with_its_licence(site):
    assert 'Microsoft' in (site/'browser'/'LICENSE-onnxruntime.txt').read_text() and {'model.onnx', 'model.json'} < {path.name for path in (site/'browser').iterdir()}
