"""What one client sent, kept in a file."""

import logging
import re
import time
from io import RawIOBase
from pathlib import Path
from typing import Optional

from protocol.packets import cut_utf8, loggable

_log = logging.getLogger(__name__)

_NAME_BYTES = 100


class Recording:
    """What one session sent, byte for byte, in a file of its own.

    A disk that fails ends the recording, not the session.
    """

    def __init__(self, folder: str, user: str) -> None:
        self._user = user
        self._file: Optional[RawIOBase] = None
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._file = _create_recording(Path(folder), _file_name_part(user))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            self._give_up(error)

    def write(self, pcm: bytes) -> None:
        """Append audio."""
        if self._file is not None:
            try:
                _write_all(self._file, pcm)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """No more audio."""
        if self._file is not None:
            self._file.close()

    def _give_up(self, error: Exception) -> None:
        _log.error(
            "the recording of user %s ends: logging.pcm_path: %s",
            loggable(self._user),
            getattr(error, "strerror", None) or error,
        )
        if self._file is not None:
            self._file.close()
            self._file = None


def _write_all(file: RawIOBase, data: bytes) -> None:
    """Write everything: the unbuffered write of a disk that is nearly full takes a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _create_recording(folder: Path, user: str) -> RawIOBase:
    """A new file, also where several sessions of one user begin in the same second."""
    date, clock = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
    number = 1
    while True:
        name = f"{date}_{user}_{clock}.pcm" if number == 1 else f"{date}_{user}_{clock}-{number}.pcm"
        try:
            return open(folder / name, "xb", buffering=0)
        except FileExistsError:
            number += 1


def _file_name_part(user: str) -> str:
    """A user id from the network, made fit to be part of a file name: letters, digits, `_` and `-`, not too long."""
    harmless = re.sub(r"[^\w-]", "_", user)
    return cut_utf8(harmless, _NAME_BYTES).decode("utf-8") or "unknown"
