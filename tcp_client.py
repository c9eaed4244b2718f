"""A client to import (`StreamingClient`) and to run (`python tcp_client.py --help`).

`StreamingClient` needs this file, `util.py`, the folder `client/` and Python's standard library:

    with StreamingClient("localhost", 5000, user="kiosk-7") as client:
        client.send(pcm)
        client.finish()
        for result in client.results():
            print(result.start_s, result.end_s, result.text)

Where the server has a certificate, `tls=ssl.create_default_context()` goes with the address.
What can go wrong is the tree of errors in `client/errors.py`; `ClientError` is its root.
"""

import argparse
import os
import queue
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Callable, Iterator, List, Optional, Sequence, Type

from client.audio_files import read_audio
from client.errors import (
    AudioFileError,
    ClientError,
    ConnectError,
    ConnectionLost,
    ServerError,
    StrangeServer,
    WelcomeTimeout,
)
from client.terminal import Progress, explain, progress, show_what_the_terminal_can
from client.tls import Stream, TlsStream
from util import (
    ClientEvent,
    ClientProtocol,
    EngineStatus,
    ErrorReceived,
    ProtocolError,
    Result,
    SessionEnded,
    Welcome,
    loggable,
    printable,
)

__all__ = [
    "AudioFileError",
    "ClientError",
    "ConnectError",
    "ConnectionLost",
    "Result",
    "ServerError",
    "StrangeServer",
    "StreamingClient",
    "WelcomeTimeout",
    "read_audio",
]

WELCOME_TIMEOUT_S = 120.0
_RECEIVE_BYTES = 64 * 1024
_SAMPLE_BYTES = 2
_SAMPLE_RATES = (8000, 16000, 32000, 48000)  # that a server can be configured for
_PACKET_S = 0.03  # of audio in one packet when pacing like a microphone
_FAST_PACKET_BYTES = 32 * 1024
_LAST_WORDS_S = 2.0  # for what the server said before it closed to arrive
_TLS_ALERT = b"\x15\x03"  # opens the answer of a server that expects TLS

EXIT_OK = 0
EXIT_FAILED = 1
# 128 + SIGINT or SIGPIPE, as of a command that the signal ended
EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141


