"""What other threads want one thread to know."""

import contextlib
import socket
import threading
from typing import Generic, List, TypeVar

_Message = TypeVar("_Message")


class Mailbox(Generic[_Message]):
    """Messages for a thread that waits for descriptors; any thread may post.

    It has two descriptors of its own, which nobody else touches: whoever posts holds the lock that `close` needs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: List[_Message] = []
        self._closed = False
        self._receiver, self._sender = socket.socketpair()

    def post(self, message: _Message) -> None:
        """Leave a message, and wake the thread; never blocks. After `close` nobody reads it."""
        with self._lock:
            if self._closed:
                return
            if not self._messages:  # else the byte from before is still there
                self._sender.send(b"!")
            self._messages.append(message)

    def take(self) -> List[_Message]:
        """All messages, in order."""
        with self._lock:
            messages, self._messages = self._messages, []
            if messages:
                self._receiver.recv(1)
            return messages

    def fileno(self) -> int:
        """Readable while there are messages."""
        return self._receiver.fileno()

    def close(self) -> None:
        """Nobody reads any more."""
        with self._lock, contextlib.ExitStack() as ends:
            self._closed = True
            ends.callback(self._receiver.close)
            ends.callback(self._sender.close)
