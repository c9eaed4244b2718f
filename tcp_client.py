"""A client to import (`StreamingClient`) and to run (`python tcp_client.py --help`).

`StreamingClient` needs this file, `util.py` and Python's standard library:

    with StreamingClient("localhost", 5000, user="kiosk-7") as client:
        client.send(pcm)
        client.finish()
        for result in client.results():
            print(result.start_s, result.end_s, result.text)

Where the server has a certificate, `tls=ssl.create_default_context()` goes with the address.

Errors:
    ClientError          anything below
    ├── ConnectError     no server there
    ├── ServerError      the server ended the session; `code` and `detail` say why
    ├── ConnectionLost   the connection ended before the session did
    └── AudioFileError   a file that cannot be sent without losing something
"""

import argparse
import queue
import selectors
import socket
import ssl
import sys
import threading
import time
import wave
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Type, Union

from util import (
    MAGIC,
    MAX_DATA_BYTES,
    SERVER_HEADERS,
    Header,
    Packet,
    PacketParser,
    ProtocolError,
    Result,
    encode_packet,
    encode_text,
    parse_result,
    printable,
)

_RECEIVE_BYTES = 64 * 1024
_SAMPLE_BYTES = 2
_SAMPLE_RATES = (8000, 16000, 32000, 48000)  # that a server can be configured for
_PACKET_S = 0.03  # of audio in one packet when pacing like a microphone
_FAST_PACKET_BYTES = 32 * 1024
_LAST_WORDS_S = 2.0  # for what the server said before it closed to arrive

EXIT_OK = 0
EXIT_FAILED = 1


class ClientError(Exception):
    """The session cannot begin or go on; the text is one line for a person."""


class ConnectError(ClientError):
    """No server answers at the address."""


class ServerError(ClientError):
    """The server ended the session.

    Attributes:
        code: one of `util.ErrorCode`, as text: a newer server may know more.
        detail: what the server adds; may be empty.
    """

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))
        self.code, _, self.detail = text.partition(": ")


class ConnectionLost(ClientError):
    """The connection ended before the session did."""


class AudioFileError(ClientError):
    """The file holds no audio that can be sent without losing something."""


