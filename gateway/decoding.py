"""Media files → PCM on threads of their own, as fast as it is taken and never all of it at once."""

import logging
import time
from typing import AsyncGenerator, BinaryIO, Generator, Optional

from client.errors import AudioFileError
from client.media import open_media
from gateway.errors import BadRequest
from gateway.threads import Threads

_log = logging.getLogger(__name__)

_BLOCK_BYTES = 32 * 1024  # about a second
_TURN_S = 0.2  # of a thread; megabytes of damage take minutes, and others wait


async def decoded(file: BinaryIO, name: str, threads: Threads) -> "AsyncGenerator[bytes, None]":
    """The sound of a file, 16-bit mono PCM of 16 kHz, in blocks of about a second.

    Of a file that is damaged it is what can be decoded. When the iterator has been closed, nobody reads the file.

    Args:
        file: open for reading, at its beginning.
        name: for errors.
        threads: where it is decoded.

    Raises:
        BadRequest: nothing can be decoded.
    """
    blocks = _Blocks(file, name)
    try:
        while True:
            block = await threads.run(blocks.next)
            if block is None:
                return
            if block:
                yield block
    finally:
        await threads.run(blocks.close)


class _Blocks:
    """For any thread, one at a time."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._chunks: Optional[Generator[bytes, None, None]] = None
        self._has_sound = False

    def next(self) -> Optional[bytes]:
        """The next block, or what there is of it when a turn is over; None at the end. Raises BadRequest."""
        block = bytearray()
        over_s = time.monotonic() + _TURN_S
        try:
            if self._chunks is None:
                self._chunks = self._opened()
            for chunk in self._chunks:
                block += chunk
                if len(block) >= _BLOCK_BYTES or time.monotonic() >= over_s:
                    return self._taken(block)
        except AudioFileError as error:
            if not block and not self._has_sound:
                raise BadRequest(str(error), "file") from error
            _log.info("%s", error)
        return self._taken(block) or None

    def _taken(self, block: bytearray) -> bytes:
        self._has_sound = self._has_sound or bool(block)
        return bytes(block)

    def close(self) -> None:
        """Nobody reads the file any longer."""
        if self._chunks is not None:
            self._chunks.close()

    def _opened(self) -> "Generator[bytes, None, None]":
        if not self._file.read(1):
            raise AudioFileError(f"{self._name}: the file is empty")
        self._file.seek(0)
        return open_media(self._file, self._name, f"{self._name}: no audio or video").chunks
