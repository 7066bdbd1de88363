"The site: built once, then read as files and in a browser, wide and narrow, as a file and from a sub-path"
import functools, json, re, shutil, subprocess, sys, threading, urllib.request
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit
import pytest

ROOT = Path(__file__).resolve().parents[1]
BROWSER = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
QUIET = ('--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update '
         '--disable-sync --disable-extensions').split()
SIZES = {'desktop': (1280, 900), 'phone': (390, 844)}
LOADED = {'img': ['src', 'srcset'], 'script': ['src'], 'link': ['href'], 'audio': ['src'], 'source': ['src', 'srcset'], 'video': ['src'],
          'iframe': ['src'], 'object': ['data'], 'embed': ['src']}
MACHINE_PATH = re.compile(r'(?<![\w.<~/:-])/(?:home|root|tmp|work|Users|opt)/[\w.-]+|\b[A-Z]:\\Users')

class Page(HTMLParser):
    "What one page links to, what it loads, and the places that one can link to in it"
    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.ids, self.undescribed, self.players = set(), set(), set(), [], []
        self.text = path.read_text(encoding='utf-8')
        self.feed(self.text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids |= {attrs.get('id'), attrs.get('name') if tag == 'a' else None}
        self.loaded |= {attrs[name] for name in LOADED.get(tag, []) if attrs.get(name)}
        if tag == 'a' and attrs.get('href'): self.links.add(attrs['href'])
        if tag == 'audio': self.players.append(attrs.get('aria-label'))
        if tag == 'img' and not attrs.get('alt'): self.undescribed.append(attrs.get('src', '')[:40])

def is_outside(link): return bool(re.match(r'[a-z][a-z0-9+.-]*:|//', link)) and not link.startswith('data:')

@pytest.fixture(scope='session')
def built(tmp_path_factory):
    "(folder, what the build said, its exit status), made by the first process that asks and read by the others"
    if sys.version_info < (3, 11): pytest.skip('smalldocs, which builds the site here, needs Python 3.11 or later')
    from filelock import FileLock
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith('popen') else base       # pytest-xdist gives each of its processes a folder popen-gw...
    with FileLock(shared/'site.lock'):
        if not (shared/'site.json').exists():
            done = subprocess.run([sys.executable, ROOT/'tools'/'docs.py', '--smalldocs', shared/'site'], capture_output=True, text=True, timeout=500)    # the first time it fetches the runtime for browser.html
            (shared/'site.json').write_text(json.dumps([done.stdout + done.stderr, done.returncode]))
    return shared/'site', *json.loads((shared/'site.json').read_text())

@pytest.fixture(scope='session')
def site(built):
    assert built[0].is_dir(), built[1]
    return built[0]

@pytest.fixture(scope='session')
def pages(site): return {path.name: Page(path) for path in sorted(site.glob('*.html'))}

def test_the_build_finds_nothing_wrong(built): assert built[2] == 0, built[1]

def pandoc(text, to):
    "What a real pandoc makes of Markdown with the filter that Quarto uses"
    import pypandoc
    lua = f'--lua-filter={ROOT/"nbs"/"quarto.lua"}'
    return pypandoc.convert_text(text, to, format='markdown', extra_args=[lua, '--wrap=none', '--standalone'])

def test_the_filter_for_quarto_cleans_pages():
    script = '```{=html}\n  <script src="https://cdnjs.example/require.js"></script>\n  ```'
    page = f'---\ntitle: T\nheader-includes:\n- |\n  {script}\n---\n'
    page += '```python\ndef f(x:[`Tensor`](https://pytorch.org/x#t)): pass\n```\n'
    made = pandoc(page, 'html')
    assert 'cdnjs' not in made and '](https' not in made and 'Tensor' in made

PLAYERS = '# A `dog`\n\n<audio controls src="a.wav"></audio>\n\n```{=html}\n<audio src="b.wav">\nText\n</audio>\n```\n\n'
PLAYERS += '<audio src="c.wav" aria-label="Two dogs"></audio>\n'

def test_both_builders_name_players_alike():
    "By their own label or by the heading above, so that it is seen and read aloud, and each name once"
    sys.path.append(str(ROOT/'tools'))
    from docs import players
    import pypandoc
    for made in pandoc(f'---\ntitle: T\n---\n{PLAYERS}', 'html'), players(pypandoc.convert_text(PLAYERS, 'html', format='markdown')):
        named = re.findall(r'<span class="player"><span>(.*?)</span><audio aria-label="(.*?)"', made)
        assert named == [(name, name) for name in ('Listen: A dog', 'Listen: A dog (2)', 'Two dogs')], made
        assert made.count('</audio></span>') == 3

def test_the_filter_for_quarto_writes_links_from_the_root():
    made = pandoc('---\ntitle: T\ndescription: One sentence.\n---\n[a](04_crossval.ipynb) ![b](way.png) [c](https://x.org)', 'gfm')
    assert '> One sentence.' in made and '(nbs/04_crossval.ipynb)' in made and 'nbs/way.png' in made and '(https://x.org)' in made

def test_every_page_of_the_sidebar_is_there(pages):
    import yaml
    contents = yaml.safe_load((ROOT/'nbs'/'sidebar.yml').read_text())['website']['sidebar']['contents']
    assert [group['section'] for group in contents] == ['Start', 'Results', 'Data', 'Models', 'Evaluation', 'Plumbing']
    listed = [item for group in contents for item in group['contents']]
    notebooks = {path.name for path in (ROOT/'nbs').glob('*.ipynb')}
    assert {item['href'] for item in listed} == notebooks, 'nbs/sidebar.yml and the notebooks differ'
    assert len(pages.keys() - {'404.html'}) == len(listed)      # every page, and the one for all that are not there
    for name, page in pages.items():
        assert all(f'>{item["text"]}<' in page.text for item in listed), name
        assert ('pagination-link' in page.text) == (name != '404.html'), f'{name}: links to the page before or after'

def test_no_link_is_broken(site, pages):
    broken = []
    for name, page in pages.items():
        for link in page.links | page.loaded:
            if is_outside(link) or link.startswith('data:'): continue
            address, place = urldefrag(link)
            target = unquote(urlsplit(address).path) or name
            if target.startswith('/') or not (site/target).is_file(): broken.append(f'{name}: {link}')
            elif place and target in pages and unquote(place) not in pages[target].ids: broken.append(f'{name}: {link} (no such place)')
    assert not broken, '\n'.join(broken)

def test_nothing_is_loaded_from_elsewhere(site, pages):
    foreign = [f'{name}: {link}' for name, page in pages.items() for link in page.loaded if is_outside(link)]
    foreign += [f'{path.name}: {found}' for path in site.rglob('*.css')
                for found in re.findall(r'(?:@import|url\()\s*["\']?(?:url\()?["\']?((?:https?:)?//[^"\')]+)', path.read_text(encoding='utf-8'))]
    assert not foreign, '\n'.join(foreign)

def test_pages_are_complete(site, pages):
    wrong = []
    for name, page in pages.items():
        prose = re.sub(r'(?s)<(script|style)\b.*?</\1>|src="data:[^"]*"', '', page.text)
        wrong += [f'{name}: without a description: {source}' for source in page.undescribed]
        wrong += [f'{name}: the name of a player is missing, not seen, or not the only one: {label}' for label in page.players
                  if not label or page.players.count(label) > 1 or f'<span>{label}</span>' not in page.text]
        wrong += [f'{name}: {found}' for pattern in (MACHINE_PATH, r'@fig-[\w-]+', r'\.ipynb(?:#[\w-]+)?"', r'<span class="math', r'#\| ?\w+')
                  for found in re.findall(pattern, prose)]
        for meta in 'og:image', 'name="description"', 'rel="icon"':
            if meta not in page.text: wrong.append(f'{name}: no {meta}')
    assert (site/'card.png').is_file()
    assert not wrong, '\n'.join(wrong)

@pytest.fixture(scope='module')
def browser(site):
    if not BROWSER: pytest.skip('chromium is not installed (Debian: apt-get install chromium)')
    sync_api = pytest.importorskip('playwright.sync_api', reason='playwright is not installed: it is part of the extra dev')
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield chromium
        chromium.close()

@contextmanager
def served(folder):
    "The address of a folder below a sub-path of a server on this machine, which serves 404.html for what is not there"
    below = '/urbansounds_nb'
    class Handler(SimpleHTTPRequestHandler):
        def translate_path(self, path): return super().translate_path(path.removeprefix(below)) if path.startswith(f'{below}/') else '/nowhere'
        def log_message(self, *args): pass
        def send_error(self, code, *args):
            if code != 404: return super().send_error(code, *args)
            self.send_response(404)
            self.send_header('Content-Type', 'text/html')
            self.end_headers()
            self.wfile.write((folder/'404.html').read_bytes())
    server = ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}{below}'
    server.shutdown()

