"""The gateway and clients that connect and want nothing, half of something, or too much."""

import asyncio
import socket
from contextlib import ExitStack, suppress

import httpx
import psutil
import websockets

from tests.harness.gateway import GatewayProcess
from tests.system.test_gateway_vosk import calls

IDLE = 1000


def test_a_thousand_idle_websockets_hold_no_engine(gateway: GatewayProcess, speech: bytes) -> None:
    async def main() -> str:
        idle = await asyncio.gather(*(websockets.connect(gateway.url("/", "ws")) for _ in range(IDLE)))
        replies = await calls(gateway.url("/", "ws"), speech, {"sample_rate": 16000})
        await asyncio.gather(*(websocket.close() for websocket in idle))
        return " ".join(reply.get("text", "") for reply in replies)

    before = psutil.Process(gateway.process.pid).memory_info().rss
    assert asyncio.run(main()).endswith("Fail again. Fail better.")
    assert psutil.Process(gateway.process.pid).memory_info().rss - before < 200e6


def test_who_floods_with_messages_without_sound_is_closed_and_others_are_heard_meanwhile(
    gateway: GatewayProcess, speech: bytes
) -> None:
    async def flood() -> None:
        async with websockets.connect(gateway.url("/", "ws")) as websocket:
            with suppress(websockets.ConnectionClosed):
                while True:
                    await websocket.send(b"")
                    await asyncio.sleep(0)

    async def main() -> str:
        floods = asyncio.gather(*(flood() for _ in range(10)))
        replies = await calls(gateway.url("/", "ws"), speech, {"sample_rate": 16000})
        await floods
        return " ".join(reply.get("text", "") for reply in replies)

    assert asyncio.run(main()).endswith("Fail again. Fail better.")


OPENINGS = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "half of the headers": b"GET / HTTP/1.1\r\nHost: x\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "zeros": bytes(70_000),
    "a long line": b"A" * 100_000,
}


def test_half_a_request_is_dropped_and_others_are_served_meanwhile(gateway: GatewayProcess) -> None:
    with ExitStack() as stack:
        connections = []
        for opening in [*OPENINGS.values()] * 10:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 60))
            connection.sendall(opening)
            connections.append(connection)
        assert httpx.get(gateway.url("/healthz")).text == "ok\n"
        for connection in connections:
            until_it_is_closed(connection)


def until_it_is_closed(connection: socket.socket) -> None:
    with suppress(ConnectionError):
        while connection.recv(65536):
            pass
