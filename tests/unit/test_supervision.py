"""Engines and who has them: what the rules ask for, whatever happens in whatever order."""

import math
from typing import Any, Dict, List, Optional, Set, Tuple

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from boundary.messages import (
    Abort,
    Closed,
    Command,
    Consumed,
    Finish,
    Input,
    Open,
    Opened,
    Ping,
    Pong,
    Ready,
    Recognized,
    StartFailed,
    Working,
)
from protocol.data import Cause
from server.supervision import (
    Action,
    AllReady,
    EngineFailed,
    EngineState,
    GiveUp,
    Granted,
    Inform,
    Kill,
    Look,
    Loss,
    Lost,
    Refused,
    Start,
    Supervision,
    Tell,
)

HANG_S = 6.0
ENDING = "its process died (exit status 1)"


def ready_pool(n_engines: int, now_s: float = 0.0) -> Supervision:
    """All engines idle."""
    rules = Supervision(n_engines, HANG_S)
    assert rules.begin(now_s) == [Start(0, afresh=False)]
    for slot in range(n_engines):
        rules.heard(slot, Ready("cpu", "int8"), now_s)
    assert rules.due(now_s) == []
    return rules


def next_actions(rules: Supervision) -> Tuple[float, List[Action]]:
    """Let time pass until something is to be done; when, and what."""
    while True:
        now_s = rules.next_due_s
        actions = rules.due(now_s)
        if actions:
            return now_s, actions


def answer(command: Command) -> Any:
    """What a healthy engine answers in the end."""
    if isinstance(command, Open):
        return Opened(command.session)
    if isinstance(command, Input):
        return Consumed(command.session, len(command.content), in_utterance=False)
    if isinstance(command, Ping):
        return Pong()
    return Closed(command.session)


# --- starting


def test_the_others_start_when_the_first_is_ready_and_clients_may_come_when_all_are() -> None:
    rules = Supervision(3, HANG_S)
    assert rules.begin(0) == [Start(0, afresh=False)]
    assert rules.heard(0, Ready("cpu", "int8"), 1) == [Start(1, afresh=False), Start(2, afresh=False)]
    assert rules.heard(2, Ready("cpu", "int8"), 2) == []
    assert rules.states() == [EngineState.SLEEPING, EngineState.STARTING, EngineState.SLEEPING]
    assert rules.heard(1, Ready("cpu", "int8"), 3) == [AllReady()]


def test_a_first_start_that_says_why_it_cannot_is_fatal() -> None:
    rules = Supervision(2, HANG_S)
    rules.begin(0)
    rules.heard(0, StartFailed("no weights"), 1)
    assert rules.died(0, ENDING, 2) == [GiveUp("no weights")]
    assert rules.due(100) == []


def test_an_engine_that_comes_when_all_is_given_up_is_asked_nothing() -> None:
    rules = Supervision(2, HANG_S)
    rules.begin(0)
    rules.heard(0, Ready("cpu", "int8"), 0)
    rules.heard(1, StartFailed("no weights"), 1)
    assert rules.died(1, ENDING, 2) == [GiveUp("no weights")]
    assert rules.ask_idle(100) == []


def test_a_first_start_that_dies_without_a_word_is_tried_five_times() -> None:
    rules = Supervision(1, HANG_S)
    rules.begin(0)
    now_s = 0.0
    for _ in range(4):
        assert rules.died(0, ENDING, now_s) == [Lost(0, ENDING, Loss.FAILED_START)]
        now_s, actions = next_actions(rules)
        assert actions == [Start(0, afresh=False)]
    assert rules.died(0, ENDING, now_s) == [GiveUp(ENDING)]


def test_a_machine_without_room_is_no_reason_to_give_up_once_all_have_been_ready() -> None:
    rules = ready_pool(1)
    rules.died(0, ENDING, 1)
    for _ in range(20):
        now_s, actions = next_actions(rules)
        assert actions == [Start(0, afresh=False)]
        assert rules.died(0, "no room", now_s, short_of_room=True) == [Lost(0, "no room", Loss.NO_ROOM)]


