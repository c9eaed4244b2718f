"""What is heard, as items of a conversation: which utterance belongs to which, and what is told of it. Pure.

With detection on, each utterance is an item; without it, all that the client sends between two commits is one. Events
of the server come in the order of the audio, but for what was recognised, which comes later. So each end of an
utterance that was asked for is kept, with its purpose, until the server has come to it.
"""

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Deque, Dict, Iterator, List, Optional

from gateway.upstream import SpeechEvent
from protocol.data import Cause, Partial, SpeechStarted, SpeechStopped, UtteranceDone, Word
from util import Result

Event = Dict[str, Any]

_TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass(eq=False)
class _Item:
    """What is told of an utterance, or of a turn of the client's.

    Attributes:
        is_turn: whether a commit of the client's completes it, and not the end of its utterance.
        is_dropped: whether nothing is told of it any more.
        deltas: all of them.
    """

    id: str
    is_turn: bool
    is_dropped: bool = False
    deltas: str = ""
    texts: List[str] = field(default_factory=list)
    words: List[Word] = field(default_factory=list)
    languages: List[str] = field(default_factory=list)
    start_s: Optional[float] = None
    end_s: float = 0.0
    spoken_s: float = 0.0


class _Purpose(enum.Enum):
    """Why an end of an utterance was asked for."""

    TURN = "the client has committed its turn"
    FLUSH = "the client has committed what silence would end later"
    CLEAR = "what was not committed is dropped"
    DETECT = "from here on silence ends utterances"
    TURNS = "from here on the client ends its turns"


@dataclass
class _Ask:
    """An end of an utterance that was asked for; `item`: the turn that it ends."""

    purpose: _Purpose
    item: Optional[_Item] = None


@dataclass
class _Utterance:
    """One that is not over.

    Attributes:
        told: of its text in deltas.
        cause: why it has ended; None while it is open.
        ask: that has ended it.
    """

    item: _Item
    told: str = ""
    cause: Optional[Cause] = None
    ask: Optional[_Ask] = None


