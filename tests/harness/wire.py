"""A client that can do what no decent client does."""

import socket
import struct
from types import TracebackType
from typing import Iterator, List, Optional, Type

from protocol.packets import (
    MAGIC,
    SERVER_HEADERS,
    Header,
    Packet,
    PacketParser,
    encode_packet,
    encode_text,
)
from util import ClientProtocol, parse_error

RECEIVE_TIMEOUT_S = 60.0
BEGIN = encode_packet(Header.BEGIN)
FINISH = encode_packet(Header.FINISH)
STATUS = encode_packet(Header.CLIENT_STATUS)
END = Packet(Header.END, b"")


def user_packet(user: str = "test") -> bytes:
    return encode_text(Header.USER, user)


def audio_packets(pcm: bytes, packet_bytes: int = 960) -> bytes:
    """`pcm` as a stream of packets, for any moment: also where audio has no place."""
    return b"".join(encode_packet(Header.AUDIO, chunk) for chunk in _chunks(pcm, packet_bytes))


def _chunks(pcm: bytes, chunk_bytes: int) -> Iterator[bytes]:
    return (pcm[offset : offset + chunk_bytes] for offset in range(0, len(pcm), chunk_bytes))


def session_bytes(pcm: bytes, user: str = "test") -> bytes:
    """A whole session, as a client sends it that waits for nothing."""
    protocol = ClientProtocol()
    opening = protocol.ask_engine(user) + protocol.begin()
    return opening + b"".join(protocol.audio(chunk) for chunk in _chunks(pcm, 960)) + protocol.finish()


def error_code(packets: List[Packet]) -> str:
    """The code of the error that the packets end with; they must end with an error and the end of the session."""
    assert [packet.header for packet in packets[-2:]] == [Header.ERROR, Header.END], packets
    return parse_error(packets[-2].data).code


def results(packets: List[Packet]) -> List[str]:
    return [packet.data.decode() for packet in packets if packet.header is Header.RESULT]


class Wire:
    """A bare connection to the server on `port` of 127.0.0.1: what is sent need not be right, nor what comes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), RECEIVE_TIMEOUT_S)
        self._parser = PacketParser(SERVER_HEADERS)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def start(self, user: str = "test") -> None:
        """Ask for an engine and begin; the server must have one."""
        self.send(MAGIC + user_packet(user))
        welcome = self.read()
        assert welcome is not None
        assert welcome.header is Header.WELCOME, welcome
        self.send(BEGIN)

    def read(self) -> Optional[Packet]:
        """The next packet; None when the server has closed."""
        while True:
            packet = self._parser.next_packet()
            if packet is not None:
                return packet
            data = self.socket.recv(65536)
            if not data:
                assert not self._parser.mid_packet
                return None
            self._parser.feed(data)

    def read_all(self) -> List[Packet]:
        """Everything until the server closes."""
        return list(iter(self.read, None))

    def reset(self) -> None:
        """Go away as a crashed machine does: with a reset, not an orderly close."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