@pytest.fixture(scope='module')
def address(site):
    with served(site) as address: yield address

def can_be_had(url):
    "Whether a file or a server gives what is at an address"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer: return bool(answer.read(1))
    except OSError: return False

def opened(browser, size, problems, **settings):
    "A browser page of this size that notes every error, and every request that leaves the machine"
    width, height = SIZES[size]
    page = browser.new_context(viewport=dict(width=width, height=height), **settings).new_page()
    page.on('console', lambda message: message.type in ('error', 'warning') and problems.append(f'{page.url}: {message.text}'))
    page.on('pageerror', lambda error: problems.append(f'{page.url}: {error}'))
    def failed(request):
        # the browser gives up what it still waits for when a page is left: then it is asked for again, here, but for the
        # messages of a Gradio queue, which have no end and are for one listener
        given_up = request.failure == 'net::ERR_ABORTED' and '/queue/data?' not in request.url
        if not (given_up and can_be_had(request.url)):
            problems.append(f'{page.url}: {request.url[:100]} failed: {request.failure}')
    page.on('requestfailed', failed)
    page.on('response', lambda answer: answer.status < 400 or answer.request.is_navigation_request() or problems.append(f'{answer.url}: {answer.status}'))
    page.on('request', lambda request: re.match('(file|data|blob):|http://127', request.url) or problems.append(f'{page.url}: loads {request.url}'))
    return page