class Items:
    """The items of one client.

    The methods for what the client wants say what is told at once; each but `lost` has to be followed by asking the
    server for the end of the utterance.

    Args:
        session: its name, of which those of the items are made.
        detects: whether silence ends utterances, to begin with.

    Attributes:
        with_partials, with_words: whether the client wants to be told these.
    """

    def __init__(self, session: str, detects: bool) -> None:
        self._session = session
        self._count = 0
        self.with_partials = False
        self.with_words = False
        self._detects = detects  # at the place in the audio that the server has come to
        self._asked: Deque[_Ask] = deque()  # that the server has not come to
        self._utterances: Deque[_Utterance] = deque()
        self._turns: Deque[_Item] = deque()  # committed, and to be completed
        self._turn: Optional[_Item] = None  # to be committed
        self._last_id: Optional[str] = None  # of what was committed
        self._is_speaking = False  # as the client was told
        self._held_stop: Optional[Event] = None  # where speech may go on

    # --- what the client wants

    def commit_turn(self) -> List[Event]:
        """The client has ended its turn."""
        item, self._turn = self._turn or self._new(is_turn=True), None
        self._turns.append(item)
        self._asked.append(_Ask(_Purpose.TURN, item))
        return [self._committed(item)]

    def flush(self) -> None:
        """The client has said that nothing more belongs to an open utterance; detection is on."""
        self._asked.append(_Ask(_Purpose.FLUSH))

    def clear(self) -> None:
        """What the client has sent is dropped, unless it has been committed."""
        item, self._turn = self._turn or self._new(is_turn=True), None
        item.is_dropped = True
        for utterance in self._utterances:
            if utterance.cause is None and not utterance.item.is_turn:
                utterance.item.is_dropped = True
        self._asked.append(_Ask(_Purpose.CLEAR, item))

    def switch(self, detects: bool) -> None:
        """From here on, silence ends utterances, or the client ends its turns."""
        self._asked.append(_Ask(_Purpose.DETECT if detects else _Purpose.TURNS))

    def lost(self, error: Event) -> List[Event]:
        """Nothing more will be heard."""
        begun = [utterance.item for utterance in self._utterances if not utterance.item.is_turn]
        begun += self._turns
        if self._turn is not None and self._turn.deltas:
            begun.append(self._turn)
        return [self._of(item, "failed", {"error": error}) for item in begun if not item.is_dropped]

    # --- what is heard

    def heard(self, event: SpeechEvent) -> List[Event]:
        """What the client is told of it."""
        if isinstance(event, SpeechStarted):
            return self._started(event)
        if isinstance(event, SpeechStopped):
            return self._stopped(event)
        if isinstance(event, UtteranceDone):
            return list(self._done(event))
        if not self._utterances or self._utterances[0].item.is_dropped:
            return []
        if isinstance(event, Partial):
            return self._shown(self._utterances[0], event)
        return self._recognised(self._utterances[0], event)

    def _started(self, event: SpeechStarted) -> List[Event]:
        if not self._detects:
            self._utterances.append(_Utterance(self._present_turn()))
            return []
        item = self._new(is_turn=False)
        item.is_dropped = any(ask.purpose is _Purpose.CLEAR for ask in self._asked)
        self._utterances.append(_Utterance(item))
        self._held_stop = None
        if self._is_speaking or item.is_dropped:
            return []
        self._is_speaking = True
        return [_buffer("speech_started", {"item_id": item.id, "audio_start_ms": _ms(event.at_s)})]

    def _present_turn(self) -> _Item:
        """The turn that is being said, at the place in the audio that the server has come to."""
        for ask in self._asked:
            if ask.item is not None:
                return ask.item
        if self._turn is None:
            self._turn = self._new(is_turn=True)
        return self._turn

    def _stopped(self, event: SpeechStopped) -> List[Event]:
        utterance = next((one for one in self._utterances if one.cause is None), None)
        if utterance is None:
            return []
        utterance.cause = event.cause
        if event.cause is Cause.ASKED and self._asked:
            utterance.ask = self._come_to()
        if utterance.item.is_turn:
            return []
        events: List[Event] = []
        if self._is_speaking:
            self._held_stop = _buffer("speech_stopped", {"item_id": utterance.item.id, "audio_end_ms": _ms(event.at_s)})
            if event.cause is not Cause.LENGTH:
                events += self._tell_stop()
        if not utterance.item.is_dropped:
            events.append(self._committed(utterance.item))
        return events

    def _tell_stop(self) -> Iterator[Event]:
        if self._held_stop is not None:
            yield self._held_stop
            self._held_stop, self._is_speaking = None, False

    def _come_to(self) -> _Ask:
        """The server has come to the next end that was asked for."""
        ask = self._asked.popleft()
        if ask.purpose in (_Purpose.DETECT, _Purpose.TURNS):
            self._detects = ask.purpose is _Purpose.DETECT
        return ask

    def _done(self, event: UtteranceDone) -> Iterator[Event]:
        if self._utterances and self._utterances[0].cause is event.cause:
            utterance = self._utterances.popleft()
            _extend(utterance.item, event)
            if not utterance.item.is_turn:
                if self._held_stop is not None and self._held_stop["item_id"] == utterance.item.id:
                    yield from self._tell_stop()
                yield from self._complete(utterance.item)
            ask = utterance.ask
        elif event.cause is Cause.ASKED and self._asked:  # nothing was open
            ask = self._come_to()
            if ask.item is not None and ask.item.start_s is None:
                _extend(ask.item, event)
            if ask.purpose is _Purpose.FLUSH:
                item = self._new(is_turn=False)
                _extend(item, event)
                yield self._committed(item)
                yield from self._complete(item)
        else:
            return
        if ask is not None and ask.purpose is _Purpose.TURN and ask.item is not None:
            self._turns.remove(ask.item)
            yield from self._complete(ask.item)

    # --- text

    def _shown(self, utterance: _Utterance, partial: Partial) -> List[Event]:
        item = utterance.item
        events = self._grown(utterance, partial.stable)
        if self.with_partials:
            start_s = partial.start_s if item.start_s is None else item.start_s
            times = {"start_ms": _ms(start_s), "end_ms": _ms(partial.end_s)}
            text = {"stable": item.deltas, "unstable": partial.unstable}
            events.append(self._of(item, "partial", {**text, **times}))
        return events

    def _recognised(self, utterance: _Utterance, result: Result) -> List[Event]:
        item = utterance.item
        item.texts.append(result.text)
        if result.detail is not None:
            item.words += result.detail.words
            if result.detail.language not in item.languages:
                item.languages.append(result.detail.language)
        return self._grown(utterance, result.text)

    def _grown(self, utterance: _Utterance, text: str) -> List[Event]:
        """What has come to the text of an utterance; nothing where it is another than was told."""
        if len(text) <= len(utterance.told) or not text.startswith(utterance.told):
            return []
        delta = text[len(utterance.told) :]
        item = utterance.item
        if item.deltas and not utterance.told:
            delta = f" {delta}"
        utterance.told = text
        item.deltas += delta
        return [self._of(item, "delta", {"delta": delta})]

    def _complete(self, item: _Item) -> Iterator[Event]:
        if item.is_dropped:
            return
        fields: Event = {
            "transcript": " ".join(item.texts),
            "usage": {"type": "duration", "seconds": round(item.spoken_s, 2)},
            "languages": [{"code": code} for code in item.languages],
        }
        if self.with_words:
            fields["language"] = item.languages[0] if item.languages else None
            fields["start_ms"], fields["end_ms"] = _ms(item.start_s or 0.0), _ms(item.end_s)
            fields["words"] = [_word(word) for word in item.words]
        yield self._of(item, "completed", fields)

    # --- forms

    def _new(self, is_turn: bool) -> _Item:
        self._count += 1
        return _Item(f"item_{self._session}_{self._count}", is_turn)

    def _committed(self, item: _Item) -> Event:
        previous, self._last_id = self._last_id, item.id
        return _buffer("committed", {"item_id": item.id, "previous_item_id": previous})

    def _of(self, item: _Item, what: str, fields: Event) -> Event:
        return {"type": f"{_TRANSCRIPTION}.{what}", "item_id": item.id, "content_index": 0, **fields}


def _buffer(what: str, fields: Event) -> Event:
    return {"type": f"input_audio_buffer.{what}", **fields}


def _extend(item: _Item, done: UtteranceDone) -> None:
    """The item has an utterance more."""
    if item.start_s is None:
        item.start_s = done.start_s
    item.end_s = done.end_s
    item.spoken_s += done.end_s - done.start_s


def _word(word: Word) -> Event:
    return {
        "word": word.text,
        "start_ms": _ms(word.start_s),
        "end_ms": _ms(word.end_s),
        "confidence": word.confidence,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
