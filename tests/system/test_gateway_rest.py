"""OpenAI's REST door before the real server: files of every kind, the published clients, and hostile ones."""

import os
import shutil
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, Iterator, List

import numpy as np
import psutil
import pytest

from bench.recordings import Recording
from client.audio_files import read_audio
from demo.recording import recording_wav
from tcp_client import StreamingClient
from tests.harness.clients import run_client, run_documented, run_node
from tests.harness.descriptors import nameless_files
from tests.harness.gateway import GatewayProcess
from tests.harness.http import BOUNDARY, FORM_TYPE, Reply, form, post_form, request
from tests.harness.markdown import CodeBlock, Document
from tests.harness.media import KINDS, write
from tests.harness.server import PROJECT, ServerProcess
from util import Result

TRANSCRIPTIONS = "/v1/audio/transcriptions"
KEY = "secret"
LIMIT_MB = 8
MEGABYTE = 1024 * 1024
WAIT_S = 30.0


def recognised(port: int, pcm: bytes) -> List[Result]:
    with StreamingClient("127.0.0.1", port) as client:
        client.send(pcm)
        client.finish()
        return list(client.results())


def text_of(port: int, pcm: bytes) -> str:
    return " ".join(result.text for result in recognised(port, pcm))


@pytest.fixture(scope="module")
def expected(server: ServerProcess) -> str:
    """The text that the TCP protocol gives."""
    return text_of(server.port, read_audio(recording_wav()).audio)


@pytest.fixture(scope="module")
def small(server: ServerProcess) -> Iterator[GatewayProcess]:
    """A gateway that takes small files only."""
    with GatewayProcess([server.port], {"max_upload_mb": LIMIT_MB}) as process:
        yield process


def asked(gateway: GatewayProcess, content: bytes, *fields: Any, filename: str = "speech.wav") -> Reply:
    return post_form(gateway.port, TRANSCRIPTIONS, content, fields, filename)


def wait_for_the_engine(gateway: GatewayProcess) -> None:
    """Until a client would be served."""
    deadline_s = time.monotonic() + WAIT_S
    while request(gateway.port, "GET", "/readyz").status != 200:
        assert time.monotonic() < deadline_s, "the engine never came free"
        time.sleep(0.05)


# --- the text


def test_the_text_is_that_which_the_protocol_gives(gateway: GatewayProcess, expected: str) -> None:
    content = recording_wav().read_bytes()
    assert asked(gateway, content).json["text"] == expected
    assert asked(gateway, content, ("response_format", "text")).text == f"{expected}\n"
    streamed = asked(gateway, content, ("stream", "true")).events
    assert "".join(event["delta"] for event in streamed[:-1]) == streamed[-1]["text"] == expected


@pytest.mark.parametrize("name", KINDS)
def test_a_file_of_any_kind_is_understood(name: str, gateway: GatewayProcess, tmp_path: Path, speech: bytes) -> None:
    content = write(tmp_path / name, np.frombuffer(speech, dtype="<i2")).read_bytes()
    text = asked(gateway, content, filename=name).json["text"].lower()
    assert "no matter" in text
    assert "fail better" in text


@pytest.mark.parametrize("language", ["ko", "en"])
def test_recordings_have_the_text_that_the_protocol_gives(recordings: List[Recording], language: str) -> None:
    chosen = [recording for recording in recordings if recording.language == language][:6]
    with ServerProcess({"model": {"language": language}}) as server, GatewayProcess([server.port]) as gateway:
        for recording in chosen:
            content = wav_header(len(recording.pcm)) + recording.pcm
            reply = asked(gateway, content, ("language", language))
            assert reply.json["text"] == text_of(server.port, recording.pcm), recording.name


def wav_header(data_bytes: int, rate: int = 16000) -> bytes:
    form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", 36 + data_bytes, b"WAVE", b"fmt ", 16, form, b"data", data_bytes)


# --- the published clients


@pytest.fixture(scope="module")
def guarded(server: ServerProcess) -> Iterator[GatewayProcess]:
    """A gateway that asks for a key."""
    with GatewayProcess([server.port], {"api_keys": [KEY]}) as process:
        yield process


def said(lines: List[Any]) -> Dict[str, Any]:
    return {line["name"]: line["value"] for line in lines}


def check_what_a_client_got(got: Dict[str, Any], expected: str) -> None:
    assert got["json"] == expected
    assert got["text"] == f"{expected}\n"
    assert got["srt"].startswith("1\n00:00:00,")
    assert got["vtt"].startswith("WEBVTT\n\n00:00:00.")
    assert [word for word, _, _ in got["words"]] == expected.split()
    assert all(start <= end for _, start, end in got["words"])
    assert "".join(text for _, text, _, _ in got["segments"]).strip() == expected
    assert [event["type"] for event in got["stream"]] == [
        *["transcript.text.delta"] * len(got["segments"]),
        "transcript.text.done",
    ]
    assert "".join(event["delta"] for event in got["stream"][:-1]) == got["stream"][-1]["text"] == expected
    assert "fail better" in got["translation"]["text"].lower()
    assert "whisper-1" in got["models"]
    assert (got["no sound"]["status"], got["no sound"]["param"]) == (400, "file")
    assert "words.txt: no audio or video" in got["no sound"]["message"]


def test_openai_for_python_gets_all_that_it_asks_for(guarded: GatewayProcess, expected: str) -> None:
    got = said(run_client("openai_files.py", guarded.url("/v1"), KEY, str(recording_wav()), "en"))
    check_what_a_client_got(got, expected)
    assert (got["verbose_json"]["language"], got["translation"]["language"]) == ("english", "english")
    assert got["model"] == "whisper-1"
    assert got["wrong key"] == {"status": 401, "code": "invalid_api_key"}


