"""`python tcp_client.py` as a process."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading

from tests.harness.server import PROJECT

COMMAND = [sys.executable, str(PROJECT / "tcp_client.py")]


def run(*arguments: str, encoding: str = "utf-8", **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end; `variables` are of its environment."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, **variables}
    return subprocess.run(
        [*COMMAND, *arguments], env=environment, capture_output=True, encoding=encoding, check=False, timeout=60
    )


def assert_one_line(ended: "subprocess.CompletedProcess[str]", *parts: str, status: int = 1) -> None:
    assert ended.returncode == status, ended
    assert ended.stderr.startswith("tcp_client: ")
    assert ended.stderr.count("\n") == 1
    for part in parts:
        assert part in ended.stderr


class Terminal:
    """A person's, 80 columns wide; what is written to it is read all the time."""

    def __init__(self) -> None:
        self._near, self.far = pty.openpty()
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self._near, 4096):
                self.shown += data
        except OSError:  # EIO: the far end is closed
            pass
        os.close(self._near)

    def wait_until_closed(self) -> bytes:
        self._reader.join(60)
        assert not self._reader.is_alive()
        return self.shown


def hear_interrupts() -> None:
    """As in a terminal: a shell that ran the tests in the background would have them ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
