"""`python tcp_client.py` as a person uses it, with the real server; tests/unit/test_command.py has what needs none."""

import socket
import subprocess
import sys
import wave
from pathlib import Path
from typing import List

import pytest

from demo.recording import recording_wav
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


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--rate", "44100"], ["--ca", "ca.pem"]])
def test_an_argument_that_cannot_be_is_a_usage_error(arguments: List[str]) -> None:
    ended = run(*arguments, "--status")
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_name_that_no_host_can_have_is_an_error() -> None:
    assert_one_line_error(run("--ip", "x..y", "--status"), "no server answers at x..y port 5000")
