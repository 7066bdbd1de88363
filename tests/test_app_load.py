"Many visitors at once: a bounded queue, flat memory, and no upload that keeps others waiting; short versions of tools/soak/app.py"
import sys
from pathlib import Path
import pytest

pytest.importorskip('gradio', reason='gradio is not installed: it is part of the extra app')
sys.path.insert(0, str(Path(__file__).resolve().parents[1]/'tools'/'soak'))
import app

@pytest.fixture(scope='module')
def served():
    with app.served('--max-megabytes', '2') as place: yield place

def test_fifty_at_once(served):
    tally = app.at_once(served[0])
    assert not tally['lost'] and tally['survived'] >= 8 and tally['refused'] >= 5, tally      # eight wait, one is at work, the others hear that it is full

def test_too_large_files_keep_nobody_waiting(served): assert app.too_large(served[0], 5_000_000, 8) == {'refused': 4, 'survived': 4}

@pytest.mark.timeout(2000)      # 110 visits, three minutes on two cores that do nothing else
def test_memory_stays_flat(served): assert app.one_after_the_other(*served, rounds=110, warm=70, most=10) == {'survived': 110}      # the answers of the last 32 visits are kept; half a megabyte for each of the 40 between the readings would be 20
