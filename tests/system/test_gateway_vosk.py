"""Vosk's door, with a WebSocket client that calls as vosk-server's own does, and as telephone systems do."""

import asyncio
import json
from typing import Any, Dict, Iterator, List

import pytest
import soxr
from numpy import frombuffer, int16
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from protocol.data import SessionOptions
from tests.harness.doors import tcp_text, wait_until_free
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

CHUNK_BYTES = 8000
TELEPHONE_CHUNK_BYTES = 3200  # of Asterisk and FreeSWITCH: 0.2 s at 8 kHz
EOF = '{"eof" : 1}'


@pytest.fixture(autouse=True)
def _free_engine(server: ServerProcess) -> None:
    wait_until_free(server)


async def calls(url: str, pcm: bytes, config: Dict[str, Any], **connection: Any) -> List[Dict[str, Any]]:
    """The sequence of vosk-server's own test client."""
    async with connect(url, **connection) as websocket:
        await websocket.send(json.dumps({"config": config}))
        replies = []
        for start in range(0, len(pcm), CHUNK_BYTES):
            await websocket.send(pcm[start : start + CHUNK_BYTES])
            replies.append(json.loads(await websocket.recv()))
        await websocket.send(EOF)
        replies.append(json.loads(await websocket.recv()))
        return replies


def text_of(replies: List[Dict[str, Any]]) -> str:
    return " ".join(reply["text"] for reply in replies if reply.get("text"))


def test_each_frame_has_one_reply_and_the_finals_are_the_text_of_tcp(
    server: ServerProcess, gateway: GatewayProcess, speech: bytes
) -> None:
    url = f"ws://127.0.0.1:{gateway.port_of('vosk')}"
    replies = asyncio.run(calls(url, speech, {"sample_rate": 16000}))
    assert len(replies) == -(-len(speech) // CHUNK_BYTES) + 1
    assert text_of(replies) == tcp_text(server, speech)
    words = [word["word"] for reply in replies for word in reply.get("result", [])]
    assert words == text_of(replies).split()


def test_a_telephone_system_that_configures_nothing_is_heard_at_8_khz(
    server: ServerProcess, gateway: GatewayProcess, phrase: bytes
) -> None:
    telephone = soxr.resample(frombuffer(phrase, int16), 16000, 8000).tobytes()

    async def main() -> List[Dict[str, Any]]:
        replies = []
        async with connect(f"ws://127.0.0.1:{gateway.port_of('vosk')}") as websocket:
            for start in range(0, len(telephone), TELEPHONE_CHUNK_BYTES):
                await websocket.send(telephone[start : start + TELEPHONE_CHUNK_BYTES])
            await websocket.send(EOF)  # the replies are read when there is time for them
            async for reply in websocket:
                replies.append(json.loads(reply))
            assert websocket.protocol.close_code == 1000
        return replies

    replies = asyncio.run(main())
    assert len(replies) == -(-len(telephone) // TELEPHONE_CHUNK_BYTES) + 1
    assert text_of(replies) == tcp_text(server, telephone, SessionOptions(sample_rate=8000))
    assert "better" in text_of(replies)


def test_a_reset_is_answered_by_a_final_and_the_next_one_begins(gateway: GatewayProcess, phrase: bytes) -> None:
    async def main() -> List[str]:
        texts = []
        async with connect(gateway.url("/", "ws")) as websocket:
            await websocket.send('{"config" : {"sample_rate" : 16000}}')
            for _ in range(2):
                await websocket.send(phrase[:80000])  # it ends in mid-sentence
                await websocket.recv()
                await websocket.send('{"reset" : 1}')
                texts.append(json.loads(await websocket.recv())["text"])
            await websocket.send(EOF)
            texts.append(json.loads(await websocket.recv())["text"])
        return texts

    first, second, rest = asyncio.run(main())
    assert first
    assert second
    assert rest == ""


def test_a_configuration_that_cannot_be_closes_the_connection_with_the_reason(gateway: GatewayProcess) -> None:
    with pytest.raises(ConnectionClosed) as closed:
        asyncio.run(calls(gateway.url("/", "ws"), bytes(100), {"sample_rate": 1}))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert "sample_rate" in closed.value.rcvd.reason


@pytest.fixture(scope="module")
def locked(server: ServerProcess) -> Iterator[GatewayProcess]:
    with GatewayProcess([server.port], {"api_keys": ["secret"]}) as process:
        yield process


def test_a_key_is_asked_for_where_clients_have_a_place_for_it(locked: GatewayProcess) -> None:
    header = {"Authorization": "Bearer secret"}
    assert text_of(asyncio.run(calls(locked.url("/", "ws"), b"", {}, additional_headers=header))) == ""
    with pytest.raises(InvalidStatus) as refused:
        asyncio.run(calls(locked.url("/", "ws"), b"", {}))
    assert refused.value.response.status_code == 401


def test_the_port_for_clients_without_a_place_for_a_key_asks_for_none_and_the_log_says_so(
    locked: GatewayProcess,
) -> None:
    asyncio.run(calls(f"ws://127.0.0.1:{locked.port_of('vosk')}", b"", {}))
    locked.wait_for_line("vosk: port .* asks for no key")
