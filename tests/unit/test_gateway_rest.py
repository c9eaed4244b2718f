"""OpenAI's REST door as a whole, before a server that says what a test says."""

from __future__ import annotations

import asyncio
from typing import Any, Dict, List, Sequence, Tuple

import pytest
from starlette.applications import Starlette

from config.sections import ServerConfig
from demo.recording import recording_pcm, recording_wav
from gateway.app import make_app
from gateway.services import services_for
from protocol.data import Cause, Detail, DetailedResult, Word
from protocol.packets import ErrorCode
from tests.harness.http import FORM_TYPE, Exchange, Reply, form
from tests.harness.scripted import Serve, says, serving, session
from util import END_PACKET, AudioReceived, Event, OptionsReceived, detailed_result_packet, error_packet

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
BUSY = error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET


def result_packet(start_s: float, text: str) -> bytes:
    words = (Word(text, start_s, start_s + 1, 0.9),)
    return detailed_result_packet(
        DetailedResult(start_s, start_s + 1, text, Detail("en", Cause.SILENCE, -0.2, 0.1, 0.9, words))
    )


FIRST, SECOND = result_packet(1.0, "Fail again."), result_packet(3.0, "Fail better.")


def app_before(port: int, **gateway: Any) -> Starlette:
    settings = {"gateway": {"servers": [f"127.0.0.1:{port}"], **gateway}, "model": {"language": "en"}}
    return make_app(services_for(ServerConfig.model_validate(settings)))


def upload(
    path: str = TRANSCRIPTIONS, fields: Sequence[Tuple[str, str]] = (), content: bytes = recording_wav().read_bytes()
) -> Exchange:
    return Exchange("POST", path, [form(content, fields)], {"Content-Type": FORM_TYPE})


def asked_of(exchange: Exchange, *serves: Serve, **gateway: Any) -> Reply:
    """The reply, where each connection to the server gets the next of `serves`."""

    async def run(port: int) -> Reply:
        return await asyncio.wait_for(exchange.run(app_before(port, **gateway)), 30)

    with serving(*serves) as port:
        return asyncio.run(run(port))


def asked_alone(exchange: Exchange, **gateway: Any) -> Reply:
    """The reply where no server is needed; port 9 of this machine has none."""
    return asyncio.run(exchange.run(app_before(9, **gateway)))


# --- files


def test_what_the_server_hears_is_the_answer() -> None:
    heard: List[Event] = []
    reply = asked_of(upload(), session(at_finish=FIRST + SECOND + END_PACKET, hear=heard.extend))
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json["text"] == "Fail again. Fail better."
    audio = b"".join(event.pcm for event in heard if isinstance(event, AudioReceived))
    assert audio == recording_pcm()


def options_of(exchange: Exchange) -> Dict[str, Any]:
    heard: List[Event] = []
    asked_of(exchange, session(at_finish=END_PACKET, hear=heard.extend))
    return next(event.fields for event in heard if isinstance(event, OptionsReceived))


def test_the_server_is_asked_for_what_the_client_asks_for() -> None:
    fields = [("language", "german"), ("prompt", "Godot")]
    options = {"language": "de", "prompt": "Godot", "sample_rate": 16000, "detail": True}
    assert options_of(upload(fields=fields)) == {**options, "task": "transcribe"}
    assert options_of(upload(TRANSLATIONS, fields)) == {**options, "task": "translate"}


def test_silence_is_an_answer_too() -> None:
    reply = asked_of(upload(fields=[("response_format", "text")]), session(at_finish=END_PACKET))
    assert (reply.status, reply.text) == (200, "\n")


def test_a_stream_has_each_result_and_then_the_whole_text() -> None:
    reply = asked_of(upload(fields=[("stream", "true")]), session(at_welcome=FIRST, at_finish=SECOND + END_PACKET))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.events == [
        {"type": "transcript.text.delta", "delta": "Fail again."},
        {"type": "transcript.text.delta", "delta": " Fail better."},
        {"type": "transcript.text.done", "text": "Fail again. Fail better."},
    ]


def test_a_stream_begins_with_the_first_result_not_with_the_last() -> None:
    """The server gives the second only when the client has the first."""
    exchange = upload(fields=[("stream", "true")])

    async def run(port: int) -> None:
        running = asyncio.ensure_future(exchange.run(app_before(port)))
        await asyncio.wait_for(exchange.begun(), 30)
        assert exchange.reply.events == [{"type": "transcript.text.delta", "delta": "Fail again."}]
        exchange.leave()
        await asyncio.wait_for(running, 30)

    with serving(session(at_welcome=FIRST)) as port:
        asyncio.run(run(port))


# --- what can go wrong


@pytest.mark.parametrize("fields", [[], [("stream", "true")]])
def test_where_no_engine_is_free_the_client_is_told_when_to_come_again(fields: List[Tuple[str, str]]) -> None:
    reply = asked_of(upload(fields=fields), says(BUSY))
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert (reply.json["error"]["type"], reply.json["error"]["code"]) == ("server_error", "server_busy")


def test_where_no_server_answers_the_client_is_told_when_to_come_again() -> None:
    reply = asked_alone(upload())
    assert (reply.status, reply.headers["retry-after"]) == (503, "2")
    assert reply.json["error"]["code"] == "no_server"


FAILING = session(at_finish=FIRST + error_packet(ErrorCode.ENGINE_FAILED) + END_PACKET)


def test_a_session_that_is_lost_is_an_error_of_the_server() -> None:
    reply = asked_of(upload(), FAILING)
    assert reply.status == 502
    assert "ENGINE_FAILED" in reply.json["error"]["message"]


