"""Sessions with the servers, over the TCP protocol.

Upstream.open ─▶ the first server with a free engine ─▶ ServerSession: send, end_utterance, finish; events
"""

import asyncio
import enum
import itertools
import logging
import socket
import ssl
import struct
import time
from contextlib import suppress
from typing import AsyncIterator, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Union

from gateway.errors import BadRequest, Busy, GatewayError, NoServer, SessionLost
from gateway.transports import limit_silence
from protocol.data import Partial, SessionOptions, UtteranceEvent
from protocol.packets import ErrorCode, ProtocolError, printable
from util import ClientEvent, ClientProtocol, EngineStatus, ErrorReceived, Result, SessionEnded, Welcome

_log = logging.getLogger(__name__)

SpeechEvent = Union[Partial, Result, UtteranceEvent]

_CONNECT_S = 3.0
_WELCOME_S = 45.0  # beside `network.engine_wait`: a balancer may keep clients waiting too (deploy/haproxy.cfg: 30 s)
_LOOK_S = 3.0  # for a server to say what its engines do
_SHUNNED_S = 5.0  # a server that does not answer is asked last for so long
_RECEIVE_BYTES = 64 * 1024
_SEND_BYTES = 64 * 1024  # at once: clients may send minutes in one message, and copies are made of it
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: what has not been sent is thrown away, and the server is told


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host} port {self.port}"

    @property
    def setting(self) -> str:
        """As `gateway.servers` names it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Failure(enum.Enum):
    """How a server fails a client, in the words of the metrics; being busy is no failure."""

    UNREACHABLE = "unreachable"  # no connection
    LOST = "lost"  # it closed the connection in the middle
    SILENT = "silent"  # it took no audio, or said nothing, for as long as it is waited for
    ENDED = "ended"  # it said that it ends the session: an engine failed
    PROTOCOL = "protocol"  # it said what it may not say


def _told_nobody(server: str, how: Failure) -> None:
    """Where nobody counts."""


class Upstream:
    """The servers, or the balancer before them.

    Args:
        servers: at least one; each session begins with the next one, and goes on to others where that is busy.
        tls: how to check the servers; None for connections in the clear.
        failed: is told when a server fails a client.
        engine_wait_s: that a server may let its clients wait their turn for.
        patience_s: with a server that takes no audio or, at the end of a session, says nothing.

    Attributes:
        patience_s: as above.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        tls: Optional[ssl.SSLContext] = None,
        failed: Callable[[str, Failure], None] = _told_nobody,
        engine_wait_s: float = 0.0,
        patience_s: float = 120.0,
    ) -> None:
        self._servers = list(servers)
        self._tls = tls
        self._failed = failed
        self._lets_wait = engine_wait_s > 0
        self._welcome_s = engine_wait_s + _WELCOME_S
        self.patience_s = patience_s
        self._looks: Dict[Address, asyncio.Task[List[EngineStatus]]] = {}
        self._turn = itertools.count()
        self._shunned_until_s: Dict[Address, float] = {}

    async def open(self, options: SessionOptions, user: str) -> "ServerSession":
        """A session on the first server with a free engine.

        Raises:
            Busy: every server that answers has none.
            NoServer: none answers.
        """
        failure: GatewayError = NoServer("no server is configured")
        for address in await self._in_turn():
            try:
                return await self._begun(address, options, user)
            except Busy as error:
                failure = error
            except (NoServer, SessionLost) as error:
                self._shun(address)
                failure = failure if isinstance(failure, Busy) else NoServer(str(error))
                _log.warning("%s", error)
        raise failure

    async def engines(self) -> List[EngineStatus]:
        """What the engines of all servers do; a server that does not answer within 3 s has none.

        However many ask at once, each server is asked once.
        """
        lists = await asyncio.gather(*map(self._engines_of, self._servers))
        return [engine for engines in lists for engine in engines]

    async def _in_turn(self) -> List[Address]:
        start = next(self._turn) % len(self._servers)
        ordered = self._servers[start:] + self._servers[:start]
        free = await self._free() if self._lets_wait else set()
        return sorted(ordered, key=lambda address: (self._is_shunned(address), address not in free))

    async def _free(self) -> Set[Address]:
        """Those with a free engine, where there is a choice: a busy one would let the client wait."""
        choice = [address for address in self._servers if not self._is_shunned(address)]
        if len(choice) < 2:
            return set()
        lists = await asyncio.gather(*map(self._engines_of, choice))
        return {address for address, engines in zip(choice, lists) if count_free(engines)}

    def _is_shunned(self, address: Address) -> bool:
        return self._shunned_until_s.get(address, 0.0) > time.monotonic()

    def _shun(self, address: Address) -> None:
        self._shunned_until_s[address] = time.monotonic() + _SHUNNED_S

    async def _connect(self, address: Address, failed: Callable[[str, Failure], None]) -> "ServerSession":
        try:
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection(address.host, address.port, ssl=self._tls), _CONNECT_S
            )
        except (OSError, UnicodeError, asyncio.TimeoutError) as error:
            failed(address.setting, Failure.UNREACHABLE)
            reason = getattr(error, "strerror", None) or str(error) or f"nothing within {_CONNECT_S:g} s"
            raise NoServer(f"no server answers at {address}: {reason}") from error
        limit_silence(writer.get_extra_info("socket"), self.patience_s)
        return ServerSession(reader, writer, address, failed)

    async def _begun(self, address: Address, options: SessionOptions, user: str) -> "ServerSession":
        session = await self._connect(address, self._failed)
        try:
            await session.begin(options, user, self._welcome_s)
        except BaseException:
            session.close()
            raise
        return session

    async def _engines_of(self, address: Address) -> List[EngineStatus]:
        look = self._looks.get(address)
        if look is None or look.done():
            look = self._looks[address] = asyncio.ensure_future(self._look(address))
        return await asyncio.shield(look)

    async def _look(self, address: Address) -> List[EngineStatus]:
        try:
            return await asyncio.wait_for(self._asked(address), _LOOK_S)
        except (GatewayError, asyncio.TimeoutError):
            self._shun(address)
            return []

    async def _asked(self, address: Address) -> List[EngineStatus]:
        session = await self._connect(address, _told_nobody)
        try:
            return await session.status()
        finally:
            session.close()


