"""The clients that the documents show, run as they stand there against a real server, and what they advise."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple

import pytest

from bench.speech import error_rate
from demo.recording import CLIP_TRANSCRIPT, clip_pcm
from protocol.packets import Header, Packet
from tests.harness.markdown import Document
from tests.harness.server import PROJECT, ServerProcess, Settings
from tests.harness.wire import END, FINISH, STATUS, Wire, audio_packets
from util import Result, parse_result

PROTOCOL = Document(PROJECT / "docs" / "protocol.md")
README = Document(PROJECT / "README.md")
CLIENT_S = 60.0
SECOND_BYTES = 32000


class Sample(NamedTuple):
    """A client of the protocol document.

    Attributes:
        language: of its code block.
        file: that it is kept in.
        command: that runs it; HOST, PORT and FILE follow.
        needs: a program of that name.
    """

    language: str
    file: str
    command: List[str]
    needs: str

    def arguments(self, folder: Path, port: int, recording: Path) -> List[str]:
        """Put the code into the folder; returns the whole command."""
        (folder / self.file).write_text(PROTOCOL.code(self.language), encoding="utf-8")
        return [*self.command, str(folder / self.file), "127.0.0.1", str(port), str(recording)]


SAMPLES = [
    Sample("python", "minimal.py", [sys.executable], sys.executable),
    Sample("javascript", "minimal.js", ["node"], "node"),
    Sample("java", "Minimal.java", ["java", "-Dfile.encoding=UTF-8"], "javac"),
]
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.language)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "test.pcm"
    path.write_bytes(clip_pcm())
    return path


def run(command: List[str], folder: Path) -> str:
    """What it prints; it must end well, whatever the locale of its terminal."""
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "1", "PYTHONPATH": str(PROJECT)}
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=CLIENT_S, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def need(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


@samples
def test_a_client_of_the_protocol_document_gets_the_text_and_paces_like_a_microphone(
    server: ServerProcess, recording: Path, sample: Sample, tmp_path: Path
) -> None:
    need(sample.needs)
    began_s = time.monotonic()
    lines = run(sample.arguments(tmp_path, server.port, recording), tmp_path).splitlines()
    assert time.monotonic() - began_s >= recording.stat().st_size / SECOND_BYTES
    results = [line.split(" ", 4) for line in lines]
    assert [(kind, start_s, end_s) for kind, start_s, end_s, _, _ in results] == expected_times()
    assert error_rate([[CLIP_TRANSCRIPT]], [" ".join(text for *_, text in results)], "en") <= 0.1


def expected_times() -> List[tuple[str, str, str]]:
    """Of the results that the document says each client prints."""
    (shown,) = [block.code for block in PROTOCOL.code_blocks if block.code.startswith("result ")]
    return [(kind, start_s, end_s) for kind, start_s, end_s, *_ in (line.split() for line in shown.splitlines())]


@pytest.fixture
def busy(server: ServerProcess) -> Iterator[ServerProcess]:
    """The server, its engine taken."""
    with Wire(server.port) as wire:
        wire.start()
        yield server


@samples
def test_a_client_of_the_protocol_document_tells_an_error_and_ends(
    busy: ServerProcess, recording: Path, sample: Sample, tmp_path: Path
) -> None:
    need(sample.needs)
    assert run(sample.arguments(tmp_path, busy.port, recording), tmp_path) == "error SERVER_TOO_BUSY\n"


def run_sample(code: str, server: ServerProcess, recording: Path) -> List[str]:
    """What a sample of the README prints, line by line."""
    assert "5000" in code
    (recording.parent / "readme.py").write_text(code.replace("5000", str(server.port)), encoding="utf-8")
    return run([sys.executable, "readme.py"], recording.parent).splitlines()


def test_the_client_of_the_readme_gets_the_text(server: ServerProcess, recording: Path) -> None:
    lines = run_sample(README.codes("python")[0], server, recording)
    assert error_rate([[CLIP_TRANSCRIPT]], [" ".join(line.split(" ", 2)[2] for line in lines)], "en") <= 0.1


def test_the_client_of_the_readme_that_asks_for_events_gets_them(server: ServerProcess, recording: Path) -> None:
    lines = run_sample(README.codes("python")[1], server, recording)
    assert [line.split()[-1] for line in lines if line.startswith("done at")] == ["silence", "finish"]
    assert any("('better.', " in line for line in lines)


# --- what the protocol document advises


def test_audio_sent_again_from_the_end_of_the_last_result_gives_the_rest_with_its_times(
    server: ServerProcess, speech: bytes
) -> None:
    with Wire(server.port) as lost:
        lost.start()
        lost.send(audio_packets(speech[: 8 * SECOND_BYTES]))
        first = read_result(lost)
    resumed_bytes = round(first.end_s * 16000) * 2
    with Wire(server.port) as wire:
        wire.start()
        wire.send(audio_packets(speech[resumed_bytes:]) + FINISH)
        again = read_result(wire)
        assert wire.read_all() == [END]
    offset_s = resumed_bytes / SECOND_BYTES
    assert offset_s + again.start_s == pytest.approx(6.7, abs=0.15)
    assert offset_s + again.end_s == pytest.approx(10.0, abs=0.15)
    assert "better" in again.text


def test_a_second_of_silence_ends_an_utterance_and_status_requests_keep_the_session(phrase: bytes) -> None:
    timeout_s = 1.0
    assert phrase.endswith(bytes(SECOND_BYTES))
    settings: Settings = {"model": {"language": "en"}, "network": {"socket_timeout": timeout_s}}
    with ServerProcess(settings) as server, Wire(server.port) as wire:
        wire.start()
        wire.send(audio_packets(phrase))
        results: List[Result] = []
        pause_ends_s = time.monotonic() + 2.5 * timeout_s
        while not results or time.monotonic() < pause_ends_s:
            wire.send(STATUS)
            while (packet := wire.read()) != Packet(Header.ENGINE_STATUS, b"engine 0: running"):
                assert packet is not None
                results.append(parse_result(packet.data))
                pause_ends_s = time.monotonic() + 2.5 * timeout_s
        assert ["better" in result.text for result in results] == [True]
        wire.send(audio_packets(phrase) + FINISH)
        assert "better" in read_result(wire).text
        assert wire.read_all() == [END]


def read_result(wire: Wire) -> Result:
    packet = wire.read()
    assert packet is not None
    return parse_result(packet.data)
