"""Utterances → text, one session after the other; also before they have ended."""

import contextlib
import logging
import time
from typing import Any, Iterator, NamedTuple, Optional

from boundary.messages import Heard, Ready, Recognized, StartFailed, Working
from boundary.settings import EngineSettings, EngineSlot
from engine.continuity import HELD_S, Continuity, Said
from engine.listener import Listener
from engine.live import LiveSchedule
from engine.scarcity import Scarcity
from engine.segmenter import Utterance
from engine.turns import Board, Work
from forkserver import heap, template
from logger import fields
from protocol.data import Detail, Partial, Word
from recognizer import RecognizerError
from recognizer.audio import Samples, to_samples
from recognizer.live import LiveText
from recognizer.recognizer import Cancelled, Recognizer
from recognizer.request import Recognition, Request
from recognizer.stability import may_settle

_log = logging.getLogger(__name__)

_SIGN_OF_LIFE_S = 1.0
_GIVE_WAY_S = 0.02  # between two looks at what has come, unless the bell rings; longer, the more are before it
_GIVE_WAY_LONGEST_S = 0.2
_GIVE_WAY_LIMIT_S = 5.0  # for one utterance: who sends ahead of time is served last, but is served
_ON_OPEN = (Work.LIVE_TEXT, Work.AHEAD)  # utterances that have not ended
_TURN_S = 0.02  # between two looks whether there is a turn at live text
_REST_S = 8.0  # without work; taking memory anew costs the next recognition a tenth of its time


class _Result(NamedTuple):
    """What was recognised, and how."""

    utterance: Utterance
    recognition: Recognition
    busy_s: float
    ahead: bool  # begun before the utterance had ended


