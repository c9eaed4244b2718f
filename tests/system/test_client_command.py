"""`python tcp_client.py` as a person uses it, with the real server; tests/unit/test_command.py has what needs none."""

import json
import socket
import subprocess
import sys
import wave
from pathlib import Path
from typing import List

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from demo.recording import recording_pcm, recording_wav
from tests.harness.media import write
from tests.harness.server import PROJECT, ServerProcess
from tests.harness.wire import Wire


def run(*arguments: str, cwd: Path = PROJECT) -> "subprocess.CompletedProcess[str]":
    command: List[str] = [sys.executable, str(PROJECT / "tcp_client.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8", check=False)


def assert_one_line_error(ended: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1
    for part in parts:
        assert part in ended.stderr


def test_a_pcm_file_is_sent_as_it_is_and_results_are_printed(
    server: ServerProcess, phrase: bytes, tmp_path: Path
) -> None:
    (tmp_path / "test.pcm").write_bytes(phrase)
    ended = run("--ip", "localhost", "--port", str(server.port), "--ifn", "test.pcm", cwd=tmp_path)
    assert ended.returncode == 0
    assert "better" in ended.stdout.lower()
    assert ended.stderr == ""


def test_a_wav_file_in_real_time(server: ServerProcess) -> None:
    ended = run("--port", str(server.port), "--ifn", str(recording_wav()), "--realtime")
    first, second = ended.stdout.splitlines()
    assert first.startswith("0.")
    assert "fail better" in second.lower()


def test_a_wav_file_of_any_rate_and_g711_need_no_conversion(server: ServerProcess, tmp_path: Path) -> None:
    with wave.open(str(recording_wav()), "rb") as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    with wave.open(str(tmp_path / "cd.wav"), "wb") as file:
        file.setparams((1, 2, 44100, 0, "NONE", ""))
        file.writeframes(soxr.resample(samples, 16_000, 44_100).astype("<i2").tobytes())
    (tmp_path / "call").write_bytes(mu_law(soxr.resample(samples, 16_000, 8_000)))
    for arguments in (["cd.wav"], ["call", "--encoding", "mulaw"]):
        ended = run("--port", str(server.port), "--ifn", *arguments, cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert [line.split(" : ")[0] for line in ended.stdout.splitlines()] == ["0.0 5.7", "6.7 10.0"]
        assert "fail better" in ended.stdout.lower()


def mu_law(samples: npt.NDArray[np.int16]) -> bytes:
    """G.711: sign, three bits of exponent, four of mantissa, all inverted."""
    loudness = np.minimum(np.abs(samples.astype(np.int32)), 32_635) + 132
    exponent = np.floor(np.log2(loudness)).astype(np.int32) - 7
    code = ((samples < 0) << 7) | (exponent << 4) | ((loudness >> (exponent + 3)) & 15)
    return bytes((~code & 0xFF).astype(np.uint8).tobytes())


def test_subtitles_and_json_have_the_words_of_a_result_at_their_times(server: ServerProcess, tmp_path: Path) -> None:
    arguments = ["--port", str(server.port), "--ifn", str(recording_wav()), "--lang", "en", "--format"]
    assert run(*arguments, "srt", "--output", str(tmp_path / "a.srt")).returncode == 0
    cues = (tmp_path / "a.srt").read_text("utf-8").split("\n\n")
    assert cues[0].startswith("1\n00:00:00,030 --> 00:00:05,670\n")
    assert cues[1].startswith("2\n00:00:06,660 --> 00:00:09,960\n")
    for line in run(*arguments, "json").stdout.splitlines():
        result = json.loads(line)
        assert " ".join(word["word"] for word in result["words"]) == result["text"]
        assert (result["type"], result["language"]) == ("result", "en")


def test_live_text_of_a_real_session_only_grows_where_it_is_stable(server: ServerProcess) -> None:
    arguments = ["--port", str(server.port), "--ifn", str(recording_wav()), "--realtime", "--partial"]
    lines = [json.loads(line) for line in run(*arguments, "--format", "json").stdout.splitlines()]
    assert [line["type"] for line in lines].count("result") == 2
    assert lines[-1]["type"] == "result"
    stable = ""
    for line in lines:
        if line["type"] == "result":
            stable = ""
            continue
        assert line["stable"].startswith(stable)
        stable = line["stable"]


def test_a_media_file(server: ServerProcess, tmp_path: Path) -> None:
    path = write(tmp_path / "speech.opus", np.frombuffer(recording_pcm(), dtype="<i2"))
    ended = run("--port", str(server.port), "--ifn", str(path))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "fail better" in ended.stdout.lower()


def test_status(server: ServerProcess) -> None:
    ended = run("--port", str(server.port), "--status")
    assert (ended.returncode, ended.stdout) == (0, "engine 0: sleeping\n")


def test_no_server(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
    assert_one_line_error(run("--port", str(port), "--status"), "no server answers at localhost port", "refused")


def test_a_busy_server(server: ServerProcess, tmp_path: Path) -> None:
    with Wire(server.port) as first:
        first.start()
        ended = run("--port", str(server.port), "--ifn", str(recording_wav()))
    assert_one_line_error(ended, "SERVER_TOO_BUSY")


def test_a_missing_file(tmp_path: Path) -> None:
    assert_one_line_error(run("--ifn", "nowhere.pcm", cwd=tmp_path), "nowhere.pcm: No such file or directory")


def test_a_wav_file_that_would_lose_something(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "studio.wav"), "wb") as file:
        file.setparams((2, 2, 44100, 0, "NONE", ""))
        file.writeframes(b"\1\0\2\0" * 100)
    ended = run("--ifn", "studio.wav", cwd=tmp_path)
    assert_one_line_error(ended, "studio.wav: 2 channels that differ", "ffmpeg -i studio.wav")


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--rate", "48001"], ["--ca", "ca.pem"]])
def test_an_argument_that_cannot_be_is_a_usage_error(arguments: List[str]) -> None:
    ended = run(*arguments, "--status")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_name_that_no_host_can_have_is_an_error() -> None:
    assert_one_line_error(run("--ip", "x..y", "--status"), "no server answers at x..y port 5000")
