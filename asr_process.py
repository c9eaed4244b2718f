"""Engines as the server sees them: their processes, and the pool that gives them to sessions.

    server process                                          engine process, one each
    ┌──────────────────────────────────────────────┐        ┌─────────────────────────────────────┐
    │ session ─▶ EnginePool ─▶ ASRProcess.send ────┼────────▶ listener ─▶ frames ─▶ VAD           │
    │    ▲          │ ▲             commands queue │        │   ─▶ endpointer ─▶ utterance        │
    │    │     Supervision          answers queue  │        │                                     │
    │    └─ messages ◀─┴── keeper thread ◀─────────┼────────┼── worker ◀─ recogniser              │
    └──────────────────────────────────────────────┘        └─────────────────────────────────────┘

The rules are in `server/supervision.py`, which is pure; here is what they need to act: processes, queues, threads, the
clock, one lock. Each engine has one pair of queues, thrown away with it: a process that is killed while it holds a
queue's lock blocks nobody else.
"""

import contextlib
import itertools
import logging
import multiprocessing.process
import os
import queue
import select
import signal
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional

import logger
from boundary.messages import Answer, Command, Content, Logged, Recognized
from boundary.settings import EngineSettings
from engine.main import engine_main
from engine.turns import Board, Work
from forkserver.start import CONTEXT, ForkFailed, ForkServer
from server.load import LoadMeter
from server.supervision import (
    Action,
    AllReady,
    EngineFailed,
    EngineState,
    GiveUp,
    Inform,
    Kill,
    Lost,
    Refused,
    SessionMessage,
    Start,
    Supervision,
    Tell,
)

__all__ = ["ASRProcess", "EnginePool", "EngineState"]

_log = logging.getLogger(__name__)

_CLOCK_RETRY_S = 1.0
_END_S = 5.0  # for the kernel to end a process that was killed
_UNKNOWN_EXIT = 255  # multiprocessing's word for the status of a process whose fork server is gone

# --- one process -----------------------------------------------------------------------------


