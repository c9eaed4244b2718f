"""Which engines run, and which session has which: every rule about their lives, as a state machine of time.

    sessions                              slots, one for each engine
    request ─▶ waiting ─▶ granted         resting ─▶ starting ─▶ idle ─▶ leased
                  │          │               ▲                    ▲        │ finish, release
               refused    finish, release    └── died, at any ────┴────────┴ Closed
                                                 point

Knows no process, thread, lock or clock. What happens comes in with its time (`now_s`, seconds of any monotonic clock);
what has to be done about it comes back as actions, in order. `asr_process.EnginePool` carries them out.
"""

import enum
import math
from dataclasses import dataclass
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Union

from boundary.messages import (
    Abort,
    Answer,
    Closed,
    Command,
    Consumed,
    Content,
    Finish,
    Happened,
    Heard,
    Input,
    Open,
    Opened,
    Ping,
    Pong,
    Ready,
    Recognized,
    StartFailed,
)

_BACKOFF_FIRST_S = 0.5
_BACKOFF_LIMIT_S = 30.0
_STABLE_S = 10.0  # an engine that lived longer than this, or has served a session, was not in a crash loop
_FAILED_STARTS_LIMIT = 5
_SLOW_START = 4.0  # times as long as the longest start so far: a later one that takes longer hangs
_OVERSLEPT_S = 1.0
_FOR_SESSIONS = (Consumed, Happened, Heard, Recognized, Closed)
_CLEARING_UP_S = 0.7  # an engine whose client has left is worth this long a wait
_FRESH_S = 1.0  # an idle engine that has said something since is there
_FRESH_AT_WORK_S = 3.0  # one that recognises says so every second


class EngineState(enum.Enum):
    """What `%c` tells of an engine."""

    STARTING = "starting"
    SLEEPING = "sleeping"
    RUNNING = "running"


class Loss(enum.Enum):
    """How an engine was lost."""

    DIED = "died"
    HUNG = "hung"
    FAILED_START = "failed_start"
    SLOW_START = "slow_start"
    NO_ROOM = "no_room"  # no process, descriptor or memory to start it
    WEIGHTS = "weights"  # the process that had lent it the weights was


class Look(NamedTuple):
    """What the engines do at a moment, from a client's point of view.

    Attributes:
        total: how many there are.
        free: a client would get one of these at once, and they are known to be there.
        silent: they should be free, and do not answer.
        used: a session has them.
    """

    total: int
    free: int
    silent: int
    used: int


# --- what a session is told ------------------------------------------------------------------


@dataclass(frozen=True)
class Granted:
    """The engine in this slot is the session's."""

    slot: int


@dataclass(frozen=True)
class Refused:
    """No engine became free in time."""


@dataclass(frozen=True)
class EngineFailed:
    """The session's engine is gone; there will be no more results."""

    reason: str


SessionMessage = Union[Granted, Refused, EngineFailed, Answer]


# --- what has to be done ---------------------------------------------------------------------


@dataclass(frozen=True)
class Start:
    """Start a process in the slot. `afresh`: not from what the last one was forked from, as that has no model."""

    slot: int
    afresh: bool


@dataclass(frozen=True)
class Kill:
    """End the slot's process at once, or what it is being forked from; its death is then told as any other."""

    slot: int


@dataclass(frozen=True)
class Tell:
    """Send the slot's process a command."""

    slot: int
    command: Command


@dataclass(frozen=True)
class Inform:
    """Tell a session what happened to it."""

    session: int
    message: SessionMessage


@dataclass(frozen=True)
class Lost:
    """The slot's process is gone and will be replaced: for the log and the metrics."""

    slot: int
    reason: str
    loss: Loss


@dataclass(frozen=True)
class AllReady:
    """Every engine has been ready: clients may come."""


@dataclass(frozen=True)
class GiveUp:
    """No engine can be had: the server has to end."""

    reason: str


Action = Union[Start, Kill, Tell, Inform, Lost, AllReady, GiveUp]


