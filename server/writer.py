"""What one client is sent."""

import errno
import select
import socket
import threading
from typing import Callable, Optional

from server.tls import Stream
from server.waiting import Deadline, TimedOut, wait_ready

_HIGH_WATER_BYTES = 256 * 1024  # of packets a client has not read, from which on it is not listened to either
LINGER_S = 2.0  # for the client to read the last packets, before what it still sends makes the kernel reset


class PacketWriter:
    """Everything that one client is sent, in order, from a thread of its own.

    Args:
        sock: non-blocking.
        timeout_s: a client that has not taken what was queued within that time is cut off.
        name: of the thread.
        on_room: called, in that thread, when what was queued has been sent.
    """

    def __init__(self, sock: Stream, timeout_s: float, name: str, on_room: Callable[[], None]) -> None:
        self._socket = sock
        self._on_room = on_room
        self._timeout_s = timeout_s
        self._name = name
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._finished = False
        self._broken = False
        self.stalled = False  # the client took nothing for too long
        self.done = False  # the client has had its time to read: what it still sends is not read any more
        self._reader_done = threading.Event()
        self._thread: Optional[threading.Thread] = None

    def send(self, packet: bytes) -> None:
        """Queue a packet; never blocks. After `finish` it is dropped."""
        with self._changed:
            if not self._finished:
                self._pending += packet
                self._wake()

    def finish(self, packets: bytes = b"") -> None:
        """Queue the last packets: when they are sent, the client reads the end of the stream."""
        with self._changed:
            if not self._finished:
                self._pending += packets
                self._finished = True
                if self._pending or self._thread is not None:
                    self._wake()

    def has_room(self) -> bool:
        """Whether the client has not too much unread: who does not listen is not listened to."""
        return len(self._pending) < _HIGH_WATER_BYTES or self._broken

    def close(self) -> None:
        """The reader is done: wait for the thread to send what it can."""
        self._reader_done.set()
        self.finish()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:  # most strangers never get an answer, so never cost a thread
            thread = threading.Thread(target=self._run, name=f"{self._name}-writer", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the machine has no room for it: nothing can be said to this client
                self._broken = self._finished = self.done = True
                self._wake_reader()
                return
            self._thread = thread
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            while self._send_pending():
                pass
            self._socket.shutdown(socket.SHUT_WR)
            self._reader_done.wait(LINGER_S)
        except (OSError, TimedOut) as error:  # the client is gone, or takes nothing
            with self._changed:
                self.stalled = isinstance(error, TimedOut)
                self._broken = self._finished = True
        finally:
            self.done = True
            self._on_room()
            self._wake_reader()

    def _send_pending(self) -> bool:
        """Send what is queued; False when it was the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._finished)
            packets, self._pending = self._pending, bytearray()
            last = self._finished
        self._send_all(memoryview(packets))
        self._on_room()
        return not last

    def _send_all(self, data: memoryview) -> None:
        deadline = Deadline(self._timeout_s)
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                if not wait_ready([self._socket], select.POLLOUT, deadline.remaining_s()):
                    raise TimedOut("what was sent was not read") from None

    def _wake_reader(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            if error.errno not in (errno.ENOTCONN, errno.EBADF):  # already disconnected, so the reader knows
                raise
