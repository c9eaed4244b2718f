"""Importing this in the fork server ties it to the server: nobody else ends it, and with the server it ends.

A module of its own, as it must come before the imports that take seconds.
"""

import ctypes
import os
import signal

from forkserver.start import DEAF_TO, SERVER_VARIABLE

_PR_SET_PDEATHSIG = 1  # prctl(2); forked children do not inherit it

# Ctrl-C and a service manager signal every process, but sessions may finish before the server stops.
for _signum in DEAF_TO:
    signal.signal(_signum, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)

_libc = ctypes.CDLL(None)
if hasattr(_libc, "prctl"):
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() != int(os.environ[SERVER_VARIABLE]):  # it died before that
    os._exit(1)