def test_a_start_takes_its_time_at_first_and_counts_as_hung_later() -> None:
    rules = Supervision(1, HANG_S)
    rules.begin(0)
    assert rules.due(10 * HANG_S) == []
    rules.heard(0, Ready("cpu", "int8"), 10 * HANG_S)  # so the next one may take four times as long
    now_s = 1000.0
    rules.died(0, ENDING, now_s)
    assert rules.due(now_s) == [Start(0, afresh=False)]
    then_s, actions = next_actions(rules)
    assert (then_s, actions) == (now_s + 40 * HANG_S, [Kill(0)])
    (lost,) = rules.died(0, ENDING, then_s)
    assert isinstance(lost, Lost)
    assert "was not ready after 240 s" in lost.reason


# --- dying


def test_who_has_lost_its_weights_is_ended_and_back_at_once_and_that_is_not_its_own_death() -> None:
    rules = ready_pool(3, now_s=90.0)
    rules.request(7, 0, 100.0)
    assert rules.lost_weights([0, 2]) == [Kill(0), Kill(2)]
    told = "what had lent it the weights died"
    assert rules.died(0, ENDING, 100.1) == [
        Inform(7, EngineFailed(f"engine 0: {told}")),
        Lost(0, told, Loss.WEIGHTS),
    ]
    assert rules.died(2, ENDING, 100.1) == [Lost(2, told, Loss.WEIGHTS)]
    assert rules.due(100.1) == [Start(0, afresh=False), Start(2, afresh=False)]
    rules.heard(0, Ready("cpu", "int8"), 101)
    assert rules.died(0, ENDING, 200) == [Lost(0, ENDING, Loss.DIED)]


def test_engines_that_lose_their_weights_again_and_again_are_left_alone_for_longer() -> None:
    rules = ready_pool(1)
    now_s, rests_s = 1.0, []
    for _ in range(4):
        rules.lost_weights([0])
        rules.died(0, ENDING, now_s)
        died_s = now_s
        now_s, actions = next_actions(rules)
        assert actions == [Start(0, afresh=False)]
        rests_s.append(now_s - died_s)
        rules.heard(0, Ready("cpu", "int8"), now_s)
    assert rests_s == [0.0, 0.5, 1.0, 2.0]


def test_who_dies_once_is_back_at_once_and_who_keeps_dying_is_left_alone_for_longer_and_longer() -> None:
    rules = ready_pool(1, now_s=90.0)
    now_s, rests_s = 100.0, []
    for _ in range(10):
        rules.died(0, ENDING, now_s)
        then_s, _ = next_actions(rules)
        rests_s.append(then_s - now_s)
        now_s = then_s
        rules.heard(0, Ready("cpu", "int8"), now_s)
    assert rests_s == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    now_s += 10  # it has lived for a while
    rules.died(0, ENDING, now_s)
    assert rules.due(now_s) == [Start(0, afresh=False)]


def test_who_has_served_a_session_was_in_no_crash_loop() -> None:
    rules = ready_pool(1)
    now_s = 0.0
    for session in range(1, 5):
        rules.request(session, 0, now_s)
        rules.release(session, now_s)
        rules.heard(0, Closed(session), now_s)
        rules.died(0, ENDING, now_s)
        assert rules.next_due_s == now_s
        rules.due(now_s)
        rules.heard(0, Ready("cpu", "int8"), now_s)


def test_a_death_is_told_to_the_session_that_wanted_results_and_to_nobody_else() -> None:
    rules = ready_pool(2)
    rules.request(1, 0, 0)
    rules.request(2, 0, 0)
    rules.release(2, 0)
    assert rules.died(0, ENDING, 1)[0] == Inform(1, EngineFailed(f"engine 0: {ENDING}"))
    assert rules.died(1, ENDING, 1) == [Lost(1, ENDING, Loss.DIED)]
    assert rules.hand_on(1, b"ab", 1) == rules.finish(1, 1) == rules.release(1, 1) == []


def test_nothing_is_fatal_while_an_engine_serves_and_a_failed_load_is_tried_anew() -> None:
    """The weights are away for a moment while one of two engines serves."""
    rules = ready_pool(2)
    rules.request(1, 0, 0)
    rules.heard(0, Opened(1), 0)
    rules.died(1, ENDING, 0)
    for attempt in range(20):
        now_s, actions = next_actions(rules)
        assert actions == [Start(1, afresh=attempt > 0)]
        rules.heard(1, StartFailed("no weights"), now_s)
        assert rules.died(1, "exit status 0", now_s) == [Lost(1, "no weights", Loss.FAILED_START)]
    now_s, _ = next_actions(rules)
    rules.heard(1, Ready("cpu", "int8"), now_s)
    assert rules.states() == [EngineState.RUNNING, EngineState.SLEEPING]


