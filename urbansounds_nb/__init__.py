__version__ = "0.2.0"

# Libraries take seconds to load: a command that is stopped while they do says so in one line, too
import os, signal, sys

def _stopped(number, frame):
    os.write(2, b'stopped\n')
    os._exit(1)

if os.path.basename(sys.argv[0]).startswith('urbansounds_') and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
    signal.signal(signal.SIGINT, _stopped)
