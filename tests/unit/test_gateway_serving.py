"""What the gateway's HTTP and WebSockets allow; the server is a scripted one, the sockets are real."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import AsyncIterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from config.sections import ServerConfig
from gateway import serving as served
from gateway.app import make_app
from gateway.services import services_for
from tests.harness.scripted import serving, session
from util import END_PACKET, result_packet

LISTEN = "/v1/listen?encoding=linear16&sample_rate=16000"


@asynccontextmanager
async def doors(port: int = 9, has_room: bool = True) -> AsyncIterator[int]:
    """The port of a gateway's HTTP, before a server at a port."""
    config = ServerConfig.model_validate({"gateway": {"servers": [f"127.0.0.1:{port}"]}})
    services = replace(services_for(config), has_room=lambda: has_room)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        uvicorn = served._uvicorn_config(make_app(services))
        uvicorn.ws_ping_interval = 0.01
        uvicorn.ws_ping_timeout = uvicorn.ws_ping_timeout and 0.01
        server = served._Server(uvicorn)
        running = asyncio.ensure_future(server.serve([listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        await running


def test_a_client_that_sends_faster_than_a_server_hears_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    websockets_sansio_impl = pytest.importorskip("uvicorn.protocols.websockets.websockets_sansio_impl")
    protocol = websockets_sansio_impl.WebSocketsSansIOProtocol
    if not hasattr(protocol, "send_keepalive_ping"):
        pytest.skip("this uvicorn sends no pings")
    pings = iter(range(10))
    has_pinged = threading.Event()
    ping = protocol.send_keepalive_ping

    def counted(self: object) -> None:
        ping(self)
        if next(pings, None) is None:
            has_pinged.set()

    monkeypatch.setattr(protocol, "send_keepalive_ping", counted)

    def serve(connection: socket.socket) -> None:
        has_pinged.wait(30)
        session(at_finish=result_packet(0.1, 0.9, "네") + END_PACKET)(connection)

    async def main(server: int) -> list[str]:
        async with doors(server) as port, connect(f"ws://127.0.0.1:{port}{LISTEN}") as websocket:
            for _ in range(600):
                await websocket.send(bytes(32_000))
            await websocket.send('{"type": "CloseStream"}')
            return [json.loads(message)["type"] async for message in websocket]

    with serving(serve) as server:
        assert asyncio.run(asyncio.wait_for(main(server), 60)) == ["Results", "Metadata"]


def test_who_comes_when_there_are_enough_is_told_to_come_again_and_that_the_gateway_lives() -> None:
    async def main() -> None:
        async with doors(has_room=False) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{port}{LISTEN}")
            assert refused.value.response.status_code == 503
            assert refused.value.response.headers["Retry-After"] == "2"
            upload = await http.post("/v1/audio/transcriptions", content=bytes(5_000_000))
            assert (upload.status_code, upload.headers["Retry-After"]) == (503, "2")
            assert upload.json()["error"]["code"] == "server_busy"
            assert (await http.get("/healthz")).status_code == 200

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.parametrize("beginning", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "second"])
def test_a_request_that_is_begun_and_not_ended_is_not_waited_for(
    beginning: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.serving._REQUEST_S", 0.1)

    async def main() -> None:
        async with doors() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(beginning)
            if beginning:
                await reader.readuntil(b"ok\n")
            writer.write(b"GET / HT")
            assert await reader.read() == b""
            writer.close()

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_request_without_end_is_not_kept() -> None:
    async def main() -> None:
        async with doors() as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nx: ")
            with pytest.raises(ConnectionError):
                await send_megabytes(writer)

    asyncio.run(asyncio.wait_for(main(), 20))


async def send_megabytes(writer: asyncio.StreamWriter) -> None:
    for _ in range(1000):
        writer.write(b"a" * 65536)
        await writer.drain()