# --- what is known ---------------------------------------------------------------------------


class _Phase(enum.Enum):
    RESTING = "no process; one is started when it is due"
    STARTING = "a process that has not said it is ready"
    IDLE = "a process that waits for a session"
    LEASED = "a process that belongs to a session until it answers Closed"


_READY = (_Phase.IDLE, _Phase.LEASED)


@dataclass
class _Slot:
    """A place for an engine. The first group outlives its process, the second goes with it."""

    index: int
    phase: _Phase = _Phase.RESTING
    start_due_s: float = math.inf  # while resting
    afresh: bool = False
    failed_starts: int = 0  # in a row
    deaths_in_a_row: int = 0
    ready_once: bool = False

    started_s: float = 0.0
    excuse: str = ""  # why it cannot start, in its own words
    ready_s: float = 0.0  # when it was
    served: bool = False  # at least one session from beginning to end
    hung: bool = False  # it has been ended for that
    bereft: bool = False  # it has been ended for want of weights
    session: int = 0  # that has it, while leased
    ending: bool = False  # it has been told that the session is over
    owed_answers: int = 0
    owed_since_s: float = 0.0
    heard_s: float = -math.inf  # something from it
    asked_s: float = math.inf  # whether it is there, and it has not answered

    def begin(self, now_s: float) -> None:
        """A process is started."""
        self.phase = _Phase.STARTING
        self.start_due_s = math.inf
        self.afresh = self.served = self.hung = self.bereft = self.ending = False
        self.excuse = ""
        self.owed_answers = 0
        self.asked_s = math.inf
        self.started_s = self.owed_since_s = now_s

    def owe(self, now_s: float) -> None:
        """The process has been asked something."""
        if not self.owed_answers:
            self.owed_since_s = now_s
        self.owed_answers += 1


@dataclass
class _Ticket:
    """A session that waits for its turn."""

    until_s: float
    extended: bool = False


