"""The gateway's sockets, and its stop: uvicorn, and Wyoming's TCP, on the ports of `gateway.*`.

After the first SIGTERM or SIGINT nobody new is taken in, and who is served has `gateway.drain_timeout` to finish; after
that, or after a second signal, the rest is told goodbye (WebSocket close 1012; Wyoming's connections are closed).
`gateway.metrics_port` is open until the end.
"""

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import sys
from dataclasses import replace
from typing import Iterator, List, Optional

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.app import make_app
from gateway.doors import wyoming
from gateway.services import Services
from gateway.transports import limit_silence
from gateway.watching import make_watching_app
from gateway.web import TRANSPORT
from service.descriptors import make_room
from service.manager import ALIVE, READY, STOPPING, alive_every_s, tell

_log = logging.getLogger(__name__)

_LONGEST_MESSAGE_BYTES = 16 * 1024 * 1024  # OpenAI allows 15 MiB in an `input_audio_buffer.append`
_BACKLOG = 2048
_GOODBYE_S = 5  # for what is still being answered when the time to finish is over
_TICK_S = 0.1
_REQUEST_S = 10.0  # for a request, from its first byte to its last header
_LONGEST_HEAD_BYTES = 64 * 1024  # of a request, up to its last header
_DESCRIPTORS_EACH = 3  # of a client: its connection, its session with a server, its file
_DESCRIPTORS_OWN = 64


class ServingError(Exception):
    """The gateway cannot start; the text is one line for a person."""


class _Server(uvicorn.Server):
    """uvicorn, without its handling of signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @property
    def is_serving(self) -> bool:
        """Whether a request or a WebSocket is being served."""
        return bool(self.server_state.tasks)

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self.server_state.connections)

    def stop_listening(self) -> None:
        for server in self.servers:
            server.close()


class _Http(HttpToolsProtocol):
    """uvicorn's HTTP, with limits for clients that connect and do not ask, or ask without end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        self._request_limit.cancel()
        self._await_head()
        super().on_message_begin()

    def _await_head(self) -> None:
        self._request_limit = self.loop.call_later(_REQUEST_S, self.transport.close)
        self._awaits_head = True
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        has_awaited = self._awaits_head
        super().data_received(data)
        if has_awaited and self._awaits_head:
            self._head_bytes += len(data)
            if self._head_bytes > _LONGEST_HEAD_BYTES:
                self.transport.close()

    def on_headers_complete(self) -> None:
        self._request_limit.cancel()
        self._awaits_head = False
        super().on_headers_complete()

    def handle_websocket_upgrade(self) -> None:
        self.app_state = {**self.app_state, TRANSPORT: self.transport}
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self._request_limit.cancel()
        super().connection_lost(exc)


