#!/usr/bin/env python3
"""Build the site in a folder: with Quarto where it is installed, else with smalldocs, which needs Python 3.11.

    python tools/docs.py [--smalldocs] [folder]     (default: _docs)
"""
import argparse, base64, contextlib, hashlib, html, json, re, shutil, subprocess, sys, tarfile, tempfile
from collections import Counter
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
SOURCES = 'settings.ini', '_quarto.yml', 'nbs'
CACHES = shutil.ignore_patterns('.*', '__pycache__', '_proc', '_docs', 'wandb', 'runs')
SCRIPT = Path(__file__).with_name('search.js')
TASKS = SCRIPT.with_name('tasks.yml')
HEARING = SCRIPT.with_name('browser.js')
# What runs the model in a browser: one version, one archive; LICENSE-onnxruntime.txt goes with it
RUNTIME = 'onnxruntime-web@1.30.0'
INTEGRITY = 'sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=='
RUNTIME_FILES = 'ort.wasm.bundle.min.mjs', 'ort-wasm-simd-threaded.wasm'
# What Quarto reads and smalldocs says it does not; this script does what they ask for
EXPECTED = r'output-file is not read|html-math-method is ignored|code-tools is ignored|compiles no Sass|respect-user-color-scheme|html.grid is ignored|quarto.lua is not run'
CELL = re.compile(r'(?m)^(?=::: \{\.cell #)')
LABEL = re.compile(r'::: \{\.cell #(fig-[\w-]+)\}')
CAPTION = re.compile(r'<figcaption>(.*?)</figcaption>', re.S)
PLAYER = re.compile(r'<h[1-4]\b[^>]*>(?P<heading>.*?)</h[1-4]>|<audio\b(?P<settings>[^>]*)>|</audio>', re.S)
# 404.html is served for every missing address; below the folder of the site, its own links have to count from that folder
FROM_ROOT = """<script>
{ const root = (location.pathname.match(/^.*?[/]urbansounds_nb[/]/) || [''])[0]
  if (root && location.pathname.slice(root.length).includes('/')) document.head.append(Object.assign(document.createElement('base'), {href: root})) }
</script>"""
SKIP = '<a class="visually-hidden-focusable" href="#quarto-document-content">Skip to the text</a>'      # past the sidebar, for who has no mouse

def processed():
    "The folder of the notebooks as nbdev makes them for the site; the current folder holds copies of the sources"
    from nbdev.serve import proc_nbs        # not nbdev_proc_nbs, which would install Quarto
    return proc_nbs(n_workers=0).resolve()

def code_markup(text): return re.sub('`([^`]+)`', r'<code>\1</code>', text)

def figures(body, page):
    "The Markdown of a page with its figures numbered, described in words for who cannot see them, and referred to by number"
    numbers = {label: number for number, label in enumerate(LABEL.findall(body), 1)}
    def reference(match):
        if match[1] not in numbers: raise SystemExit(f'{page}: @{match[1]} refers to no figure of this page: correct the label')
        return f'[Figure {numbers[match[1]]}](#{match[1]})'
    def numbered(cell):
        label, caption = LABEL.match(cell), CAPTION.search(cell)
        if not label or not caption: return cell
        cell = cell.replace('<img src=', f'<img alt="{caption[1].replace("`", "")}" src=')      # where there is no fig-alt
        return CAPTION.sub(lambda match: f'<figcaption><b>Figure {numbers[label[1]]}.</b> {code_markup(match[1])}</figcaption>', cell)
    return ''.join(map(numbered, CELL.split(re.sub(r'(?<![\w@`])@(fig-[\w-]+)', reference, body))))

def signatures(body):
    "nbdev makes links of names in backticks even in the comments of a signature, where they stay text: the names alone"
    plain = lambda match: re.sub(r'\[`([^`\]]+)`\]\([^)\s]*\)', r'\1', match[0])
    body = re.sub(r'(?ms)^```python\n.*?^```', plain, body)
    # private names have no place to link to
    return re.sub(r'\[`(_\w+)`\]\([^)\s]*\)', r'`\1`', body)

def mathml(page):
    "The HTML of a page with its TeX as MathML, which browsers draw without a library"
    from latex2mathml.converter import convert
    def converted(match): return convert(html.unescape(match[2])[2:-2], display='block' if match[1] == 'display' else 'inline')
    return re.sub(r'<span class="math (inline|display)">(.*?)</span>', converted, page, flags=re.S)

