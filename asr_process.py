"""Both sides of the process boundary: engines that recognise, and the pool that leases them.

    server process                                     engine process, one each
    ┌───────────────────────────────────────┐          ┌──────────────────────────────────┐
    │ session ──▶ Lease ── commands queue ──┼─────────▶│ receiver ─▶ frames ─▶ VAD        │
    │    ▲                                  │          │   ─▶ Endpointer ─▶ utterance     │
    │    └─ SessionSink ◀─ keeper thread ◀──┼──────────┼── answers queue ◀─ Recognizer    │
    └───────────────────────────────────────┘          └──────────────────────────────────┘

Each engine has one pair of queues, thrown away with it: a process that is killed while it holds a queue's lock
blocks nobody else. Who owns what: the pool's lock guards every engine's state in the server; the engine process
owns audio and endpointing. An engine is idle again when *it* has said that a session is over, not before.
"""

import contextlib
import errno
import logging
import signal
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Iterator, List, NamedTuple, Optional

import logger
from boundary.messages import Answer, Closed, Command, Consumed, Logged, Ready, Recognized, StartFailed
from boundary.settings import EngineSettings
from engine.turns import Board, Work
from forkserver import start as fork_server
from server.leasing import Engine, EngineState, Lease, LeaseOver, SessionSink, Ticket
from server.load import Load, LoadMeter

__all__ = ["ASRProcess", "EnginePool", "EngineSettings", "EngineState", "Lease", "LeaseOver", "SessionSink", "Ticket"]

_log = logging.getLogger(__name__)

_JOIN_S = 5.0
_UNKNOWN_EXIT = 255  # multiprocessing's word for the status of a process whose fork server is gone
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


def _run_engine(*args: Any) -> None:
    """Where the engine process begins."""
    try:
        from engine.worker import engine_main  # noqa: PLC0415 - the server process does not load torch
    except Exception as error:  # a library that is missing, or for which there is no memory
        reason = f"an engine cannot load what it needs ({error}); is requirements.txt installed, is there memory?"
        args[-1].put(StartFailed(reason))
        return

    engine_main(*args)


class ASRProcess:
    """One engine process and its pair of queues, as the server sees it.

    Args:
        index: of the engine.
        config: of every engine.
        board: where the engines see how busy they are.
        log_level: of its log.
        retells: whether it logs how the model was loaded.
    """

    def __init__(self, index: int, config: EngineSettings, board: Board, log_level: str, retells: bool) -> None:
        # Typed Any for their pipe ends, which multiprocessing shows to nobody but its own concurrent.futures.
        self._commands: Any = fork_server.CONTEXT.SimpleQueue()
        self._answers: Any = fork_server.CONTEXT.SimpleQueue()
        self._process = fork_server.CONTEXT.Process(
            target=_run_engine,
            args=(index, config, board, log_level, retells, self._commands, self._answers),
            name=f"engine-{index}",
            daemon=True,
        )

    def start(self) -> None:
        """Start the process; raises OSError when the machine has no room for it."""
        self._process.start()
        # Each side lets go of the other's ends, so that both learn of the other's death from the queue itself.
        self._commands._reader.close()
        self._answers._writer.close()

    @property
    def pid(self) -> Optional[int]:
        """The process's id."""
        return self._process.pid

    def send(self, command: Command) -> None:
        """Hand over a command; to a process that is gone, it goes nowhere."""
        with contextlib.suppress(OSError):  # the keeper learns of the death from `answers`, and tells the session
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
        """End the process at once, also a frozen one."""
        self._process.kill()

    def close(self) -> str:
        """Let go of the process, ending it if need be; returns how it ended."""
        self._process.kill()
        self._process.join(_JOIN_S)
        exit_code = self._process.exitcode
        self._commands._writer.close()
        self._answers._reader.close()
        if exit_code == -signal.SIGKILL:
            return "it was killed, as the system does when memory runs out"
        if exit_code == _UNKNOWN_EXIT:
            return "nobody knows of what: what it was forked from is gone too"
        return f"it was ended by signal {-exit_code}" if exit_code and exit_code < 0 else f"exit status {exit_code}"


_BACKOFF_FIRST_S = 0.5
_BACKOFF_LIMIT_S = 30.0
_STABLE_S = 10.0  # an engine that lived longer than this, or has served a session, was not in a crash loop
_FAILED_STARTS_LIMIT = 5
_OVERSLEPT_S = 1.0


