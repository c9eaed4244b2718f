"""Requests with a body, taken while they come: how much, how fast, and who leaves.

A file goes into a temporary file without a name: nothing is left of it, however it ends.
"""

import asyncio
import tempfile
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, AsyncIterator, BinaryIO, Coroutine, NamedTuple, NoReturn, Sequence, Tuple, TypeVar

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import BadRequest, Busy, TooLarge, TooSlow
from gateway.form import FormParser
from gateway.threads import Threads

_PATIENCE_S = 60.0  # with a client that sends nothing
_SLOWEST_BYTES_PER_S = 4096  # so many buy a second of patience
_BESIDE_FILE_BYTES = 1024 * 1024
_MEGABYTE = 1024 * 1024
_LINGER_S = 10.0  # for who still sends when the answer is there

_T = TypeVar("_T")


class Body:
    """The body of one request, and what comes after it: that the client leaves.

    Args:
        receive: of the ASGI connection.
        most_mb: that a file in it may have.
        patience_s: that the client may be silent for, and be slower in all.
    """

    def __init__(self, receive: Receive, most_mb: int, patience_s: float = _PATIENCE_S) -> None:
        self._receive = receive
        self._most_mb = most_mb
        self._most_bytes = most_mb * _MEGABYTE + _BESIDE_FILE_BYTES
        self._longest_patience_s = self._patience_s = patience_s
        self._bytes = 0
        self._is_complete = False

    def check_declared(self, length: str) -> None:
        """The length that the client declares, where it does. Raises TooLarge."""
        if length.isdecimal() and int(length) > self._most_bytes:
            raise self._too_large()

    async def receive(self) -> Message:
        """In place of the connection's. Raises TooLarge and TooSlow."""
        began_s = asyncio.get_running_loop().time()
        try:
            message = await asyncio.wait_for(self._receive(), self._patience_s)
        except asyncio.TimeoutError as error:
            raise TooSlow(f"the request came too slowly: {self._bytes} bytes of it, then no more") from error
        waited_s = asyncio.get_running_loop().time() - began_s
        received = len(message.get("body", b""))
        bought_s = received / _SLOWEST_BYTES_PER_S
        self._patience_s = min(self._longest_patience_s, self._patience_s - waited_s + bought_s)
        self._bytes += received
        self._is_complete = not message.get("more_body", False)
        if self._bytes > self._most_bytes:
            raise self._too_large()
        return message

    async def unless_left(self, work: "Coroutine[Any, Any, _T]") -> _T:
        """What the work gives, after the body; raises ClientDisconnect when the client leaves before."""
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._left())
        try:
            await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else leaving.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def answer(self, response: Response, scope: Scope, send: Send) -> None:
        """Send a response, also to who still sends: to close would make that side throw the answer away."""
        if self._is_complete:
            await response(scope, self._receive, send)
            return

        async def held(message: Message) -> None:
            is_body = message["type"] == "http.response.body"
            await send({**message, "more_body": True} if is_body else message)

        response.headers["Connection"] = "close"
        await response(scope, self._receive, held)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._dropped(), _LINGER_S)
        await send({"type": "http.response.body", "body": b""})

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the file is larger than {self._most_mb} MB, the most that is taken here", "file")

    async def _left(self) -> NoReturn:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise ClientDisconnect

    async def _dropped(self) -> None:
        while (await self._receive()).get("more_body", False):
            pass


class Upload(NamedTuple):
    """A form that has come.

    Attributes:
        texts: names and values of the parts that are no files.
        file: what the part `file` holds, at its beginning.
        filename: its name.
    """

    texts: Sequence[Tuple[str, str]]
    file: BinaryIO
    filename: str


@asynccontextmanager
async def uploaded(scope: Scope, body: Body, threads: Threads) -> AsyncIterator[Upload]:
    """A form with a file, which is gone when the context is left.

    Raises:
        BadRequest: TooLarge, TooSlow, WrongKind, or the form is damaged.
        Busy: there is no room for it.
        ClientDisconnect: the client has left.
    """
    headers = Headers(scope=scope)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile())
            parser = FormParser(headers.get("content-type", ""), file)
            body.check_declared(headers.get("content-length", ""))
            async for piece in Request(scope, body.receive).stream():
                await threads.run(parser.feed, piece)
            file.seek(0)
        except OSError as error:
            raise Busy(f"there is no room for the file: {error.strerror}") from error
        yield _whole(parser, file)


def _whole(parser: FormParser, file: BinaryIO) -> Upload:
    if not parser.is_complete:
        raise BadRequest("file: the form breaks off before its end", "file")
    if parser.filename is None:
        raise BadRequest("file: there is none; send the recording as a part with that name and a filename", "file")
    return Upload(parser.texts, file, parser.filename)
