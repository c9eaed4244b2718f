"""Run the server and the gateway together: `python -m demo.serve [--config FILE]`, as `make serve` does.

The gateway starts when the server is ready. The first SIGTERM or SIGINT lets both finish, the gateway first; a second
one ends them. Where one ends by itself, so does the other.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import List, Optional, Sequence

from client.errors import ClientError
from client.session import StreamingClient
from config.reading import ConfigError, load_config

_PROJECT = Path(__file__).resolve().parents[1]
_TICK_S = 0.1


class _Pair:
    """The two processes, in the order in which they start."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._running: List[subprocess.Popen[bytes]] = []
        self._signals = 0

    def run(self, host: str, port: int) -> int:
        """Returns when both have ended: 0, or the exit status of the one that ended by itself."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._signalled)
        self._start(str(_PROJECT / "tcp_server.py"))
        while not self._signals and self._ended() is None and not _answers(host, port):
            time.sleep(_TICK_S)
        if not self._signals and self._ended() is None:
            self._start("-m", "gateway")
        while not self._signals and self._ended() is None:
            time.sleep(_TICK_S)
        status = None if self._signals else self._ended()
        for process in reversed(self._running):
            if process.poll() is None and self._signals < 2:
                process.terminate()
            process.wait()
        return 0 if status is None else status or 1

    def _start(self, *program: str) -> None:
        command = [sys.executable, *program, "--config", str(self._config)]
        # In a session of its own, so that Ctrl-C comes here alone and each is told to stop in its turn.
        self._running.append(subprocess.Popen(command, cwd=_PROJECT, start_new_session=True))

    def _ended(self) -> Optional[int]:
        """The exit status of one that is not running any more."""
        return next((status for status in (process.poll() for process in self._running) if status is not None), None)

    def _signalled(self, *_: object) -> None:
        self._signals += 1
        if self._signals == 2:
            for process in self._running:
                process.terminate()


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run both until they are stopped; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.serve", description="The server and the gateway together.")
    default = _PROJECT / "config_vad.yaml"
    parser.add_argument("--config", type=Path, default=default, help="configuration file (default: %(default)s)")
    path = parser.parse_args(arguments).config.resolve()
    try:
        config = load_config(path)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    host, port = config.gateway.addresses[0]
    return _Pair(path).run(host, port)


def _answers(host: str, port: int) -> bool:
    try:
        return bool(StreamingClient(host, port, timeout_s=1, welcome_timeout_s=1).status())
    except ClientError:
        return False


if __name__ == "__main__":
    sys.exit(main())