class StreamingClient:
    """One session with the server. Audio may be sent from one thread while another reads results.

    Args:
        host: name or address of the server.
        port: its port.
        user: who speaks; goes to the server's log.
        timeout_s: for connecting.
        tls: how to check the server, and what to show it; None for a connection in the clear.
        welcome_timeout_s: for an engine, or for the answer to `status`, once connected; None for no limit. More than
            the server's `network.engine_wait`, for which it may let its clients wait their turn.

    Entering the context connects (see `connect`); leaving it closes the connection. Audio after `finish` is a fault of
    the program: RuntimeError.
    """

    def __init__(  # noqa: PLR0913 - what to say, and how long to wait for what
        self,
        host: str,
        port: int,
        user: str = "",
        timeout_s: float = 60.0,
        tls: Optional[ssl.SSLContext] = None,
        *,
        welcome_timeout_s: Optional[float] = WELCOME_TIMEOUT_S,
    ) -> None:
        self._address = (host, port)
        self._user = user
        self._timeout_s = timeout_s
        self._tls = tls
        self._welcome_timeout_s = welcome_timeout_s
        self._socket: Optional[Stream] = None
        self._receiver: Optional[threading.Thread] = None
        self._lock = threading.Lock()  # one thread speaks while another listens: for both that follow
        self._protocol = ClientProtocol()
        self._failure: Optional[ClientError] = None  # why nothing follows, unless the session ended well
        self._received: queue.SimpleQueue[Optional[ClientEvent]] = queue.SimpleQueue()  # None: nothing follows
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
            WelcomeTimeout: no engine and no reason within `welcome_timeout_s`.
            ConnectionLost: the server went away, or is none of this kind (StrangeServer).
        """
        try:
            self._open()
            self._say(lambda: self._protocol.ask_engine(self._user))
            event = self._next_event(self._welcome_timeout_s)
            assert isinstance(event, Welcome)  # the protocol lets nothing else come first
            self.welcome = event.text
            self._say(self._protocol.begin)
        except BaseException:
            self.close()
            raise

    def status(self) -> List[str]:
        """What each engine does, asked over a connection of its own. Raises as `connect`."""
        lines: List[str] = []
        try:
            self._open()
            self._say(self._protocol.ask_status)
            while True:
                event = self._next_event(self._welcome_timeout_s)
                if event is None:
                    return lines
                assert isinstance(event, EngineStatus)
                lines.append(f"engine {event.index}: {event.state}")
        finally:
            self.close()

    def send(self, pcm: bytes) -> None:
        """Send mono 16-bit little-endian audio at the server's sample rate; blocks while the server is behind.

        Raises:
            ServerError: the server has ended the session.
            ConnectionLost: the connection is gone.
        """
        self._say(lambda: self._protocol.audio(pcm))

    def finish(self) -> None:
        """No more audio will come: the server recognises what is left and ends the session. Raises as `send`."""
        self._say(self._protocol.finish)

    def results(self) -> Iterator[Result]:
        """Results as they arrive, until the server has ended the session. Raises as `send`."""
        for event in iter(self._next_event, None):
            if isinstance(event, Result):
                yield event

    def close(self) -> None:
        """Leave; harmless when already closed."""
        if self._socket is not None:
            with suppress(OSError):  # the server closed first
                self._socket.shutdown(socket.SHUT_RDWR)
            if self._receiver is not None:
                self._receiver.join()
            self._socket.close()
            self._socket = None

    # --- connecting

    def _open(self) -> None:
        host, port = self._address
        try:
            sock = socket.create_connection(self._address, self._timeout_s)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that is none
            raise ConnectError(f"no server answers at {host} port {port}: {_reason(error)}") from error
        if self._tls is None:
            sock.settimeout(None)  # a slow recogniser holds a sender up for as long as it takes
            self._socket = sock
        else:
            self._socket = self._secure(sock, self._tls)
        # Results are taken at all times, so that a program which sends everything first does not hold the server up.
        self._receiver = threading.Thread(target=self._receive, args=(self._socket,), name="receiver", daemon=True)
        self._receiver.start()

    def _secure(self, sock: socket.socket, tls: ssl.SSLContext) -> TlsStream:
        host, port = self._address
        try:
            return TlsStream(tls.wrap_socket(sock, server_hostname=host))
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError; ValueError: not even a name
            sock.close()
            raise ConnectError(f"no TLS with {host} port {port}: {_reason(error)}") from error

    # --- sending

    def _say(self, words: Callable[[], bytes]) -> None:
        """Send what the protocol makes of it, unless it is known that nobody listens any more."""
        if self._socket is None:
            raise ConnectionLost("the connection is not open")
        with self._lock:
            if self._failure is not None:
                raise self._failure
            data = words()
        self._send(data)

    def _send(self, data: bytes) -> None:
        sock, receiver = self._socket, self._receiver
        if sock is None or receiver is None:
            raise ConnectionLost("the connection is not open")
        try:
            sock.sendall(data)
        except OSError as error:
            receiver.join(_LAST_WORDS_S)
            raise (self._failure or self._lost(error)) from error

    # --- receiving

    def _next_event(self, timeout_s: Optional[float] = None) -> Optional[ClientEvent]:
        """What the server says next; None when the session has ended well."""
        try:
            event = self._received.get(timeout=timeout_s)
        except queue.Empty:
            host, port = self._address
            raise WelcomeTimeout(
                f"the server at {host} port {port} gave no answer within {timeout_s:g} s: "
                "it lets its clients wait longer for an engine, or it is no speech-to-text server"
            ) from None
        if event is None:
            self._received.put(None)  # for whoever asks again
            if self._failure is not None:
                raise self._failure
        return event

    def _receive(self, sock: Stream) -> None:
        """Thread: what the server says into the queue, until it ends the session or is gone."""
        try:
            while self._take(sock.recv(_RECEIVE_BYTES)):
                pass
        except OSError as error:
            self._fail(self._lost(error))
        finally:
            self._received.put(None)

    def _take(self, data: bytes) -> bool:
        """Whether more will follow."""
        if not data:
            self._fail(self._lost(None))
            return False
        with self._lock:  # over all of it: a sender that may no longer speak finds the reason
            self._protocol.receive(data)
            try:
                while events := self._protocol.events():
                    for event in events:
                        if isinstance(event, SessionEnded):
                            return False
                        if isinstance(event, ErrorReceived):
                            self._failure = ServerError(event.code, event.detail)
                        else:
                            self._received.put(event)
            except ProtocolError as error:
                self._failure = self._failure or self._strange(data, error)
                return False
        return True

    def _fail(self, failure: ClientError) -> None:
        with self._lock:
            self._failure = self._failure or failure

    def _strange(self, data: bytes, error: ProtocolError) -> StrangeServer:
        host, port = self._address
        if self._protocol.packets:
            return StrangeServer(f"the server at {host} port {port} broke the protocol: {error}")
        if data.startswith(_TLS_ALERT):
            return StrangeServer(f"the server at {host} port {port} takes connections with TLS only")
        said = loggable(data.decode("latin-1"))
        return StrangeServer(f"what answers at {host} port {port} is no speech-to-text server; it says '{said}'")

    def _lost(self, error: Optional[OSError]) -> ConnectionLost:
        """The connection ended with an error, or without one before the session did."""
        if self._protocol.packets == 0 and self._tls is None:
            host, port = self._address
            reason = "" if error is None else f" ({_reason(error)})"
            return StrangeServer(
                f"what answers at {host} port {port} closed the connection without a word{reason}: it is no "
                "speech-to-text server, or one that expects TLS or takes no connection more from this address"
            )
        if error is None:
            return ConnectionLost("the server closed the connection before the session was over")
        return ConnectionLost(f"the connection was lost: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What a person needs of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)


# --- the command -----------------------------------------------------------------------------


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Run the command; returns the exit status."""
    options = _parse(arguments)
    show_what_the_terminal_can()
    try:
        if options.status:
            for line in _client(options).status():
                print(printable(line))
        else:
            _stream(options)
    except ClientError as error:
        print(f"tcp_client: {explain(error)}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("tcp_client: interrupted; the session is over", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read the results has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still has to write
        return EXIT_UNREAD
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
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=WELCOME_TIMEOUT_S,
        metavar="SECONDS",
        help="for an engine; more than the server's network.engine_wait (default: %(default)g)",
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
    if not (text.isdecimal() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a port from 1 to 65535")
    return int(text)


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (seconds := float(text)) < threading.TIMEOUT_MAX:
            return seconds
    raise argparse.ArgumentTypeError(f"got {text!r}; expected a number of seconds above 0")


def _client(options: argparse.Namespace) -> StreamingClient:
    return StreamingClient(options.ip, options.port, options.user, tls=_tls(options), welcome_timeout_s=options.wait)


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
    with _client(options) as client, progress(_seconds_of(len(pcm), options)) as shown:
        sender = threading.Thread(target=_send_all, args=(client, pcm, options, shown), name="sender", daemon=True)
        sender.start()
        for result in client.results():
            shown.show(f"{result.start_s:.1f} {result.end_s:.1f} : {printable(result.text)}")
        sender.join()


def _send_all(client: StreamingClient, pcm: bytes, options: argparse.Namespace, shown: Progress) -> None:
    """Thread: send the recording. An error is for `results` to raise: it knows the server's reason."""
    packet_bytes = _FAST_PACKET_BYTES
    if options.realtime:
        packet_bytes = _SAMPLE_BYTES * int(options.rate * _PACKET_S)
    started_s = time.monotonic()
    with suppress(ClientError):
        for offset in range(0, len(pcm), packet_bytes):
            packet = pcm[offset : offset + packet_bytes]
            if options.realtime:
                _sleep_until(started_s + _seconds_of(offset + len(packet), options))
            client.send(packet)
            shown.advance(_seconds_of(len(packet), options))
        client.finish()


def _sleep_until(moment_s: float) -> None:
    threading.Event().wait(max(0.0, moment_s - time.monotonic()))


def _seconds_of(audio_bytes: int, options: argparse.Namespace) -> float:
    return audio_bytes / (_SAMPLE_BYTES * float(options.rate))


if __name__ == "__main__":
    sys.exit(main())
