"""Deepgram's door, with the published clients as they are, and with a bare WebSocket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from bench.recordings import Recording
from bench.speech import error_rate
from demo.recording import TRANSCRIPT
from protocol.data import SessionOptions
from tests.harness.clients import run_client
from tests.harness.doors import saved, tcp_text, wait_until_free
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

PCM_16K = "encoding=linear16&sample_rate=16000"
KEY = "any"


@pytest.fixture(autouse=True)
def _free_engine(server: ServerProcess) -> None:
    wait_until_free(server)


def address(gateway: GatewayProcess) -> str:
    return f"127.0.0.1:{gateway.port}"


def url(gateway: GatewayProcess, query: str = PCM_16K) -> str:
    return gateway.url(f"/v1/listen?{query}", "ws")


def transcript(results: dict[str, Any]) -> str:
    return str(results["channel"]["alternatives"][0]["transcript"])


def finals(messages: list[Any]) -> list[Any]:
    return [one for one in messages if one["type"] == "Results" and one["is_final"]]


def text_of(messages: list[Any]) -> str:
    return " ".join(filter(None, map(transcript, finals(messages))))


# --- published clients


def test_the_sdk_is_told_all_that_it_knows_and_the_text_is_that_of_tcp(
    server: ServerProcess, gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    messages = run_client("deepgram_sdk.py", address(gateway), KEY, "en", saved(tmp_path, speech))
    assert text_of(messages) == tcp_text(server, speech)
    first, last = finals(messages)[0], finals(messages)[-1]
    assert (first["speech_final"], first["from_finalize"]) == (True, False)
    assert last["from_finalize"]
    kinds = [one["type"] for one in messages]
    assert kinds[0] == "SpeechStarted"
    assert kinds[-1] == "Metadata"
    assert kinds.count("SpeechStarted") == 2
    assert "UtteranceEnd" in kinds
    assert messages[-1]["duration"] == pytest.approx(len(speech) / 32000, abs=0.01)
    interims = [one for one in messages if one["type"] == "Results" and not one["is_final"]]
    assert interims
    assert all(transcript(one) for one in interims)
    for one in interims + finals(messages):
        (alternative,) = one["channel"]["alternatives"]
        assert " ".join(word["punctuated_word"] for word in alternative["words"]) == alternative["transcript"]


def test_pipecat_gets_every_final_and_knows_those_that_it_has_asked_for(
    gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    frames = run_client("pipecat_deepgram.py", address(gateway), KEY, "en", saved(tmp_path, speech))
    said = [frame for frame in frames if frame["type"] == "TranscriptionFrame"]
    assert {frame["type"] for frame in frames} == {"TranscriptionFrame", "InterimTranscriptionFrame"}
    assert any(frame["finalized"] for frame in said)  # not all: on a busy machine a pause may be over before it asks
    assert error_rate([[TRANSCRIPT]], [" ".join(frame["text"] for frame in said)], "en") < 0.2


def test_livekit_hears_speech_begin_and_end(
    server: ServerProcess, gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    events = run_client("livekit_deepgram.py", address(gateway), KEY, "en", saved(tmp_path, speech))
    kinds = [event["type"] for event in events if event["type"] != "interim_transcript"]
    assert kinds == ["start_of_speech", "final_transcript", "end_of_speech"] * 2
    final = [event["alternatives"][0] for event in events if event["type"] == "final_transcript"]
    assert " ".join(one["text"] for one in final) == tcp_text(server, speech)
    assert 0 < final[0]["end"] < final[1]["start"] < final[1]["end"]


def test_korean_is_heard_as_over_tcp(
    server: ServerProcess, gateway: GatewayProcess, recordings: list[Recording], tmp_path: Path
) -> None:
    spoken = next(one for one in recordings if one.language == "ko" and one.references and len(one.pcm) > 4 * 32000)
    messages = run_client("deepgram_sdk.py", address(gateway), KEY, "ko", saved(tmp_path, spoken.pcm))
    assert text_of(messages) == tcp_text(server, spoken.pcm, SessionOptions(sample_rate=16000, language="ko"))
    assert error_rate([spoken.references], [text_of(messages)], "ko") < 0.4


# --- what a connection may ask for


async def heard(where: str, *messages: bytes | str, **connection: Any) -> list[Any]:
    """Everything that is told until the gateway closes the connection."""
    async with websockets.connect(where, **connection) as websocket:
        for message in messages:
            await websocket.send(message)
        return [json.loads(message) async for message in websocket]


@pytest.mark.parametrize(
    ("query", "what"),
    [("", "encoding"), ("encoding=linear16", "sample_rate"), ("encoding=mulaw&language=xx", "language")],
)
def test_what_cannot_be_is_refused_before_there_is_a_websocket(gateway: GatewayProcess, query: str, what: str) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(heard(url(gateway, query)))
    response = refused.value.response
    error = json.loads(response.body or b"")
    assert response.status_code == 400
    assert what in error["err_msg"]
    assert error["request_id"] == response.headers["dg-request-id"]
    assert what in response.headers["dg-error"]


def test_the_stream_has_a_name_and_stereo_is_mixed(
    server: ServerProcess, gateway: GatewayProcess, phrase: bytes
) -> None:
    stereo = b"".join(phrase[at : at + 2] * 2 for at in range(0, len(phrase), 2))

    async def main() -> tuple[str, list[Any]]:
        async with websockets.connect(url(gateway, f"{PCM_16K}&channels=2")) as websocket:
            await websocket.send(stereo)
            await websocket.send('{"type": "CloseStream"}')
            assert websocket.response is not None
            return websocket.response.headers["dg-request-id"], [json.loads(message) async for message in websocket]

    name, messages = asyncio.run(main())
    assert text_of(messages) == tcp_text(server, phrase)
    assert messages[-1]["request_id"] == name
    assert messages[-1]["channels"] == 2


def test_finalize_is_answered_without_any_sound(gateway: GatewayProcess) -> None:
    empty, metadata = asyncio.run(heard(url(gateway), '{"type": "Finalize"}', '{"type": "CloseStream"}'))
    assert (transcript(empty), empty["from_finalize"]) == ("", True)
    assert metadata["type"] == "Metadata"


def test_a_second_client_is_told_that_no_engine_is_free_and_the_first_notices_nothing(
    gateway: GatewayProcess, phrase: bytes
) -> None:
    async def main() -> list[Any]:
        async with websockets.connect(url(gateway)) as first:
            await first.send(phrase[:32000])
            await first.send('{"type": "Finalize"}')
            await first.recv()  # it has the engine
            async with websockets.connect(url(gateway)) as second:
                await second.send(phrase)
                error = json.loads(await second.recv())
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await second.recv()
            assert (error["type"], error["variant"]) == ("Error", "Busy")
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
            await first.send(phrase[32000:])
            await first.send('{"type": "CloseStream"}')
            return [json.loads(message) async for message in first]

    assert "better" in text_of(asyncio.run(main()))


# --- keys


@pytest.fixture(scope="module")
def locked(server: ServerProcess) -> Any:
    with GatewayProcess([server.port], {"api_keys": ["secret"], "doors": ["deepgram"]}) as process:
        yield process


@pytest.mark.parametrize(
    "connection",
    [
        {"additional_headers": {"Authorization": "Token secret"}},
        {"additional_headers": {"Authorization": "Bearer secret"}},
        {"subprotocols": ["token", "secret"]},
    ],
)
def test_a_key_is_taken_wherever_clients_put_it(locked: GatewayProcess, connection: dict[str, Any]) -> None:
    (metadata,) = asyncio.run(heard(url(locked), '{"type": "CloseStream"}', **connection))
    assert metadata["type"] == "Metadata"


@pytest.mark.parametrize("connection", [{}, {"additional_headers": {"Authorization": "Token wrong"}}])
def test_without_the_key_there_is_no_websocket(locked: GatewayProcess, connection: dict[str, Any]) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(heard(url(locked), **connection))
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body or b"")["err_code"] == "INVALID_AUTH"


def test_a_door_that_is_not_open_is_not_there(locked: GatewayProcess) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(heard(locked.url("/", "ws")))
    assert refused.value.response.status_code in (403, 404)
