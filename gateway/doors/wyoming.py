"""Wyoming: the TCP protocol of Home Assistant and its satellites.

transcribe, audio-start, audio-chunk …, audio-stop ─▶ transcript-start, transcript-chunk …, transcript, transcript-stop

Rounds may follow each other in one connection. A chunk of the transcript comes with each utterance that ends within a
round; clients that know no chunks wait for the transcript.
"""

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence

from gateway.asked import RATES, language_code, prompt_of
from gateway.audio import MOST_CHANNELS, PCM16_BYTES, WIDTHS_BYTES, MonoPcm
from gateway.conversation import (
    Action,
    Answer,
    Audio,
    Close,
    Configure,
    EndUtterance,
    Message,
    Say,
    Translator,
    goodbye,
)
from gateway.errors import BadRequest, GatewayError
from gateway.services import Services
from gateway.tcp import TcpDoor, TcpStream
from gateway.upstream import SpeechEvent
from gateway.wyoming import Event, EventParser, encode_event, info
from protocol.data import Cause, SessionOptions, UtteranceDone
from recognizer.catalog import LANGUAGE_CODES
from util import Result

_DEFAULT_RATE = 16000  # Hz
_ENGLISH = "en"
_KINDS: Dict[type, str] = {str: "text", list: "a list"}


def door(services: Services) -> TcpDoor:
    """Who serves those that connect to its port."""
    size = services.config.model.size

    async def serve(stream: TcpStream) -> None:
        wyoming = Wyoming(size)
        await services.converse(stream, wyoming, wyoming.options, f"wyoming {stream.host}")

    async def refuse(stream: TcpStream) -> None:
        full = services.full()
        services.figures.refused(full)
        await stream.send(_error(full).message)
        await stream.close(1013, "")

    return TcpDoor(serve, services.has_room, refuse)


class Wyoming(Translator):
    """One client of Wyoming.

    Args:
        model_size: as configured; some have one language only.
    """

    quiet_limit_s = 60.0

    def __init__(self, model_size: str) -> None:
        self.options = SessionOptions(sample_rate=_DEFAULT_RATE, detail=True, events=True)
        self._model_size = model_size
        self._parser = EventParser()
        self._configured = self.options  # as the line has been told
        self._form = (PCM16_BYTES, 1)  # of the sound: bytes of a sample, channels
        self._pcm = MonoPcm(*self._form)
        self._ending = 0  # rounds that have been stopped and not been answered
        self._texts: List[str] = []  # of the round that is answered next
        self._language: Optional[str] = None  # that was heard in it

    def received(self, message: Message) -> Sequence[Action]:
        """Bytes; events begin and end anywhere in them."""
        assert isinstance(message, bytes)
        actions: List[Action] = []
        try:
            for event in self._parser.receive(message):
                actions += self._told(event)
        except BadRequest as error:  # what was right before it still counts
            actions += self.failed(error)
        return actions

    def heard(self, event: SpeechEvent) -> Sequence[Answer]:
        """Chunks of the transcript, and all of it when the round has ended."""
        if isinstance(event, Result):
            return self._chunk(event)
        if isinstance(event, UtteranceDone) and event.cause is Cause.ASKED and self._ending:
            return self._transcript()
        return []

    def ended(self) -> Sequence[Answer]:
        """Never asked for: rounds end, the connection does when the client leaves."""
        return [Close()]

    def failed(self, error: GatewayError) -> Sequence[Answer]:
        """An error event."""
        return [_error(error), goodbye(error)]

    def quiet(self) -> Sequence[Answer]:
        """The connection is closed, unless an answer is owed."""
        return [] if self._ending else [Close()]

    # --- what the client says

    def _told(self, event: Event) -> List[Action]:
        if event.type == "describe":
            return [_say("info", info(self._model_size, languages_of(self._model_size)))]
        if event.type == "ping":
            return [_say("pong", {"text": event.data.get("text")})]
        if event.type == "transcribe":
            self._transcribe(event.data)
        elif event.type == "audio-start":
            self._pcm = MonoPcm(*self._form)
            self._listen(event.data)
        elif event.type == "audio-chunk":
            return self._audio(event)
        elif event.type == "audio-stop":
            return self._stop()
        return []  # others are none of a recogniser's business

    def _transcribe(self, asked: Mapping[str, Any]) -> None:
        """What counts for the next round."""
        language = _optional(asked, "language", str)
        terms = [term for key in ("transcript_names", "transcript_terms") for term in _optional(asked, key, list) or []]
        self.options = replace(
            self.options,
            language=language_code(language or "", self._model_size),
            prompt=prompt_of(term for term in terms if isinstance(term, str)),
        )

    def _listen(self, form: Mapping[str, Any]) -> None:
        """What the sound is, as `audio-start` and every chunk say."""
        width_bytes, channels = self._form
        least, most = RATES
        rate = _number(form, "rate", least, most, self.options.sample_rate)
        self.options = replace(self.options, sample_rate=rate)
        width_bytes = _number(form, "width", WIDTHS_BYTES[0], WIDTHS_BYTES[-1], width_bytes)
        channels = _number(form, "channels", 1, MOST_CHANNELS, channels)
        if (width_bytes, channels) != self._form:
            self._form = width_bytes, channels
            self._pcm = MonoPcm(*self._form)

    def _audio(self, event: Event) -> List[Action]:
        self._listen(event.data)
        audio = Audio(self._pcm.take(event.payload))
        if self.options == self._configured:
            return [audio]
        self._configured = self.options
        return [Configure(self.options), audio]

    def _stop(self) -> List[Action]:
        self._ending += 1
        self._pcm = MonoPcm(*self._form)
        self.options = replace(self.options, language=None, prompt=None)
        return [EndUtterance()]

    # --- what it is told

    def _chunk(self, result: Result) -> List[Answer]:
        answers = [] if self._texts else [self._start(result)]
        answers.append(_say("transcript-chunk", {"text": f" {result.text}" if self._texts else result.text}))
        self._texts.append(result.text)
        return answers

    def _start(self, result: Optional[Result]) -> Answer:
        self._language = result.detail.language if result is not None and result.detail is not None else None
        return _say("transcript-start", self._named({}))

    def _transcript(self) -> List[Answer]:
        answers = [] if self._texts else [self._start(None)]
        answers += [_say("transcript", self._named({"text": " ".join(self._texts)})), _say("transcript-stop", {})]
        self._texts = []
        self._ending -= 1
        return answers

    def _named(self, fields: Dict[str, Any]) -> Dict[str, Any]:
        return fields if self._language is None else {**fields, "language": self._language}


def _say(kind: str, data: Dict[str, Any]) -> Say:
    return Say(encode_event(Event(kind, data)))


def _error(error: GatewayError) -> Say:
    return _say("error", {"text": str(error), "code": type(error).__name__})


def languages_of(model_size: str) -> List[str]:
    """The Whisper codes of the languages that a model knows."""
    return [_ENGLISH] if model_size.endswith(f".{_ENGLISH}") else sorted(LANGUAGE_CODES)


def _optional(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if value is not None and not isinstance(value, kind):
        raise BadRequest(f"{name}: expected {_KINDS[kind]}", name)
    return value


def _number(fields: Mapping[str, Any], name: str, least: int, most: int, default: Optional[int]) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadRequest(f"{name}: expected {least} to {most}", name)
    return value