def test_a_stream_that_has_begun_ends_with_the_error() -> None:
    reply = asked_of(upload(fields=[("stream", "true")]), FAILING)
    first, last = reply.events
    assert (first["delta"], last["type"], last["error"]["type"]) == ("Fail again.", "error", "server_error")


def test_who_leaves_frees_the_engine() -> None:
    """The scripted session returns, and with it `serving`, when the gateway has closed its connection."""
    exchange = upload()

    def hear(events: List[Event]) -> None:
        if any(isinstance(event, AudioReceived) for event in events):
            loops[0].call_soon_threadsafe(exchange.leave)

    loops: List[asyncio.AbstractEventLoop] = []

    async def run(port: int) -> None:
        loops.append(asyncio.get_running_loop())
        with pytest.raises(ValueError, match="not enough values"):  # nothing is sent to who has left
            await asyncio.wait_for(exchange.run(app_before(port)), 30)

    with serving(session(hear=hear)) as port:
        asyncio.run(run(port))


@pytest.mark.parametrize(
    ("fields", "content", "param"),
    [
        ([("language", "xx")], b"abc", "language"),
        ([("response_format", "diarized_json")], b"abc", "response_format"),
        ([], b"abc", "file"),
        ([], b"", "file"),
        ([("file", "abc")], None, "file"),
        ([("model", "whisper-1")], None, "file"),
    ],
)
def test_what_cannot_be_is_told_with_its_parameter_and_asks_no_server(
    fields: List[Tuple[str, str]], content: Any, param: str
) -> None:
    reply = asked_alone(Exchange("POST", TRANSCRIPTIONS, [form(content, fields)], {"Content-Type": FORM_TYPE}))
    assert reply.status == 400
    assert (reply.json["error"]["type"], reply.json["error"]["param"]) == ("invalid_request_error", param)


def test_too_large_a_file_is_told_before_it_is_there() -> None:
    pieces = [form(None, [("a", "b")])[:-24], *[bytes(65536)] * 100]
    exchange = Exchange("POST", TRANSCRIPTIONS, pieces, {"Content-Type": FORM_TYPE, "Content-Length": "99999999"})
    reply = asked_alone(exchange, max_upload_mb=1)
    assert (reply.status, reply.json["error"]["param"]) == (413, "file")


# --- keys, models, paths


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, TRANSLATIONS])
def test_without_a_key_no_file_is_taken(path: str) -> None:
    reply = asked_alone(upload(path), api_keys=["secret"])
    assert (reply.status, reply.json["error"]["code"]) == (401, "invalid_api_key")


def test_with_a_key_the_models_are_listed() -> None:
    exchanges = [Exchange("GET", "/v1/models", (), {"Authorization": f"Bearer {key}"}) for key in ("wrong", "secret")]
    refused, listed = (asked_alone(exchange, api_keys=["secret"]) for exchange in exchanges)
    assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert listed.json["object"] == "list"
    assert "whisper-1" in [model["id"] for model in listed.json["data"]]


def test_a_model_can_be_asked_for_by_its_name() -> None:
    known = asked_alone(Exchange("GET", "/v1/models/base"))
    unknown = asked_alone(Exchange("GET", "/v1/models/a/b"))
    assert (known.status, known.json["id"]) == (200, "base")
    assert (unknown.status, unknown.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/", 404), ("GET", TRANSCRIPTIONS, 405), ("DELETE", "/v1/models", 405)],
)
def test_what_is_not_there_is_told_in_the_form_of_openai(method: str, path: str, status: int) -> None:
    reply = asked_alone(Exchange(method, path))
    assert reply.status == status
    assert path in reply.json["error"]["message"]


def test_elsewhere_what_is_not_there_is_told_plainly() -> None:
    reply = asked_alone(Exchange("GET", "/nothing"))
    assert (reply.status, reply.headers["content-type"]) == (404, "text/plain; charset=utf-8")


def test_a_door_that_is_closed_is_not_there() -> None:
    reply = asked_alone(Exchange("GET", "/v1/models"), doors=["vosk"])
    assert reply.status == 404


def test_a_failure_of_the_gateway_is_told_without_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    exchange = upload()
    monkeypatch.setattr("gateway.openai.asked", fail)
    with pytest.raises(RuntimeError):  # for the server's log
        asked_alone(exchange)
    assert exchange.reply.status == 500
    assert exchange.reply.json["error"]["type"] == "server_error"
    assert "secret" not in exchange.reply.text


def test_who_leaves_in_the_middle_of_a_request_is_no_failure_of_the_gateway() -> None:
    exchange = Exchange("POST", "/v1/realtime/client_secrets", [b'{"session": '], is_whole=False)
    exchange.leave()
    asked_alone(exchange)


# --- pages of other hosts

ORIGIN = "https://example.com"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, x-stainless-lang",
}


def test_a_page_of_a_host_that_is_named_may_ask() -> None:
    allowed = asked_alone(Exchange("OPTIONS", TRANSCRIPTIONS, (), PREFLIGHT), cors_origins=[ORIGIN])
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert allowed.headers["access-control-allow-headers"] == "authorization, x-stainless-lang"
    refused = asked_alone(Exchange("GET", "/v1/models", (), {"Origin": ORIGIN}), cors_origins=["*"], api_keys=["x"])
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")


@pytest.mark.parametrize("origins", [[], ["https://example.org"]])
def test_a_page_of_another_host_may_not(origins: List[str]) -> None:
    preflight = asked_alone(Exchange("OPTIONS", TRANSCRIPTIONS, (), PREFLIGHT), cors_origins=origins)
    assert preflight.status in (400, 405)
    reply = asked_alone(Exchange("GET", "/v1/models", (), {"Origin": ORIGIN}), cors_origins=origins)
    assert "access-control-allow-origin" not in reply.headers
