"""One session with the server: `StreamingClient`. Standard library, `util.py` and `protocol/` only."""

import queue
import socket
import ssl
import threading
from contextlib import suppress
from types import TracebackType
from typing import Callable, Iterator, List, Optional, Type, Union

from client.errors import ClientError, ConnectError, ConnectionLost, ServerError, StrangeServer, WelcomeTimeout
from client.tls import Stream, TlsStream
from protocol.data import Partial, SessionOptions, SpeechStarted, SpeechStopped, UtteranceDone, UtteranceEvent
from protocol.packets import ProtocolError, loggable
from util import (
    ClientEvent,
    ClientProtocol,
    EngineStatus,
    ErrorReceived,
    Result,
    SessionEnded,
    Welcome,
)

WELCOME_TIMEOUT_S = 120.0
_RECEIVE_BYTES = 64 * 1024
_LAST_WORDS_S = 2.0  # for what the server said before it closed to arrive
_TLS_ALERT = b"\x15\x03"  # opens the answer of a server that expects TLS

SessionEvent = Union[Partial, Result, UtteranceEvent]
_SESSION_EVENTS = (Partial, Result, SpeechStarted, SpeechStopped, UtteranceDone)


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
        options: what is asked for this session: language, form of the audio, live text, events, detail. What the
            server cannot do of it ends the session: ServerError with code ILLEGAL_PACKET.

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
        options: Optional[SessionOptions] = None,
    ) -> None:
        self._address = (host, port)
        self._user = user
        self._timeout_s = timeout_s
        self._tls = tls
        self._welcome_timeout_s = welcome_timeout_s
        self._options = options or SessionOptions()
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
            self._say(lambda: self._protocol.choose(self._options) + self._protocol.begin())
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
        """Send mono audio; blocks while the server is behind.

        It is 16-bit little-endian at the server's sample rate, unless the options name another encoding or rate.

        Raises:
            ServerError: the server has ended the session.
            ConnectionLost: the connection is gone.
        """
        self._say(lambda: self._protocol.audio(pcm))

    def end_utterance(self) -> None:
        """What was said so far is an utterance: it is recognised now, without waiting for silence. Raises as `send`."""
        self._say(self._protocol.end_utterance)

    def finish(self) -> None:
        """No more audio will come: the server recognises what is left and ends the session. Raises as `send`."""
        self._say(self._protocol.finish)

    def results(self) -> Iterator[Result]:
        """Results as they arrive, until the server has ended the session. Raises as `send`."""
        for event in iter(self._next_event, None):
            if isinstance(event, Result):
                yield event

    def events(self) -> Iterator[SessionEvent]:
        """The same with the live text and the events that the options ask for, in the order of their arrival.

        What one of the two iterators has given, the other does not give again. Raises as `send`.
        """
        for event in iter(self._next_event, None):
            if isinstance(event, _SESSION_EVENTS):
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
            raise ConnectError(f"no server answers at {host} port {port}: {reason(error)}") from error
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
            raise ConnectError(f"no TLS with {host} port {port}: {reason(error)}") from error

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
            why = "" if error is None else f" ({reason(error)})"
            return StrangeServer(
                f"what answers at {host} port {port} closed the connection without a word{why}: it is no "
                "speech-to-text server, or one that expects TLS or takes no connection more from this address"
            )
        if error is None:
            return ConnectionLost("the server closed the connection before the session was over")
        return ConnectionLost(f"the connection was lost: {reason(error)}")


def reason(error: Exception) -> str:
    """What a person needs of it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
