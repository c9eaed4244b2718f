"""The door of OpenAI's Realtime API, with the published clients as they are, and with a bare WebSocket beside them."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, Iterator

import av
import httpx
import numpy as np
import pytest
import soxr
import websockets

from bench.recordings import Recording
from bench.speech import error_rate
from client.session import StreamingClient
from demo.recording import TRANSCRIPT
from gateway.doors.realtime_session import PARTIAL, WORDS
from protocol.data import SessionOptions
from tests.harness.clients import run_client
from tests.harness.doors import saved, tcp_text, wait_until_free
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

RATE = 24000
CHUNK_BYTES = RATE // 10 * 2
TRANSCRIPTION = "conversation.item.input_audio_transcription"
COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
DONE = {"type": "input_audio_buffer.done"}
KEY = "secret"


@pytest.fixture(autouse=True)
def _free_engine(server: ServerProcess) -> None:
    wait_until_free(server)


@pytest.fixture(scope="module")
def spoken(speech: bytes) -> bytes:
    """The recording at the rate of the API."""
    return at_rate(speech, RATE)


def at_rate(pcm: bytes, rate: int) -> bytes:
    return bytes(soxr.resample(np.frombuffer(pcm, "<i2"), 16000, rate).astype("<i2").tobytes())


def asked(**options: Any) -> SessionOptions:
    return SessionOptions(sample_rate=RATE, **options)


def appends(audio: bytes) -> Iterator[dict[str, Any]]:
    for start in range(0, len(audio), CHUNK_BYTES):
        data = base64.b64encode(audio[start : start + CHUNK_BYTES]).decode()
        yield {"type": "input_audio_buffer.append", "audio": data}


def update(include: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"include": include, "audio": {"input": fields}}}


async def told(url: str, *events: dict[str, Any], **connection: Any) -> list[Any]:
    """Everything that is told until the gateway closes the connection."""
    async with websockets.connect(url, **connection) as websocket:
        for event in events:
            await websocket.send(json.dumps(event))
        return [json.loads(message) async for message in websocket]


def talk(gateway: GatewayProcess, *events: dict[str, Any], **connection: Any) -> list[Any]:
    return asyncio.run(told(gateway.url("/v1/realtime", "ws"), *events, **connection))


def transcripts(events: list[Any]) -> list[str]:
    return [event["transcript"] for event in events if event["type"] == f"{TRANSCRIPTION}.completed"]


def text_of(events: list[Any]) -> str:
    """All of it; what was taken for speech and is none has no text."""
    return " ".join(filter(None, transcripts(events)))


def address(gateway: GatewayProcess) -> str:
    return f"127.0.0.1:{gateway.port}"


# --- published clients


def test_openais_client_is_told_each_utterance_and_the_text_is_that_of_tcp(
    server: ServerProcess, gateway: GatewayProcess, spoken: bytes, tmp_path: Path
) -> None:
    events = run_client("openai_realtime.py", address(gateway), "en", "server_vad", "2", saved(tmp_path, spoken))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["session.created", "session.updated"]
    of_first = [event["type"].rsplit(".", 1)[1] for event in events if event.get("item_id") == events[2]["item_id"]]
    assert [kind for kind in of_first if kind != "delta"] == [
        "speech_started",
        "speech_stopped",
        "committed",
        "completed",
    ]
    assert text_of(events) == tcp_text(server, spoken, asked())
    first, second = [event for event in events if event["type"] == "input_audio_buffer.committed"]
    assert second["previous_item_id"] == first["item_id"]


def test_openais_client_commits_a_turn_and_gets_it_as_one_item(
    server: ServerProcess, gateway: GatewayProcess, spoken: bytes, tmp_path: Path
) -> None:
    events = run_client("openai_realtime.py", address(gateway), "en", "manual", "1", saved(tmp_path, spoken))
    (committed,) = [event for event in events if event["type"].startswith("input_audio_buffer.")]
    assert committed["type"] == "input_audio_buffer.committed"
    assert transcripts(events) == [tcp_text(server, spoken, asked(turn="manual"))]
    deltas = "".join(event["delta"] for event in events if event["type"] == f"{TRANSCRIPTION}.delta")
    assert deltas == transcripts(events)[0]


def test_livekit_hears_speech_begin_and_end_and_the_text_of_tcp(
    server: ServerProcess, gateway: GatewayProcess, spoken: bytes, tmp_path: Path
) -> None:
    path = saved(tmp_path, spoken + bytes(RATE * 2))
    events = run_client("livekit_openai.py", address(gateway), "en", "server_vad", "3", path)
    finals = [event["alternatives"][0] for event in events if event["type"] == "final_transcript"]
    assert " ".join(final["text"] for final in finals) == tcp_text(server, spoken, asked(silence_ms=350))
    assert {final["language"] for final in finals} == {"en"}
    kinds = [event["type"] for event in events]
    assert kinds.count("start_of_speech") == kinds.count("end_of_speech") == 3
    assert "interim_transcript" in kinds


def test_livekits_own_vad_commits_in_the_middle_of_speech_and_cuts_nothing(
    server: ServerProcess, gateway: GatewayProcess, spoken: bytes, tmp_path: Path
) -> None:
    path = saved(tmp_path, spoken + bytes(RATE * 2))
    events = run_client("livekit_openai.py", address(gateway), "en", "vad", "2", path)
    finals = [event["alternatives"][0]["text"] for event in events if event["type"] == "final_transcript"]
    assert " ".join(finals) == tcp_text(server, spoken, asked())


def test_pipecat_hears_turns_by_the_servers_vad_and_the_text_of_tcp(
    server: ServerProcess, gateway: GatewayProcess, spoken: bytes, tmp_path: Path
) -> None:
    frames = run_client("pipecat_openai.py", address(gateway), "en", "server_vad", "2", saved(tmp_path, spoken))
    kinds = [frame["type"] for frame in frames if frame["type"] != "InterimTranscriptionFrame"]
    assert (
        kinds
        == [
            "ProposedUserStartedSpeakingFrame",
            "ProposedUserStoppedSpeakingFrame",
            "TranscriptionFrame",
        ]
        * 2
    )
    texts = [frame["text"] for frame in frames if frame["type"] == "TranscriptionFrame"]
    assert " ".join(texts) == tcp_text(server, spoken, asked())


def test_pipecat_commits_at_each_stop_of_its_own_vad_and_gets_each_turn(
    gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    frames = run_client("pipecat_openai.py", address(gateway), "en", "vad", "6", saved(tmp_path, speech))
    texts = [frame["text"] for frame in frames if frame["type"] == "TranscriptionFrame"]
    assert {frame["type"] for frame in frames} == {"TranscriptionFrame", "InterimTranscriptionFrame"}
    assert error_rate([[TRANSCRIPT]], [" ".join(texts)], "en") < 0.2


def test_korean_is_heard_as_over_tcp(
    server: ServerProcess, gateway: GatewayProcess, recordings: list[Recording], tmp_path: Path
) -> None:
    recording = next(one for one in recordings if one.language == "ko" and one.references and len(one.pcm) > 4 * 32000)
    pcm = at_rate(recording.pcm, RATE)
    for mode, turn in (("server_vad", "auto"), ("manual", "manual")):
        wait_until_free(server)
        expected = tcp_text(server, pcm, asked(language="ko", turn=turn))
        events = run_client("openai_realtime.py", address(gateway), "ko", mode, "1", saved(tmp_path, pcm))
        assert text_of(events) == expected
        assert error_rate([recording.references], [expected], "ko") < 0.4
        assert events[-1]["languages"] == [{"code": "ko"}]


# --- what a connection may ask for


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        ({"type": "audio/pcm", "rate": 16000}, SessionOptions(sample_rate=16000)),
        ({"type": "audio/pcmu"}, SessionOptions(sample_rate=8000, encoding="mulaw")),
        ({"type": "audio/pcma"}, SessionOptions(sample_rate=8000, encoding="alaw")),
    ],
)
def test_each_format_is_heard_as_over_tcp(
    server: ServerProcess, gateway: GatewayProcess, phrase: bytes, format_: dict[str, Any], options: SessionOptions
) -> None:
    audio = phrase if options.encoding is None else g711(at_rate(phrase, 8000), options.encoding)
    events = talk(gateway, update(format=format_), *appends(audio), DONE)
    assert text_of(events) == tcp_text(server, audio, options)


def g711(pcm: bytes, encoding: str) -> bytes:
    """Mono at 8 kHz."""
    codec = av.CodecContext.create(f"pcm_{encoding}", "w")
    assert isinstance(codec, av.AudioCodecContext)
    codec.sample_rate, codec.layout, codec.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(np.frombuffer(pcm, "<i2").reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def test_what_is_cleared_is_not_told_and_what_follows_is(gateway: GatewayProcess, spoken: bytes) -> None:
    first, second = spoken[: int(5.9 * RATE) * 2], spoken[int(6.3 * RATE) * 2 :]
    manual = update(turn_detection=None)
    events = talk(gateway, manual, *appends(first), CLEAR, *appends(second), COMMIT, DONE)
    assert transcripts(events) == ["Fail again. Fail better."]
    assert [event["type"] for event in events].count("input_audio_buffer.cleared") == 1


def test_commits_every_second_cut_no_utterance(server: ServerProcess, gateway: GatewayProcess, spoken: bytes) -> None:
    said: list[dict[str, Any]] = []
    for event in appends(spoken):
        said += [event, COMMIT]
    events = talk(gateway, *said, DONE)
    assert text_of(events) == tcp_text(server, spoken, asked())
    assert not [event for event in events if event["type"] == "error"]


def test_words_and_text_that_may_change_come_to_those_who_ask(gateway: GatewayProcess, spoken: bytes) -> None:
    async def slowly() -> list[Any]:
        async with websockets.connect(gateway.url("/v1/realtime", "ws")) as websocket:
            await websocket.send(json.dumps(update((PARTIAL, WORDS))))
            for event in appends(spoken):
                await websocket.send(json.dumps(event))
                await asyncio.sleep(0.1)
            await websocket.send(json.dumps(DONE))
            return [json.loads(message) async for message in websocket]

    events = asyncio.run(slowly())
    deltas: dict[str, str] = {}
    partials = 0
    for event in events:
        if event["type"] == f"{TRANSCRIPTION}.delta":
            deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
        elif event["type"] == f"{TRANSCRIPTION}.partial":
            assert event["stable"] == deltas.get(event["item_id"], "")
            partials += 1
        elif event["type"] == f"{TRANSCRIPTION}.completed" and event["transcript"]:
            assert " ".join(word["word"] for word in event["words"]) == event["transcript"]
            assert event["start_ms"] <= event["words"][0]["start_ms"]
            assert event["words"][-1]["end_ms"] <= event["end_ms"]
            assert event["language"] == "en"
    assert partials


def test_nvidias_client_makes_a_session_by_a_call_and_waits_for_the_last_result(
    server: ServerProcess, gateway: GatewayProcess, phrase: bytes
) -> None:
    session = httpx.post(gateway.url("/v1/realtime/transcription_sessions"), json={}).json()
    session["input_audio_format"] = "none"
    session["input_audio_params"]["sample_rate_hz"] = 16000
    session["input_audio_transcription"]["language"] = "en-US"
    said: list[dict[str, Any]] = [{"type": "transcription_session.update", "session": session}]
    for event in appends(phrase):
        said += [event, COMMIT]
    subprotocols = ["realtime", f"realtime-token.{session['client_secret']['value']}"]
    events = talk(gateway, *said, DONE, subprotocols=subprotocols)
    assert [event["type"] for event in events[:2]] == ["conversation.created", "transcription_session.updated"]
    assert events[-1]["is_last_result"]
    assert events[-1]["transcript"] == tcp_text(server, phrase)


# --- who may, and when there is no engine


@pytest.fixture(scope="module")
def locked(server: ServerProcess) -> Iterator[GatewayProcess]:
    """A gateway that asks for a key."""
    with GatewayProcess([server.port], {"api_keys": [KEY]}) as gateway:
        yield gateway


@pytest.mark.parametrize(
    "connection",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"subprotocols": ["realtime", "openai-insecure-api-key.ek_wrong"]},
    ],
)
def test_a_wrong_key_is_refused_before_there_is_a_websocket(locked: GatewayProcess, connection: dict[str, Any]) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        talk(locked, **connection)
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
    assert httpx.post(locked.url("/v1/realtime/client_secrets"), json={}).status_code == 401


@pytest.mark.parametrize(
    "connection",
    [
        {"additional_headers": {"Authorization": f"Bearer {KEY}"}},
        {"subprotocols": ["realtime", f"openai-insecure-api-key.{KEY}"]},
    ],
)
def test_a_key_is_taken_as_a_header_and_as_a_subprotocol(locked: GatewayProcess, connection: dict[str, Any]) -> None:
    assert [event["type"] for event in talk(locked, DONE, **connection)] == ["session.created"]


def test_a_client_secret_opens_a_session_with_what_was_asked_for(
    server: ServerProcess, locked: GatewayProcess, phrase: bytes
) -> None:
    fields = {"format": {"type": "audio/pcm", "rate": 16000}, "turn_detection": None}
    made = httpx.post(
        locked.url("/v1/realtime/client_secrets"),
        headers={"Authorization": f"Bearer {KEY}"},
        json={"expires_after": {"seconds": 60}, "session": {"type": "transcription", "audio": {"input": fields}}},
    ).json()
    subprotocols = ["realtime", f"openai-insecure-api-key.{made['value']}"]
    events = talk(locked, *appends(phrase), COMMIT, DONE, subprotocols=subprotocols)
    assert events[0]["session"]["audio"]["input"]["turn_detection"] is None
    assert transcripts(events) == [tcp_text(server, phrase, SessionOptions(sample_rate=16000, turn="manual"))]


def test_a_client_without_an_engine_is_closed_with_a_reason(
    server: ServerProcess, gateway: GatewayProcess, spoken: bytes
) -> None:
    with StreamingClient("127.0.0.1", server.port), pytest.raises(websockets.ConnectionClosed) as closed:
        talk(gateway, *appends(spoken), DONE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    assert "no engine is free" in closed.value.rcvd.reason