class StreamingClient:
    """One session with the server. Audio may be sent from one thread while another reads results.

    Args:
        host: name or address of the server.
        port: its port.
        user: who speaks; goes to the server's log.
        timeout_s: for connecting.
        tls: how to check the server, and what to show it; None for a connection in the clear.

    Entering the context connects (see `connect`); leaving it closes the connection.
    """

    def __init__(
        self, host: str, port: int, user: str = "", timeout_s: float = 60.0, tls: Optional[ssl.SSLContext] = None
    ) -> None:
        self._address = (host, port)
        self._user = user
        self._timeout_s = timeout_s
        self._tls = tls
        self._socket: Optional[_Stream] = None
        self._receiver: Optional[threading.Thread] = None
        self._received: queue.SimpleQueue[Optional[Packet]] = queue.SimpleQueue()  # None: nothing follows
        self._failure: Optional[ClientError] = None  # why nothing follows, unless the session ended well
        self.welcome = ""

    def __enter__(self) -> "StreamingClient":
        self.connect()
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect and wait for an engine; afterwards audio may be sent.

        Raises:
            ConnectError: nobody answers.
            ServerError: among others with code SERVER_TOO_BUSY.
            ConnectionLost: the server went away, or speaks something else.
        """
        try:
            self._open(encode_text(Header.USER, self._user))
            packet = self._next_packet()
            if packet is None or packet.header is not Header.WELCOME:
                raise ConnectionLost("the server gave neither an engine nor a reason")
            self.welcome = packet.data.decode("utf-8", errors="replace")
            self._send(encode_packet(Header.BEGIN))
        except ClientError:
            self.close()
            raise

    def status(self) -> List[str]:
        """What each engine does, asked over a connection of its own. Raises ClientError."""
        try:
            self._open(encode_packet(Header.CLIENT_STATUS))
            return [packet.data.decode("utf-8", errors="replace") for packet in iter(self._next_packet, None)]
        finally:
            self.close()

    def send(self, pcm: bytes) -> None:
        """Send mono 16-bit little-endian audio at the server's sample rate; blocks while the server is behind.

        Raises:
            ServerError: the server has ended the session.
            ConnectionLost: the connection is gone.
        """
        for offset in range(0, len(pcm), MAX_DATA_BYTES):
            self._send(encode_packet(Header.AUDIO, pcm[offset : offset + MAX_DATA_BYTES]))

    def finish(self) -> None:
        """No more audio will come: the server recognises what is left and ends the session. Raises as `send`."""
        self._send(encode_packet(Header.FINISH))

    def results(self) -> Iterator[Result]:
        """Results as they arrive, until the server has ended the session. Raises as `send`."""
        for packet in iter(self._next_packet, None):
            if packet.header is Header.RESULT:
                try:
                    yield parse_result(packet.data)
                except ProtocolError as error:
                    raise ConnectionLost(f"this is no server of ours: {error}") from error

    def close(self) -> None:
        """Leave; harmless when already closed."""
        if self._socket is not None:
            with suppress(OSError):  # the server closed first
                self._socket.shutdown(socket.SHUT_RDWR)
            if self._receiver is not None:
                self._receiver.join()
            self._socket.close()
            self._socket = None

    def _open(self, first_packet: bytes) -> None:
        host, port = self._address
        try:
            sock = socket.create_connection(self._address, self._timeout_s)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that is none
            raise ConnectError(f"no server answers at {host} port {port}: {_reason(error)}") from error
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is None:
            sock.settimeout(None)  # a slow recogniser holds a sender up for as long as it takes
            self._socket = sock
        else:
            self._socket = self._secure(sock, self._tls)
        # Results are taken at all times, so that a program which sends everything first does not hold the server up.
        self._receiver = threading.Thread(target=self._receive, args=(self._socket,), name="receiver", daemon=True)
        self._receiver.start()
        self._send(MAGIC + first_packet)

    def _secure(self, sock: socket.socket, tls: ssl.SSLContext) -> "_TlsStream":
        host, port = self._address
        try:
            return _TlsStream(tls.wrap_socket(sock, server_hostname=host))
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: not even a name
            sock.close()
            raise ConnectError(f"no TLS with {host} port {port}: {_reason(error)}") from error

    def _send(self, data: bytes) -> None:
        if self._socket is None or self._receiver is None:
            raise ConnectionLost("the connection is not open")
        try:
            self._socket.sendall(data)
        except OSError as error:
            self._receiver.join(_LAST_WORDS_S)
            lost = ConnectionLost(f"the connection was lost: {_reason(error)}")
            raise (self._failure or lost) from error

    def _next_packet(self) -> Optional[Packet]:
        """The next packet of the server; None when the session has ended well."""
        packet = self._received.get()
        if packet is None:
            self._received.put(None)  # for whoever asks again
            if self._failure is not None:
                raise self._failure
        return packet

    def _receive(self, sock: "_Stream") -> None:
        """Thread: the server's packets into the queue, until it ends the session or is gone."""
        try:
            for packet in _packets(sock):
                if packet.header is Header.ERROR:
                    self._failure = ServerError(packet.data.decode("utf-8", errors="replace"))
                elif packet.header is Header.END:
                    return
                else:
                    self._received.put(packet)
            self._failure = self._failure or ConnectionLost("the server closed the connection in mid-session")
        except OSError as error:
            self._failure = self._failure or ConnectionLost(f"the connection was lost: {_reason(error)}")
        except ProtocolError as error:
            self._failure = ConnectionLost(f"this is no server of ours: {error}")
        finally:
            self._received.put(None)


class _TlsStream:
    """A TLS connection that one thread reads while another writes: OpenSSL allows neither at once."""

    def __init__(self, secured: ssl.SSLSocket) -> None:
        secured.setblocking(False)
        self._secured = secured
        self._lock = threading.Lock()

    def recv(self, size: int) -> bytes:
        """Block for some bytes; b"" at the end."""
        while True:
            with self._lock, suppress(ssl.SSLWantReadError):
                return self._secured.recv(size)
            self._wait(selectors.EVENT_READ)

    def sendall(self, data: bytes) -> None:
        """Block until all of it is taken."""
        rest = memoryview(data)
        while rest:
            with self._lock, suppress(ssl.SSLWantWriteError):
                rest = rest[self._secured.send(rest) :]
                continue
            self._wait(selectors.EVENT_WRITE)

    def _wait(self, event: int) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._secured, event)
            selector.select()

    def shutdown(self, how: int) -> None:
        """As of a socket, and without a goodbye."""
        socket.socket.shutdown(self._secured, how)  # ssl's own would let the other thread read in the clear

    def close(self) -> None:
        """As of a socket."""
        self._secured.close()