# what reaches beyond the window, except inside something that scrolls
LEADS_TO = "(document.querySelector('.search-result') || {href: ''}).href.endsWith('/models.html#%s')"      # where Enter leads
WIDE = '''() => {
    const scrolls = element => element && (/auto|scroll/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement))
    const beyond = element => Math.max(element.getBoundingClientRect().right - innerWidth, -element.getBoundingClientRect().left)
    const wide = [...document.querySelectorAll('main *')].filter(element => beyond(element) > 1 && element.checkVisibility() && !scrolls(element.parentElement))
    if (document.documentElement.scrollWidth > innerWidth) wide.push(document.documentElement)
    return wide.slice(0, 3).map(element => `${element.tagName} ${element.id || element.textContent.trim().slice(0, 40)}`)
}'''
CUT = """() => [...document.querySelectorAll('main pre')].filter(pre => pre.checkVisibility() && pre.scrollWidth > pre.clientWidth + 1)
    .map(pre => pre.textContent.trim().slice(0, 50))"""
BROKEN = "() => [...document.images].filter(image => !image.complete || !image.naturalWidth).map(image => image.alt)"

@pytest.mark.parametrize('size, scheme, place', [('desktop', 'light', 'server'), ('phone', 'dark', 'file')])
def test_every_page_in_a_browser(browser, site, address, pages, size, scheme, place):
    problems = []
    page = opened(browser, size, problems, color_scheme=scheme)
    for name in pages:
        page.goto(f'{address}/{name}' if place == 'server' else (site/name).as_uri())
        problems += [f'{name}: wider than the {size}: {what}' for what in page.evaluate(WIDE)]
        if size == 'desktop': problems += [f'{name}: code is cut: {code}' for code in page.evaluate(CUT)]
        problems += [f'{name}: a picture is missing ({alt})' for alt in page.evaluate(BROKEN)]
        if page.evaluate("document.documentElement.classList.contains('quarto-dark')") != (scheme == 'dark'): problems.append(f'{name}: not {scheme}')
    page.context.close()
    assert not problems, '\n'.join(problems)

def test_the_icon_of_every_page_is_served(pages, address):
    for name, page in pages.items():
        icon, = re.findall(r'<link [^>]*rel="icon"[^>]*>', page.text)
        place = re.search('href="(.*?)"', icon)[1]
        assert can_be_had(f'{address}/{place}'), f'{name}: {icon}'
    assert not can_be_had(f'{address}/none.svg')

@pytest.mark.parametrize('there', [True, False])
def test_pages_left_early_are_forgiven_and_missing_files_are_not(browser, tmp_path, there):
    "Whether the browser waits for an icon, a picture or what a script asks for, or gives them up"
    wanted = 'icon.svg', 'picture.svg', 'asked.svg'
    (tmp_path/'404.html').write_text('<title>none</title>')
    (tmp_path/'next.html').write_text('<!doctype html><link rel="icon" href="data:,"><title>next</title>')
    (tmp_path/'first.html').write_text('<!doctype html><link rel="icon" href="icon.svg"><title>first</title><script>onload = () => {'
                                       'document.body.append(Object.assign(new Image(), {src: "picture.svg"})); fetch("asked.svg")}</script>')
    if there:
        for name in wanted: shutil.copy(ROOT/'nbs'/'favicon.svg', tmp_path/name)
    with served(tmp_path) as address:
        for is_left in True, False:
            page = opened(browser, 'desktop', problems := [])
            if is_left: page.route('**/*.svg', lambda route: None)     # never answered: given up as the page is left
            page.on('request', lambda request, asked=(asked := set()): asked.add(request.url.rsplit('/', 1)[1]))
            page.goto(f'{address}/first.html')
            for _ in range(500):                                       # a busy browser asks for the icon later
                if asked >= {*wanted}: break
                page.wait_for_timeout(20)
            if not is_left: page.wait_for_load_state('networkidle')
            page.goto(f'{address}/next.html')
            page.context.close()
            named = {name for name in wanted for problem in problems if name in problem}
            assert named == (set() if there else set(wanted)), problems