def count_free(engines: Sequence[EngineStatus]) -> int:
    """How many of them no session has."""
    return sum(engine.state == "sleeping" for engine in engines)


class ServerSession:
    """One session with a server; `Upstream.open` begins it.

    One task may send while another iterates over `events`.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: Address,
        failed: Callable[[str, Failure], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._address = address
        self._failed = failed
        self._has_failed = False
        self._protocol = ClientProtocol()
        self._received: List[ClientEvent] = []
        self._has_ended = False
        self._reads_since_s: Optional[float] = None  # on the loop's clock; None while nobody waits for the server
        self._is_given_up = False

    @property
    def server(self) -> str:
        """Which one it is with."""
        return f"the server at {self._address}"

    async def begin(self, options: SessionOptions, user: str, patience_s: float) -> None:
        """Ask for an engine and wait for it so long. Raises Busy and SessionLost."""
        said = self._protocol.ask_engine(user) + self._protocol.choose(options) + self._protocol.begin()
        await self._say(said)
        try:
            event = await asyncio.wait_for(self._next(), patience_s)
        except asyncio.TimeoutError as error:
            raise self._failure(Failure.SILENT, f"has said nothing for {patience_s:g} s") from error
        assert isinstance(event, Welcome)  # the protocol lets nothing else come first

    async def status(self) -> List[EngineStatus]:
        """What each engine of the server does; asked in place of `begin`. Raises GatewayError."""
        await self._say(self._protocol.ask_status())
        engines: List[EngineStatus] = []
        while True:
            event = await self._next()
            if event is None:
                return engines
            assert isinstance(event, EngineStatus)
            engines.append(event)

    async def send(self, audio: bytes) -> None:
        """Audio in the form that the options name; waits while the server is behind. Raises SessionLost."""
        for start in range(0, len(audio), _SEND_BYTES):
            await self._say(self._protocol.audio(audio[start : start + _SEND_BYTES]))

    async def end_utterance(self) -> None:
        """The utterance ends here. Raises SessionLost."""
        await self._say(self._protocol.end_utterance())

    async def finish(self) -> None:
        """No more audio will come. Raises SessionLost."""
        await self._say(self._protocol.finish())

    async def events(self) -> AsyncIterator[SpeechEvent]:
        """Live text, results and events as they arrive, until the session has ended.

        Raises:
            BadRequest: the server cannot do what the options ask for.
            SessionLost: it ended for another reason.
        """
        while True:
            event = await self._next()
            if event is None:
                return
            if not isinstance(event, (Welcome, EngineStatus)):
                yield event

    @property
    def silent_s(self) -> float:
        """For how long the server has been waited for."""
        return 0.0 if self._reads_since_s is None else asyncio.get_running_loop().time() - self._reads_since_s

    def give_up(self) -> None:
        """Leave a server that has been silent for too long: `events` raises SessionLost."""
        self._is_given_up = True
        self.close()

    def close(self) -> None:
        """Leave; harmless when already closed.

        Audio that is on its way is thrown away where the session has not ended: it would keep the engine busy.
        """
        transport = self._writer.transport
        with suppress(OSError, RuntimeError):  # RuntimeError: the loop has ended
            if not self._has_ended and not transport.is_closing():  # a closed one may name the socket of another
                transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            transport.abort()

    async def _say(self, data: bytes) -> None:
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            raise self._lost(error) from error

    async def _next(self) -> "Union[Welcome, SpeechEvent, EngineStatus, None]":
        """What the server says next; None when the session has ended well. Raises GatewayError."""
        try:
            while not self._received:
                data = await self._read()
                if not data:
                    raise self._lost(None)
                self._protocol.receive(data)
                self._received = self._protocol.events()
        except OSError as error:
            raise self._lost(error) from error
        except ProtocolError as error:
            raise self._failure(Failure.PROTOCOL, f"broke the protocol: {error}") from error
        event = self._received.pop(0)
        self._has_ended = isinstance(event, (SessionEnded, ErrorReceived))
        if isinstance(event, SessionEnded):
            return None
        if isinstance(event, ErrorReceived):
            raise self._told(event)
        return event

    async def _read(self) -> bytes:
        self._reads_since_s = asyncio.get_running_loop().time()
        data = await self._reader.read(_RECEIVE_BYTES)
        self._reads_since_s = None
        return data

    def _told(self, error: ErrorReceived) -> GatewayError:
        if error.code in (ErrorCode.SERVER_TOO_BUSY, ErrorCode.SERVER_STOPPING):
            return Busy(f"no engine is free on {self.server}: {error.code}")
        if error.code == ErrorCode.ILLEGAL_PACKET:
            return BadRequest(printable(error.detail))
        return self._failure(Failure.ENDED, f"ended the session: {error.code} {error.detail}")

    def _lost(self, error: Optional[OSError]) -> SessionLost:
        if self._is_given_up or isinstance(error, TimeoutError):  # the system's, see limit_silence
            return self._failure(Failure.SILENT, "says nothing any more")
        reason = f": {error.strerror or error}" if error else ""
        return self._failure(Failure.LOST, f"closed the connection{reason}")

    def _failure(self, how: Failure, what: str) -> SessionLost:
        """Told once: who speaks and who listens may both notice."""
        if not self._has_failed:
            self._has_failed = True
            self._failed(self._address.setting, how)
        return SessionLost(printable(f"{self.server} {what}"))
