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

import logging
import queue
import threading
import time
from typing import Callable, Dict, List, Optional

import logger
from boundary.messages import Answer, Content, Logged, Pong, Ready, Recognized, StartFailed
from boundary.settings import EngineSettings, EngineSlot
from engine.main import engine_main
from engine.turns import CORES, Board, Work
from forkserver.start import CONTEXT, ForkFailed, ForkServer
from server import VERSION
from server.load import LoadMeter
from server.metrics import Metrics
from server.process import ChildProcess
from server.supervision import (
    Action,
    AllReady,
    EngineFailed,
    EngineState,
    GiveUp,
    Inform,
    Kill,
    Look,
    Loss,
    Lost,
    Refused,
    SessionMessage,
    Start,
    Supervision,
    Tell,
)
from server.weights import Loan, NoWeights, WeightsOwner

__all__ = ["ASRProcess", "EnginePool", "EngineState"]

_log = logging.getLogger(__name__)

_CLOCK_RETRY_S = 1.0
_ANSWER_S = 1.0  # for an idle engine to say that it is there

# --- one process -----------------------------------------------------------------------------


class ASRProcess(ChildProcess):
    """One engine process and its pair of queues, as the server sees it.

    Args:
        slot: which engine it is.
        settings: of every engine.
        board: where the engines see how busy they are.
    """

    def __init__(self, slot: EngineSlot, settings: EngineSettings, board: Board) -> None:
        super().__init__(engine_main, (slot, settings, board), f"engine-{slot.engine}")


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
        metrics: of the server.
    """

    def __init__(
        self,
        settings: EngineSettings,
        on_ready: Callable[[], None],
        on_fatal: Callable[[str], None],
        metrics: Metrics,
    ) -> None:
        n_engines = settings.model.channel
        self._settings = settings
        self._on_ready = on_ready
        self._on_fatal = on_fatal
        self._metrics = metrics
        self._fork_server = ForkServer(settings.model)
        self._weights = WeightsOwner(settings, self._fork_server, self._lose_weights)
        self._board = Board(CONTEXT, n_engines)
        self._changed = threading.Condition(threading.RLock())
        self._supervision = Supervision(n_engines, settings.model.hang_timeout)
        self._processes: Dict[int, ASRProcess] = {}  # by slot
        self._posts: Dict[int, Post] = {}  # by session, until it is told that it has no engine (any more)
        self._load = LoadMeter()
        self._came_round_s = 0.0  # when the clock's thread last did
        self._stopping = False
        self._starts: List[queue.SimpleQueue[Optional[Start]]] = [queue.SimpleQueue() for _ in range(n_engines)]
        self._threads = [threading.Thread(target=self._watch_clock, name="clock", daemon=True)]
        for slot in range(n_engines):
            self._threads.append(threading.Thread(target=self._keep, args=(slot,), name=f"keeper-{slot}", daemon=True))
        metrics.watch_engines(self.states, self._pids)

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
        self._weights.stop()
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

    @property
    def cores(self) -> int:
        """Of this machine, as far as the engines may use them."""
        return CORES

    def request(self, session: int, post: Post, patience_s: float) -> None:
        """Ask for an engine, for a session that no other has the number of.

        `post` is told `Granted`, at once or within `patience_s`, or `Refused`; then what comes of the session. It is
        called under the pool's lock, by any thread: it must not block.
        """
        with self._changed:
            self._posts[session] = post
            self._perform(self._supervision.request(session, patience_s, time.monotonic()))
            self._changed.notify_all()

    def borrow(self, session: int, post: Post) -> None:
        """As `request`, for an engine that is idle now, until somebody requests it: then `post` is told `Refused`."""
        with self._changed:
            self._posts[session] = post
            self._perform(self._supervision.borrow(session, time.monotonic()))

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

    # --- for who asks whether clients are served

    def look(self) -> Look:
        """What the engines do. Those that are idle are asked whether they are there, and have a second to answer."""
        with self._changed:
            now_s = time.monotonic()
            self._perform(self._supervision.ask_idle(now_s))
            self._changed.wait_for(lambda: not self._supervision.awaits_answer(now_s - _ANSWER_S), _ANSWER_S)
            return self._supervision.look(now_s)

    def responds(self, timeout_s: float) -> bool:
        """Whether its threads live, and the clock's comes round within that time."""
        asked_s = time.monotonic()
        if not self._changed.acquire(timeout=timeout_s):
            return False
        try:
            if self._stopping or self._threads[0].ident is None:
                return True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._came_round_s >= asked_s or self._stopping, timeout_s) and (
                self._stopping or all(thread.ident is None or thread.is_alive() for thread in self._threads)
            )
        finally:
            self._changed.release()

    def _pids(self) -> Dict[int, int]:
        """The processes' ids, by engine."""
        with self._changed:
            return {slot: process.pid for slot, process in self._processes.items() if process.pid is not None}

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
                self._tell_loss(action)
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

    def _tell_loss(self, lost: Lost) -> None:
        if lost.loss is not Loss.WEIGHTS:  # of which one line tells, for all engines
            told = logger.fields(event="engine_lost", engine=lost.slot, cause=lost.loss.value)
            _log.error("engine %d: %s; it is started again", lost.slot, lost.reason, extra=told)
        self._metrics.restarted(lost.loss)

    def _kill(self, slot: int) -> None:
        process = self._processes.get(slot)
        if process is not None:
            process.kill()
        elif not self._weights.kill_if_awaited(slot):
            self._fork_server.kill()

    def _lose_weights(self, ending: str) -> None:
        told = logger.fields(event="weights_lost")
        _log.error("what lends the weights died (%s): every engine is started again", ending, extra=told)
        with self._changed:
            self._perform(self._supervision.lost_weights(self._processes))

    # --- one engine's process, in its keeper's thread

    def _keep(self, slot: int) -> None:
        came_from = 0
        for start in iter(self._starts[slot].get, None):
            short_of_room = False
            try:
                if start.afresh:
                    self._fork_server.replace(came_from)
                loan = self._weights.borrow(slot)
                process = ASRProcess(EngineSlot(slot, loan.pickled), self._settings, self._board)
                came_from = process.start(self._fork_server)
                how = self._listen(slot, process, loan)
            except ForkFailed as error:
                how, short_of_room = str(error), error.short_of_room
            except NoWeights as error:
                how = str(error)
                self._hear(slot, StartFailed(how))
            except OSError as error:  # no descriptor for its queues
                how, short_of_room = f"its process cannot be started ({error.strerror})", True
            except Exception:  # whatever it is, the slot is to have an engine again
                _log.exception("engine %d: its keeper fails", slot)
                how = "its keeper failed"
            with self._changed:
                self._board.mark(slot, Work.NONE)
                self._perform(self._supervision.died(slot, how, time.monotonic(), short_of_room))
                self._changed.notify_all()

    def _listen(self, slot: int, process: ASRProcess, loan: Loan) -> str:
        """Until the process is gone; returns how it ended."""
        with self._changed:
            self._processes[slot] = process
            if self._stopping:
                process.kill()
            elif not self._weights.is_good(loan):
                self._perform(self._supervision.lost_weights([slot]))
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
        elif isinstance(answer, Ready):
            self._metrics.runs(VERSION, self._settings.model.size, answer.compute, answer.device)
        elif isinstance(answer, Recognized) and answer.busy_s:
            self._metrics.recognised(answer.end_s - answer.start_s, answer.busy_s)
        now_s = time.monotonic()
        with self._changed:
            if isinstance(answer, Recognized) and self._load.add(now_s, answer.end_s - answer.start_s, answer.busy_s):
                self._changed.notify_all()
            self._perform(self._supervision.heard(slot, answer, now_s))
            if isinstance(answer, Pong):
                self._changed.notify_all()

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
                self._came_round_s = now_s
                self._changed.notify_all()
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
