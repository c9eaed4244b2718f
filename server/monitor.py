"""The doors for those who watch the server: figures and health over HTTP, and the agent check of a balancer.

Whoever asks is given a few seconds, and there are never more than a few threads for them: one that hangs is cut off
when another comes.
"""

import contextlib
import http.server
import logging
import socket
import socketserver
import threading
import time
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import parse_qs, urlsplit

from config.sections import ServerConfig
from server.health import Health, HealthCheck
from server.listening import bind_for
from server.metrics import Metrics

_log = logging.getLogger(__name__)

_QUESTION_S = 5.0  # to ask, and to take the answer
_MOST_THREADS = 32
_ROOM_S = 1.0  # for a thread to end when there are as many as may be
_BACKLOG = 128
_AGENT_S = 1.0
_PATHS = "/metrics, /healthz, /healthz?deep=1, /readyz"


class Monitor:
    """Both doors, as far as the configuration opens them.

    Args:
        config: of the server.
        health: answers.
        metrics: of the server.

    Raises:
        CannotListen: an address cannot be had.
    """

    def __init__(self, config: ServerConfig, health: HealthCheck, metrics: Metrics) -> None:
        self._doors: List[socketserver.TCPServer] = []
        self._threads: List[threading.Thread] = []
        try:
            if config.metrics.port:
                listener = bind_for("metrics", config.metrics.ip, config.metrics.port)
                self._doors.append(_HttpDoor(listener, health, metrics))
            if config.agent.port:
                listener = bind_for("agent", config.agent.ip, config.agent.port)
                self._doors.append(_AgentDoor(listener, health))
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Open them."""
        for door in self._doors:
            thread = threading.Thread(target=door.serve_forever, name=type(door).__name__.strip("_"), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Close them; who is being answered is not waited for."""
        for door, _ in zip(self._doors, self._threads):
            door.shutdown()
        for door in self._doors:
            door.server_close()
        for thread in self._threads:
            thread.join()


class _Door(socketserver.TCPServer):
    """Takes over a socket that is bound."""

    request_queue_size = _BACKLOG

    def __init__(self, listener: socket.socket, handler: Any) -> None:
        self.address_family = listener.family
        super().__init__(listener.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_activate()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One who asks and leaves is no error."""
        _log.debug("who asked from %s was not answered", client_address, exc_info=True)


class _HttpDoor(_Door):
    """A thread for each question."""

    def __init__(self, listener: socket.socket, health: HealthCheck, metrics: Metrics) -> None:
        super().__init__(listener, _Handler)
        self.health = health
        self.metrics = metrics
        self._changed = threading.Condition()
        self._threads = 0
        self._asking: Dict[socket.socket, float] = {}  # that have not asked yet, by when they came

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if there is room for one."""
        with self._changed:
            if self._threads >= _MOST_THREADS and self._asking:
                oldest = min(self._asking, key=lambda asking: self._asking[asking])
                del self._asking[oldest]
                _cut_off(oldest)
            has_room = self._changed.wait_for(lambda: self._threads < _MOST_THREADS, _ROOM_S)
            if has_room:
                self._threads += 1
                self._asking[request] = time.monotonic()
        if not has_room:
            self.shutdown_request(request)
            return
        thread = threading.Thread(target=self._answer, args=(request, client_address), name="http", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no room for it
            self._forget(request)
            self.shutdown_request(request)

    def has_asked(self, request: socket.socket) -> None:
        """It is being answered, and takes the time that that takes."""
        with self._changed:
            self._asking.pop(request, None)

    def service_actions(self) -> None:
        """Twice a second: cut off who has not asked in time."""
        with self._changed:
            for asking, since_s in self._asking.items():
                if time.monotonic() - since_s > _QUESTION_S:
                    _cut_off(asking)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            self.handle_error(request, client_address)
        except Exception:
            _log.exception("a question from %s cannot be answered", client_address)
        finally:
            self._forget(request)
            self.shutdown_request(request)

    def _forget(self, request: socket.socket) -> None:
        with self._changed:
            self._threads -= 1
            self._asking.pop(request, None)
            self._changed.notify_all()


def _cut_off(asking: socket.socket) -> None:
    """Whoever reads it finds the end."""
    with contextlib.suppress(OSError):
        asking.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    """One question; HTTP/1.0, so the connection closes behind the answer."""

    timeout = _QUESTION_S
    server: _HttpDoor
    server_version = "stt-server"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        self.server.has_asked(self.request)
        url = urlsplit(self.path)
        if url.path == "/metrics":
            content, content_type = self.server.metrics.told(self.headers.get("Accept"))
            self._send(200, content_type, content)
            return
        health = self._health(url.path, parse_qs(url.query))
        if health is None:
            self._send(404, "text/plain; charset=utf-8", f"there is {_PATHS}\n".encode())
        else:
            self._send(200 if health.is_good else 503, "text/plain; charset=utf-8", f"{health.line}\n".encode())

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def _health(self, path: str, query: Dict[str, List[str]]) -> Optional[Health]:
        health = self.server.health
        if path == "/readyz":
            return health.ready()
        if path == "/healthz":
            return health.deep() if query.get("deep", ["0"])[-1] not in ("0", "false") else health.alive()
        return None

    def _send(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Probes come every second: at debug only."""
        _log.debug("%s: " + format, self.address_string(), *args)


class _AgentDoor(_Door):
    """Says its line to each who comes, one after the other."""

    def __init__(self, listener: socket.socket, health: HealthCheck) -> None:
        super().__init__(listener, None)
        self._health = health

    def finish_request(self, request: Any, client_address: Tuple[str, int]) -> None:
        """Say it. What was sent is read: else closing would reset the connection, and the line with it."""
        request.settimeout(_AGENT_S)
        request.sendall(f"{self._health.share()}\n".encode())
        request.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            request.recv(4096)