def players(page):
    "The HTML of a page whose players have a name that is seen and read aloud: their own, or the heading above them"
    heading, named = '', Counter()
    def labelled(match):
        nonlocal heading
        if match['heading']: heading = re.sub('<[^>]+>', '', match['heading']).strip()
        if match['settings'] is None: return match[0] if match['heading'] else '</audio></span>'
        own = re.search(r'aria-label="([^"]*)"', match['settings'])
        name = own[1] if own else f'Listen: {heading}'
        named[name] += 1
        if named[name] > 1: name += f' ({named[name]})'
        settings = match['settings'].replace(own[0], '') if own else match['settings']
        return f'<span class="player"><span>{name}</span><audio aria-label="{name}"{settings}>'
    return PLAYER.sub(labelled, page)

def add_tasks(site):
    "Put what people look for, in their own words, into the index of the search"
    import yaml
    index = json.loads((site/'search.json').read_text(encoding='utf-8'))
    titles = {entry['href'].split('#')[0]: entry['title'] for entry in index}
    for href, tasks in yaml.safe_load(TASKS.read_text(encoding='utf-8')).items():
        index += [dict(objectID=f'{href}?{task}', href=href, title=titles[href.split('#')[0]], section=task, text=text, task=True)
                  for task, text in tasks.items()]
    (site/'search.json').write_text(json.dumps(index, ensure_ascii=False), encoding='utf-8')

def serve_missing(site):
    "404.html finds what it needs from any address"
    page = site/'404.html'
    text = re.sub(r'(href|src)="/(?!/)', r'\1="', page.read_text(encoding='utf-8'))      # Quarto counts from the root of the server
    page.write_text(text.replace('<head>', f'<head>\n{FROM_ROOT}', 1), encoding='utf-8')

def smalldocs_site(root):
    "smalldocs' site of `root`, with what it lacks: names of pages, figures, maths"
    from smalldocs.config import load
    from smalldocs.site import Site
    class Book(Site):
        def read(self, src):
            page = super().read(src)
            page.out = PurePosixPath(page.front.get('output-file', page.out))       # 00_dataset.ipynb is dataset.html, as with Quarto
            return page
        def find_page(self, target):
            return super().find_page(target) or next((page for page in self.pages.values() if page.out == target), None)
        def render_page(self, page):
            page.body = signatures(figures(page.body, page.src))
            super().render_page(page)
            page.html, page.env['math'] = mathml(page.html), False
    return Book(load(root), quiet=True)

def finish(site, card):
    "What is left to do in the files: no fonts from elsewhere, our search, names for who sees nothing, a card for every page"
    for path in (site/'site_libs'/'themes').glob('*.css'):
        path.write_text(re.sub(r'@import\s*url\([^)]*\);?', '', path.read_text(encoding='utf-8')), encoding='utf-8')
    shutil.rmtree(site/'site_libs'/'fuse')
    shutil.copy(SCRIPT, site/'site_libs')
    for path in site.glob('*.html'):
        text = path.read_text(encoding='utf-8').replace('site_libs/fuse/fuse.min.js', f'site_libs/{SCRIPT.name}')
        text = re.sub(r'<body\b[^>]*>', lambda match: match[0] + SKIP, text, count=1)
        image = '' if 'og:image' in text else f'<meta property="og:image" content="{card}">\n'      # there with a doc_host
        path.write_text(players(text).replace('</head>', f'{image}</head>', 1), encoding='utf-8')
    serve_missing(site)
    add_tasks(site)
    index = (site/'search.json').read_text(encoding='utf-8')
    (site/'search.js').write_text(f'window.searchIndex = {index}\n', encoding='utf-8')

def fetch_runtime(folder):
    "onnxruntime-web from npm, which keeps what it has fetched once; the archive has to be the one that is named above"
    with tempfile.TemporaryDirectory() as place:
        command = [shutil.which('npm'), 'pack', RUNTIME, '--silent', '--prefer-offline', '--ignore-scripts', '--fetch-retries=1', f'--pack-destination={place}']
        subprocess.run(command, cwd=place, check=True, capture_output=True, timeout=400)
        archive, = Path(place).glob('*.tgz')
        if f'sha512-{base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()}' != INTEGRITY:
            raise SystemExit(f'{RUNTIME}: what npm gave is not what tools/docs.py expects: compare INTEGRITY with the registry')
        with tarfile.open(archive) as package:
            for name in RUNTIME_FILES: (folder/name).write_bytes(package.extractfile(f'package/dist/{name}').read())
    shutil.copy(HEARING.with_name('LICENSE-onnxruntime.txt'), folder)

