"""What the packets with structure say: options, live text, events, the detail of a result. Both directions.

Times are seconds from the first byte of the session's audio. `encode_…` gives the data of a packet, `parse_…` is its
inverse and raises DataError. Nothing but the standard library is imported: clients use this too.
"""

import enum
import json
import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

_PARTIAL_PATTERN = re.compile(r"([0-9]{1,9}\.[0-9]{1,9}) ([0-9]{1,9}\.[0-9]{1,9}) : ([^\t]*)\t(.*)", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape half of a pair


class DataError(ValueError):
    """Data that do not say what their packet should; the text says what is wrong."""


class Cause(str, enum.Enum):
    """Why an utterance has ended."""

    SILENCE = "silence"
    LENGTH = "length"  # it was too long, and speech may go on
    ASKED = "asked"  # by `%e`
    FINISH = "finish"


# --- options ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SessionOptions:
    """What a client asks for its session; None leaves it to the server's configuration.

    Attributes:
        language: a Whisper code, or `auto`.
        task: `transcribe`, or `translate` for English whatever is spoken.
        prompt: up to 2,000 characters of names and jargon that are likely to be said.
        sample_rate: of the audio, 8000 to 48000 Hz.
        encoding: `pcm_s16le`, or G.711's `mulaw` or `alaw`.
        silence_ms: of closing silence that ends an utterance, 100 to 5000.
        turn: `auto`: silence ends utterances; `manual`: only the client and the longest length do.
        partial: text while it is still spoken.
        events: beginnings and ends of utterances.
        detail: results with words, their times and confidences.
    """

    language: Optional[str] = None
    task: Optional[str] = None
    prompt: Optional[str] = None
    sample_rate: Optional[int] = None
    encoding: Optional[str] = None
    silence_ms: Optional[int] = None
    turn: Optional[str] = None
    partial: Optional[bool] = None
    events: Optional[bool] = None
    detail: Optional[bool] = None

    @property
    def are_default(self) -> bool:
        """Whether nothing is asked for."""
        return self == SessionOptions()


def encode_options(options: SessionOptions) -> bytes:
    """The data of `%o`."""
    return _encode({key: value for key, value in asdict(options).items() if value is not None})


def parse_options(data: bytes) -> Dict[str, Any]:
    """The keys and values of `%o` as they were sent: the server knows which are right."""
    return _object(data)


# --- live text -------------------------------------------------------------------------------


class Partial(NamedTuple):
    """An open utterance so far: `stable` is never taken back, `unstable` follows it after a blank and may change."""

    start_s: float
    end_s: float
    stable: str
    unstable: str


def encode_partial(partial: Partial, detailed: bool) -> bytes:
    """The data of `%P`: one line, or JSON."""
    stable, unstable = _one_line(partial.stable), _one_line(partial.unstable)
    if not detailed:
        return f"{partial.start_s:.1f} {partial.end_s:.1f} : {stable}\t{unstable}".encode("utf-8", errors="replace")
    times = {"start": _time(partial.start_s), "end": _time(partial.end_s)}
    return _encode({**times, "stable": stable, "unstable": unstable})


def parse_partial(data: bytes) -> Partial:
    """Either form of `%P`."""
    if data.startswith(b"{"):
        fields = _object(data)
        return Partial(*_interval(fields), _get(fields, "stable", str), _get(fields, "unstable", str))
    match = _PARTIAL_PATTERN.fullmatch(data.decode("utf-8", errors="replace"))
    if match is None:
        raise DataError("it is not 'START END : STABLE<TAB>UNSTABLE'")
    return Partial(float(match[1]), float(match[2]), match[3], match[4])


def _one_line(text: str) -> str:
    return text.replace("\t", " ")


# --- events ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpeechStarted:
    """The first voiced frame of an utterance."""

    at_s: float


@dataclass(frozen=True)
class SpeechStopped:
    """An utterance has ended; it is still to be recognised."""

    at_s: float
    cause: Cause


@dataclass(frozen=True)
class UtteranceDone:
    """All that comes of an utterance has come: a result before this, where `has_text`."""

    start_s: float
    end_s: float
    cause: Cause
    has_text: bool


UtteranceEvent = Union[SpeechStarted, SpeechStopped, UtteranceDone]


def encode_event(event: UtteranceEvent) -> bytes:
    """The data of `%V`."""
    if isinstance(event, SpeechStarted):
        return _encode({"event": "speech_started", "at": _time(event.at_s)})
    if isinstance(event, SpeechStopped):
        return _encode({"event": "speech_stopped", "at": _time(event.at_s), "cause": event.cause.value})
    times = {"start": _time(event.start_s), "end": _time(event.end_s)}
    return _encode({"event": "utterance_done", **times, "cause": event.cause.value, "text": event.has_text})


def parse_event(data: bytes) -> Optional[UtteranceEvent]:
    """The inverse; None for an event of a newer server."""
    fields = _object(data)
    kind = _get(fields, "event", str)
    if kind == "speech_started":
        return SpeechStarted(_number(fields, "at"))
    if kind == "speech_stopped":
        return SpeechStopped(_number(fields, "at"), _cause(fields))
    if kind == "utterance_done":
        return UtteranceDone(*_interval(fields), _cause(fields), _get(fields, "text", bool))
    return None


# --- the detail of a result ------------------------------------------------------------------


class Word(NamedTuple):
    """A word of a result; `confidence` is how likely it is right, 0 to 1."""

    text: str
    start_s: float
    end_s: float
    confidence: float


class Detail(NamedTuple):
    """What a result knows beside its text.

    Attributes:
        language: a Whisper code.
        cause: why the utterance has ended.
        avg_logprob: natural logarithm of the probability of a token, on average.
        no_speech_prob: Whisper's own estimate that nobody spoke.
        confidence: how likely a word is right, 0 to 1.
        words: of the text; joined by blanks they are it.
    """

    language: str
    cause: Cause
    avg_logprob: float
    no_speech_prob: float
    confidence: float
    words: Tuple[Word, ...]


class DetailedResult(NamedTuple):
    """A recognised segment with all that is known of it."""

    start_s: float
    end_s: float
    text: str
    detail: Detail


def encode_result(result: DetailedResult) -> bytes:
    """The data of `%R` with detail."""
    detail = result.detail
    return _encode(
        {
            "start": _time(result.start_s),
            "end": _time(result.end_s),
            "text": result.text,
            "language": detail.language,
            "cause": detail.cause.value,
            "avg_logprob": round(detail.avg_logprob, 3),
            "no_speech_prob": round(detail.no_speech_prob, 3),
            "confidence": round(detail.confidence, 2),
            "words": [
                {
                    "word": word.text,
                    "start": _time(word.start_s),
                    "end": _time(word.end_s),
                    "confidence": round(word.confidence, 2),
                }
                for word in detail.words
            ],
        }
    )


def parse_detailed_result(data: bytes) -> DetailedResult:
    """The inverse."""
    fields = _object(data)
    words = _get(fields, "words", list)
    detail = Detail(
        _get(fields, "language", str),
        _cause(fields),
        _number(fields, "avg_logprob"),
        _number(fields, "no_speech_prob"),
        _number(fields, "confidence"),
        tuple(_word(word) for word in words),
    )
    return DetailedResult(*_interval(fields), _get(fields, "text", str), detail)


def _word(fields: Any) -> Word:
    if not isinstance(fields, dict):
        raise DataError("'words' are objects")
    return Word(_get(fields, "word", str), *_interval(fields), _number(fields, "confidence"))


# --- JSON ------------------------------------------------------------------------------------


def _encode(fields: Dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", errors="replace")


def _object(data: bytes) -> Dict[str, Any]:
    try:
        fields = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_refuse
        )
    except DataError:
        raise
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        raise DataError(f"it is not JSON in UTF-8 ({reason})") from error
    if not isinstance(fields, dict):
        raise DataError("it is not a JSON object")
    return fields


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise DataError("a key comes twice")
    return fields


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise DataError("a number is too large")
    return number


def _refuse(constant: str) -> None:
    raise DataError(f"{constant} is no number")


def _time(seconds: float) -> float:
    return round(seconds, 2)


def _get(fields: Dict[str, Any], key: str, kind: type) -> Any:
    value = fields.get(key)
    if not isinstance(value, kind):
        raise DataError(f"'{key}' is missing or of another type")
    if isinstance(value, str) and _SURROGATE.search(value):
        raise DataError(f"'{key}' has half a surrogate pair, which is no character")
    return value


def _number(fields: Dict[str, Any], key: str) -> float:
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DataError(f"'{key}' is missing or no number")
    try:
        return float(value)
    except OverflowError as error:
        raise DataError(f"'{key}' is too large") from error


def _interval(fields: Dict[str, Any]) -> Tuple[float, float]:
    return _number(fields, "start"), _number(fields, "end")


def _cause(fields: Dict[str, Any]) -> Cause:
    try:
        return Cause(fields.get("cause"))
    except ValueError as error:
        raise DataError("'cause' is missing or unknown") from error
