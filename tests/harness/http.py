"""HTTP requests: forms with files, over a connection and to an application without one."""

from __future__ import annotations

import asyncio
import http.client
import json
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from starlette.types import ASGIApp, Message

BOUNDARY = "0123456789abcdef"
FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
_TIMEOUT_S = 60.0

Fields = Sequence[Tuple[str, str]]


def form(content: Optional[bytes], fields: Fields = (), filename: str = "speech.wav") -> bytes:
    """A multipart body with those fields and, unless `content` is None, the part `file`."""
    parts = [_part(f'name="{name}"', value.encode()) for name, value in fields]
    if content is not None:
        parts.append(_part(f'name="file"; filename="{filename}"', content))
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _part(disposition: str, content: bytes) -> bytes:
    return f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


class Reply(NamedTuple):
    """A response; names of headers in lower case."""

    status: int
    headers: Dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> List[Any]:
        """The data of server-sent events."""
        return [json.loads(event[len("data: ") :]) for event in self.text.split("\n\n") if event]


def request(port: int, method: str, path: str, body: bytes = b"", headers: Optional[Dict[str, str]] = None) -> Reply:
    """One request to 127.0.0.1."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, response.read())
    finally:
        connection.close()


def post_form(
    port: int, path: str, content: Optional[bytes], fields: Fields = (), filename: str = "speech.wav"
) -> Reply:
    """A form with a file to 127.0.0.1."""
    return request(port, "POST", path, form(content, fields, filename), {"Content-Type": FORM_TYPE})


class Exchange:
    """A request to an application, without a server or a connection; made where its loop runs, or before.

    Args:
        pieces: of the body; where `is_whole` is False, more never comes.

    Attributes:
        reply: what was sent so far; complete when `run` returns.
    """

    def __init__(
        self,
        method: str,
        path: str,
        pieces: Iterable[bytes] = (),
        headers: Optional[Dict[str, str]] = None,
        is_whole: bool = True,
    ) -> None:
        self._messages: List[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        if is_whole:
            self._messages.append({"type": "http.request", "body": b"", "more_body": False})
        self._head = (method, path, headers or {})
        self._sent: List[Message] = []
        self._has_left = False
        self._changed: Optional[asyncio.Event] = None  # of the loop that runs it: Python 3.8 binds events when made

    @property
    def unread(self) -> int:
        """Pieces of the body that nobody asked for."""
        return len(self._messages)

    @property
    def reply(self) -> Reply:
        start, *rest = self._sent
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], headers, b"".join(message.get("body", b"") for message in rest))

    @property
    def is_complete(self) -> bool:
        return bool(self._sent) and not self._sent[-1].get("more_body", self._sent[-1]["type"] != "http.response.body")

    def leave(self) -> None:
        """The client leaves when it has sent what there is."""
        self._has_left = True
        self._notify()

    async def begun(self) -> None:
        """Wait until something of the body of the response was sent."""
        while not any(message.get("body") for message in self._sent):
            await self._change()

    async def run(self, app: ASGIApp) -> Reply:
        method, path, headers = self._head
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        await app(scope, self._receive, self._send)
        return self.reply

    async def _receive(self) -> Message:
        if self._messages:
            return self._messages.pop(0)
        while not self._has_left:
            await self._change()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self._sent.append(message)
        self._notify()

    async def _change(self) -> None:
        changed = self._changed = self._changed or asyncio.Event()
        await changed.wait()

    def _notify(self) -> None:
        if self._changed is not None:
            self._changed.set()
        self._changed = None
