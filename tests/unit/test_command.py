"""`python tcp_client.py` as a person sees it, against servers that answer what a test says."""

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import List, Tuple

import pytest

from protocol.packets import ErrorCode
from tests.harness.command import COMMAND, Terminal, assert_one_line, hear_interrupts, run
from tests.harness.scripted import Serve, says, serving, session
from util import END_PACKET, error_packet, result_packet

RESULT = result_packet(0.3, 1.5, "안녕하세요")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "speech.pcm"
    path.write_bytes(bytes(64_000))
    return path


def run_against(serve: Serve, recording: Path, encoding: str = "utf-8") -> "subprocess.CompletedProcess[str]":
    with serving(serve) as port:
        return run("--ip", "127.0.0.1", "--port", str(port), "--ifn", str(recording), encoding=encoding)


# --- results


def test_a_character_that_the_terminal_does_not_have_is_replaced(recording: Path) -> None:
    torn = result_packet(0.3, 1.5, "드라마 관계자\ufffd 분들은 😀")
    ended = run_against(session(torn + END_PACKET), recording, encoding="cp949")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0.3 1.5 : 드라마 관계자? 분들은 ?\n", "")


def test_an_encoding_of_seven_bits_shows_what_it_has(recording: Path) -> None:
    ended = run_against(session(RESULT + END_PACKET), recording, encoding="ascii")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0.3 1.5 : ?????\n", "")


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def start(terminal: Terminal, options: List[str], port: int, recording: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [COMMAND[0], *options, COMMAND[1], "--port", str(port), "--ifn", str(recording)],
        stdout=subprocess.PIPE,
        stderr=terminal.far,
        encoding="utf-8",
    )
    os.close(terminal.far)
    return process


@pytest.mark.parametrize("options", [["-S"], []], ids=["without tqdm", "with tqdm"])
def test_results_on_a_terminal_need_no_package(recording: Path, terminal: Terminal, options: List[str]) -> None:
    with serving(session(RESULT + END_PACKET)) as port, start(terminal, options, port, recording) as process:
        output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, "0.3 1.5 : 안녕하세요\n")
    shown = terminal.wait_until_closed()
    assert (b"%|" in shown) == (options == [])
    assert b"Traceback" not in shown


def test_results_reach_a_pipe_at_once_although_there_is_a_bar(recording: Path, terminal: Terminal) -> None:
    read = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"%L0000")
        while b"%s" not in connection.recv(65536):
            pass
        connection.sendall(RESULT)
        assert read.wait(60)
        connection.sendall(error_packet(ErrorCode.TIMEOUT) + END_PACKET)
        while connection.recv(65536):
            pass

    with serving(serve) as port, start(terminal, [], port, recording) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0.3 1.5 : 안녕하세요\n"
        read.set()
        process.communicate(timeout=60)
    assert b"TIMEOUT" in terminal.wait_until_closed()


def test_a_reader_that_has_enough_ends_the_command_without_a_word(recording: Path) -> None:
    with serving(session(RESULT * 5000 + END_PACKET)) as port, subprocess.Popen(
        [*COMMAND, "--port", str(port), "--ifn", str(recording)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 141)


# --- errors


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (ErrorCode.SERVER_TOO_BUSY, "try again later; --status shows the engines"),
        (ErrorCode.ENGINE_FAILED, "run it again for the rest"),
        (ErrorCode.TIMEOUT, "network.socket_timeout"),
        (ErrorCode.SERVER_STOPPING, "try again when the server runs"),
    ],
)
@pytest.mark.parametrize("detail", ["", "why"])
def test_an_error_of_the_server_comes_with_what_to_do(code: ErrorCode, detail: str, hint: str, recording: Path) -> None:
    ended = run_against(says(error_packet(code, detail) + END_PACKET), recording)
    assert_one_line(ended, f"tcp_client: {code.value}: {detail} (" if detail else f"tcp_client: {code.value} (", hint)


def test_another_service_at_the_port_is_called_so(recording: Path) -> None:
    ended = run_against(says(b"HTTP/1.1 400 Bad Request\r\n"), recording)
    assert_one_line(ended, "is no speech-to-text server; it says 'HTTP/1.1 400 Bad Request")


def test_the_wait_for_an_engine_has_a_limit(recording: Path) -> None:
    left = threading.Event()

    def serve(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass
        left.set()

    with serving(serve) as port:
        ended = run("--ip", "127.0.0.1", "--port", str(port), "--ifn", str(recording), "--wait", "0.3")
    assert_one_line(ended, "no answer within 0.3 s")
    assert left.is_set()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--port", "abc"), "argument --port: got 'abc'; expected a port from 1 to 65535"),
        (("--port", "0"), "argument --port: got '0'; expected a port from 1 to 65535"),
        (("--port", "65536"), "argument --port: got '65536'; expected a port from 1 to 65535"),
        (("--wait", "soon"), "argument --wait: got 'soon'; expected a number of seconds above 0"),
        (("--wait", "-1"), "argument --wait: got '-1'; expected a number of seconds above 0"),
        (("--wait", "nan"), "argument --wait: got 'nan'; expected a number of seconds above 0"),
    ],
)
def test_an_argument_that_cannot_be_is_told_with_what_is_expected(arguments: Tuple[str, ...], line: str) -> None:
    ended = run("--status", *arguments)
    assert ended.returncode == 2
    assert ended.stderr.endswith(f"error: {line}\n")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("x.mp3", b"ID3\x04\x00" + bytes(2000), "an MP3 file"),
        ("x.pcm", b"OggS\x00" + bytes(2000), "an Ogg file"),
        ("x.pcm", b"", "the file is empty"),
        ("x.wav", b"", "the file is empty"),
    ],
)
def test_a_file_that_is_no_audio_to_send_is_refused_before_connecting(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert_one_line(run("--port", "1", "--ifn", str(tmp_path / name)), f"{tmp_path / name}: {what}")


# --- Ctrl-C


@pytest.mark.parametrize("welcome", [b"", b"%L0000"], ids=["waiting for an engine", "in mid-session"])
def test_an_interrupt_ends_the_session_with_one_line_and_its_own_status(recording: Path, welcome: bytes) -> None:
    listening = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(welcome)
        if welcome:
            connection.recv(65536)
        listening.set()
        while connection.recv(65536):
            pass

    with serving(serve) as port, subprocess.Popen(
        [*COMMAND, "--port", str(port), "--ifn", str(recording), "--realtime"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - it takes no lock
    ) as process:
        assert listening.wait(60)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (130, "", "tcp_client: interrupted; the session is over\n")
