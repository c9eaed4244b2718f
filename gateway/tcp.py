"""Doors without HTTP: plain TCP connections as streams of bytes, and their listener."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Awaitable, Callable, Optional, Set

from gateway.conversation import Message, Stream
from gateway.transports import has_left

_log = logging.getLogger(__name__)

_RECEIVE_BYTES = 64 * 1024
_LINGER_S = 2.0  # closing with unread data would make the kernel reset the connection, and what was said last be lost


class TcpStream(Stream):
    """A connection; its messages are bytes as they come."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def host(self) -> str:
        """The client's address."""
        peer = self._writer.get_extra_info("peername")
        return str(peer[0]) if peer else "?"

    async def receive(self) -> Optional[Message]:
        """What has come."""
        try:
            return await self._reader.read(_RECEIVE_BYTES) or None
        except OSError:  # reset
            return None

    def has_left(self) -> bool:
        """As the system knows."""
        return has_left(self._writer.transport)

    async def send(self, message: Message) -> None:
        """Bytes, or text in UTF-8."""
        self._writer.write(message.encode() if isinstance(message, str) else message)
        await self._writer.drain()

    async def close(self, code: int, reason: str) -> None:
        """Nothing more will be said; code and reason have no place in it."""
        with suppress(OSError, RuntimeError):  # it has left
            self._writer.write_eof()

    async def linger(self) -> None:
        """Read what the client still sends until it leaves, for a while."""
        with suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(self._read_to_the_end(), _LINGER_S)

    def drop(self) -> None:
        """Leave at once; harmless when already closed."""
        self._writer.close()

    async def _read_to_the_end(self) -> None:
        while await self._reader.read(_RECEIVE_BYTES):
            pass


Serve = Callable[[TcpStream], Awaitable[None]]


class TcpDoor:
    """Serves who connects to a socket.

    Args:
        serve: one client, until it has left.
        has_room: whether one more may be served; otherwise `refuse` is asked.
        refuse: tell a client that it is not served.
    """

    def __init__(self, serve: Serve, has_room: Callable[[], bool], refuse: Serve) -> None:
        self._serve = serve
        self._has_room = has_room
        self._refuse = refuse
        self._tasks: Set[asyncio.Task[None]] = set()
        self._server: Optional[asyncio.AbstractServer] = None

    @property
    def connections(self) -> int:
        """How many clients there are."""
        return len(self._tasks)

    async def start(self, listener: socket.socket) -> None:
        """From now on, whoever connects is served."""
        self._server = await asyncio.start_server(self._connected, sock=listener)

    def stop_listening(self) -> None:
        """Nobody new is taken in."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Leave who is still there."""
        self.stop_listening()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serve = self._serve if self._has_room() else self._refuse
        task = asyncio.ensure_future(self._served(serve, TcpStream(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _served(self, serve: Serve, stream: TcpStream) -> None:
        try:
            await serve(stream)
            await stream.linger()
        except ConnectionError:  # it has left
            return
        except Exception:
            _log.exception("a client at %s", stream.host)
        finally:
            stream.drop()
