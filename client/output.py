"""Where results go: stdout or files, with a bar or a live line on the terminal."""

from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Dict, List, Optional, Sequence, Type

from client.errors import OutputError
from client.formats import SUBTITLES, SUFFIXES, Format, JsonFormat, SubtitleFormat, TextFormat

NAME = "{name}"  # in a pattern: the recording's, without folder and suffix


class Files:
    """Those that were begun. One is begun, and emptied, by the first that is written into it, also if that is nothing.

    What comes is in the file at once: a session that breaks off leaves what it has had.
    """

    def __init__(self) -> None:
        self._open: Dict[Path, FileIO] = {}  # without a buffer: what cannot be written fails once
        self._stack = ExitStack()

    def __enter__(self) -> "Files":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._stack.close()

    def write(self, path: Path, text: str) -> None:
        """Raises OutputError."""
        rest = memoryview(text.encode("utf-8", errors="replace"))
        try:
            if path not in self._open:
                self._open[path] = self._stack.enter_context(path.open("wb", buffering=0))
            while rest:
                rest = rest[self._open[path].write(rest) :]
        except OSError as error:
            raise OutputError(f"{path}: {error.strerror}") from error


def format_of(kind: str, recording: Optional[Path], is_one_of_several: bool) -> Format:
    """For a recording, or a microphone. `is_one_of_several`: that go to the same place."""
    if kind == "json":
        return JsonFormat(None if recording is None else str(recording))
    if kind in SUBTITLES:
        return SubtitleFormat(kind)
    return TextFormat(str(recording) if is_one_of_several else None)


def places(recordings: Sequence[Path], kind: str, output: Optional[str]) -> List[Optional[Path]]:
    """For each recording, the file that its results go to; None: stdout. Raises ValueError, with what is expected."""
    if output is None:
        if kind in SUBTITLES and len(recordings) > 1:
            raise ValueError(
                f"--format {kind} of several recordings needs --output with a folder or a name with {NAME}"
            )
        return [None] * len(recordings)
    found = [_place(recording, kind, output) for recording in recordings]
    _check(recordings, found, kind)
    return list(found)


def _place(recording: Path, kind: str, output: str) -> Path:
    if output.endswith("/") or Path(output).is_dir():
        return Path(output) / (recording.stem + SUFFIXES[kind])
    return Path(output.replace(NAME, recording.stem))


def _check(recordings: Sequence[Path], found: Sequence[Path], kind: str) -> None:
    for path in found:
        if not path.parent.is_dir():
            raise ValueError(f"--output: there is no folder {path.parent}")
        if any(_same(path, recording) for recording in recordings):
            raise ValueError(f"--output: {path} is a recording; expected another name")
    is_shared = len(set(found)) == 1 and kind not in SUBTITLES
    if len(set(found)) < len(found) and not is_shared:
        twice = next(path for path in found if list(found).count(path) > 1)
        raise ValueError(
            f"--output: several recordings would go to {twice}; expected a folder or {NAME}, or other names"
        )


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)