def test_openai_for_node_gets_all_that_it_asks_for(guarded: GatewayProcess, expected: str) -> None:
    check_what_a_client_got(said(run_node("openai_files.mjs", guarded.url("/v1"), KEY, str(recording_wav()))), expected)


CLIENTS = Document(PROJECT / "docs" / "clients.md")
HEADINGS = ("curl", "OpenAI for Python: files", "OpenAI for Node.js: files")
DOCUMENTED = [(heading, block) for heading in HEADINGS for block in CLIENTS.code_below(heading)]


@pytest.mark.parametrize("block", [block for _, block in DOCUMENTED], ids=[heading for heading, _ in DOCUMENTED])
def test_the_document_shows_what_works(
    block: CodeBlock, gateway: GatewayProcess, tmp_path: Path, speech: bytes
) -> None:
    if block.language == "sh" and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    write(tmp_path / "speech.mp3", np.frombuffer(speech, dtype="<i2"))
    output = run_documented(block, tmp_path, gateway.port)
    assert "better" in output
    if block.language == "sh":
        assert "fail better" in (tmp_path / "speech.srt").read_text(encoding="utf-8").lower()
        assert '"error"' not in output


# --- hostile clients


def connected(gateway: GatewayProcess, head: bytes) -> socket.socket:
    """A connection on which a request to transcribe has begun."""
    connection = socket.create_connection(("127.0.0.1", gateway.port), WAIT_S)
    common = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM_TYPE}\r\n".encode()
    connection.sendall(common + head + b"\r\n")
    return connection


def status_of(connection: socket.socket) -> int:
    """Of the response; all of it is read."""
    answer = b""
    while data := connection.recv(65536):
        answer += data
    return int(answer.split(b" ", 2)[1])


def has_uploads(gateway: GatewayProcess) -> bool:
    """Whether it has files open that were not taken whole or not answered yet."""
    return any(nameless_files(gateway.process.pid))


def wait_for(condition: Any, what: str) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def test_an_upload_that_is_not_complete_holds_no_engine_and_leaves_no_file(
    gateway: GatewayProcess, expected: str
) -> None:
    body = form(bytes(3 * MEGABYTE))
    with connected(gateway, f"Content-Length: {len(body)}\r\n".encode()) as connection:
        connection.sendall(body[:-1000])
        wait_for(lambda: has_uploads(gateway), "the file never came")
        assert asked(gateway, recording_wav().read_bytes()).json["text"] == expected
    wait_for(lambda: not has_uploads(gateway), "the file is still open")


def test_a_body_that_ends_in_the_middle_of_the_file_is_told(gateway: GatewayProcess) -> None:
    body = form(recording_wav().read_bytes())[:100_000]
    reply = request(gateway.port, "POST", TRANSCRIPTIONS, body, {"Content-Type": FORM_TYPE})
    assert (reply.status, reply.json["error"]["param"]) == (400, "file")


def test_who_leaves_in_the_middle_of_its_recognition_frees_the_engine(gateway: GatewayProcess, speech: bytes) -> None:
    pcm = speech * 30
    body = form(wav_header(len(pcm)) + pcm)
    with connected(gateway, f"Content-Length: {len(body)}\r\n".encode()) as connection:
        connection.sendall(body)
        wait_for(lambda: request(gateway.port, "GET", "/readyz").status == 503, "the engine was never asked")
    wait_for_the_engine(gateway)
    wait_for(lambda: not has_uploads(gateway), "the file is still open")


@pytest.mark.parametrize("is_declared", [True, False])
def test_a_hundred_megabytes_are_not_taken_where_less_are_allowed(small: GatewayProcess, is_declared: bool) -> None:
    head = b"Content-Length: 104857600\r\n" if is_declared else b"Transfer-Encoding: chunked\r\n"
    piece = b"" if is_declared else form(b"")[: -len(f"\r\n--{BOUNDARY}--\r\n")]
    with connected(small, head) as connection:
        sent = 0
        while sent <= (LIMIT_MB + 2) * MEGABYTE and not is_declared:
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)
            piece = bytes(MEGABYTE)
        connection.shutdown(socket.SHUT_WR)
        assert status_of(connection) == 413
    wait_for(lambda: not has_uploads(small), "the file is still open")


def test_a_hundred_megabytes_of_noise_cost_the_gateway_no_memory(gateway: GatewayProcess) -> None:
    process = psutil.Process(gateway.process.pid)
    assert asked(gateway, b"warm").status == 400
    before = process.memory_info().rss
    content = os.urandom(MEGABYTE) * 100
    assert asked(gateway, content, filename="noise.mp3").status == 400
    assert process.memory_info().rss - before < 20 * MEGABYTE


def test_fifty_at_once_are_served_or_told_to_come_again(gateway: GatewayProcess, expected: str) -> None:
    content = recording_wav().read_bytes()
    with ThreadPoolExecutor(50) as clients:
        replies = list(clients.map(lambda _: asked(gateway, content), range(50)))
    served = [reply for reply in replies if reply.status == 200]
    told = [reply for reply in replies if reply.status == 503]
    assert len(served) + len(told) == 50
    assert served
    assert all(reply.json["text"] == expected for reply in served)
    assert all("retry-after" in reply.headers for reply in told)
    wait_for_the_engine(gateway)


def test_nothing_of_all_that_was_a_surprise(gateway: GatewayProcess, small: GatewayProcess) -> None:
    """The last test here: no traceback, no failure in the log."""
    wait_for_the_engine(gateway)
    faults = [line for line in [*gateway.lines, *small.lines] if "Traceback" in line or "ERROR" in line]
    assert faults == []
