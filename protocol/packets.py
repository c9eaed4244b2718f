"""Packets: their framing, texts in them, and the parser that cuts them out of a byte stream. Both directions.

Errors:
    ProtocolError          the peer sent what the protocol forbids; `str(error)` says why
    └── MagicMismatch      not even the opening bytes are right
"""

import enum
import re
from typing import Dict, FrozenSet, NamedTuple, Optional

MAGIC = b"WHISPER_STREAMING_V1.0"
HEADER_BYTES = 2
LENGTH_DIGITS = 4
PREFIX_BYTES = HEADER_BYTES + LENGTH_DIGITS
MAX_DATA_BYTES = 0xFFFF


_LENGTH_PATTERN = re.compile(rb"[0-9A-Fa-f]{0,4}")  # int(…, 16) alone would also take "-001" or "1_00"
_SHOWN_CHARS = 64  # of a text from the network in a log line


class ProtocolError(Exception):
    """The peer broke the protocol; the text says how."""


class MagicMismatch(ProtocolError):
    """The connection does not open with MAGIC: its peer speaks something else."""


class Header(bytes, enum.Enum):
    """The two bytes that open a packet."""

    USER = b"%u"
    OPTIONS = b"%o"
    BEGIN = b"%b"
    AUDIO = b"%s"
    END_UTTERANCE = b"%e"
    FINISH = b"%f"
    CLIENT_STATUS = b"%c"

    WELCOME = b"%L"
    PARTIAL = b"%P"
    RESULT = b"%R"
    EVENT = b"%V"
    ERROR = b"%E"
    END = b"%F"
    ENGINE_STATUS = b"%C"


SERVER_HEADERS = frozenset(
    {
        Header.WELCOME,
        Header.PARTIAL,
        Header.RESULT,
        Header.EVENT,
        Header.ERROR,
        Header.END,
        Header.ENGINE_STATUS,
    }
)
CLIENT_HEADERS = frozenset(Header) - SERVER_HEADERS


class ErrorCode(str, enum.Enum):
    """The code that opens the data of an error packet."""

    SERVER_TOO_BUSY = "SERVER_TOO_BUSY"
    ILLEGAL_PACKET = "ILLEGAL_PACKET"
    TIMEOUT = "TIMEOUT"
    ENGINE_FAILED = "ENGINE_FAILED"
    SERVER_STOPPING = "SERVER_STOPPING"


class Packet(NamedTuple):
    """One packet of either direction."""

    header: Header
    data: bytes


def encode_packet(header: Header, data: bytes = b"") -> bytes:
    """Frame `data` (at most MAX_DATA_BYTES bytes); raises ValueError when there is more."""
    if len(data) > MAX_DATA_BYTES:
        raise ValueError(f"a packet holds at most {MAX_DATA_BYTES} bytes of data, got {len(data)}")
    return b"%b%04X%b" % (header.value, len(data), data)


def encode_text(header: Header, text: str) -> bytes:
    """Frame `text` as UTF-8, cut at a character boundary where it is too long for one packet."""
    return encode_packet(header, cut_utf8(text, MAX_DATA_BYTES))


def decode_text(data: bytes) -> str:
    """The text of a packet; what is not UTF-8 in it is replaced."""
    return data.decode("utf-8", errors="replace")


def cut_utf8(text: str, limit_bytes: int) -> bytes:
    """UTF-8 of the longest beginning of `text` that fits into `limit_bytes`."""
    encoded = text.encode("utf-8", errors="replace")
    if len(encoded) <= limit_bytes:
        return encoded
    return encoded[:limit_bytes].decode("utf-8", errors="ignore").encode("utf-8")


def printable(text: str) -> str:
    """`text` made fit for a terminal: control characters escaped, all in one line."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def loggable(text: str) -> str:
    """A text from the network made fit to be part of a log line: printable and short."""
    shown = printable(text)
    return shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "…"


class PacketParser:
    """Cuts a byte stream into packets, whatever the sizes it arrives in.

    Args:
        accepted: the headers that this end may receive; every other is an error.
    """

    def __init__(self, accepted: FrozenSet[Header]) -> None:
        self._accepted: Dict[bytes, Header] = {header.value: header for header in accepted}
        self._buffer = bytearray()
        self._offset = 0
        self.packets = 0  # cut so far

    @property
    def mid_packet(self) -> bool:
        """Whether bytes of a packet that is not complete are waiting."""
        return self._offset < len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take over what was received."""
        if self._offset:
            del self._buffer[: self._offset]
            self._offset = 0
        self._buffer += data

    def next_packet(self) -> Optional[Packet]:
        """The next complete packet, or None; raises ProtocolError at the first byte that cannot be right."""
        prefix = bytes(self._buffer[self._offset : self._offset + PREFIX_BYTES])
        header = self._check_header(prefix[:HEADER_BYTES])
        digits = prefix[HEADER_BYTES:]
        if not _LENGTH_PATTERN.fullmatch(digits):
            raise ProtocolError(f"length {shown(digits)} of {shown(prefix[:2])} is not four hexadecimal digits")
        if header is None or len(digits) < LENGTH_DIGITS:
            return None
        start = self._offset + PREFIX_BYTES
        end = start + int(digits, 16)
        if len(self._buffer) < end:
            return None
        self._offset = end
        self.packets += 1
        return Packet(header, bytes(self._buffer[start:end]))

    def _check_header(self, received: bytes) -> Optional[Header]:
        if received and received[:1] != b"%":
            raise ProtocolError(f"a packet starts with '%', not with {shown(received[:1])}")
        if len(received) < HEADER_BYTES:
            return None
        header = self._accepted.get(received)
        if header is None:
            raise ProtocolError(f"unknown header {shown(received)}")
        return header


def shown(received: bytes) -> str:
    """Bytes from the network made fit for an error, in quotes."""
    return "'" + loggable(received.decode("latin-1")) + "'"