def test_a_server_none_of_whose_engines_can_start_any_more_ends_with_the_reason() -> None:
    rules = ready_pool(2)
    for slot in (0, 1):
        rules.died(slot, ENDING, 0)
    told: List[Action] = []
    for _ in range(5):
        now_s, actions = next_actions(rules)
        assert {action.slot for action in actions if isinstance(action, Start)} == {0, 1}
        for slot in (0, 1):
            rules.heard(slot, StartFailed("no weights"), now_s)
            told += rules.died(slot, ENDING, now_s)
    lost = [Lost(slot, "no weights", Loss.FAILED_START) for slot in (0, 1)]
    assert told == lost * 4 + [lost[0], GiveUp("no weights")]


def test_a_start_that_fails_slowly_is_left_alone_for_longer_and_longer_too() -> None:
    """The time that it loads is no sign of health."""
    rules = ready_pool(2)
    rules.died(1, ENDING, 0)
    rests_s, died_s = [], 0.0
    for _ in range(4):
        now_s, _ = next_actions(rules)
        rests_s.append(now_s - died_s)
        died_s = now_s + 12
        rules.heard(1, StartFailed("no weights"), died_s)
        rules.died(1, ENDING, died_s)
    assert rests_s == [0, 0.5, 1, 2]


def test_failures_before_an_engine_came_up_do_not_count_when_another_dies() -> None:
    rules = ready_pool(2)
    now_s = 0.0
    rules.died(0, ENDING, now_s)
    for _ in range(5):
        now_s, _ = next_actions(rules)
        rules.heard(0, StartFailed("no weights"), now_s)
        assert rules.died(0, ENDING, now_s) == [Lost(0, "no weights", Loss.FAILED_START)]
    now_s, _ = next_actions(rules)
    rules.heard(0, Ready("cpu", "int8"), now_s)
    rules.died(1, ENDING, now_s)
    for _ in range(6):
        now_s, actions = next_actions(rules)
        assert actions == [Start(1, afresh=actions[0] == Start(1, afresh=True))]
        rules.heard(1, StartFailed("no weights"), now_s)
        assert rules.died(1, ENDING, now_s) == [Lost(1, "no weights", Loss.FAILED_START)]


# --- hanging


def test_an_engine_may_hang_again_and_again() -> None:
    rules = ready_pool(1)
    now_s = 0.0
    for session in (1, 2, 3):
        rules.request(session, 0, now_s)
        now_s, actions = next_actions(rules)
        assert actions == [Kill(0)]
        rules.died(0, ENDING, now_s)
        now_s, actions = next_actions(rules)
        assert actions == [Start(0, afresh=False)]
        rules.heard(0, Ready("cpu", "int8"), now_s)


def test_a_start_that_hangs_is_ended_until_it_does_and_is_watched_once_it_has_come_after_all() -> None:
    """Two slots wait for one fork server: what is ended for both may have held up but one of them."""
    rules = ready_pool(1)
    rules.died(0, ENDING, 0)
    assert rules.due(0) == [Start(0, afresh=False)]
    first_s, actions = next_actions(rules)
    assert actions == [Kill(0)]
    second_s, actions = next_actions(rules)
    assert (second_s, actions) == (2 * first_s, [Kill(0)])
    rules.heard(0, Ready("cpu", "int8"), second_s)
    rules.request(1, 0, second_s)
    third_s, actions = next_actions(rules)
    assert (third_s, actions) == (second_s + HANG_S, [Kill(0)])


@pytest.mark.parametrize("asks", ["open", "audio", "finish", "abort"])
def test_who_owes_an_answer_for_too_long_is_ended(asks: str) -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    if asks != "open":
        rules.heard(0, Opened(1), 1)
    if asks == "audio":
        rules.hand_on(1, b"ab", 1)
    elif asks == "finish":
        rules.finish(1, 1)
    elif asks == "abort":
        rules.release(1, 1)
    owed_since_s = 0.0 if asks == "open" else 1.0
    assert rules.due(owed_since_s + HANG_S - 0.01) == []
    assert rules.next_due_s == pytest.approx(owed_since_s + HANG_S)
    assert rules.due(owed_since_s + HANG_S) == [Kill(0)]
    assert rules.due(owed_since_s + HANG_S) == []
    actions = rules.died(0, ENDING, owed_since_s + HANG_S)
    assert actions[-1] == Lost(0, f"it gave no answer for {HANG_S:g} s and was ended", Loss.HUNG)


