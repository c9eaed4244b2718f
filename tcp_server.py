"""The server's start and stop: configuration, log, signals, exit status.

main ─▶ EnginePool (asr_process.py) ─▶ engines
     ├▶ Acceptor (server/acceptor.py) ─▶ a Connection and a thread for each client
     └▶ Monitor (server/monitor.py) ─▶ who asks for figures and health
"""

import argparse
import enum
import logging
import os
import queue
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Optional, Sequence, Union

import logger
from asr_process import EnginePool
from boundary.settings import engine_settings
from config.reading import ConfigError, load_config
from config.sections import ServerConfig
from server.acceptor import Acceptor
from server.connection import House
from server.deep import DeepCheck, EngineCheck
from server.health import HealthCheck
from server.listening import ActivationError, CannotListen, take_listener
from server.metrics import Metrics
from server.monitor import Monitor
from server.tls import TlsError
from service.descriptors import make_room
from service.manager import READY, STOPPING, Watchdog, tell

_log = logging.getLogger(__name__)

# Of a client: its socket, two of its mailbox, its recording. Of an engine: both its queues, while one replaces it.
_DESCRIPTORS_EACH = 4
_DESCRIPTORS_OWN = 64

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIG = 2


class _Event(enum.Enum):
    """What the main thread waits for; a string beside these is the reason why no engine can be started."""

    READY = "every engine has loaded its model"
    SIGNAL = "SIGTERM or SIGINT"
    STOPPED = "the last connection is closed"


class _Events:
    """What happens to the server, for its main thread to wait for. Make it in the main thread.

    A signal may arrive in any thread, and a main thread that waits for a lock does not notice. So it waits for a
    socket, which Python's own signal handler writes to (`signal.set_wakeup_fd`).
    """

    def __init__(self) -> None:
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._queue: queue.SimpleQueue[Union[_Event, str]] = queue.SimpleQueue()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: None)
        signal.set_wakeup_fd(self._sender.fileno())

    def put(self, event: Union[_Event, str]) -> None:
        """Tell the main thread; from any thread."""
        self._queue.put(event)
        self._sender.send(b"\0")

    def get(self) -> Union[_Event, str]:
        """Wait for the next event."""
        byte = self._receiver.recv(1)
        return self._queue.get() if byte == b"\0" else _Event.SIGNAL  # of a signal, the byte is its number


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the server until it is stopped; returns the exit status."""
    parser = argparse.ArgumentParser(description="Streaming speech-to-text server.")
    default = Path(__file__).resolve().parent / "config_vad.yaml"
    parser.add_argument("--config", type=Path, default=default, help="configuration file (default: %(default)s)")
    path = parser.parse_args(arguments).config
    os.umask(0o077)  # what people said is in the log (at debug) and in the recordings
    try:
        inherited = take_listener()
        config = load_config(path)
        log = logger.ServerLog(
            config.logging.level, config.logging.log_path, config.logging.format, config.logging.max_mb
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except (logger.LogError, ActivationError) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    try:
        return _run(config, inherited)
    finally:
        log.stop()


def _run(config: ServerConfig, inherited: Optional[socket.socket]) -> int:
    _make_room(config)
    events = _Events()
    metrics = Metrics()
    pool = EnginePool(engine_settings(config), lambda: events.put(_Event.READY), events.put, metrics)
    try:
        acceptor = Acceptor(House(config, pool, metrics), inherited)
        health = HealthCheck(pool, acceptor, DeepCheck(EngineCheck(config, pool)))
        monitor = Monitor(config, health, metrics)
    except (TlsError, CannotListen) as error:
        _log.critical("%s", error)
        return EXIT_FAILED
    _log.info(
        "starting %d engine%s: model %s on %s, language %s",
        config.model.channel,
        "" if config.model.channel == 1 else "s",
        config.model.size,
        config.model.device,
        config.model.language,
    )
    monitor.start()
    watchdog = Watchdog(lambda: health.alive().is_good)
    watchdog.start()
    pool.start()
    try:
        return _serve(config, acceptor, events)
    finally:
        watchdog.stop()
        pool.stop()
        monitor.stop()


def _make_room(config: ServerConfig) -> None:
    """Let this process open as many descriptors as its clients and engines may need, if it may."""
    needed = _DESCRIPTORS_EACH * (config.network.max_connections + config.model.channel) + _DESCRIPTORS_OWN
    allowed = make_room(needed)
    if allowed < needed:
        _log.warning(
            "network.max_connections: %d may need %d descriptors, %d may be opened; lower it, or raise ulimit -n",
            config.network.max_connections,
            needed,
            allowed,
        )


def _serve(config: ServerConfig, acceptor: Acceptor, events: _Events) -> int:
    event = events.get()
    if event is _Event.READY:
        try:
            acceptor.start()
        except CannotListen as error:
            _log.critical("%s", error)
            return EXIT_FAILED
        tell(READY)
        event = events.get()
        tell(STOPPING)
        _log.info("stopping: sessions in progress have %g s to finish", config.network.drain_timeout)
    status = EXIT_OK
    if isinstance(event, str):
        _log.critical("%s", event)
        status = EXIT_FAILED
    threading.Thread(target=_stop, args=(acceptor, events), name="stopper", daemon=True).start()
    while True:
        event = events.get()
        if event is _Event.STOPPED:
            _log.info("stopped")
            return status
        if event is _Event.SIGNAL:
            acceptor.abandon()
            _log.warning("stopped by a second signal, without waiting for sessions")
            return EXIT_FAILED


def _stop(acceptor: Acceptor, events: _Events) -> None:
    acceptor.stop()
    events.put(_Event.STOPPED)


if __name__ == "__main__":
    sys.exit(main())