class Serving:
    """Listens on all ports at once or, raising ServingError, on none."""

    def __init__(self, services: Services) -> None:
        self._gateway = services.config.gateway
        self._make_room()
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._listeners = {"gateway": _listener(self._gateway.ip, self._gateway.port, "gateway.port")}
        if "vosk" in self._gateway.doors:
            self._listeners["vosk"] = _listener(self._gateway.ip, self._gateway.vosk_port, "gateway.vosk_port")
            services = replace(services, open_port=self._listeners["vosk"].getsockname()[1])
        if "wyoming" in self._gateway.doors:
            self._listeners["wyoming"] = _listener(self._gateway.ip, self._gateway.wyoming_port, "gateway.wyoming_port")
        self._watching_listener = self._listener_for_watching(services.config.metrics.ip)
        for listener in (*self._listeners.values(), self._watching_listener):
            if listener is not None:
                limit_silence(listener, services.config.network.socket_timeout)
        self._health = services.health
        services.metrics.watch_connections(lambda: self._connections)
        before = replace(services, has_room=lambda: self._connections < self._gateway.max_connections)
        behind = replace(services, has_room=lambda: self._connections <= self._gateway.max_connections)
        self._server = _Server(_uvicorn_config(make_app(behind), self._gateway.tls_cert, self._gateway.tls_key))
        self._wyoming = wyoming.door(before.at("wyoming"))
        self._watching = _Server(_uvicorn_config(make_watching_app(before)))

    async def run(self) -> None:
        """Serve until a signal, and until everybody has finished or the time for that is over."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self._signalled)
        if "wyoming" in self._listeners:
            await self._wyoming.start(self._listeners["wyoming"])
        sockets = [listener for name, listener in self._listeners.items() if name != "wyoming"]
        serving = await self._started(self._server, sockets)
        watching = None
        if self._watching_listener is not None:
            watching = await self._started(self._watching, [self._watching_listener])
        self._announce()
        tell(READY)
        alive = asyncio.ensure_future(self._say_alive())
        stopping = asyncio.ensure_future(self._stopped())
        await serving
        await self._wyoming.close()
        if watching is not None:
            self._watching.should_exit = True
            await watching
        for task in (stopping, alive):
            task.cancel()
        _log.info("gateway stopped")

    @staticmethod
    async def _started(server: _Server, sockets: List[socket.socket]) -> "asyncio.Future[None]":
        serving = asyncio.ensure_future(server.serve(sockets))
        while not server.started and not serving.done():
            await asyncio.sleep(_TICK_S)
        return serving

    def _listener_for_watching(self, ip: str) -> Optional[socket.socket]:
        port = self._gateway.metrics_port
        return _listener(ip, port, "gateway.metrics_port") if port else None

    @property
    def _connections(self) -> int:
        return self._server.connections + self._wyoming.connections

    def _make_room(self) -> None:
        needed = _DESCRIPTORS_EACH * self._gateway.max_connections + _DESCRIPTORS_OWN
        allowed = make_room(needed)
        if allowed < needed:
            _log.warning(
                "gateway.max_connections: %d may need %d descriptors, %d may be opened; lower it, or raise ulimit -n",
                self._gateway.max_connections,
                needed,
                allowed,
            )

    def _announce(self) -> None:
        scheme = "https" if self._gateway.tls_cert else "http"
        for name, listener in self._listeners.items():
            host, port = listener.getsockname()[:2]
            _log.info("%s listening on %s port %d", name, host, port)
            if self._gateway.api_keys and name != "gateway":
                _log.warning("%s: port %d asks for no key, as its clients have no place for one", name, port)
        host, port = self._listeners["gateway"].getsockname()[:2]
        shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::", "::1") else host
        if "page" in self._gateway.doors:
            _log.info("the page: %s://%s:%d/", scheme, shown, port)
        self._announce_figures(host, port)

    def _announce_figures(self, host: str, port: int) -> None:
        if self._watching_listener is not None:
            _log.info("figures and health at %s port %d", *self._watching_listener.getsockname()[:2])
        elif not self._gateway.api_keys and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            _log.warning("whoever reaches port %d may read /metrics there; gateway.metrics_port moves it", port)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._stop_now.set()
        self._stop.set()

    async def _say_alive(self) -> None:
        """As often as the service manager wants to know that the loop turns."""
        every_s = alive_every_s()
        while every_s is not None:
            tell(ALIVE)
            await asyncio.sleep(every_s)

    async def _stopped(self) -> None:
        await self._stop.wait()
        tell(STOPPING)
        self._health.drain()
        _log.info("stopping: who is served has %g s to finish", self._gateway.drain_timeout)
        self._server.stop_listening()
        self._wyoming.stop_listening()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._finished(), self._gateway.drain_timeout)
        self._server.should_exit = True

    async def _finished(self) -> None:
        while (self._server.is_serving or self._wyoming.connections) and not self._stop_now.is_set():
            await asyncio.sleep(_TICK_S)


def _uvicorn_config(app: Starlette, tls_cert: str = "", tls_key: str = "") -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        http=_Http,
        ws=_websockets(),
        ws_max_size=_LONGEST_MESSAGE_BYTES,
        ws_ping_timeout=None,  # the answer may lie behind audio for which a server has no room yet; see limit_silence
        ws_per_message_deflate=False,  # speech does not compress, and each connection would need its own memory for it
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_GOODBYE_S,
        access_log=False,
        log_config=None,
        server_header=False,
        ssl_certfile=tls_cert or None,
        ssl_keyfile=tls_key or None,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ServingError(f"gateway.tls_cert: {tls_cert} cannot be used: {error}") from error
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return config


def _websockets() -> str:
    """The newer implementation: less work for each message. uvicorn 0.39, Python 3.9's, gives a refusal two lengths."""
    has_newer = "websockets-sansio" in uvicorn.config.WS_PROTOCOLS
    return "websockets-sansio" if has_newer and sys.version_info >= (3, 10) else "websockets"


def _listener(ip: str, port: int, setting: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(ip, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((ip, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ServingError(f"{setting}: cannot listen on {ip} port {port}: {reason}") from error