def test_every_answer_is_owed() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.heard(0, Opened(1), 0)
    rules.hand_on(1, b"ab", 0)
    rules.hand_on(1, b"cd", 0)
    rules.heard(0, Consumed(1, 2, in_utterance=False), 1)
    assert next_actions(rules) == (1 + HANG_S, [Kill(0)])


def test_one_answer_is_owed_to_an_end_however_often_it_is_told() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.heard(0, Opened(1), 0)
    assert rules.finish(1, 0) == [Tell(0, Finish(1))]
    assert rules.finish(1, 0) == []
    assert rules.release(1, 0) == [Tell(0, Abort(1))]
    rules.heard(0, Closed(1), 0)
    assert [rules.due(second) for second in range(1, 3 * int(HANG_S))] == [[]] * (3 * int(HANG_S) - 1)


def test_an_end_that_comes_after_it_is_over_does_not_touch_the_next_session() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.finish(1, 0)
    rules.request(2, 60, 0)
    rules.heard(0, Opened(1), 0)
    rules.heard(0, Closed(1), 0)
    assert rules.release(1, 0) == []
    assert rules.hand_on(2, b"ab", 0) == [Tell(0, Input(2, b"ab"))]


def test_a_sign_of_life_is_enough() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    for second in range(100):
        rules.heard(0, Working(), second)
        assert rules.due(second) == []


def test_a_session_that_asks_for_nothing_is_owed_nothing() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.heard(0, Opened(1), 0)
    assert [rules.due(second) for second in range(1, 100)] == [[]] * 99


def test_a_server_that_was_frozen_itself_blames_no_engine() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.due(0)
    assert rules.due(1000) == []
    assert next_actions(rules) == (1000 + HANG_S, [Kill(0)])


# --- taking turns


def test_who_waits_is_served_in_turn_and_who_has_waited_long_enough_is_refused() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    for session, patience_s in ((2, 10), (3, 5), (4, 10)):
        assert rules.request(session, patience_s, 1) == []
    rules.heard(0, Opened(1), 1)
    assert rules.next_due_s == 6
    assert rules.due(6) == [Inform(3, Refused())]
    rules.finish(1, 7)
    assert rules.heard(0, Closed(1), 7) == [
        Inform(1, Closed(1)),
        Tell(0, Open(2)),
        Inform(2, Granted(0)),
    ]
    rules.release(4, 8)
    rules.release(2, 8)
    rules.heard(0, Closed(2), 8)
    assert rules.states() == [EngineState.SLEEPING]


def test_an_engine_that_is_about_to_be_free_is_worth_a_longer_wait_once() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.heard(0, Opened(1), 0)
    rules.request(2, 0.2, 0)
    rules.release(1, 0)
    assert rules.due(0.2) == []
    assert rules.next_due_s == pytest.approx(0.9)
    assert rules.due(0.9) == [Inform(2, Refused())]


def test_results_of_a_session_reach_it_alone() -> None:
    """They are told apart by the session that they carry, not by their order."""
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    rules.release(1, 0)
    rules.request(2, 60, 0)
    stale = Recognized(1, 0.0, 1.0, Cause.SILENCE, "stale", 0.1, None, False, 0.0)
    assert rules.heard(0, stale, 0) == []
    rules.heard(0, Closed(1), 0)
    assert rules.heard(0, stale, 0) == []
    fresh = Recognized(2, 0.0, 1.0, Cause.SILENCE, "fresh", 0.1, None, False, 0.0)
    assert rules.heard(0, fresh, 0) == [Inform(2, fresh)]


# --- stopping


def test_a_stop_ends_every_process_starts_none_and_tells_nobody() -> None:
    rules = ready_pool(3)
    rules.request(1, 0, 0)
    rules.died(2, ENDING, 0)
    assert rules.stop() == [Kill(0), Kill(1)]
    assert rules.died(0, ENDING, 1) == rules.died(1, ENDING, 1) == []
    assert rules.due(1000) == []
    assert rules.request(2, 60, 1000) == [Inform(2, Refused())]


