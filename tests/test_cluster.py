"On a cluster of two machines: the results of one process, whatever dies; a cluster of this machine alone is on the loopback interface"
import subprocess, sys
from pathlib import Path
import pytest
from urbansounds_nb.core import DataError
from urbansounds_nb.features import prepare_features

sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tools'/'soak'))
import cluster, kills

# --- a cluster of two machines: short versions of tools/soak/cluster.py

@pytest.fixture(scope='module')
def mels(three_folds, tmp_path_factory): return prepare_features(three_folds, folder=tmp_path_factory.mktemp('cluster')/'mels', progress=False)

@pytest.fixture(scope='module')
def whole(mels, tmp_path_factory):
    "The results folder of one machine"
    folder = tmp_path_factory.mktemp('cluster')/'whole'
    assert kills.here('urbansounds_crossval', data=mels, results=folder, **cluster.LONGER)[0] == 0
    return folder

def test_a_cluster_gives_the_same_and_loses_nothing(mels, whole, three_folds, tmp_path):
    places = iter([tmp_path/str(number) for number in range(4)])
    with cluster.two_machines() as machines:
        for attempt in cluster.worker_killed, cluster.machine_killed: assert attempt(whole, mels, next(places), machines) == 'survived'
        (place := next(places)).mkdir()
        assert cluster.prepared_alike(cluster.with_broken_files(three_folds, place), place, machines) == 'survived'

# --- a cluster of this machine

def python(code): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=120)

def test_no_port_is_open_to_other_machines():
    done = python('''if True:
        import os
        from pathlib import Path
        from urbansounds_nb.cluster import ray_cluster, ray_map
        def listening():
            "Addresses at which processes started here listen (hexadecimal, from /proc)"
            lines = [line.split() for name in ('tcp', 'tcp6') for line in Path(f'/proc/net/{name}').read_text().splitlines()[1:]]
            return {line[1] for line in lines if line[3] == '0A'}
        os.environ.pop('RAY_ADDRESS', None)
        before = listening()
        with ray_cluster():
            new = listening() - before
            ray_map(lambda offset, x: offset + x, [(1,), (2,)], print, 10)
        loopback = '0100007F', '0000000000000000FFFF00000100007F', '00000000000000000000000001000000'
        assert len(new) > 3, new
        assert all(address.split(':')[0] in loopback for address in new), new''')
    assert done.returncode == 0 and sorted(done.stdout.split()) == ['11', '12'], done.stderr

def test_a_cluster_that_would_be_open_is_refused():
    done = python('''if True:
        import os
        os.environ.pop('RAY_ADDRESS', None)
        os.environ.pop('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER', None)
        import ray                                     # before we could say where it may listen
        from urbansounds_nb.cluster import ray_map
        ray_map(max, [(1,)], print)''')
    assert 'DataError: Ray was imported too early' in done.stderr and done.stdout == ''

def test_a_cluster_that_loses_machines_goes_on(monkeypatch):
    "Fewer cores than tasks that wait: a stand-in, since the real one takes half a minute to notice"
    from contextlib import nullcontext
    from types import SimpleNamespace
    from urbansounds_nb import cluster
    class Error(Exception): pass
    sizes = iter([8, 2, 1, *[4]*99])
    remote = lambda function: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=function))
    ray = SimpleNamespace(remote=remote, put=lambda x: x, get=lambda ended: ended, wait=lambda waiting: (waiting[:1], waiting[1:]),
        cluster_resources=lambda: {'CPU': next(sizes)}, exceptions=SimpleNamespace(RayTaskError=Error, RayError=Error))
    monkeypatch.setattr(cluster, 'ray_cluster', lambda: nullcontext(ray))
    cluster.ray_map(lambda shared, n: shared*n, [(n,) for n in range(100)], (found := []).append, 2)
    assert found == [2*n for n in range(100)]

def test_teachers_arrive_once_from_several_workers(tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    from urbansounds_nb.crossval import _write
    sent = {tmp_path/f'{n}': bytes(1_000_000) for n in range(6)}
    with ThreadPoolExecutor(4) as pool: [*pool.map(_write, [sent]*4)]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == sent

def test_no_cluster_there(monkeypatch):
    from urbansounds_nb.cluster import ray_map
    monkeypatch.setenv('RAY_ADDRESS', 'nonsense')
    with pytest.raises(DataError, match='nonsense: no Ray cluster answers'): ray_map(max, [(1,)], print)