class EnginePool:
    """The engines: leases them to sessions, replaces those that die or hang.

    One keeper thread for each engine starts its process, listens to it and starts the next one; one watchdog thread
    ends processes that owe an answer for too long.

    Args:
        config: for every engine; `config.model.channel` of them run.
        log_level: of the engines' processes.
        on_ready: called once, when every engine has loaded its model.
        on_fatal: called at most once, with the reason, when an engine cannot be started at all.
    """

    def __init__(
        self,
        config: EngineSettings,
        log_level: str,
        on_ready: Callable[[], None],
        on_fatal: Callable[[str], None],
    ) -> None:
        self._config = config
        self._log_level = log_level
        self._on_ready = on_ready
        self._on_fatal = on_fatal
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._engines = [Engine(index) for index in range(config.model.channel)]
        self._board = Board(fork_server.CONTEXT, config.model.channel)
        self._tickets: Deque[Ticket] = deque()
        self._load = LoadMeter()
        self._sessions = 0
        self._first_starts = 0  # engines that have been ready at least once
        self._stopping = False
        self._threads: List[threading.Thread] = []

    def start(self) -> None:
        """Begin to start the engines; the model is loaded first, and brought if need be. Main thread only."""
        fork_server.start(self._config.model)
        for engine in self._engines:
            self._start_thread(self._keep, f"keeper-{engine.index}", engine)
        self._start_thread(self._watch, "watchdog")

    def _start_thread(self, target: Callable[..., None], name: str, *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """End every engine and every thread; sessions that still run lose theirs."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            for engine in self._engines:
                if engine.process is not None:
                    engine.process.kill()
        fork_server.stop()
        for thread in self._threads:
            thread.join()
        fork_server.stop()  # a keeper that was just starting an engine may have brought it back

    def states(self) -> List[EngineState]:
        """What each engine does, in order."""
        with self._lock:
            return [engine.state for engine in self._engines]

    # --- leasing

    def request(self, sink: SessionSink, on_granted: Callable[[], object]) -> Ticket:
        """Ask for an engine: the ticket has its lease at once, or gets it in turn.

        `on_granted` is called then, under the pool's lock: it must not block.
        """
        ticket = Ticket(sink, on_granted)
        with self._lock:
            idle = next((engine for engine in self._engines if engine.state is EngineState.SLEEPING), None)
            if idle is None:
                self._tickets.append(ticket)
            else:
                self._grant(idle, ticket)
        return ticket

    def withdraw(self, ticket: Ticket) -> Optional[Lease]:
        """Give up waiting; returns the lease if the ticket has got one in the meantime."""
        with self._lock:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
        return ticket.lease

    def any_clearing_up(self) -> bool:
        """Whether an engine whose client has gone is about to be free."""
        with self._lock:
            return any(engine.lease is not None and engine.lease.released for engine in self._engines)

    def _grant(self, engine: Engine, ticket: Ticket) -> None:
        self._sessions += 1
        engine.state = EngineState.RUNNING
        engine.lease = ticket.lease = Lease(self._lock, engine, self._sessions, ticket.sink)
        ticket.lease.open()

    def _make_idle(self, engine: Engine) -> None:
        engine.lease = None
        engine.state = EngineState.SLEEPING
        if self._tickets:
            ticket = self._tickets.popleft()
            self._grant(engine, ticket)
            ticket.on_granted()

    # --- one engine's life, in its keeper thread

    def _keep(self, engine: Engine) -> None:
        failed_starts = deaths_in_a_row = 0
        if engine.index > 0:
            self._wait_for_the_first()
        while not self._stopping:
            started_s = time.monotonic()
            try:
                death = self._live(engine)
            except Exception:
                _log.exception("engine %d: its keeper fails", engine.index)
                death = _Death(reason="its keeper failed")
                if engine.process is not None:
                    engine.process.close()
                self._bury(engine, death.reason)
            if self._stopping:
                return
            if death.was_ready:
                failed_starts = 0
            elif not (death.short_of_room and self._has_been_ready()):  # room comes back when clients leave
                failed_starts += 1
            if failed_starts == _FAILED_STARTS_LIMIT or (death.explained and not self._has_been_ready()):
                self._on_fatal(death.reason)
                return
            worked = death.served or time.monotonic() - started_s >= _STABLE_S
            deaths_in_a_row = 1 if worked else deaths_in_a_row + 1
            _log.error("engine %d: %s; it is started again", engine.index, death.reason)
            self._back_off(deaths_in_a_row)

    def _live(self, engine: Engine) -> "_Death":
        """Run one process from start to death; its session, if any, learns of the death."""
        death = _Death()
        try:
            retells = engine.index == 0 and engine.starts == 0
            process = ASRProcess(engine.index, self._config, self._board, self._log_level, retells)
            process.start()
        except (OSError, EOFError) as error:
            reason = error.strerror if isinstance(error, OSError) else "what engines are forked from has died"
            return death._replace(
                short_of_room=isinstance(error, OSError) and error.errno in _NO_ROOM,
                reason=f"its process cannot be started ({reason})",
            )
        with self._lock:
            engine.process = process
            if self._stopping:
                process.kill()
        for answer in process.answers():
            if isinstance(answer, StartFailed):
                death = death._replace(explained=True, reason=answer.reason)
            elif isinstance(answer, Ready):
                death = death._replace(was_ready=True)
            elif isinstance(answer, Closed):
                death = death._replace(served=True)
            self._handle(engine, answer)
        ending = process.close()
        if not death.explained:
            death = death._replace(reason=self._hung_reason() if engine.was_hung else f"its process died ({ending})")
        self._bury(engine, death.reason)
        return death

    def _hung_reason(self) -> str:
        return f"it gave no answer for {self._config.model.hang_timeout:g} s and was ended"

    def _bury(self, engine: Engine, reason: str) -> None:
        with self._lock:
            lease = engine.lease
            engine.reset()
            self._board.mark(engine.index, Work.NONE)
            if lease is not None:
                lease.cut_off()
        if lease is not None and not lease.released:
            lease.sink.on_engine_failed(f"engine {engine.index}: {reason}")

    def _handle(self, engine: Engine, answer: Answer) -> None:
        if isinstance(answer, Logged):
            logger.handle_forwarded(answer.record)
            return
        with self._lock:
            lease = engine.lease
            room = self._note(engine, answer, time.monotonic())
        if isinstance(answer, Ready):
            self._count_ready(engine)
        elif lease is not None and not lease.released:
            if room:
                lease.sink.on_room()
            elif isinstance(answer, Recognized):
                lease.sink.on_segment(answer)
            elif isinstance(answer, Closed):
                lease.sink.on_finished()

    def _note(self, engine: Engine, answer: Answer, now_s: float) -> bool:
        """Bring the state up to date; returns whether the engine's session may offer again what was refused."""
        engine.hear(answer, now_s)
        if isinstance(answer, (Ready, Closed)):
            self._make_idle(engine)
        elif isinstance(answer, Recognized):
            load = self._load.add(now_s, answer.end_s - answer.start_s, answer.busy_s)
            if load is not None:
                self._tell(load)
        elif isinstance(answer, Consumed) and engine.lease is not None and engine.lease.session == answer.session:
            return engine.lease.consumed(answer)
        return False

    def _tell(self, load: Load) -> None:
        running = sum(state is EngineState.RUNNING for state in self.states())
        _log.info(
            "%d of %d engines in use; last minute: %d segments, %.1f s, real-time factor %.2f",
            running,
            len(self._engines),
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

    # --- starting

    def _has_been_ready(self) -> bool:
        return self._first_starts == len(self._engines)

    def _wait_for_the_first(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._first_starts > 0 or self._stopping)

    def _count_ready(self, engine: Engine) -> None:
        with self._changed:
            engine.starts += 1
            if engine.starts > 1:
                return
            self._first_starts += 1
            all_ready = self._has_been_ready()
            self._changed.notify_all()
        if all_ready:
            self._on_ready()

    def _back_off(self, deaths_in_a_row: int) -> None:
        """An engine that died once is back at once; one that keeps dying is not."""
        if deaths_in_a_row > 1:
            delay_s = min(_BACKOFF_FIRST_S * 2 ** (deaths_in_a_row - 2), _BACKOFF_LIMIT_S)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, delay_s)

    # --- the watchdog's thread

    def _watch(self) -> None:
        """End every process that owes an answer for longer than `hang_timeout`.

        Sleeping for as long as the nearest deadline, or one whole `hang_timeout`, misses nothing: whatever comes to
        be owed meanwhile has its deadline later.
        """
        limit_s = self._config.model.hang_timeout
        expected_s = time.monotonic()
        with self._changed:
            while not self._stopping:
                now_s = time.monotonic()
                if now_s - expected_s > _OVERSLEPT_S:  # this process was frozen: its engines' answers are not read yet
                    for engine in self._engines:
                        engine.owed_since_s = now_s
                for engine in self._engines:
                    if engine.overdue_s(now_s) >= limit_s and engine.process is not None and not engine.was_hung:
                        engine.was_hung = True
                        engine.process.kill()
                waiting = [engine.overdue_s(now_s) for engine in self._engines if not engine.was_hung]
                nearest_s = limit_s - max(waiting, default=0.0)
                expected_s = now_s + nearest_s
                self._changed.wait(nearest_s)


class _Death(NamedTuple):
    """How a process ended."""

    was_ready: bool = False
    short_of_room: bool = False  # the machine had no process, descriptor or memory for it
    served: bool = False  # at least one session from beginning to end
    explained: bool = False  # the process itself said why it cannot start
    reason: str = ""
