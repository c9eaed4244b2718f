"""What `python tcp_client.py` asks for, and where results go; against servers that answer what a test says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import wave
from pathlib import Path

import pytest

from protocol.data import Cause, Detail, DetailedResult, Partial, Word
from protocol.packets import ErrorCode
from tests.harness.command import COMMAND, Terminal, assert_one_line, hear_interrupts, run
from tests.harness.scripted import Serve, says, serving, session
from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    Event,
    OptionsReceived,
    detailed_result_packet,
    error_packet,
    partial_packet,
    result_packet,
)

PLAIN = result_packet(0.3, 1.5, "안녕하세요")
DETAIL = Detail("ko", Cause.SILENCE, -0.31, 0.02, 0.87, (Word("안녕하세요", 0.3, 1.5, 0.91),))
DETAILED = detailed_result_packet(DetailedResult(0.3, 1.5, "안녕하세요", DETAIL))
SRT = "1\n00:00:00,300 --> 00:00:01,500\n안녕하세요\n\n"
FAILED = error_packet(ErrorCode.ENGINE_FAILED) + END_PACKET


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "speech.pcm"
    path.write_bytes(bytes(64_000))
    return path


def run_against(
    *arguments: str | Path, answers: bytes | list[Serve] = PLAIN + END_PACKET
) -> subprocess.CompletedProcess[str]:
    serves = [session(answers)] if isinstance(answers, bytes) else answers
    with serving(*serves) as port:
        return run("--ip", "127.0.0.1", "--port", str(port), *map(str, arguments))


def wav(path: Path, frames: bytes, rate: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(frames)
    return path


def audio_of(heard: list[Event]) -> bytes:
    return b"".join(event.pcm for event in heard if isinstance(event, AudioReceived))


# --- what is asked for


def asked(*arguments: str | Path, answer: bytes = DETAILED + END_PACKET) -> list[dict[str, object]]:
    heard: list[Event] = []
    ended = run_against(*arguments, answers=[session(answer, hear=heard.extend)])
    assert (ended.returncode, ended.stderr) == (0, "")
    return [event.fields for event in heard if isinstance(event, OptionsReceived)]


def test_who_asks_for_nothing_sends_no_options(recording: Path) -> None:
    assert asked("--ifn", recording, answer=PLAIN + END_PACKET) == []


def test_what_is_asked_for_is_told_to_the_server(recording: Path) -> None:
    words = ["--lang", "en", "--task", "translate", "--prompt", "김철수", "--silence-ms", "300", "--partial"]
    raw = ["--rate", "44100", "--encoding", "alaw", "--format", "json"]
    assert asked("--ifn", recording, *words, *raw) == [
        {
            "language": "en",
            "task": "translate",
            "prompt": "김철수",
            "sample_rate": 44100,
            "encoding": "alaw",
            "silence_ms": 300,
            "partial": True,
            "detail": True,
        }
    ]


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
def test_g711_is_of_telephones_unless_it_is_said_otherwise(recording: Path, encoding: str) -> None:
    assert asked("--ifn", recording, "--encoding", encoding) == [{"encoding": encoding, "sample_rate": 8000}]


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_a_wav_file_is_sent_as_it_is_with_its_rate(tmp_path: Path, rate: int) -> None:
    heard: list[Event] = []
    frames = bytes(range(250)) * 100
    path = wav(tmp_path / "a.wav", frames, rate)
    assert run_against("--ifn", path, answers=[session(END_PACKET, hear=heard.extend)]).returncode == 0
    assert [event.fields for event in heard if isinstance(event, OptionsReceived)] == [
        {"sample_rate": rate, "encoding": "pcm_s16le"}
    ]
    assert audio_of(heard) == frames


# --- formats


def test_json_is_one_object_a_line(recording: Path) -> None:
    ended = run_against("--ifn", recording, "--format", "json", answers=2 * DETAILED + END_PACKET)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(line["type"], line["file"], line["text"]) for line in lines] == [
        ("result", str(recording), "안녕하세요")
    ] * 2
    assert lines[0]["words"] == [{"word": "안녕하세요", "start": 0.3, "end": 1.5, "confidence": 0.91}]


def test_subtitles_go_to_stdout_or_a_file(recording: Path, tmp_path: Path) -> None:
    assert run_against("--ifn", recording, "--format", "srt", answers=DETAILED + END_PACKET).stdout == SRT
    output = tmp_path / "speech.vtt"
    ended = run_against("--ifn", recording, "--format", "vtt", "--output", output, answers=DETAILED + END_PACKET)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert output.read_text("utf-8") == "WEBVTT\n\n00:00:00.300 --> 00:00:01.500\n안녕하세요\n\n"


def test_a_recording_without_speech_has_an_empty_file(recording: Path, tmp_path: Path) -> None:
    run_against("--ifn", recording, "--output", tmp_path / "a.txt", answers=END_PACKET)
    assert (tmp_path / "a.txt").read_text() == ""


# --- several recordings


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("one.pcm", "two.pcm")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number + 1]) * 3200)
    return paths


def test_recordings_are_sent_one_after_the_other_below_headings(recordings: list[Path]) -> None:
    heard: list[list[Event]] = [[], []]
    ended = run_against(
        "--ifn", *recordings, answers=[session(PLAIN + END_PACKET, hear=of_one.extend) for of_one in heard]
    )
    assert ended.returncode == 0
    assert ended.stdout == "".join(f"==> {path} <==\n0.3 1.5 : 안녕하세요\n" for path in recordings)
    assert [audio_of(of_one) for of_one in heard] == [path.read_bytes() for path in recordings]


@pytest.mark.parametrize("pattern", ["subs", "subs/", "subs/{name}.srt", "subs/{name}/talk.srt"])
def test_each_recording_has_its_own_file(recordings: list[Path], tmp_path: Path, pattern: str) -> None:
    for name in ("subs", "subs/one", "subs/two"):
        (tmp_path / name).mkdir()
    answers = [session(DETAILED + END_PACKET)] * 2
    ended = run_against("--ifn", *recordings, "--format", "srt", "--output", f"{tmp_path}/{pattern}", answers=answers)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    written = sorted(path for path in (tmp_path / "subs").rglob("*") if path.is_file())
    assert [path.read_text("utf-8") for path in written] == [SRT] * 2
    assert {path.stem if path.stem != "talk" else path.parent.name for path in written} == {"one", "two"}


def test_text_of_several_recordings_may_go_to_one_file(recordings: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "all.txt"
    run_against("--ifn", *recordings, "--output", output, answers=[session(PLAIN + END_PACKET)] * 2)
    assert output.read_text("utf-8") == "".join(f"==> {path} <==\n0.3 1.5 : 안녕하세요\n" for path in recordings)


def test_a_recording_that_is_at_fault_does_not_keep_the_others_back(recordings: list[Path]) -> None:
    ended = run_against("--ifn", recordings[0], "nowhere.wav", recordings[1], answers=[session(PLAIN + END_PACKET)] * 2)
    assert_one_line(ended, "nowhere.wav: No such file")
    assert ended.stdout.count("안녕하세요") == 2


def test_a_session_that_fails_ends_it_and_says_what_was_not_sent(recordings: list[Path]) -> None:
    ended = run_against("--ifn", *recordings, answers=PLAIN + FAILED)
    assert_one_line(ended, "ENGINE_FAILED", f"; not sent: {recordings[1]}")
    assert ended.stdout.count("안녕하세요") == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--format", "srt"], "srt of several recordings needs --output with a folder or a name with {name}"),
        (["--format", "vtt", "--output", "all.vtt"], "several recordings would go to all.vtt; expected a folder"),
        (["--output", "no/such/{name}.txt"], "there is no folder no/such"),
        (["--output", "{name}.pcm"], "one.pcm is a recording; expected another name"),
    ],
)
def test_an_output_that_cannot_be_is_told_before_anything_is_sent(
    recordings: list[Path], arguments: list[str], why: str
) -> None:
    command = [*COMMAND, "--port", "1", "--ifn", *(path.name for path in recordings), *arguments]
    ended = subprocess.run(
        command, cwd=recordings[0].parent, capture_output=True, encoding="utf-8", check=False, timeout=60
    )
    assert ended.returncode == 2
    assert why in ended.stderr
    assert recordings[0].read_bytes()[:1] == b"\x01"


# --- files that exist


def test_a_session_that_breaks_off_leaves_what_has_come(recording: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.srt"
    output.write_text("of yesterday")
    ended = run_against("--ifn", recording, "--format", "srt", "--output", output, answers=DETAILED + FAILED)
    assert_one_line(ended, "ENGINE_FAILED")
    assert output.read_text("utf-8") == SRT


def test_a_session_that_does_not_begin_leaves_the_file_as_it_was(recording: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.srt"
    output.write_text("of yesterday")
    busy = error_packet(ErrorCode.SERVER_TOO_BUSY) + END_PACKET
    ended = run_against("--ifn", recording, "--format", "srt", "--output", output, answers=[says(busy)])
    assert_one_line(ended, "SERVER_TOO_BUSY")
    assert output.read_text() == "of yesterday"


def test_a_file_that_cannot_be_written_is_one_line(recording: Path) -> None:
    ended = run_against("--ifn", recording, "--output", "/dev/full")
    assert_one_line(ended, "/dev/full: No space left on device")


# --- live text

LIVE = [Partial(0.3, 0.9, "", "안"), Partial(0.3, 1.2, "안녕", "하세")]


def live(detailed: bool) -> bytes:
    return b"".join(partial_packet(partial, detailed) for partial in LIVE)


def test_live_text_is_not_for_a_pipe(recording: Path) -> None:
    ended = run_against("--ifn", recording, "--partial", answers=live(detailed=False) + PLAIN + END_PACKET)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "0.3 1.5 : 안녕하세요\n", "")


def test_live_text_as_json_is_a_line_each(recording: Path) -> None:
    answer = live(detailed=True) + DETAILED + END_PACKET
    ended = run_against("--ifn", recording, "--partial", "--format", "json", answers=answer)
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [line["type"] for line in lines] == ["partial", "partial", "result"]
    assert (lines[1]["stable"], lines[1]["unstable"]) == ("안녕", "하세")


def on_a_terminal(arguments: list[str], answer: bytes, term: str = "xterm") -> str:
    terminal = Terminal()
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "TERM": term}
    with serving(session(answer)) as port, subprocess.Popen(
        [*COMMAND, "--port", str(port), *arguments], stdout=terminal.far, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(terminal.far)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    return terminal.wait_until_closed().decode()


def test_on_a_terminal_the_line_is_rewritten_until_it_is_a_result(recording: Path) -> None:
    shown = on_a_terminal(["--ifn", str(recording), "--partial"], live(detailed=False) + PLAIN + END_PACKET)
    assert shown == ("\r\x1b[J\x1b[2m안\x1b[22m\r\x1b[J안녕 \x1b[2m하세\x1b[22m\r\x1b[J0.3 1.5 : 안녕하세요\r\n")


def test_live_text_is_shown_while_results_go_to_a_file(recording: Path, tmp_path: Path) -> None:
    arguments = ["--ifn", str(recording), "--partial", "--format", "srt", "--output", str(tmp_path / "a.srt")]
    shown = on_a_terminal(arguments, live(detailed=True) + DETAILED + END_PACKET)
    assert shown.endswith("안녕 \x1b[2m하세\x1b[22m\r\x1b[J")
    assert (tmp_path / "a.srt").read_text("utf-8") == SRT


def test_a_terminal_that_cannot_rewrite_lines_has_results_alone(recording: Path) -> None:
    shown = on_a_terminal(
        ["--ifn", str(recording), "--partial"], live(detailed=False) + PLAIN + END_PACKET, term="dumb"
    )
    assert shown == "0.3 1.5 : 안녕하세요\r\n"


@pytest.mark.parametrize("form", ["text", "json", "srt", "vtt"])
def test_nothing_that_a_server_sends_commands_the_terminal(recording: Path, form: str) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e"
    word = Word(evil, 0.3, 1.5, 1.0)
    result = DetailedResult(0.3, 1.5, evil, DETAIL._replace(language=evil, words=(word,)))
    answer = partial_packet(Partial(0.3, 0.9, evil, evil), detailed=True) + detailed_result_packet(result) + END_PACKET
    shown = on_a_terminal(["--ifn", str(recording), "--partial", "--format", form], answer)
    ours = re.sub(r"\r\x1b\[J|\x1b\[2m|\x1b\[22m|\r\n", "", shown)
    assert ours
    assert ours.isprintable()


# --- the microphone

FAKE_SOUNDDEVICE = '''
import threading

class PortAudioError(Exception):
    pass

class RawInputStream:
    """One that gives 30 ms as often as it is asked to, until it is closed."""

    def __init__(self, samplerate, blocksize, device, channels, dtype, callback):
        if device == "none":
            raise PortAudioError("Error querying device -1")
        assert (channels, dtype, blocksize) == (1, "int16", int(samplerate * 0.03)), (channels, dtype, blocksize)
        self.active = True
        self._block = bytes(range(1, 1 + 60)) * (2 * blocksize // 60)
        self._callback = callback
        self._closed = threading.Event()
        self._breaks = device == "breaks"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def _run(self):
        while not self._closed.wait(0.01):
            self._callback(memoryview(self._block), len(self._block) // 2, None, None)
            if self._breaks:
                break
        self.active = False

    def close(self):
        self._closed.set()
'''


@pytest.fixture
def sounddevice(tmp_path: Path) -> str:
    """The folder of one that needs no PortAudio."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "sounddevice.py").write_text(FAKE_SOUNDDEVICE)
    return str(tmp_path / "fake")


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_an_interrupt_ends_the_microphone_and_the_last_results_come(sounddevice: str, rate: int) -> None:
    heard: list[Event] = []
    speaking = threading.Event()

    def hear(events: list[Event]) -> None:
        heard.extend(events)
        if audio_of(heard):
            speaking.set()

    with serving(session(PLAIN + END_PACKET, hear=hear)) as port, subprocess.Popen(
        [*COMMAND, "--port", str(port), "--mic", "--rate", str(rate)],
        env={**os.environ, "PYTHONPATH": sounddevice, "PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=hear_interrupts,  # noqa: PLW1509 - it takes no lock
    ) as process:
        assert speaking.wait(60)
        process.send_signal(2)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "0.3 1.5 : 안녕하세요\n", "")
    assert heard[-1] == AudioFinished()
    assert OptionsReceived({"sample_rate": rate}) in heard
    assert audio_of(heard)[:3] == b"\x01\x02\x03"


def test_a_microphone_that_breaks_off_is_told_after_the_results(sounddevice: str) -> None:
    with serving(session(PLAIN + END_PACKET)) as port:
        ended = run("--port", str(port), "--mic", "breaks", PYTHONPATH=sounddevice)
    assert_one_line(ended, "the microphone gives nothing more; python -m sounddevice lists what there is")
    assert ended.stdout == "0.3 1.5 : 안녕하세요\n"


@pytest.mark.parametrize(
    ("library", "device", "why"),
    [
        (FAKE_SOUNDDEVICE, "none", "the microphone cannot be opened at 16000 Hz: Error querying device -1"),
        ("raise OSError('PortAudio library not found')", "", "--mic needs PortAudio: apt install libportaudio2"),
        ("raise ImportError", "", "--mic needs the package sounddevice: pip install sounddevice"),
    ],
    ids=["no device", "no PortAudio", "no package"],
)
def test_what_the_microphone_lacks_is_told_before_connecting(
    tmp_path: Path, library: str, device: str, why: str
) -> None:
    (tmp_path / "sounddevice.py").write_text(library)
    ended = run("--port", "1", "--mic", device, PYTHONPATH=str(tmp_path))
    assert_one_line(ended, why)
