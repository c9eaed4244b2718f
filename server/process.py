"""A process that is forked from the fork server, and its pair of queues, as the server sees it."""

import contextlib
import multiprocessing.process
import os
import select
import signal
import threading
from typing import Any, Callable, Iterator, Optional, Tuple

from forkserver.start import CONTEXT, ForkServer

_END_S = 5.0  # for the kernel to end a process that was killed
_UNKNOWN_EXIT = 255  # multiprocessing's word for the status of a process whose fork server is gone


class ChildProcess:
    """A process and its pair of queues, thrown away with it.

    Args:
        target: what it runs, with `arguments`, the commands queue and the answers queue.
        name: of the process.
    """

    def __init__(self, target: Callable[..., None], arguments: Tuple[Any, ...], name: str) -> None:
        # Typed Any for their pipe ends, which multiprocessing shows to nobody but its own concurrent.futures.
        self._commands: Any = CONTEXT.SimpleQueue()
        self._answers: Any = CONTEXT.SimpleQueue()
        self._handle: Optional[int] = None
        self._sending = threading.Lock()  # with it, no queue is closed under who writes into it
        self._closed = False
        self._process = CONTEXT.Process(
            target=target,
            args=(*arguments, self._commands, self._answers),
            name=name,
            daemon=True,
        )

    def start(self, fork_server: ForkServer) -> int:
        """Fork the process; returns the id of what it was forked from. Raises ForkFailed."""
        try:
            came_from = fork_server.fork(self._process)
        except BaseException:
            self._close_queues()
            raise
        self._handle = _open_handle(self._process.pid)
        # From now on only `close` asks how it ended: multiprocessing would, in any thread that starts a process, and
        # of two who ask at once one is told nonsense.
        children: Any = multiprocessing.process
        children._children.discard(self._process)
        # Each side lets go of the other's ends, so that both learn of the other's death from the queue itself.
        self._commands._reader.close()
        self._answers._writer.close()
        return came_from

    @property
    def pid(self) -> Optional[int]:
        """Its id; None before it has one."""
        return self._process.pid

    def send(self, command: Any) -> None:
        """Hand over a command; to a process that is gone, it goes nowhere.

        Where pipes are small, as Linux makes those of a user who has very many, it waits for a frozen process: until
        that is ended.
        """
        with self._sending, contextlib.suppress(OSError):  # the keeper learns of the death from `answers`
            if not self._closed:
                self._commands.put(command)

    def answers(self) -> Iterator[Any]:
        """What the process says, until it is gone."""
        while True:
            try:
                answer = self._answers.get()
            except (EOFError, OSError):  # the process's sentinel would tell of the fork server's death too
                return
            yield answer

    def kill(self) -> None:
        """End the process at once, also a frozen one; before `close` only.

        By the process itself, not by what multiprocessing believes: that takes it for ended when what it was forked
        from is.
        """
        with contextlib.suppress(ProcessLookupError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            elif self._process.pid is not None:  # nobody else has the id: until `close`, the answers queue is watched
                os.kill(self._process.pid, signal.SIGKILL)

    def close(self) -> str:
        """Let go of the process, ending it if need be; returns how it ended."""
        self.kill()
        if self._handle is not None:
            ended = select.poll()
            ended.register(self._handle, select.POLLIN)
            ended.poll(_END_S * 1000)
            os.close(self._handle)
            self._handle = None
        self._process.join(_END_S)
        exit_code = self._process.exitcode
        self._close_queues()
        if exit_code == -signal.SIGKILL:
            return "it was killed, as the system does when memory runs out"
        if exit_code in (None, _UNKNOWN_EXIT):
            return "it is not known of what: the process that it was forked from does not say, or is gone too"
        return f"it was ended by signal {-exit_code}" if exit_code and exit_code < 0 else f"exit status {exit_code}"

    def _close_queues(self) -> None:
        with self._sending:
            self._closed = True
        for end in (self._commands._reader, self._commands._writer, self._answers._reader, self._answers._writer):
            end.close()


def _open_handle(pid: Optional[int]) -> Optional[int]:
    """A descriptor of the process, which no other process can come to have (pidfd_open(2)); None where there is none.

    Python has it since 3.9, Linux since 5.3.
    """
    if pid is None or not hasattr(os, "pidfd_open"):
        return None
    with contextlib.suppress(OSError):
        return os.pidfd_open(pid)
    return None
