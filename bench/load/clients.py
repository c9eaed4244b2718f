"""The clients of a load test: one loop over all their sockets, in one thread."""

import errno
import heapq
import os
import selectors
import socket
import struct
import time
from collections import Counter
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from bench import speech
from bench.load import plan
from bench.load.plan import BYTES_PER_S, STAGGER_S, Arrived, Heard, Stream, Window, due_s, packet_bytes
from bench.serving import Address
from protocol.data import Partial, SessionOptions, SpeechStarted, SpeechStopped, UtteranceDone
from protocol.packets import ProtocolError
from util import (
    ClientEvent,
    ClientProtocol,
    ErrorReceived,
    Result,
    SessionEnded,
    Welcome,
)

_HANDSHAKE_S = 60.0
_DRAIN_S = 120.0  # for what is still to be recognised when all audio is sent
_LEAD_S = 0.5  # from the plan of a run to its first packet
_NOTHING_ASKED = SessionOptions()
_RECEIVE_BYTES = 64 * 1024
_PUSHED_BYTES = 32 * 1024  # in one packet of the client that does not speak in real time


class Client:
    """One session with the server.

    Attributes:
        arrived: results, live text and events so far, in order.
        failure: why the session ended badly; None while it has not.
        over: the session has ended, well or badly.
    """

    def __init__(self, address: Address, user: str, options: SessionOptions = _NOTHING_ASKED) -> None:
        self.arrived: List[Arrived] = []
        self.failure: Optional[str] = None
        self.over = False
        self._protocol = ClientProtocol()
        self._unsent = bytearray()
        self._welcome = False
        self._selector: Optional[selectors.BaseSelector] = None
        self._events = 0
        self._socket = socket.socket()
        try:
            self._socket = socket.create_connection(address, _HANDSHAKE_S)
            self._handshake(user, options)
        except OSError as error:
            self._fail(_kind(error))

    @property
    def heard(self) -> List[Heard]:
        """The results so far."""
        return [Heard(one.said, one.arrival_s) for one in self.arrived if isinstance(one.said, Result)]

    def _handshake(self, user: str, options: SessionOptions) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = self._protocol.ask_engine(user) + self._protocol.choose(options)
        self._socket.sendall(asked + self._protocol.begin())
        while not self._welcome and not self.over:
            self.receive()
        self._socket.setblocking(False)

    def watch(self, selector: selectors.BaseSelector) -> None:
        """From now on be told of what its socket is ready for."""
        if not self.over:
            self._selector = selector
            self._events = selectors.EVENT_READ
            selector.register(self._socket, self._events, self)

    def send(self, data: bytes) -> None:
        """Send, or keep what the server does not take yet."""
        if self.over:
            return
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what was kept."""
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(error)
        self._want_to_write(bool(self._unsent))

    def receive(self) -> None:
        """Take what the server sends."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(_kind(error))
            return
        arrival_s = time.monotonic()
        if not data:
            self._fail("disconnected")
            return
        self._protocol.receive(data)
        try:
            while events := self._protocol.events():
                for event in events:
                    self._take(event, arrival_s)
        except ProtocolError:
            self._fail("broken protocol")

    def leave(self, failure: Optional[str] = None) -> None:
        """End the session at once, also where the server has not read everything."""
        if not self.over:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.failure = failure
            self._close()

    def _take(self, event: ClientEvent, arrival_s: float) -> None:
        if isinstance(event, Welcome):
            self._welcome = True
        elif isinstance(event, (Partial, Result, SpeechStarted, SpeechStopped, UtteranceDone)):
            self.arrived.append(Arrived(event, arrival_s))
        elif isinstance(event, ErrorReceived):
            self._fail(event.code)
        elif isinstance(event, SessionEnded) and not self.over:
            self._close()

    def _lost(self, error: OSError) -> None:
        """Sending failed; the server's last words may be waiting."""
        self.receive()
        if not self.over:
            self._fail(_kind(error))

    def _fail(self, kind: str) -> None:
        if not self.over:
            self.failure = kind
            self._close()

    def _close(self) -> None:
        self.over = True
        if self._selector is not None:
            self._selector.unregister(self._socket)
            self._selector = None
        self._socket.close()

    def _want_to_write(self, wanted: bool) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        if self._selector is not None and events != self._events:
            self._events = events
            self._selector.modify(self._socket, events, self)