_Stream = Union[socket.socket, _TlsStream]


def _reason(error: Exception) -> str:
    """What a person needs of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


def _packets(sock: _Stream) -> Iterator[Packet]:
    parser = PacketParser(SERVER_HEADERS)
    while True:
        packet = parser.next_packet()
        if packet is not None:
            yield packet
            continue
        data = sock.recv(_RECEIVE_BYTES)
        if not data:
            return
        parser.feed(data)


# --- files -----------------------------------------------------------------------------------


def read_audio(path: Path, sample_rate: int) -> bytes:
    """Mono 16-bit PCM at `sample_rate` from a file: `.wav` by its header, anything else as it is.

    A wav file is converted where that loses nothing: 8-bit samples, both channels the same, a lower rate.

    Raises:
        AudioFileError: the file is missing or unreadable, or converting it would lose something.
    """
    try:
        if path.suffix.lower() != ".wav":
            return path.read_bytes()
        with open(path, "rb") as file:
            frames, header = _read_wav(path, file, sample_rate)
    except OSError as error:
        raise AudioFileError(f"{path}: {error.strerror}") from error
    return _convert(path, frames, header, sample_rate)


def _read_wav(path: Path, file: BinaryIO, sample_rate: int) -> Tuple[bytes, "_WavHeader"]:
    try:
        with wave.open(file) as content:
            header = _WavHeader(content.getnchannels(), content.getsampwidth(), content.getframerate())
            frames = content.readframes(content.getnframes())
    except OSError:
        raise
    except Exception as error:  # of a damaged file, the wave module raises what it likes
        reason = str(error) or "damaged or cut off"
        raise AudioFileError(f"{path}: not a PCM wav file ({reason}); {_advice(path, sample_rate)}") from error
    whole_frames = len(frames) // (header.channels * header.sample_bytes)
    return frames[: whole_frames * header.channels * header.sample_bytes], header


class _WavHeader(NamedTuple):
    channels: int
    sample_bytes: int
    sample_rate: int


def _convert(path: Path, frames: bytes, header: _WavHeader, sample_rate: int) -> bytes:
    pcm = frames
    if header.sample_bytes == 1:  # unsigned in wav files
        pcm = b"".join(((value - 128) << 8).to_bytes(2, "little", signed=True) for value in pcm)
    elif header.sample_bytes != _SAMPLE_BYTES:
        raise AudioFileError(f"{path}: {8 * header.sample_bytes}-bit samples; {_advice(path, sample_rate)}")
    if header.channels > 1:
        first, *others = (_channel(pcm, header.channels, index) for index in range(header.channels))
        if any(other != first for other in others):
            raise AudioFileError(f"{path}: {header.channels} channels that differ; {_advice(path, sample_rate)}")
        pcm = first
    if not 0 < header.sample_rate <= sample_rate:
        raise AudioFileError(
            f"{path}: {header.sample_rate} Hz, the server takes {sample_rate}; {_advice(path, sample_rate)}"
        )
    return pcm if header.sample_rate == sample_rate else _raise_rate(pcm, header.sample_rate, sample_rate)


def _channel(pcm: bytes, channels: int, index: int) -> bytes:
    return b"".join(pcm[i : i + 2] for i in range(_SAMPLE_BYTES * index, len(pcm), _SAMPLE_BYTES * channels))


def _raise_rate(pcm: bytes, from_rate: int, to_rate: int) -> bytes:
    import numpy as np  # noqa: PLC0415 - a client that streams PCM needs neither
    import soxr  # noqa: PLC0415

    samples = soxr.resample(np.frombuffer(pcm, dtype="<i2"), from_rate, to_rate)
    return bytes(samples.astype("<i2").tobytes())


def _advice(path: Path, sample_rate: int) -> str:
    return f"convert it: ffmpeg -i {path.name} -ac 1 -ar {sample_rate} -c:a pcm_s16le converted.wav"


# --- the command -----------------------------------------------------------------------------


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; returns the exit status."""
    options = _parse(arguments)
    try:
        if options.status:
            for line in StreamingClient(options.ip, options.port, tls=_tls(options)).status():
                print(printable(line))
        else:
            _stream(options)
    except ClientError as error:
        print(f"tcp_client: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED
    return EXIT_OK


def _parse(arguments: Optional[Sequence[str]]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Stream a recording to the speech-to-text server.")
    parser.add_argument("--ip", default="localhost", help="server's name or address (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=5000, help="server's port (default: %(default)s)")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--ifn", type=Path, metavar="FILE", help="recording: .wav, or raw 16-bit mono PCM")
    what.add_argument("--status", action="store_true", help="print what each engine does")
    parser.add_argument("--user", default="tcp_client", help="user id for the server's log (default: %(default)s)")
    parser.add_argument(
        "--rate",
        type=int,
        choices=_SAMPLE_RATES,
        default=16000,
        help="the server's audio.sample_rate (default: %(default)s)",
    )
    parser.add_argument("--realtime", action="store_true", help="send at the pace of a microphone")
    parser.add_argument("--tls", action="store_true", help="encrypt; the server's certificate must be good for --ip")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="PEM: trust these authorities, not the system's")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="PEM: your own certificate with its key")
    options = parser.parse_args(arguments)
    if (options.ca or options.cert) and not options.tls:
        parser.error("--ca and --cert need --tls")
    return options


def _port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError
    return port


def _tls(options: argparse.Namespace) -> Optional[ssl.SSLContext]:
    if not options.tls:
        return None
    path = options.ca
    try:
        context = ssl.create_default_context(cafile=options.ca)
        path = options.cert
        if options.cert:
            context.load_cert_chain(options.cert, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ConnectError(f"{path}: {_reason(error)}; expected PEM") from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted, and there may be nobody to ask")


def _stream(options: argparse.Namespace) -> None:
    pcm = read_audio(options.ifn, options.rate)
    with StreamingClient(options.ip, options.port, options.user, tls=_tls(options)) as client, _progress(
        len(pcm), options.rate
    ) as progress:
        sender = threading.Thread(target=_send_all, args=(client, pcm, options, progress), name="sender", daemon=True)
        sender.start()
        for result in client.results():
            progress.show(f"{result.start_s:.1f} {result.end_s:.1f} : {printable(result.text)}")
        sender.join()


def _send_all(client: StreamingClient, pcm: bytes, options: argparse.Namespace, progress: "_Progress") -> None:
    """Thread: send the recording. An error is for `results` to raise: it knows the server's reason."""
    packet_bytes = _FAST_PACKET_BYTES
    if options.realtime:
        packet_bytes = _SAMPLE_BYTES * int(options.rate * _PACKET_S)
    started_s = time.monotonic()
    with suppress(ClientError):
        for offset in range(0, len(pcm), packet_bytes):
            packet = pcm[offset : offset + packet_bytes]
            if options.realtime:
                _sleep_until(started_s + (offset + len(packet)) / (_SAMPLE_BYTES * options.rate))
            client.send(packet)
            progress.advance(len(packet))
        client.finish()


def _sleep_until(moment_s: float) -> None:
    threading.Event().wait(max(0.0, moment_s - time.monotonic()))


class _Progress(NamedTuple):
    """Where results and progress go."""

    show: Callable[[str], None]
    advance: Callable[[int], object]


@contextmanager
def _progress(total_bytes: int, sample_rate: int) -> Iterator[_Progress]:
    """A bar below the results on a terminal; in a pipe, the results alone."""
    if not sys.stderr.isatty():
        yield _Progress(lambda line: print(line, flush=True), lambda _: None)
        return
    from tqdm import tqdm  # noqa: PLC0415 - an import of StreamingClient does not need it

    second_bytes = _SAMPLE_BYTES * sample_rate
    bar_format = "{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s"
    with tqdm(total=total_bytes / second_bytes, bar_format=bar_format, leave=False) as bar:
        yield _Progress(tqdm.write, lambda sent_bytes: bar.update(sent_bytes / second_bytes))


if __name__ == "__main__":
    sys.exit(main())
