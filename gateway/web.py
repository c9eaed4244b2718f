"""WebSockets as streams of messages, and who is at the other end."""

import asyncio
from typing import Optional

from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gateway.conversation import Message, Stream
from gateway.transports import has_left

TRANSPORT = "transport"  # in the state of a connection: ASGI has no word for one that leaves and is not read
_LONGEST_REASON_BYTES = 123  # RFC 6455, section 5.5


class WebSocketStream(Stream):
    """A WebSocket that has been accepted."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._transport: Optional[asyncio.BaseTransport] = websocket.scope.get("state", {}).get(TRANSPORT)

    async def receive(self) -> Optional[Message]:
        """The next frame."""
        received = await self._websocket.receive()
        if received["type"] == "websocket.disconnect":
            return None
        text: Optional[str] = received.get("text")
        return received["bytes"] if text is None else text

    def has_left(self) -> bool:
        """As the system knows."""
        return self._transport is not None and has_left(self._transport)

    async def send(self, message: Message) -> None:
        """Text as a text frame, bytes as a binary frame."""
        try:
            if isinstance(message, str):
                await self._websocket.send_text(message)
            else:
                await self._websocket.send_bytes(message)
        except WebSocketDisconnect as error:
            raise ConnectionError("the client has left") from error

    async def close(self, code: int, reason: str) -> None:
        """A reason that is too long is cut."""
        if self._websocket.application_state is WebSocketState.DISCONNECTED:
            return
        short = reason.encode()[:_LONGEST_REASON_BYTES].decode(errors="ignore")
        try:
            await self._websocket.close(code, short)
        except (WebSocketDisconnect, RuntimeError):  # it has left, or has said goodbye itself
            return


def user_of(door: str, connection: HTTPConnection) -> str:
    """A name for the server's log: the door and the client's address."""
    client = connection.client
    return door if client is None else f"{door} {client.host}"