def add_model(site):
    "What the page browser.html needs to classify sounds: runtime, model, examples; without npm it keeps the sentence that says so"
    page, folder = site/'browser.html', site/'browser'
    folder.mkdir()
    try: fetch_runtime(folder)
    except (TypeError, subprocess.SubprocessError):
        shutil.rmtree(folder)
        return print(f'browser.html classifies no sounds: {RUNTIME} comes through npm, which {"could not fetch it" if shutil.which("npm") else "is not installed"}')
    import numpy as np
    from matplotlib.colors import to_hex
    from urbansounds_nb.app import example_sounds
    from urbansounds_nb.export import OnnxClassifier, export_onnx
    from urbansounds_nb.models import default_classifier
    from urbansounds_nb.predict import SILENCE_DB
    export_onnx(folder/'model.onnx', default_classifier())
    model = OnnxClassifier(folder/'model.onnx')
    facts = {name: getattr(model, name) for name in ('classes', 'sample_rate', 'min_confidence', 'ood_threshold')}
    if not np.isfinite(facts['ood_threshold']): facts['ood_threshold'] = 1e30        # JSON has no infinity
    colours = [to_hex(f'C{n % 10}') for n in range(len(model.classes))]
    (folder/'model.json').write_text(json.dumps(facts | dict(silence_db=SILENCE_DB, colours=colours)))
    megabytes = sum(path.stat().st_size for path in folder.iterdir())/1e6
    shutil.copy(HEARING, folder)
    box = f'<div id="hear" data-megabytes="{megabytes:.0f}" data-examples="{",".join(example_sounds(folder))}">'
    text = page.read_text(encoding='utf-8').replace('<div id="hear">', box, 1)
    page.write_text(text.replace('</body>', f'<script src="browser/{HEARING.name}"></script>\n</body>', 1), encoding='utf-8')

def copy_sources(place):
    for name in SOURCES:
        if (ROOT/name).is_dir(): shutil.copytree(ROOT/name, Path(place, name), ignore=CACHES)
        else: shutil.copy(ROOT/name, place)

def build(folder):
    "The site in `folder`, which is emptied before; gives what is wrong with it"
    with tempfile.TemporaryDirectory() as place:
        copy_sources(place)
        with contextlib.chdir(place): site = smalldocs_site(processed())
        site.build()
        card = site.project.website['image']
        for path in site.root/card, *(ROOT/'nbs').glob('*.ogg'): shutil.copy(path, site.out)
        finish(site.out, card)
        add_model(site.out)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(site.out, folder)
    return [problem for problem in site.warnings if not re.search(EXPECTED, problem)]

def quarto_site(folder):
    "The site by Quarto, in `folder`; unlike nbdev_docs it leaves README.md and nbs/nbdev.yml alone"
    with tempfile.TemporaryDirectory() as place:
        copy_sources(place)
        with contextlib.chdir(place): pages = processed()
        subprocess.run(['quarto', 'render', '--no-cache', '--no-execute'], cwd=pages, check=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(pages/'_docs', folder)
    for path in (ROOT/'nbs').glob('*.ogg'): shutil.copy(path, folder)
    serve_missing(folder)
    add_tasks(folder)
    add_model(folder)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', type=Path, default=ROOT/'_docs')
    parser.add_argument('--smalldocs', action='store_true', help='leave Quarto aside')
    args = parser.parse_args()
    if shutil.which('quarto') and not args.smalldocs: return quarto_site(args.folder.resolve())
    if sys.version_info < (3, 11): sys.exit('the site needs Quarto (https://quarto.org/docs/get-started/) or Python 3.11 or later')
    folder = args.folder.resolve()
    problems = build(folder)
    pages = len(list(folder.glob('*.html')))
    size = sum(path.stat().st_size for path in folder.rglob('*') if path.is_file())
    print(*problems, f'{folder}: {pages} pages, {size/1e6:.1f} MB, {len(problems)} problems', sep='\n')
    sys.exit(bool(problems))

if __name__ == '__main__': main()
