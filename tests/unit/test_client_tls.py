"""The client's TLS stream: whichever way OpenSSL has to move bytes first, reading and writing go on."""

import socket
import ssl
import threading
from contextlib import suppress
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Union

import pytest

from client.tls import TlsStream

Step = Union[bytes, int, Exception]


class Scripted(socket.socket):
    """In place of an SSLSocket: what its next calls give. Waiting for it is waiting for a real socket."""

    def __init__(self, sock: socket.socket, reads: Sequence[Step], writes: Sequence[Step]) -> None:
        super().__init__(fileno=sock.detach())
        self.reads, self.writes = list(reads), list(writes)
        self.lock = threading.Lock()
        self.refused = threading.Event()  # a call, once

    def _next(self, steps: List[Step]) -> Step:
        assert self.lock.acquire(blocking=False), "read and written at once"
        try:
            step = steps.pop(0)
        finally:
            self.lock.release()
        if isinstance(step, Exception):
            self.refused.set()
            raise step
        return step

    def recv(self, *_: object) -> Step:  # type: ignore[override] # with the error that the script may hold
        return self._next(self.reads)

    def send(self, *_: object) -> Step:  # type: ignore[override]
        return self._next(self.writes)


class Ends(NamedTuple):
    near: socket.socket
    far: socket.socket

    def scripted(self, reads: Sequence[Step], writes: Sequence[Step]) -> Scripted:
        return Scripted(self.near, reads, writes)

    def fill(self) -> None:
        """Until nothing more can be written to the near end."""
        self.near.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.near.send(bytes(65536))

    def empty(self) -> None:
        """Take what fills the near end."""
        self.far.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self.far.recv(65536)


def stream_over(scripted: Scripted) -> TlsStream:
    return TlsStream(scripted)  # type: ignore[arg-type]


@pytest.fixture
def ends() -> Iterator[Ends]:
    near, far = socket.socketpair()
    with near, far:
        yield Ends(near, far)


def in_thread(call: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def assert_ends(thread: threading.Thread) -> None:
    thread.join(10)
    assert not thread.is_alive()


def test_reading_waits_for_bytes(ends: Ends) -> None:
    stream = stream_over(ends.scripted([ssl.SSLWantReadError(), b"abc"], []))
    ends.far.send(b"x")
    assert stream.recv(10) == b"abc"


def test_reading_that_has_to_write_first_waits_until_it_can(ends: Ends) -> None:
    """As for a change of keys that the server asks for while the socket takes no more."""
    ends.fill()
    got: List[bytes] = []
    scripted = ends.scripted([ssl.SSLWantWriteError(), b"abc"], [])
    stream = stream_over(scripted)
    reader = in_thread(lambda: got.append(stream.recv(10)))
    assert scripted.refused.wait(10)
    assert got == []
    ends.empty()
    assert_ends(reader)
    assert got == [b"abc"]


def test_writing_waits_until_it_can(ends: Ends) -> None:
    scripted = ends.scripted([], [ssl.SSLWantWriteError(), 2, 1])
    stream_over(scripted).sendall(b"abc")
    assert scripted.writes == []


def test_writing_that_has_to_read_first_goes_on_when_the_other_thread_has_read(ends: Ends) -> None:
    """Also where that thread takes the bytes before the writer could see that there are any."""
    scripted = ends.scripted([b"abc"], [ssl.SSLWantReadError(), 3])
    stream = stream_over(scripted)
    writer = in_thread(lambda: stream.sendall(b"abc"))
    assert scripted.refused.wait(10)
    assert stream.recv(10) == b"abc"
    assert_ends(writer)
    assert scripted.writes == []


@pytest.mark.parametrize("end", [b"", ConnectionResetError(), None], ids=["end", "reset", "shutdown"])
def test_writing_that_has_to_read_first_fails_when_nothing_more_is_read(ends: Ends, end: Optional[Step]) -> None:
    scripted = ends.scripted([] if end is None else [end], 3 * [ssl.SSLWantReadError()])
    stream = stream_over(scripted)
    errors: List[OSError] = []

    def write() -> None:
        with pytest.raises(ConnectionError) as caught:
            stream.sendall(b"abc")
        errors.append(caught.value)

    writer = in_thread(write)
    assert scripted.refused.wait(10)
    with suppress(ConnectionResetError):
        if end is None:
            stream.shutdown(socket.SHUT_RDWR)
        else:
            assert stream.recv(10) == b""
    assert_ends(writer)
    with pytest.raises(ConnectionError):
        stream.sendall(b"abc")
    assert len(errors) == 1


def test_a_stream_that_is_closed_under_a_writer_is_an_error_of_the_connection(ends: Ends) -> None:
    stream = stream_over(ends.scripted([], [ssl.SSLWantWriteError()]))
    stream.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        stream.sendall(b"abc")