# --- who asks, and takes nothing away


def test_an_idle_engine_that_has_been_silent_is_asked_once_whether_it_is_there() -> None:
    rules = ready_pool(2)
    assert rules.ask_idle(0.5) == []  # both have just said something
    assert rules.look(0.5) == Look(total=2, free=2, silent=0, used=0)
    assert rules.ask_idle(5) == [Tell(0, Ping()), Tell(1, Ping())]
    assert rules.ask_idle(5.1) == []
    assert rules.awaits_answer(since_s=5)
    rules.heard(1, Pong(), 5.2)
    assert rules.look(5) == Look(total=2, free=1, silent=1, used=0)
    assert rules.request(1, 0, 5.3)[-1] == Inform(1, Granted(1))  # rather than the one that is silent
    assert not rules.awaits_answer(since_s=5.1)


def test_an_idle_engine_that_does_not_say_that_it_is_there_is_ended_as_one_that_hangs() -> None:
    rules = ready_pool(1)
    rules.ask_idle(5)
    now_s, actions = next_actions(rules)
    assert (now_s, actions) == (5 + HANG_S, [Kill(0)])
    assert rules.died(0, ENDING, now_s)[-1] == Lost(0, f"it gave no answer for {HANG_S:g} s and was ended", Loss.HUNG)


def test_a_client_is_served_by_an_engine_that_was_just_asked() -> None:
    rules = ready_pool(1)
    rules.ask_idle(5)
    assert rules.request(1, 0, 5.1) == [Tell(0, Open(1)), Inform(1, Granted(0))]
    for said in (Pong(), Opened(1)):
        rules.heard(0, said, 5.2)
    assert rules.due(5.2 + 2 * HANG_S) == []  # it owes nothing


def test_an_engine_that_is_borrowed_is_free_to_a_client_who_then_gets_it() -> None:
    rules = ready_pool(1)
    assert rules.borrow(-1, 1) == [Tell(0, Open(-1)), Inform(-1, Granted(0))]
    rules.heard(0, Opened(-1), 1)
    assert rules.states() == [EngineState.SLEEPING]
    assert rules.look(1) == Look(total=1, free=1, silent=0, used=0)
    assert rules.request(1, 0.2, 2) == [Inform(-1, Refused()), Tell(0, Abort(-1))]
    assert rules.look(2) == Look(total=1, free=0, silent=0, used=1)
    assert rules.due(2.3) == []  # it is cleared up for the client, who waits a little longer
    assert rules.heard(0, Closed(-1), 2.4) == [Tell(0, Open(1)), Inform(1, Granted(0))]


def test_nothing_is_borrowed_where_no_engine_is_idle() -> None:
    rules = ready_pool(1)
    rules.request(1, 0, 0)
    assert rules.borrow(-1, 1) == [Inform(-1, Refused())]
    rules.stop()
    assert rules.borrow(-2, 1) == [Inform(-2, Refused())]


def test_one_of_two_that_borrow_gives_way_to_one_client() -> None:
    rules = ready_pool(2)
    for session in (-1, -2):
        rules.borrow(session, 1)
    assert rules.request(1, 60, 2) == [Inform(-1, Refused()), Tell(0, Abort(-1))]
    assert rules.request(2, 60, 2) == [Inform(-2, Refused()), Tell(1, Abort(-2))]
    assert rules.request(3, 60, 2) == []


# --- whatever happens


class Process:
    """An engine's process as the rules may see it: it takes commands in order, and answers when it likes."""

    def __init__(self) -> None:
        self.commands: List[Command] = []
        self.is_ready = False
        self.is_killed = False
        self.has_failed = False
        self.session: Optional[int] = None
        self.last_s = 0.0  # that it was asked with nothing to do, or answered

    def next_answer(self) -> Any:
        """Deal with the next command, as an engine does."""
        command = self.commands.pop(0)
        if isinstance(command, Open):
            assert self.session is None, "two sessions on one engine"
            self.session = command.session
        elif isinstance(command, (Finish, Abort)):
            assert command.session == self.session
            self.session = None
            # One answer is for both: an Abort behind Finish finds nothing to end.
            self.commands = [other for other in self.commands if other != Abort(command.session)]
        return answer(command)


