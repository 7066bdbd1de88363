"A small server that speaks the Hub's HTTP as huggingface_hub uses it to publish and to read, and that can fail as the Hub fails"
import base64, hashlib, json, re, threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

class Hub(ThreadingHTTPServer):
    "Repositories in memory: {'datasets/me/mels': {path: bytes}}; `faults` are met by the next requests, one each"
    daemon_threads = True
    def __init__(self, token):
        super().__init__(('127.0.0.1', 0), Handler)
        self.token, self.repositories, self.objects, self.calls, self.faults, self.commits = token, {}, {}, [], [], 0
        self.address = f'http://127.0.0.1:{self.server_port}'

    def handle_error(self, request, client_address): pass              # cut connections are part of the play

class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass

    def answer(self, content=b'', status=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers | {'Content-Length': str(len(content)), 'X-Repo-Commit': self.revision}).items(): self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD': self.wfile.write(content)

    @property
    def revision(self): return hashlib.sha1(b'%d' % self.server.commits).hexdigest()

    def body(self): return self.rfile.read(int(self.headers.get('Content-Length', 0)))

    def handle_any(self):
        server, path = self.server, unquote(urlparse(self.path).path)
        server.calls.append((self.command, path))
        where, fault = server.faults[0] if server.faults else ('', 0)
        if fault and re.search(where, f'{self.command} {path}'):
            server.faults.pop(0)
            if fault == 'cut':
                self.rfile.read(min(1000, int(self.headers.get('Content-Length', 0))))
                self.connection.shutdown(2)
                self.close_connection = True
                return
            self.body()
            return self.answer({'error': f'refused with {self.headers.get("Authorization")}'}, fault, **({'Retry_After': '0'} if fault in (429, 503) else {}))
        body = self.body()
        if self.command in ('POST', 'PUT') and not path.startswith('/store/') and self.headers.get('Authorization') != f'Bearer {server.token}': return self.answer({'error': 'not allowed'}, 401)
        for method, pattern, action in ROUTES:
            if method == self.command and (match := re.fullmatch(pattern, path)): return action(self, body, *match.groups())
        self.answer({'error': f'no such call: {self.command} {path}'}, 404)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    # --- the calls

    def create(self, body):
        wish = json.loads(body)
        name = f'{wish.get("type", "model")}s/{wish["name"] if "/" in wish["name"] else (wish.get("organization") or "me") + "/" + wish["name"]}'
        self.server.repositories.setdefault(name, {'.gitattributes': b'*.parquet filter=lfs'})
        self.answer({'url': f'{self.server.address}/{name}', 'name': name})

    def validate(self, _): self.answer({'errors': [], 'warnings': []})

    def preupload(self, body, repository, _):
        big = lambda file: file['path'].endswith(('.parquet', '.safetensors'))
        self.answer({'files': [dict(path=file['path'], uploadMode='lfs' if big(file) else 'regular', shouldIgnore=False, oid=None) for file in json.loads(body)['files']]})

    def batch(self, body, repository):
        wanted = json.loads(body)['objects']
        self.answer({'transfer': 'basic', 'objects': [dict(oid=one['oid'], size=one['size'], actions={'upload': {'href': f'{self.server.address}/store/{one["oid"]}'}}) for one in wanted]})

    def store(self, body, oid):
        if hashlib.sha256(body).hexdigest() != oid: return self.answer({'error': 'other bytes'}, 400)
        self.server.objects[oid] = body
        self.answer()

    def commit(self, body, repository, _):
        files = self.server.repositories[repository]
        for line in map(json.loads, body.splitlines()):
            value = line['value']
            if line['key'] == 'file': files[value['path']] = base64.b64decode(value['content'])
            if line['key'] == 'lfsFile': files[value['path']] = self.server.objects[value['oid']]
            if line['key'] == 'deletedFile': files.pop(value['path'], None)
        self.server.commits += 1
        self.answer({'success': True, 'commitOid': self.revision, 'commitUrl': f'{self.server.address}/{repository}/commit/{self.revision}', 'hookOutput': ''})

    def info(self, _, repository, revision=''):
        files = self.server.repositories.get(repository)
        if files is None: return self.answer({'error': 'Repository not found'}, 404, X_Error_Code='RepoNotFound')
        self.answer({'id': repository.split('/', 1)[1], 'sha': self.revision, 'private': False, 'tags': [], 'downloads': 0, 'likes': 0, 'siblings': [{'rfilename': path} for path in files]})

    def tree(self, _, repository, revision, folder=''):
        files, inside = self.server.repositories.get(repository, {}), (folder or '').strip('/')
        below = {path: content for path, content in files.items() if not inside or path.startswith(f'{inside}/')}
        if not below: return self.answer({'error': 'Entry not found'}, 404, X_Error_Code='EntryNotFound')
        depth = len(inside.split('/')) if inside else 0
        folders = {'/'.join(path.split('/')[:depth+1]) for path in below if path.count('/') > depth}
        if 'recursive=True' not in self.path: below = {path: content for path, content in below.items() if path.count('/') == depth}
        entry = lambda kind, path, content: dict(type=kind, path=path, size=len(content), oid=hashlib.sha1(content).hexdigest())
        self.answer([*(entry('directory', path, b'') for path in folders), *(entry('file', path, content) for path, content in below.items())])

    def file(self, _, repository, revision, path):
        files = self.server.repositories.get(repository if repository.startswith('datasets/') else f'models/{repository}', {})
        if path not in files: return self.answer({'error': 'Entry not found'}, 404, X_Error_Code='EntryNotFound')
        self.answer(files[path], ETag=f'"{hashlib.sha256(files[path]).hexdigest()}"')

REPOSITORY = r'((?:datasets|models)/[\w.-]+/[\w.-]+)'
ROUTES = [
    ('POST', '/api/repos/create', Handler.create),
    ('POST', '/api/validate-yaml', Handler.validate),
    ('POST', f'/api/{REPOSITORY}/preupload/(.+)', Handler.preupload),
    ('POST', r'/((?:datasets/)?[\w.-]+/[\w.-]+)\.git/info/lfs/objects/batch', Handler.batch),
    ('PUT', r'/store/(\w+)', Handler.store),
    ('POST', f'/api/{REPOSITORY}/commit/(.+)', Handler.commit),
    ('GET', f'/api/{REPOSITORY}/tree/([^/]+)(/.*)?', Handler.tree),
    ('GET', f'/api/{REPOSITORY}(?:/revision/(.+))?', Handler.info),
    *((method, r'/((?:datasets/)?[\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)', Handler.file) for method in ('GET', 'HEAD')),
]

@contextmanager
def serving(token='hf_marker'):
    "A Hub of one's own while the context lasts"
    hub = Hub(token)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try: yield hub
    finally:
        hub.shutdown()
        hub.server_close()