class ASRProcess:
    """One engine process and its pair of queues, as the server sees it.

    Args:
        index: of the engine.
        settings: of every engine.
        board: where the engines see how busy they are.
    """

    def __init__(self, index: int, settings: EngineSettings, board: Board) -> None:
        # Typed Any for their pipe ends, which multiprocessing shows to nobody but its own concurrent.futures.
        self._commands: Any = CONTEXT.SimpleQueue()
        self._answers: Any = CONTEXT.SimpleQueue()
        self._handle: Optional[int] = None
        self._sending = threading.Lock()  # with it, no queue is closed under who writes into it
        self._closed = False
        self._process = CONTEXT.Process(
            target=engine_main,
            args=(index, settings, board, self._commands, self._answers),
            name=f"engine-{index}",
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

    def send(self, command: Command) -> None:
        """Hand over a command; to a process that is gone, it goes nowhere.

        Where pipes are small, as Linux makes those of a user who has very many, it waits for a frozen process: until
        that is ended.
        """
        with self._sending, contextlib.suppress(OSError):  # the keeper learns of the death from `answers`
            if not self._closed:
                self._commands.put(command)

    def answers(self) -> Iterator[Answer]:
        """What the engine says, until it is gone."""
        while True:
            try:
                answer = self._answers.get()
            except (EOFError, OSError):  # the process's sentinel would tell of the fork server's death too
                return
            yield answer

    def kill(self) -> None:
        """End the process at once, also a frozen one; before `close` only.

        By the process itself, not by what multiprocessing believes: that takes an engine for ended when the fork server
        that it came from is.
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


# --- all of them -----------------------------------------------------------------------------

Post = Callable[[SessionMessage], None]


class EnginePool:
    """The engines: gives them to sessions, replaces those that die or hang.

    One keeper thread for each engine starts its process and listens to it; one thread does what the clock asks for.
    One lock guards the state, and under it nothing waits: what a session is told goes into its mailbox, what an idle
    engine is told fits into its empty queue, and what its session's thread sends it is sent outside.

    Args:
        settings: of every engine; `settings.model.channel` of them run.
        on_ready: called once, when every engine has loaded its model.
        on_fatal: called at most once, with the reason, when no engine can be had.
    """

    def __init__(self, settings: EngineSettings, on_ready: Callable[[], None], on_fatal: Callable[[str], None]) -> None:
        n_engines = settings.model.channel
        self._settings = settings
        self._on_ready = on_ready
        self._on_fatal = on_fatal
        self._fork_server = ForkServer(settings.model)
        self._board = Board(CONTEXT, n_engines)
        self._changed = threading.Condition(threading.RLock())
        self._supervision = Supervision(n_engines, settings.model.hang_timeout)
        self._processes: Dict[int, ASRProcess] = {}  # by slot
        self._posts: Dict[int, Post] = {}  # by session, until it is told that it has no engine (any more)
        self._numbers = itertools.count(1)
        self._load = LoadMeter()
        self._stopping = False
        self._starts: List[queue.SimpleQueue[Optional[Start]]] = [queue.SimpleQueue() for _ in range(n_engines)]
        self._threads = [threading.Thread(target=self._watch_clock, name="clock", daemon=True)]
        for slot in range(n_engines):
            self._threads.append(threading.Thread(target=self._keep, args=(slot,), name=f"keeper-{slot}", daemon=True))

    def start(self) -> None:
        """Begin to start the engines; the model is loaded first, and brought if need be."""
        with self._changed:
            self._perform(self._supervision.begin(time.monotonic()))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End every engine and every thread; sessions that still run are not told."""
        with self._changed:
            self._stopping = True
            self._perform(self._supervision.stop())
            self._changed.notify_all()
            for starts in self._starts:
                starts.put(None)
        self._fork_server.stop()
        for thread in self._threads:
            thread.join()

    # --- for sessions

    def states(self) -> List[EngineState]:
        """What each engine does, in order."""
        with self._changed:
            return self._supervision.states()

    @property
    def sessions(self) -> int:
        """How many have an engine or wait for one."""
        return len(self._posts)

    def request(self, post: Post, patience_s: float) -> int:
        """Ask for an engine; returns the session's number.

        `post` is told `Granted`, at once or within `patience_s`, or `Refused`; then what comes of the session. It is
        called under the pool's lock, by any thread: it must not block.
        """
        with self._changed:
            session = next(self._numbers)
            self._posts[session] = post
            self._perform(self._supervision.request(session, patience_s, time.monotonic()))
            self._changed.notify_all()
            return session

    def hand_on(self, session: int, content: Content) -> None:
        """Give the session's engine what it has room for: WINDOW_BYTES with all that it has not consumed yet."""
        self._relay(lambda now_s: self._supervision.hand_on(session, content, now_s))

    def finish(self, session: int) -> None:
        """No more audio: the session is told of what is left, then `Closed`."""
        self._relay(lambda now_s: self._supervision.finish(session, now_s))

    def release(self, session: int) -> None:
        """The session is over, at whatever point: it is told nothing more."""
        with self._changed:
            self._posts.pop(session, None)
        self._relay(lambda now_s: self._supervision.release(session, now_s))

    def _relay(self, decide: Callable[[float], List[Action]]) -> None:
        """Send an engine what its session wants; a session's thread does so in order, and waits for nobody else."""
        with self._changed:
            actions = decide(time.monotonic())
            told = [
                (self._processes.get(action.slot), action.command) for action in actions if isinstance(action, Tell)
            ]
        for process, command in told:
            if process is not None:
                process.send(command)

    # --- what the rules ask for, with the lock held

    def _perform(self, actions: List[Action]) -> None:
        for action in actions:
            if isinstance(action, Tell):
                if action.slot in self._processes:
                    self._processes[action.slot].send(action.command)
            elif isinstance(action, Inform):
                self._inform(action)
            elif isinstance(action, Start):
                self._starts[action.slot].put(action)
            elif isinstance(action, Kill):
                self._kill(action.slot)
            elif isinstance(action, Lost):
                _log.error("engine %d: %s; it is started again", action.slot, action.reason)
            elif isinstance(action, AllReady):
                self._on_ready()
            elif isinstance(action, GiveUp):
                self._on_fatal(action.reason)

    def _inform(self, action: Inform) -> None:
        if isinstance(action.message, (Refused, EngineFailed)):
            post = self._posts.pop(action.session, None)
        else:
            post = self._posts.get(action.session)
        if post is not None:
            post(action.message)

    def _kill(self, slot: int) -> None:
        process = self._processes.get(slot)
        if process is not None:
            process.kill()
        else:
            self._fork_server.kill()

    # --- one engine's process, in its keeper's thread

    def _keep(self, slot: int) -> None:
        came_from = 0
        for start in iter(self._starts[slot].get, None):
            short_of_room = False
            try:
                if start.afresh:
                    self._fork_server.replace(came_from)
                process = ASRProcess(slot, self._settings, self._board)
                came_from = process.start(self._fork_server)
                how = self._listen(slot, process)
            except ForkFailed as error:
                how, short_of_room = str(error), error.short_of_room
            except OSError as error:  # no descriptor for its queues
                how, short_of_room = f"its process cannot be started ({error.strerror})", True
            except Exception:  # whatever it is, the slot is to have an engine again
                _log.exception("engine %d: its keeper fails", slot)
                how = "its keeper failed"
            with self._changed:
                self._board.mark(slot, Work.NONE)
                self._perform(self._supervision.died(slot, how, time.monotonic(), short_of_room))
                self._changed.notify_all()

    def _listen(self, slot: int, process: ASRProcess) -> str:
        """Until the process is gone; returns how it ended."""
        with self._changed:
            self._processes[slot] = process
            if self._stopping:
                process.kill()
        try:
            for answer in process.answers():
                self._hear(slot, answer)
        finally:
            with self._changed:
                del self._processes[slot]
            ending = process.close()
        return f"its process died ({ending})"

    def _hear(self, slot: int, answer: Answer) -> None:
        if isinstance(answer, Logged):
            logger.handle_forwarded(answer.record)
        now_s = time.monotonic()
        with self._changed:
            if isinstance(answer, Recognized) and self._load.add(now_s, answer.end_s - answer.start_s, answer.busy_s):
                self._changed.notify_all()
            self._perform(self._supervision.heard(slot, answer, now_s))

    # --- the clock's thread

    def _watch_clock(self) -> None:
        """Let the rules do what is due. What comes to be owed meanwhile is due later, so nobody need wake it."""
        while not self._stopping:
            try:
                self._do_what_is_due()
            except Exception:  # whatever it is, engines are to be watched
                _log.exception("the clock fails, and goes on")
                time.sleep(_CLOCK_RETRY_S)

    def _do_what_is_due(self) -> None:
        with self._changed:
            while not self._stopping:
                now_s = time.monotonic()
                self._perform(self._supervision.due(now_s))
                if self._load.due_s <= now_s:
                    self._tell_load()
                due_s = min(self._supervision.next_due_s, self._load.due_s)
                self._changed.wait(min(max(0.0, due_s - now_s), threading.TIMEOUT_MAX))

    def _tell_load(self) -> None:
        load, states = self._load.take(), self._supervision.states()
        _log.info(
            "%d of %d engines in use; last minute: %d segments, %.1f s, real-time factor %.2f",
            states.count(EngineState.RUNNING),
            len(states),
            load.segments,
            load.speech_s,
            load.real_time_factor,
        )
        if load.real_time_factor > 1:
            _log.warning(
                "the engines cannot keep up (real-time factor %.1f): clients wait for their results; "
                "take a smaller model.size, fewer engines (model.channel), or a machine with more cores",
                load.real_time_factor,
            )