class World(RuleBasedStateMachine):
    """Engines that live, die and freeze, sessions that come, wait and go; the rules in between."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.n_engines = 3
        self.supervision = Supervision(self.n_engines, HANG_S)
        self.processes: Dict[int, Process] = {}
        self.sessions = 0
        self.waiting: Dict[int, float] = {}  # session → when it must have been told at the latest
        self.having: Dict[int, int] = {}  # session → slot, as the session was told
        self.borrowing: Set[int] = set()  # of them
        self.dead: Set[int] = set()  # released: nothing may be told to them
        self.was_all_ready = self.gave_up = False
        self.carry_out(self.supervision.begin(self.now_s))

    def carry_out(self, actions: List[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                assert action.slot not in self.processes, "two processes in one slot"
                assert not self.gave_up
                self.processes[action.slot] = Process()
            elif isinstance(action, Kill):
                process = self.processes[action.slot]
                assert process.commands or not process.is_ready, "who owes nothing is ended"
                process.is_killed = True
            elif isinstance(action, Tell):
                process = self.processes[action.slot]
                assert process.is_ready
                if not process.commands:
                    process.last_s = self.now_s
                process.commands.append(action.command)
            elif isinstance(action, Inform):
                self.inform(action)
            elif isinstance(action, GiveUp):
                if self.was_all_ready:  # before that nobody is served, and an engine that cannot start is fatal
                    assert not any(process.is_ready for process in self.processes.values()), "a healthy server gave up"
                self.gave_up = True
            elif isinstance(action, AllReady):
                assert not self.was_all_ready
                self.was_all_ready = True

    def inform(self, action: Inform) -> None:
        session, message = action.session, action.message
        assert session not in self.dead, "a dead session is told something"
        if isinstance(message, Granted):
            assert message.slot not in self.having.values(), "two sessions on one engine"
            if session not in self.borrowing:
                del self.waiting[session]
            self.having[session] = message.slot
        elif isinstance(message, Refused):
            if session in self.borrowing:
                self.having.pop(session, None)
            else:
                del self.waiting[session]
            self.dead.add(session)
        elif isinstance(message, (EngineFailed, Closed)):
            del self.having[session]
            self.dead.add(session)
        else:
            assert session in self.having

    # --- time

    @rule(passing_s=st.sampled_from([0.0, 0.1, 0.9, 2.0, HANG_S]))
    def time_passes(self, passing_s: float) -> None:
        end_s = self.now_s + passing_s
        while self.supervision.next_due_s <= end_s:
            self.now_s = max(self.now_s, self.supervision.next_due_s)
            self.carry_out(self.supervision.due(self.now_s))
        self.now_s = end_s

    # --- sessions

    @precondition(lambda self: not self.gave_up)
    @rule(patience_s=st.sampled_from([0.2, 1.0, 30.0]))
    def ask(self, patience_s: float) -> None:
        self.sessions += 1
        self.waiting[self.sessions] = self.now_s + patience_s + 0.71
        self.carry_out(self.supervision.request(self.sessions, patience_s, self.now_s))

    @precondition(lambda self: not self.gave_up)
    @rule()
    def borrow(self) -> None:
        self.sessions += 1
        self.borrowing.add(self.sessions)
        waiting = list(self.waiting)
        self.carry_out(self.supervision.borrow(self.sessions, self.now_s))
        assert list(self.waiting) == waiting, "a check takes the place of a client"

    @rule()
    def look(self) -> None:
        self.carry_out(self.supervision.ask_idle(self.now_s))
        look = self.supervision.look(self.now_s)
        states = self.supervision.states()
        assert look.free + look.silent == states.count(EngineState.SLEEPING)
        assert look.used == states.count(EngineState.RUNNING)

    @precondition(lambda self: self.having)
    @rule(choice=st.integers(0, 9))
    def speak(self, choice: int) -> None:
        session = list(self.having)[choice % len(self.having)]
        self.carry_out(self.supervision.hand_on(session, b"12", self.now_s))

    @precondition(lambda self: self.having)
    @rule(choice=st.integers(0, 9))
    def finish(self, choice: int) -> None:
        session = list(self.having)[choice % len(self.having)]
        self.carry_out(self.supervision.finish(session, self.now_s))

    @precondition(lambda self: self.having or self.waiting or self.dead)
    @rule(choice=st.integers(0, 9))
    def leave(self, choice: int) -> None:
        sessions = [*self.having, *self.waiting, *self.dead]
        session = sessions[choice % len(sessions)]
        self.having.pop(session, None)
        self.waiting.pop(session, None)
        self.dead.add(session)
        self.carry_out(self.supervision.release(session, self.now_s))

    # --- engines

    def choose(self, choice: int, among: List[int]) -> Optional[int]:
        return among[choice % len(among)] if among else None

    @rule(choice=st.integers(0, 9))
    def get_ready(self, choice: int) -> None:
        starting = [slot for slot, process in self.processes.items() if not (process.is_ready or process.is_killed)]
        slot = self.choose(choice, [slot for slot in starting if not self.processes[slot].has_failed])
        if slot is not None:
            self.processes[slot].is_ready = True
            self.carry_out(self.supervision.heard(slot, Ready("cpu", "int8"), self.now_s))

    @rule(choice=st.integers(0, 9))
    def fail_to_start(self, choice: int) -> None:
        slot = self.choose(choice, [slot for slot, process in self.processes.items() if not process.is_ready])
        if slot is not None and self.was_all_ready:
            self.processes[slot].has_failed = True
            self.carry_out(self.supervision.heard(slot, StartFailed("no weights"), self.now_s))

    @rule(choice=st.integers(0, 9), recognises=st.booleans())
    def answer(self, choice: int, recognises: bool) -> None:
        slot = self.choose(choice, [slot for slot, process in self.processes.items() if process.commands])
        if slot is None or self.processes[slot].is_killed:
            return
        process = self.processes[slot]
        process.last_s = self.now_s
        if recognises and process.session is not None:
            self.carry_out(
                self.supervision.heard(
                    slot, Recognized(process.session, 0, 1, Cause.SILENCE, "text", 0.1, None, False, 0.0), self.now_s
                )
            )
        self.carry_out(self.supervision.heard(slot, process.next_answer(), self.now_s))

    @rule(choice=st.integers(0, 9), short_of_room=st.booleans())
    def die(self, choice: int, short_of_room: bool) -> None:
        slot = self.choose(choice, list(self.processes))
        if slot is not None:
            process = self.processes.pop(slot)
            no_room = short_of_room and not process.is_ready
            self.carry_out(self.supervision.died(slot, ENDING, self.now_s, no_room))

    # --- what always holds

    @invariant()
    def no_waiting_session_is_forgotten(self) -> None:
        if not self.gave_up:
            assert all(until_s >= self.now_s for until_s in self.waiting.values()), "a ticket was forgotten"

    @invariant()
    def nobody_waits_while_an_engine_is_idle(self) -> None:
        borrowed = {slot for session, slot in self.having.items() if session in self.borrowing}
        states = self.supervision.states()
        sleeping = {index for index, state in enumerate(states) if state is EngineState.SLEEPING}
        assert not (self.waiting and sleeping - borrowed)

    @invariant()
    def every_slot_has_a_process_or_will_have_one(self) -> None:
        if not self.gave_up and self.was_all_ready and len(self.processes) < self.n_engines:
            assert self.supervision.next_due_s <= self.now_s + 30

    @invariant()
    def who_owes_an_answer_is_looked_at_in_time(self) -> None:
        if any(process.commands and not process.is_killed for process in self.processes.values()):
            assert self.supervision.next_due_s <= self.now_s + HANG_S

    @invariant()
    def who_owes_an_answer_for_too_long_is_ended(self) -> None:
        for process in self.processes.values():
            if process.commands and not process.is_killed:
                assert self.now_s < process.last_s + HANG_S + 0.01

    @invariant()
    def a_session_is_on_the_engine_that_it_was_told(self) -> None:
        running = [index for index, state in enumerate(self.supervision.states()) if state is EngineState.RUNNING]
        having = {slot for session, slot in self.having.items() if session not in self.borrowing}
        assert having <= set(running)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)


def test_a_pool_that_nobody_uses_has_nothing_to_do() -> None:
    rules = ready_pool(1)
    assert rules.next_due_s == HANG_S
    assert rules.due(HANG_S) == []
    rules.stop()
    rules.due(HANG_S)
    assert rules.next_due_s == math.inf