@pytest.mark.parametrize('place', ['server', 'file'])
def test_search_and_dark_mode_by_keyboard(browser, site, address, place):
    problems = []
    page = opened(browser, 'desktop', problems, color_scheme='light')
    page.goto(f'{address}/index.html' if place == 'server' else (site/'index.html').as_uri())
    page.keyboard.press('Tab')
    assert page.evaluate("document.activeElement.textContent") == 'Skip to the text'
    page.keyboard.press('Enter')
    page.keyboard.press('Tab')
    assert page.evaluate("document.activeElement.closest('main') !== null")
    page.keyboard.press('/')
    page.keyboard.type('no such word anywhere')
    page.wait_for_selector('.search-none')
    page.locator(':focus').fill('')
    page.keyboard.type('mask augmentation')                # two words that stand apart
    page.wait_for_function("(document.querySelector('.search-result-section') || {}).textContent == 'Mask'")
    page.locator(':focus').fill('')
    page.keyboard.type('audioclassifier')                  # on a page without pictures, which is there at once
    page.wait_for_function(LEADS_TO % 'audioclassifier')
    page.keyboard.press('Enter')
    page.wait_for_url('**/models.html#audioclassifier')
    page.keyboard.press('/')
    page.keyboard.type('build_classifier')
    page.wait_for_function(LEADS_TO % 'build_classifier')      # and not what was found for half of the word
    page.keyboard.press('Enter')
    page.wait_for_url('**/models.html#build_classifier')    # on the same page: the list makes way
    page.wait_for_selector('.smalldocs-search-results', state='hidden')
    colour = 'getComputedStyle(document.body).backgroundColor'
    before = page.evaluate(colour)
    page.locator('.quarto-color-scheme-toggle').first.focus()
    page.keyboard.press('Enter')
    page.wait_for_function(f'{colour} != "{before}"')
    page.reload()
    page.wait_for_function(f'{colour} != "{before}"')      # remembered
    page.context.close()
    assert not problems, '\n'.join(problems)

def test_what_quarto_counts_from_the_root_of_a_server_counts_from_the_site(tmp_path):
    sys.path.append(str(ROOT/'tools'))
    from docs import serve_missing
    (tmp_path/'404.html').write_text('<html><head></head><a href="/index.html">home</a><a href="//else.where">out</a></html>')
    serve_missing(tmp_path)
    assert re.findall('href="(.*?)"', (tmp_path/'404.html').read_text()) == ['index.html', '//else.where']

@pytest.mark.parametrize('missing', ['none.html', 'deep/er/none.html'])
def test_a_missing_address_leads_on(browser, address, missing):
    "At any depth, with the looks of the site, its list of pages and its search"
    page = opened(browser, 'desktop', [])
    assert page.goto(f'{address}/{missing}').status == 404
    assert page.locator('h1').inner_text() == 'Page not found'
    page.keyboard.press('/')
    page.keyboard.type('train on my own sounds')
    page.wait_for_selector('.search-result')
    page.locator('main').get_by_role('link', name='the home page').click()
    page.wait_for_url(f'{address}/index.html')
    page.context.close()

# what people type, and the page that should come first
ASKED = {'predict my own file': 'predict', 'classify a recording': 'predict', 'a folder of files': 'predict', 'long recording': 'predict',
         'train on my own sounds': 'own_sounds', 'train on birds': 'own_sounds', 'use a GPU': 'index', 'install CPU only': 'index',
         'run without Python': 'export', 'android': 'export', 'try it online': 'browser', 'web page for my colleagues': 'app',
         'how accurate is it': 'results', 'is it fast': 'speed', 'continue an interrupted run': 'crossval', 'add my own network': 'experiments',
         'load my own data set': 'sources', 'unknown sounds': 'unknown', 'compare with papers': 'honest', 'several GPUs': 'cluster'}
FIRST = """async questions => {
    const search = new Fuse(await (await fetch('search.json')).json())
    return questions.map(question => (search.search(question, {limit: 1})[0] || {item: {href: 'nothing'}}).item.href)
}"""

def test_the_search_finds_what_people_look_for(browser, site, pages, address):
    page = opened(browser, 'desktop', problems := [])
    page.goto(f'{address}/index.html')
    first = dict(zip(ASKED, page.evaluate(FIRST, list(ASKED))))
    wrong = [f'{question}: {href}' for question, href in first.items() if href.split('#')[0] != f'{ASKED[question]}.html']
    page.context.close()
    for entry in json.loads((site/'search.json').read_text()):
        name, place = urldefrag(entry['href'])
        if name not in pages or place and place not in pages[name].ids: wrong.append(f'{entry["href"]}: no such place')
    assert not wrong + problems, '\n'.join(wrong + problems)
