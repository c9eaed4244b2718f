"""A server process of one's own: on a free port of 127.0.0.1, in a temporary folder."""

import contextlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Dict, List, Mapping, Optional, Sequence, Type, TypeVar

import yaml

PROJECT = Path(__file__).resolve().parents[2]
_START_S = 120.0
_STOP_S = 60.0

# sd_listen_fds(3): the socket is descriptor 3, and meant for the process with that id.
_HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execvp(sys.argv[2], sys.argv[2:])
"""

Settings = Mapping[str, Mapping[str, Any]]
_Process = TypeVar("_Process", bound="ServerProcess")


def free_ports(count: int) -> List[int]:
    """Ports of 127.0.0.1 that nobody has at the moment."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


class ServerProcess:
    """`python tcp_server.py` with settings that differ from the defaults; entering the context waits until it listens.

    Args:
        settings: that differ from the defaults.
        environment: in place of this process's.
        listener: handed over as systemd does, instead of a socket that the server makes.
        prefix: a command that runs the server's, `prlimit` for example.

    Attributes:
        folder: temporary; holds the configuration, the log and the recordings.
        port: where it listens.
        lines: what it has printed so far, line by line.

    Raises (entering the context):
        RuntimeError: the server ended instead; the text is what it printed.
    """

    program: Sequence[str] = (str(PROJECT / "tcp_server.py"),)

    def __init__(
        self,
        settings: Settings,
        environment: Optional[Mapping[str, str]] = None,
        listener: Optional[socket.socket] = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="stt-server-")
        self._environment = environment
        self._changed = threading.Condition()
        self._ended = False
        self.folder = Path(self._temporary.name)
        self.lines: List[str] = []
        self.port = 0
        config = self.folder / "config.yaml"
        config.write_text(yaml.safe_dump(self._with_defaults(settings)), encoding="utf-8")
        command = [*prefix, sys.executable, *self.program, "--config", str(config)]
        descriptors = [] if listener is None else [listener.fileno()]
        self.process = subprocess.Popen(
            command if listener is None else [sys.executable, "-c", _HAND_OVER, str(descriptors[0]), *command],
            pass_fds=descriptors,
            cwd=self.folder,
            env=None if environment is None else dict(environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @staticmethod
    def _with_defaults(settings: Settings) -> Dict[str, Dict[str, Any]]:
        merged: Dict[str, Dict[str, Any]] = {"network": {"port": 0}}
        for section, values in settings.items():
            merged.setdefault(section, {}).update(values)
        return merged

    def __enter__(self: _Process) -> _Process:
        try:
            match = self.wait_for_line(r"listening on \S+ port (\d+)", _START_S)
        except BaseException:
            self.close()
            raise
        self.port = int(match.group(1))
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def wait_for_line(self, pattern: str, timeout_s: float = _STOP_S) -> "re.Match[str]":
        """Wait until a printed line matches; raises RuntimeError when the server ends or takes too long instead."""
        found: List[re.Match[str]] = []

        def search() -> bool:
            found[:] = [match for match in (re.search(pattern, line) for line in self.lines) if match]
            return bool(found) or self._ended

        with self._changed:
            self._changed.wait_for(search, timeout_s)
        if not found:
            raise RuntimeError(f"the server never printed {pattern!r}:\n" + "\n".join(self.lines))
        return found[0]

    def stop(self) -> int:
        """Ask it to stop as a service manager does, and wait; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait until it has ended; returns the exit status."""
        status = self.process.wait(_STOP_S)
        self._reader.join(_STOP_S)
        return status

    def close(self) -> None:
        """End it at once if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)
        self.wait()
        self._temporary.cleanup()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for line in self.process.stderr:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