class EngineWorker:
    """One engine: utterances in, text out, one session after the other.

    When the client pauses, what it has said so far is recognised already while the engine listens on. If the pause
    turns out to be the end, the result is there or on its way; if not, it is thrown away. A session that wants to see
    what is said while it is said is shown that where a core is free; what is recognised does not depend on it.
    """

    def __init__(self, slot: EngineSlot, settings: EngineSettings, board: Board, commands: Any, answers: Any) -> None:
        self._slot, self._index = slot, slot.engine
        self._settings = settings
        self._board = board
        self._answers = answers
        self._listener = Listener(settings, commands, answers)
        self._session: Optional[int] = None  # whose the following are
        self._asked = self._listener.settings  # by it
        self._continuity = Continuity(is_on=False)
        self._schedule = LiveSchedule()
        self._result: Optional[_Result] = None
        self._work = Work.NONE
        self._utterance: Optional[Utterance] = None  # that is being recognised
        self._wants_turn = False  # at live text
        self._threads = 0
        self._seats = 1  # for engines that compute where this one does
        self._sign_of_life_s = 0.0
        self._began_s = 0.0  # with the recognition; moved on by pauses
        self._give_way_until_s = 0.0
        self._n_before = 0  # engines that are to compute before this one
        self._worked_s: Optional[float] = None  # until then, with memory that has not been given back
        self._taken: heap.Taken
        self._recognizer: Recognizer
        self._live_text: LiveText
        self._scarcity: Scarcity

    def run(self) -> None:
        """Take the model, then serve until the server goes away."""
        heap.prepare_to_work()
        try:
            self._recognizer = template.take_recognizer(self._settings.model, self._slot)
        except RecognizerError as error:
            self._answers.put(StartFailed(str(error)))
            return
        self._taken = heap.Taken()
        self._live_text = LiveText(self._recognizer)
        self._board.settle(self._index, self._recognizer.card)
        self._seats = self._board.seats(self._index)
        self._scarcity = Scarcity(self._recognizer.device, self._make_room)
        self._answers.put(Ready(self._recognizer.device, self._recognizer.compute))
        while True:
            utterance = self._listener.poll()
            self._follow_session()
            if utterance is None:
                self._work_ahead()
                self._work_on_live_text()
                utterance = self._listener.next(_TURN_S if self._wants_turn else self._rest(time.monotonic()))
                self._follow_session()
            if utterance is not None and not self._listener.is_aborted:
                self._deliver(utterance)
                self._taken.give_back_much()

    def _follow_session(self) -> None:
        """Nothing of a session reaches the next."""
        asked = self._listener.settings
        if self._listener.session == self._session and asked is self._asked:
            return
        self._session, self._asked = self._listener.session, asked
        # What was translated is no text of the sound before.
        goes_on = self._settings.model.context == "auto" and asked.task == "transcribe"
        self._continuity = Continuity(is_on=goes_on)
        self._schedule = LiveSchedule()
        self._result = None
        self._want_turn(False)
        if self._session is None:
            self._live_text.clear()
            self._recognizer.give_back()
            self._worked_s = time.monotonic()  # what that has freed is given back in time

    def _make_room(self) -> None:
        """Give back all that is kept for later."""
        self._recognizer.give_back()
        self._give_back()

    def _rest(self, now_s: float) -> Optional[float]:
        """While nobody speaks, give back in time what the last work took; returns in how many seconds."""
        if self._worked_s is None or self._listener.open_since_s is not None:
            return None
        due_in_s = self._worked_s + _REST_S - now_s
        if due_in_s > 0:
            return due_in_s
        self._give_back()
        return None

    def _give_back(self) -> None:
        self._worked_s = None
        self._taken.give_back()

    # --- utterances that have ended

    def _deliver(self, utterance: Utterance) -> None:
        """Send what was said; recognise it, unless that has been done."""
        assert self._session is not None
        self._want_turn(False)
        if self._continuity.is_empty(utterance):
            self._result = None
            self._tell(utterance, Said(utterance.start_s, utterance.end_s, "", ()), 0.0, None)
            return
        if self._result is None or self._result.utterance != utterance:
            self._recognize(utterance, self._urgency())
        if self._result is None:
            return
        _, recognition, busy_s, ahead = self._result
        self._result = None
        when = "begun before its end" if ahead else "begun at its end"
        where = (utterance.start_s, utterance.end_s)
        _log.debug("%.1f-%.1f s, %s: %s", *where, when, recognition, extra=fields(session=self._session))
        said = self._continuity.say(utterance, _samples(utterance), recognition)
        self._tell(utterance, said, busy_s, recognition)

    def _tell(self, utterance: Utterance, said: Said, busy_s: float, recognition: Optional[Recognition]) -> None:
        assert self._session is not None
        detail, is_suppressed = None, False
        if recognition is not None:
            detail = _detail(utterance, said, recognition) if self._asked.detail else None
            is_suppressed = recognition.is_suppressed and not said.text
        where = (self._session, said.start_s, said.end_s, utterance.cause)
        self._answers.put(Recognized(*where, said.text, busy_s, detail, is_suppressed, utterance.came_s))

    def _urgency(self) -> Work:
        """Of an utterance that has ended."""
        return Work.BEHIND if self._listener.is_ahead_of_time else Work.LIVE

    # --- recognition

    def _work_ahead(self) -> None:
        """Recognise an utterance that may have ended as soon as a core is free, if it has not been done."""
        if not self._listener.pauses or self._scarcity.rests(time.monotonic()):
            return
        if self._result is not None and not self._listener.goes_on(self._result.utterance):
            return
        utterance = self._listener.ending
        if utterance is not None and not self._continuity.is_empty(utterance):
            self._want_turn(False)
            self._recognize(utterance, Work.AHEAD)

    def _recognize(self, utterance: Utterance, work: Work) -> None:
        """Leaves the result in `_result`, None when nobody wants it any more."""
        self._result = None
        self._began_s = time.monotonic()
        with self._working(utterance, work):
            recognition = self._scarcity.recognize(
                lambda request: self._recognizer.recognize(_samples(utterance), request, self._is_cancelled),
                self._request(utterance),
            )
            self._result = _Result(utterance, recognition, time.monotonic() - self._began_s, work is Work.AHEAD)

    def _request(self, utterance: Utterance) -> Request:
        asked = self._asked
        return Request(
            asked.language,
            asked.task,
            asked.prompt,
            words=asked.detail or self._continuity.wants_words(utterance),
            context=self._continuity.context(utterance),
        )

    @contextlib.contextmanager
    def _working(self, utterance: Utterance, work: Work) -> Iterator[None]:
        """Compute, and stop where it is in vain, or where there is no memory for what nobody waits for."""
        self._utterance = utterance
        self._turn_to(work, utterance.came_s)
        try:
            yield
        except Cancelled:
            pass
        except Exception as error:
            if self._work not in _ON_OPEN or not self._scarcity.met(error, time.monotonic()):
                raise
        self._worked_s = time.monotonic()
        self._turn_to(Work.NONE, self._worked_s)

    def _turn_to(self, work: Work, since_s: float) -> None:
        """`since_s`: when what is worked on came; if it has ended, since then somebody waits."""
        self._work, now_s = work, time.monotonic()
        self._give_way_until_s = now_s + _GIVE_WAY_LIMIT_S
        self._board.work_for(self._index, since_s, now_s)
        self._board.mark(self._index, work)

    # --- live text

    def _work_on_live_text(self) -> None:
        """Show more of the open utterance, if it is time."""
        begins_s = self._listener.open_since_s
        if not self._asked.partial or begins_s is None or self._listener.waiting is not None:
            self._want_turn(False)
        elif self._listener.pauses:
            self._want_turn(False)
            if self._result is not None and not self._listener.goes_on(self._result.utterance):
                self._show_settled(self._result)
        elif not self._schedule.is_due(begins_s, self._listener.heard_s) or self._scarcity.rests(time.monotonic()):
            self._want_turn(False)
        else:
            self._want_turn(True)
            if not self._must_give_way(Work.LIVE_TEXT) and self._board.is_next(self._index, time.monotonic()):
                self._look()

    def _look(self) -> None:
        utterance = self._listener.so_far
        assert utterance is not None
        self._want_turn(False)
        self._follow_utterance(utterance)
        self._schedule.looked(self._listener.heard_s)
        longest_s = utterance.start_s + self._settings.vad.max_speech_duration
        stable_until_s = min(longest_s - HELD_S, self._listener.earliest_cut_s) - utterance.audio_start_s
        with self._working(utterance, Work.LIVE_TEXT):
            in_haste = self._board.is_waited_for(self._index, time.monotonic())
            text = self._live_text.tick(_samples(utterance), self._is_cancelled, stable_until_s, in_haste)
            self._show(utterance, text.stable, text.unstable)

    def _show_settled(self, result: _Result) -> None:
        """What was recognised in a pause is most likely right, also where the utterance goes on."""
        utterance, recognition = result.utterance, result.recognition
        silence_s = self._listener.heard_s - utterance.end_s
        if not recognition.text or not may_settle(recognition.avg_logprob, silence_s):
            return
        self._follow_utterance(utterance)
        if self._schedule.settle(utterance.start_s, utterance.end_s):
            text = self._live_text.settle(recognition.text, recognition.language)
            self._show(utterance, text.stable, text.unstable)

    def _follow_utterance(self, utterance: Utterance) -> None:
        if self._schedule.begin(utterance.audio_start_s):
            self._live_text.begin(self._request(utterance))

    def _show(self, utterance: Utterance, stable: str, unstable: str) -> None:
        assert self._session is not None
        start_s = self._continuity.start_s(utterance)
        partial = self._schedule.news(Partial(start_s, utterance.end_s, stable, unstable))
        if partial is not None and self._listener.waiting is None:
            self._answers.put(Heard(self._session, partial, utterance.came_s))

    def _want_turn(self, wanted: bool) -> None:
        if wanted != self._wants_turn:
            self._wants_turn = wanted
            self._board.wait(self._index, time.monotonic() if wanted else 0.0)

    # --- in the middle of all that

    def _is_cancelled(self) -> bool:
        """Asked before each layer of the encoder and each token: the place for all that goes on meanwhile."""
        while True:
            self._show_life()
            self._listener.listen_on(utterance_is_open=self._work in _ON_OPEN)
            if self._listener.is_aborted or self._is_in_vain():
                return True
            if not self._must_give_way(self._work):
                break
            self._give_way()
        self._board.mark(self._index, self._work)
        self._share_cores()
        return False

    def _give_way(self) -> None:
        """Let others compute, for a moment or until it may be this engine's turn."""
        began_s = time.monotonic()
        if self._work is Work.LIVE_TEXT:  # others need not share the cores with it
            self._board.mark(self._index, Work.NONE)
            time.sleep(_GIVE_WAY_S)
        else:
            # Work ahead changes by what comes, of which no bell tells.
            n_more = 0 if self._work is Work.AHEAD else max(0, self._n_before - self._seats)
            pause_s = min(_GIVE_WAY_S * (1 + n_more), _GIVE_WAY_LONGEST_S)
            self._board.rest(self._index, pause_s, lambda: not self._must_give_way(self._work))
        self._began_s += time.monotonic() - began_s

    def _is_in_vain(self) -> bool:
        """Whether the utterance goes on after all, or has ended. If it has as was expected, somebody waits for it."""
        if self._work is Work.LIVE_TEXT:  # in a pause there is something better to do
            return self._listener.waiting is not None or self._listener.pauses
        if self._work is not Work.AHEAD:
            return False
        if self._listener.waiting is None:
            assert self._utterance is not None
            return self._listener.goes_on(self._utterance)
        if self._listener.waiting != self._utterance:
            return True
        self._turn_to(self._urgency(), self._listener.waiting.came_s)
        return False

    def _must_give_way(self, work: Work) -> bool:
        """Whether more urgent work needs the cores, or the card."""
        if work is Work.LIVE_TEXT:
            recognising = self._board.others(self._index, Work.AHEAD)
            looking = 0 if self._work is work else self._board.others(self._index, Work.LIVE_TEXT) - recognising
            return 2 * recognising + looking >= self._seats  # a recognition is to be as fast as without live text
        now_s = time.monotonic()
        if work is Work.AHEAD:
            urgent = self._board.others(self._index, Work.BEHIND)
            self._n_before = urgent + self._board.ahead_before(self._index, now_s)
            return self._n_before >= self._seats
        if work is Work.LIVE:  # one after the other: side by side, all would be late
            self._n_before = self._board.live_before(self._index, now_s)
            return self._recognizer.card is None and self._n_before >= self._seats
        self._n_before = self._board.others(self._index, Work.LIVE)
        return work is Work.BEHIND and now_s < self._give_way_until_s and self._n_before >= self._seats

    def _show_life(self) -> None:
        """Tell the server that the recognition goes on: it ends who gives no answer for too long."""
        now_s = time.monotonic()
        if now_s - self._sign_of_life_s >= _SIGN_OF_LIFE_S:
            self._sign_of_life_s = now_s
            self._answers.put(Working())

    def _share_cores(self) -> None:
        """All cores for an engine that works alone, one for each where many do; one where a card computes."""
        if self._recognizer.card is not None:
            return
        least = Work.LIVE_TEXT if self._work is Work.LIVE_TEXT else Work.AHEAD
        threads = max(1, self._seats // (1 + self._board.others(self._index, least)))
        if threads != self._threads:
            self._threads = threads
            self._recognizer.use_threads(threads)


def _samples(utterance: Utterance) -> Samples:
    return to_samples(utterance.pcm, utterance.sample_rate)


def _detail(utterance: Utterance, said: Said, recognition: Recognition) -> Detail:
    words = tuple(Word(word.text, word.start_s, word.end_s, word.confidence) for word in said.words)
    return Detail(
        recognition.language,
        utterance.cause,
        recognition.avg_logprob,
        recognition.no_speech_prob,
        sum(word.confidence for word in words) / len(words) if words else 0.0,
        words,
    )
