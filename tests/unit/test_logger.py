"""One log for all processes."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import pickle
import sys
from collections.abc import Iterator
from datetime import date, datetime, timezone
from pathlib import Path

import pytest

from logger import LogError, ServerLog, fields, forward_records, handle_forwarded

_log = logging.getLogger("tests.logger")


@pytest.fixture(autouse=True)
def _root_logger_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_a_line_goes_to_console_and_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = ServerLog("info", str(tmp_path / "log"))
    _log.info("session %d starts: user %s", 1, "김철수")
    log.stop()
    for text in (capfd.readouterr().err, (tmp_path / "log").read_text(encoding="utf-8")):
        (line,) = text.splitlines()
        assert line.endswith(" INFO    MainProcess: session 1 starts: user 김철수")


LEVELS = ("debug", "info", "warning", "error", "critical")


@pytest.mark.parametrize("level", LEVELS)
def test_only_lines_of_the_level_and_above_are_written(tmp_path: Path, level: str) -> None:
    log = ServerLog(level, str(tmp_path / "log"))
    for name in LEVELS:
        _log.log(getattr(logging, name.upper()), "a line at %s", name)
    log.stop()
    written = [line.split()[-1] for line in (tmp_path / "log").read_text().splitlines()]
    assert written == list(LEVELS[LEVELS.index(level) :])


def test_nothing_waiting_is_lost_when_the_log_stops(tmp_path: Path) -> None:
    log = ServerLog("info", str(tmp_path / "log"))
    for number in range(5000):
        _log.info("%d", number)
    log.stop()
    assert [line.split()[-1] for line in (tmp_path / "log").read_text().splitlines()] == [str(n) for n in range(5000)]


def test_a_log_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    for number in range(2):
        log = ServerLog("info", str(tmp_path / "deep" / "folder" / "log"))
        _log.info("start %d", number)
        log.stop()
    lines = (tmp_path / "deep" / "folder" / "log").read_text().splitlines()
    assert [line[-7:] for line in lines] == ["start 0", "start 1"]


def test_the_file_turns_at_midnight_and_30_are_kept(tmp_path: Path) -> None:
    log = ServerLog("info", str(tmp_path / "log"))
    log.stop()
    assert (log._file.when, log._file.backupCount) == ("MIDNIGHT", 30)


def test_after_stop_nothing_is_written(tmp_path: Path) -> None:
    ServerLog("info", str(tmp_path / "log")).stop()
    _log.info("too late")
    assert (tmp_path / "log").read_text() == ""


# --- records of other processes


def forwarded(level: str) -> list[logging.LogRecord]:
    """Where records of this process go from now on, through pickle as between processes."""
    records: list[logging.LogRecord] = []
    logging.getLogger().handlers.clear()
    forward_records(level, lambda record: records.append(pickle.loads(pickle.dumps(record))))
    return records


def test_a_record_of_another_process_is_logged_as_it_was_made(tmp_path: Path) -> None:
    records = forwarded("debug")
    _log.debug("%.1f-%.1f s: %s", 1.25, 2, object())
    logging.getLogger().handlers.clear()
    log = ServerLog("info", str(tmp_path / "log"))
    for record in records:
        record.processName = "engine 3"
        handle_forwarded(record)
    log.stop()
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert " DEBUG   engine 3: 1.2-2.0 s: <object object at" in line


def test_an_exception_of_another_process_is_logged_once_with_its_traceback(tmp_path: Path) -> None:
    records = forwarded("info")
    try:
        raise RuntimeError("the reason")
    except RuntimeError:
        _log.exception("the engine fails: 100%% %s", "sure")
    logging.getLogger().handlers.clear()
    log = ServerLog("info", str(tmp_path / "log"))
    for record in records:
        handle_forwarded(record)
    log.stop()
    text = (tmp_path / "log").read_text()
    assert text.count("the engine fails: 100% sure") == 1
    assert text.count("Traceback (most recent call last)") == 1
    assert text.count("RuntimeError: the reason") == 1


def test_records_below_the_level_are_not_forwarded() -> None:
    records = forwarded("warning")
    _log.info("what nobody wants")
    _log.warning("what is wanted")
    assert [record.getMessage() for record in records] == ["what is wanted"]


# --- what cannot be written


@pytest.mark.parametrize("name", ["", "file/log", "folder"])
def test_a_path_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(LogError, match=r"\Alogging\.log_path: cannot write .*: [A-Z][a-z ]+\Z"):
        ServerLog("info", str(tmp_path / name))


def test_a_log_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    handlers = logging.getLogger().handlers[:]
    with pytest.raises(LogError):
        ServerLog("info", str(tmp_path))
    assert logging.getLogger().handlers == handlers


@pytest.fixture
def full_disk_log(tmp_path: Path) -> str:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    return str(path)


@pytest.mark.skipif(sys.version_info < (3, 9), reason="Python 3.8 turns a log that is a device, and writes a new file")
def test_a_file_that_fails_says_so_once_and_the_console_goes_on(
    full_disk_log: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log = ServerLog("info", full_disk_log)
    for number in range(5):
        _log.info("line %d", number)
    log.stop()
    error = capfd.readouterr().err
    assert error.count(f"the log file {full_disk_log} cannot be written: [Errno 28]") == 1
    assert [f"line {number}" in error for number in range(5)] == [True] * 5
    assert "Traceback" not in error


class _Disk(io.TextIOWrapper):
    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def test_a_file_that_fails_again_after_it_could_be_written_says_so_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = ServerLog("info", str(tmp_path / "log"))
    log.stop()  # from here on, what happens happens in this thread
    disk = _Disk(io.BytesIO(), encoding="utf-8")
    log._file.setStream(disk)
    said = []
    for disk.full in (True, True, False, True, True):
        log._file.emit(logging.makeLogRecord({"msg": "a line"}))
        said.append(capfd.readouterr().err.count("cannot be written"))
    assert said == [1, 0, 0, 1, 0]


def test_a_console_that_is_gone_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open(tmp_path / "console", "w") as console:
        monkeypatch.setattr("sys.stderr", console)
        log = ServerLog("info", str(tmp_path / "log"))
        console.close()
        _log.info("still here")
        log.stop()
    assert (tmp_path / "log").read_text().endswith("still here\n")


def test_a_path_that_no_file_can_have_is_named() -> None:
    with pytest.raises(LogError, match=r"^logging.log_path: cannot write 'a\\x00b': "):
        ServerLog("info", "a\0b")


# --- JSON


def test_json_is_one_object_a_line_with_what_the_line_says_as_values(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = ServerLog("info", str(tmp_path / "log"), form="json")
    _log.info("session %d ends\nhere", 7, extra=fields(event="session_ended", session=7, user="김\n철수", audio_s=1.5))
    try:
        raise RuntimeError("the reason")
    except RuntimeError:
        _log.exception("it fails")
    log.stop()
    text = (tmp_path / "log").read_text(encoding="utf-8")
    ended, failed = map(json.loads, text.splitlines())
    assert capfd.readouterr().err == text
    assert {key: ended[key] for key in ("level", "process", "message", "event", "session", "user", "audio_s")} == {
        "level": "info",
        "process": "MainProcess",
        "message": "session 7 ends\nhere",
        "event": "session_ended",
        "session": 7,
        "user": "김\n철수",
        "audio_s": 1.5,
    }
    assert "김" in text
    assert failed["message"].startswith("it fails\nTraceback")
    assert "session" not in failed


def test_the_time_in_json_is_that_of_the_event_with_its_zone(tmp_path: Path) -> None:
    log = ServerLog("info", str(tmp_path / "log"), form="json")
    before = datetime.now(timezone.utc)
    _log.info("now")
    log.stop()
    told = datetime.fromisoformat(json.loads((tmp_path / "log").read_text())["time"])
    assert told.tzinfo is not None
    assert abs((told - before).total_seconds()) < 1


def test_fields_of_another_process_are_told(tmp_path: Path) -> None:
    records = forwarded("debug")
    _log.debug("recognised", extra=fields(session=3))
    logging.getLogger().handlers.clear()
    log = ServerLog("info", str(tmp_path / "log"), form="json")
    for record in records:
        handle_forwarded(record)
    log.stop()
    assert json.loads((tmp_path / "log").read_text())["session"] == 3


# --- turning by size


def turned(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "log")


def log_a_megabyte(path: Path, times: int) -> None:
    log = ServerLog("info", str(path), max_mb=1)
    for _ in range(times):
        for number in range(10):
            _log.info("%d %s", number, "x" * 100_000)
    log.stop()


def test_a_file_that_has_got_too_long_is_turned_and_no_line_is_lost(tmp_path: Path) -> None:
    log_a_megabyte(tmp_path / "log", times=3)
    today = date.today().isoformat()
    assert turned(tmp_path) == [f"log.{today}.001", f"log.{today}.002"]
    files = [tmp_path / name for name in (*turned(tmp_path), "log")]
    numbers = [line.split()[-2] for file in files for line in file.read_text().splitlines()]
    assert numbers == [str(number) for number in range(10)] * 3
    assert all(file.stat().st_size < 1_200_000 for file in files)


def test_a_server_that_starts_again_goes_on_counting(tmp_path: Path) -> None:
    for _ in range(2):
        log_a_megabyte(tmp_path / "log", times=2)
    assert [name[-4:] for name in turned(tmp_path)] == [".001", ".002", ".003"]


def test_thirty_turned_files_are_kept_the_newest_ones(tmp_path: Path) -> None:
    for day in range(1, 29):
        (tmp_path / f"log.2026-01-{day:02d}").touch()
    for part in (1, 2, 9, 10, 11):
        (tmp_path / f"log.2026-02-01.{part:03d}").touch()
    (tmp_path / "log_gateway.2026-01-01").touch()
    (tmp_path / "log.bak").touch()
    log = ServerLog("info", str(tmp_path / "log"), max_mb=1)
    log.stop()
    assert [os.path.basename(path) for path in log._file.getFilesToDelete()] == [
        f"log.2026-01-{day:02d}" for day in (1, 2, 3)
    ]


def test_at_midnight_a_file_is_turned_behind_those_of_the_day(tmp_path: Path) -> None:
    log = ServerLog("info", str(tmp_path / "log"))
    log.stop()
    yesterday = f"{log._file.baseFilename}.2026-01-01"
    assert log._file.rotation_filename(yesterday) == yesterday
    Path(f"{yesterday}.003").touch()
    assert log._file.rotation_filename(yesterday) == f"{yesterday}.004"


def test_a_log_without_a_limit_is_not_turned_by_size(tmp_path: Path) -> None:
    log = ServerLog("info", str(tmp_path / "log"))
    for _ in range(20):
        _log.info("x" * 100_000)
    log.stop()
    assert turned(tmp_path) == []
