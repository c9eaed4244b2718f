"""Recordings: their file names, their content, and what happens when there is no room for them."""

from __future__ import annotations

import logging
import re
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.recording import Recording

HOSTILE_USERS = [
    *("../../etc/passwd", "/etc/passwd", "/", "..", ".", "", "a/b", "a\\b", "~", "~root", "-rf", "*", "$(id)", "a.pcm"),
    *("a\x00b", "a\nb", "\r\n", "\x1b[31m", "x" * 10_000, "가" * 10_000, "😀" * 100, "김철수", "a b", "con", "\ufffd"),
    *("\u202egnp.exe", "\u200b", "e\u0301", "\u2044etc", "\uff0e\uff0e\uff0f", " ", "%s%n", "user_120000-2"),
]


def record(folder: Path, user: str, *chunks: bytes) -> Path:
    """The file of a whole session's recording, the newest below `folder`."""
    before = set(folder.glob("**/*"))
    recording = Recording(str(folder), user)
    for chunk in chunks:
        recording.write(chunk)
    recording.close()
    (path,) = {path for path in folder.glob("**/*") if path.is_file()} - before
    return path


@pytest.mark.parametrize("user", HOSTILE_USERS, ids=lambda user: ascii(user)[:20])
def test_no_user_id_names_a_file_outside_the_folder(tmp_path: Path, user: str) -> None:
    folder = tmp_path / "outer" / "recordings"
    path = record(folder, user, b"abc")
    assert path.parent == folder
    assert re.fullmatch(r"\d{8}_[\w-]+_\d{6}\.pcm", path.name)
    assert [path for path in tmp_path.glob("**/*") if path.is_file()] == [path]


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=300))
def test_any_user_id_gives_a_plain_file_name(tmp_path_factory: pytest.TempPathFactory, user: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = record(folder, user, b"abc")
    assert path.parent == folder
    assert path.name.isprintable()
    assert len(path.name.encode()) <= 130


def test_a_harmless_user_id_is_readable_in_the_file_name(tmp_path: Path) -> None:
    assert "_김철수-7_" in record(tmp_path, "김철수-7", b"").name


def test_a_file_holds_exactly_the_bytes_that_were_sent(tmp_path: Path) -> None:
    chunks = [bytes(range(256)), b"", b"\r\n", b"\x00", bytes(70_001)]
    assert record(tmp_path, "user", *chunks).read_bytes() == b"".join(chunks)


def test_audio_is_in_the_file_as_soon_as_it_has_arrived(tmp_path: Path) -> None:
    recording = Recording(str(tmp_path), "user")
    recording.write(b"ab")
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"ab"
    recording.close()


def test_sessions_that_begin_at_once_never_share_a_file(tmp_path: Path) -> None:
    contents = [bytes([number]) * 100 for number in range(40)]
    users = ["a/b" if number % 2 else "a:b" for number in range(40)]  # made harmless, both are a_b
    with ThreadPoolExecutor(16) as pool:
        recordings = list(pool.map(lambda user: Recording(str(tmp_path), user), users))
        list(pool.map(lambda recording, content: recording.write(content), recordings, contents))
    for recording in recordings:
        recording.close()
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == contents


def test_a_recording_that_is_there_is_not_overwritten_later(tmp_path: Path) -> None:
    paths = [record(tmp_path, "user", bytes([number])) for number in range(5)]
    assert [path.read_bytes() for path in paths] == [bytes([number]) for number in range(5)]


def test_the_folder_is_made(tmp_path: Path) -> None:
    assert record(tmp_path / "a" / "b", "user", b"x").parent == tmp_path / "a" / "b"


def test_a_folder_that_cannot_be_made_ends_only_the_recording(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with caplog.at_level(logging.INFO):
        recording = Recording(str(tmp_path / "file"), "evil\nuser")
        recording.write(b"abc")
        recording.write(b"def")
        recording.close()
    assert (tmp_path / "file").read_bytes() == b"kept"
    (message,) = caplog.messages
    assert message == "the recording of user evil\\nuser ends: logging.pcm_path: File exists"


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_ends_only_the_recording(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recording = Recording(str(tmp_path), "user")
    recording.write(bytes(1000))
    with full_disk(1000):
        recording.write(b"no room")
        recording.write(b"no room")
    recording.write(b"too late")
    recording.close()
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == bytes(1000)
    (message,) = caplog.messages
    assert message.startswith("the recording of user user ends: logging.pcm_path: ")


def test_a_disk_that_takes_only_the_beginning_of_a_packet_ends_the_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recording = Recording(str(tmp_path), "user")
    with full_disk(1000):
        recording.write(bytes(1500))
    recording.write(b"after a gap")
    recording.close()
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == bytes(1000)
    assert len(caplog.messages) == 1


def test_a_folder_that_cannot_be_ends_only_the_recording(caplog: pytest.LogCaptureFixture) -> None:
    recording = Recording("a\0b", "user")
    recording.write(b"audio")
    recording.close()
    assert len(caplog.messages) == 1