class Supervision:
    """The state of all engines and of all who want one.

    Args:
        n_engines: slots.
        hang_timeout_s: an engine that owes an answer for longer is replaced.
    """

    def __init__(self, n_engines: int, hang_timeout_s: float) -> None:
        self._hang_timeout_s = hang_timeout_s
        self._slots = [_Slot(index) for index in range(n_engines)]
        self._tickets: Dict[int, _Ticket] = {}  # by session, first come first
        self._leases: Dict[int, _Slot] = {}  # by session, as long as it wants its results
        self._giving_way: Set[int] = set()  # sessions with an engine, until somebody else wants it
        self._longest_start_s = 0.0
        self._all_ready = False
        self._over = False  # stopped, or given up
        self.next_due_s = math.inf  # when `due` has something to do, or may have

    def states(self) -> List[EngineState]:
        """What each engine does, in order; one whose session gives way is free to others."""
        told = {_Phase.IDLE: EngineState.SLEEPING, _Phase.LEASED: EngineState.RUNNING}
        return [
            EngineState.SLEEPING if self._gives_way(slot) else told.get(slot.phase, EngineState.STARTING)
            for slot in self._slots
        ]

    # --- who wants to know whether an engine is free

    def ask_idle(self, now_s: float) -> List[Action]:
        """Ask engines that are free, and have said nothing for a while, whether they are there.

        That is an answer which they owe: one that freezes while nobody uses it is replaced too.
        """
        if self._over:
            return []
        asked = []
        for slot in self._slots:
            if slot.phase is _Phase.IDLE and slot.asked_s == math.inf and now_s - slot.heard_s >= _FRESH_S:
                slot.asked_s = now_s
                slot.owe(now_s)
                asked.append(slot)
        return [Tell(slot.index, Ping()) for slot in asked]

    def awaits_answer(self, since_s: float) -> bool:
        """Whether a free engine was asked since then, and has not answered."""
        return any(slot.phase is _Phase.IDLE and since_s <= slot.asked_s < math.inf for slot in self._slots)

    def look(self, now_s: float) -> Look:
        """What the engines do, to be told to who began to ask at `now_s`."""
        free = silent = used = 0
        for slot in self._slots:
            if slot.phase is _Phase.IDLE or self._gives_way(slot):
                is_there = slot.heard_s >= now_s - (_FRESH_S if slot.phase is _Phase.IDLE else _FRESH_AT_WORK_S)
                free, silent = free + is_there, silent + (not is_there)
            else:
                used += slot.phase is _Phase.LEASED
        return Look(len(self._slots), free, silent, used)

    def _gives_way(self, slot: _Slot) -> bool:
        return slot.phase is _Phase.LEASED and slot.session in self._giving_way

    # --- sessions

    def request(self, session: int, patience_s: float, now_s: float) -> List[Action]:
        """A session wants an engine: it gets one now, in its turn, or after `patience_s` none."""
        if self._over:
            return [Inform(session, Refused())]
        idle = self._idle
        if idle is not None:
            return self._grant(idle, session, now_s)
        self._tickets[session] = _Ticket(now_s + patience_s)
        self.next_due_s = min(self.next_due_s, now_s + patience_s)
        return self._take_back(now_s)

    def borrow(self, session: int, now_s: float) -> List[Action]:
        """A session wants an engine that is idle now, until somebody else wants it: then it is Refused after all."""
        idle = None if self._over else self._idle
        if idle is None:
            return [Inform(session, Refused())]
        self._giving_way.add(session)
        return self._grant(idle, session, now_s)

    @property
    def _idle(self) -> Optional[_Slot]:
        """One that is there, if there is one; of those the first."""
        idle = [slot for slot in self._slots if slot.phase is _Phase.IDLE]
        return min(idle, key=lambda slot: slot.asked_s < math.inf, default=None)

    def _take_back(self, now_s: float) -> List[Action]:
        """Somebody waits: one of those that give way has to."""
        slot = next((slot for slot in self._leases.values() if self._gives_way(slot)), None)
        if slot is None:
            return []
        session = slot.session
        return [Inform(session, Refused()), *self.release(session, now_s)]

    def hand_on(self, session: int, content: Content, now_s: float) -> List[Action]:
        """The session's client has sent something. Nothing is done where the session has no engine any more."""
        slot = self._leases.get(session)
        if slot is None or slot.ending:
            return []
        slot.owe(now_s)
        return [Tell(slot.index, Input(session, content))]

    def finish(self, session: int, now_s: float) -> List[Action]:
        """No more audio of the session will come: what is open is recognised, then the engine is free."""
        slot = self._leases.get(session)
        return [] if slot is None or slot.ending else self._end(slot, Finish(session), now_s)

    def release(self, session: int, now_s: float) -> List[Action]:
        """The session is over, or given up, whatever it has: nothing more is told to it."""
        self._tickets.pop(session, None)
        self._giving_way.discard(session)
        slot = self._leases.pop(session, None)
        return [] if slot is None else self._end(slot, Abort(session), now_s)

    def _end(self, slot: _Slot, command: Command, now_s: float) -> List[Action]:
        if not slot.ending:  # one answer, Closed, is owed to Finish, Abort or both
            slot.ending = True
            slot.owe(now_s)
        return [Tell(slot.index, command)]

    def _grant(self, slot: _Slot, session: int, now_s: float) -> List[Action]:
        slot.phase = _Phase.LEASED
        slot.session = session
        slot.ending = False
        slot.owe(now_s)
        self._leases[session] = slot
        return [Tell(slot.index, Open(session)), Inform(session, Granted(slot.index))]

    # --- engines

    def begin(self, now_s: float) -> List[Action]:
        """Start the first engine; the others follow when it is ready, so that a fault is told once."""
        self.next_due_s = now_s
        return self._start(self._slots[0], now_s)

    def heard(self, index: int, answer: Answer, now_s: float) -> List[Action]:
        """The slot's process has said something, so it is alive: what it still owes counts from now."""
        slot = self._slots[index]
        slot.owed_since_s = slot.heard_s = now_s
        if isinstance(answer, Ready):
            return self._ready(slot, now_s)
        if isinstance(answer, StartFailed):
            slot.excuse = answer.reason
            return []
        if isinstance(answer, Pong):
            slot.asked_s = math.inf
        if isinstance(answer, (Pong, Opened, Consumed, Closed)):
            slot.owed_answers -= 1
        told: List[Action] = []
        if isinstance(answer, _FOR_SESSIONS) and self._leases.get(answer.session) is slot:
            told.append(Inform(answer.session, answer))
        if isinstance(answer, Closed):
            self._leases.pop(answer.session, None)
            self._giving_way.discard(answer.session)
            slot.served = True
            told += self._make_idle(slot, now_s)
        return told

    def died(self, index: int, ending: str, now_s: float, short_of_room: bool = False) -> List[Action]:
        """The slot has no process any more, or none could be started.

        `ending` says how, as seen from outside; `short_of_room`: the machine had no process or memory for it.
        """
        slot = self._slots[index]
        was_ready, leased = slot.phase in _READY, slot.phase is _Phase.LEASED
        reason = slot.excuse or (self._hung_reason(was_ready) if slot.hung else ending)
        if slot.bereft:
            reason = "what had lent it the weights died"
        loss = self._loss(slot, was_ready, short_of_room)
        worked = was_ready and (slot.served or now_s - slot.ready_s >= _STABLE_S)
        slot.phase = _Phase.RESTING
        if self._over:
            return []
        actions: List[Action] = []
        self._giving_way.discard(slot.session)
        if leased and self._leases.pop(slot.session, None) is not None:
            actions.append(Inform(slot.session, EngineFailed(f"engine {index}: {reason}")))
        if was_ready:
            slot.failed_starts = 0
        elif not (short_of_room and self._all_ready):  # room comes back when clients leave
            slot.failed_starts += 1
        if self._is_hopeless(slot):
            self._over = True
            return [*actions, GiveUp(reason)]
        slot.afresh = bool(slot.excuse)
        slot.deaths_in_a_row = 1 if worked else slot.deaths_in_a_row + 1
        slot.start_due_s = now_s + self._rest_s(slot.deaths_in_a_row)
        self.next_due_s = min(self.next_due_s, slot.start_due_s)
        return [*actions, Lost(index, reason, loss)]

    def lost_weights(self, indices: Iterable[int]) -> List[Action]:
        """The weights that the processes of these slots were lent are gone."""
        actions: List[Action] = []
        for slot in (self._slots[index] for index in indices):
            slot.bereft = True
            actions.append(Kill(slot.index))
        return actions

    def stop(self) -> List[Action]:
        """End every engine, whatever it does; nobody is told of that, and none is started any more."""
        self._over = True
        return [Kill(slot.index) for slot in self._slots if slot.phase is not _Phase.RESTING]

    def _start(self, slot: _Slot, now_s: float) -> List[Action]:
        afresh = slot.afresh
        slot.begin(now_s)
        return [Start(slot.index, afresh)]

    def _ready(self, slot: _Slot, now_s: float) -> List[Action]:
        self._longest_start_s = max(self._longest_start_s, now_s - slot.started_s)
        slot.ready_once = True
        slot.ready_s = now_s
        slot.hung = False  # it has come after all
        slot.failed_starts = 0
        actions: List[Action] = []
        for other in self._slots:
            if other.phase is _Phase.RESTING and other.start_due_s == math.inf:  # it has waited for the first
                actions += self._start(other, now_s)
        if not self._all_ready and all(other.ready_once for other in self._slots):
            self._all_ready = True
            actions.append(AllReady())
        return actions + self._make_idle(slot, now_s)

    def _make_idle(self, slot: _Slot, now_s: float) -> List[Action]:
        slot.phase = _Phase.IDLE
        session = next(iter(self._tickets), None)
        if session is None or self._over:
            return []
        del self._tickets[session]
        return self._grant(slot, session, now_s)

    def _is_hopeless(self, slot: _Slot) -> bool:
        """At first, whatever cannot start is fatal; later nothing is, while an engine runs or may."""
        if not self._all_ready:
            return bool(slot.excuse) or slot.failed_starts >= _FAILED_STARTS_LIMIT
        return all(other.failed_starts >= _FAILED_STARTS_LIMIT for other in self._slots)

    def _rest_s(self, deaths_in_a_row: int) -> float:
        """An engine that died once is back at once; one that keeps dying is not."""
        if deaths_in_a_row == 1:
            return 0.0
        exponent = min(deaths_in_a_row - 2, 10)
        return float(min(_BACKOFF_FIRST_S * 2**exponent, _BACKOFF_LIMIT_S))

    @staticmethod
    def _loss(slot: _Slot, was_ready: bool, short_of_room: bool) -> Loss:
        if slot.bereft:
            return Loss.WEIGHTS
        if was_ready:
            return Loss.HUNG if slot.hung else Loss.DIED
        if short_of_room:
            return Loss.NO_ROOM
        return Loss.SLOW_START if slot.hung else Loss.FAILED_START

    def _hung_reason(self, was_ready: bool) -> str:
        if was_ready:
            return f"it gave no answer for {self._hang_timeout_s:g} s and was ended"
        return f"it was not ready after {self._start_limit_s():.0f} s and was ended"

    def _start_limit_s(self) -> float:
        return max(self._hang_timeout_s, _SLOW_START * self._longest_start_s)

    # --- time

    def due(self, now_s: float) -> List[Action]:
        """Do what is due by now; to be called at `next_due_s`, which it sets anew, or earlier."""
        if self._over:
            self.next_due_s = math.inf
            return []
        if now_s - self.next_due_s > _OVERSLEPT_S:  # the server was frozen: answers may lie there unread
            for slot in self._slots:
                slot.owed_since_s = max(slot.owed_since_s, now_s)
        actions: List[Action] = []
        for slot in self._slots:
            if slot.phase is _Phase.RESTING and slot.start_due_s <= now_s:
                actions += self._start(slot, now_s)
            elif self._answer_due_s(slot) <= now_s:
                slot.hung = True
                slot.owed_since_s = now_s  # what it is being forked from may be another's, too: look again
                actions.append(Kill(slot.index))
        actions += [Inform(session, Refused()) for session in self._impatient(now_s)]
        # Whatever comes to be owed meanwhile is due later than one whole time-out from now.
        self.next_due_s = min(now_s + self._hang_timeout_s, *self._due_times())
        return actions

    def _answer_due_s(self, slot: _Slot) -> float:
        """When the slot's process counts as hung."""
        if slot.phase in _READY:
            owes = slot.owed_answers and not slot.hung
            return slot.owed_since_s + self._hang_timeout_s if owes else math.inf
        if slot.phase is _Phase.STARTING and self._all_ready:  # at first, weights may have to be brought
            return slot.owed_since_s + self._start_limit_s()
        return math.inf

    def _impatient(self, now_s: float) -> List[int]:
        """Sessions that have waited long enough; they wait no more."""
        clearing_up = any(slot.phase is _Phase.LEASED and slot.session not in self._leases for slot in self._slots)
        gone = []
        for session, ticket in self._tickets.items():
            if ticket.until_s > now_s:
                continue
            if clearing_up and not ticket.extended:
                ticket.extended = True
                ticket.until_s = now_s + _CLEARING_UP_S
            else:
                gone.append(session)
        for session in gone:
            del self._tickets[session]
        return gone

    def _due_times(self) -> Iterator[float]:
        for slot in self._slots:
            yield slot.start_due_s if slot.phase is _Phase.RESTING else math.inf
            yield self._answer_due_s(slot)
        for ticket in self._tickets.values():
            yield ticket.until_s