class LiveClient(Client):
    """One that speaks in real time.

    Attributes:
        sent_s: when each packet of audio was sent (seconds of the monotonic clock).
        start_s: when the first one is to be sent.
    """

    def __init__(
        self, address: Address, user: str, stream: Stream, packet_ms: int, options: SessionOptions = _NOTHING_ASKED
    ) -> None:
        self.sent_s: List[float] = []
        self.start_s = 0.0
        self.stream = stream
        self._packet_ms = packet_ms
        self._packet_bytes = packet_bytes(packet_ms)
        super().__init__(address, user, options)

    @property
    def due_s(self) -> float:
        """When its next packet is to be sent."""
        return due_s(self.start_s, len(self.sent_s), self._packet_ms)

    def send_next(self, now_s: float) -> bool:
        """Send one packet; whether another follows."""
        offset = len(self.sent_s) * self._packet_bytes
        pcm = self.stream.pcm[offset : offset + self._packet_bytes]
        self.sent_s.append(now_s)
        self.send(self._protocol.audio(pcm))
        if offset + self._packet_bytes < len(self.stream.pcm):
            return not self.over
        if not self.over:
            self.send(self._protocol.finish())
        return False

    def known_s(self, known_bytes: Sequence[int]) -> List[float]:
        """When the packets were sent that complete these counts of bytes, for those that were sent."""
        packets = [-(-count // self._packet_bytes) - 1 for count in known_bytes]
        return [self.sent_s[packet] for packet in packets if packet < len(self.sent_s)]

    def tally(self, window: Window) -> plan.Tally:
        """Its results held against the ends of its utterances."""
        endpoints = plan.find_endpoints(self.stream.pcm)
        return plan.tally(endpoints, self.heard, self.known_s([point.known_bytes for point in endpoints]), window)


class PushingClient(Client):
    """One that sends a recording over and over, as fast as the server takes it."""

    def __init__(self, address: Address, user: str, pcm: bytes) -> None:
        self._pieces = [pcm[start : start + _PUSHED_BYTES] for start in range(0, len(pcm), _PUSHED_BYTES)]
        self._next = 0
        self._started_s: Optional[float] = None
        super().__init__(address, user)

    def flush(self) -> None:
        """Send what was kept, and always keep some more."""
        if self._started_s is None:
            self._started_s = time.monotonic()
        super().flush()
        if not self._unsent and not self.over:
            self._unsent += self._protocol.audio(self._pieces[self._next % len(self._pieces)])
            self._next += 1
            self._want_to_write(True)

    @property
    def times_real_time(self) -> Optional[float]:
        """How fast the server recognises what it sends; None without two results."""
        heard = self.heard
        if len(heard) < 2:
            return None
        first, last = heard[0], heard[-1]
        return (last.result.end_s - first.result.end_s) / max(last.arrival_s - first.arrival_s, 1e-3)


class Timetable(NamedTuple):
    """When what happens (seconds of the monotonic clock): each client's start, what counts, when to give up."""

    starts_s: List[float]
    window: Window
    deadline_s: float


def timetable(streams: Sequence[Stream], offsets_s: Sequence[float], seconds: float) -> Timetable:
    """That of clients which begin soon, each so many seconds after the first one may; `seconds` of it count."""
    first_s = time.monotonic() + _LEAD_S
    window = Window(first_s + STAGGER_S, first_s + STAGGER_S + seconds)
    sent_s = max(offset_s + len(stream.pcm) / BYTES_PER_S for stream, offset_s in zip(streams, offsets_s))
    return Timetable([first_s + offset_s for offset_s in offsets_s], window, first_s + sent_s + _DRAIN_S)


def failures(clients: Sequence[Client]) -> Dict[str, int]:
    """How many sessions ended badly, by kind."""
    return dict(Counter(client.failure for client in clients if client.failure is not None))


def error_rate(clients: Sequence[LiveClient], language: str) -> Optional[float]:
    """Of all recordings in sessions that ended well; None without one."""
    references: List[List[str]] = []
    texts: List[str] = []
    for client in clients:
        if client.failure is None:
            references += [placed.recording.references for placed in client.stream.placed]
            texts += plan.texts(client.stream.placed, client.heard)
    return speech.error_rate(references, texts, language) if texts else None


def converse(clients: Sequence[LiveClient], neighbour: Optional[PushingClient], times: Timetable) -> List[float]:
    """Hold all sessions to their ends; returns how late each packet within the window was sent, in ms."""
    lags_ms: List[float] = []
    with selectors.DefaultSelector() as selector:
        for client, start_s in zip(clients, times.starts_s):
            client.start_s = start_s
            client.watch(selector)
        if neighbour is not None:
            neighbour.watch(selector)
            neighbour.flush()
        due = [(client.due_s, number) for number, client in enumerate(clients) if not client.over]
        heapq.heapify(due)
        while not all(client.over for client in clients):
            lags_ms += _send_due(clients, due, times.window)
            now_s = time.monotonic()
            if now_s >= times.deadline_s:
                break
            _answer(selector, (due[0][0] if due else times.deadline_s) - now_s)
        for client in clients:
            client.leave("no end")
        if neighbour is not None:
            neighbour.leave()
    return lags_ms


def _send_due(clients: Sequence[LiveClient], due: List[Tuple[float, int]], window: Window) -> List[float]:
    lags_ms = []
    while due and due[0][0] <= (now_s := time.monotonic()):
        planned_s, number = due[0]
        client = clients[number]
        if client.over:
            heapq.heappop(due)
            continue
        if window.holds(planned_s):
            lags_ms.append(1000 * (now_s - planned_s))
        if client.send_next(now_s):
            heapq.heapreplace(due, (client.due_s, number))
        else:
            heapq.heappop(due)
    return lags_ms


def _answer(selector: selectors.BaseSelector, timeout_s: float) -> None:
    # A wait of 0 ms, not below: a negative one would be forever for some selectors.
    for key, events in selector.select(max(timeout_s, 0.0)):
        client: Client = key.data
        if events & selectors.EVENT_READ:
            client.receive()
        if events & selectors.EVENT_WRITE and not client.over:
            client.flush()


def _kind(error: OSError) -> str:
    """One word or two for why a connection ended."""
    if isinstance(error, socket.timeout):
        return "no answer"
    if isinstance(error, socket.gaierror):
        return "unknown host"
    if error.errno in (errno.ECONNRESET, errno.EPIPE):
        return "disconnected"
    return os.strerror(error.errno).lower() if error.errno else "no connection"
