"""What OpenAI's API for audio files says: what is asked for, the answers, the errors. Pure."""

import json
import math
import zlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from client.formats import SUBTITLES, SubtitleFormat
from gateway.asked import joined_prompt, language_code, shown
from gateway.errors import (
    RETRY_AFTER_S,
    BadRequest,
    Busy,
    GatewayError,
    NoServer,
    TooLarge,
    TooSlow,
    WrongKey,
    WrongKind,
)
from protocol.data import Detail, SessionOptions
from recognizer.catalog import AUTO_LANGUAGE, LANGUAGES
from util import Result

SAMPLE_RATE = 16_000  # Hz, of what is decoded
ALIASES = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")  # that clients offer and ask for

_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_SUBTITLE_TYPES = {"srt": "application/x-subrip", "vtt": "text/vtt"}
_GRANULARITIES = ("segment", "word")
_CENTISECONDS = 100  # of a second; Whisper's frames
_TRUE, _FALSE = ("true", "1"), ("false", "0", "")


# --- what is asked for -----------------------------------------------------------------------


@dataclass(frozen=True)
class Asked:
    """A request, without its file."""

    options: SessionOptions
    response_format: str
    granularities: FrozenSet[str]
    is_streamed: bool


def asked(fields: Iterable[Tuple[str, str]], task: str, model_size: str) -> Asked:
    """What the fields of a form ask for; those that are unknown are not looked at.

    Args:
        fields: names and values; of what comes twice, the last counts.
        task: `transcribe` or `translate`.
        model_size: as configured; some have one language only.

    Raises:
        BadRequest: a value cannot be.
    """
    values: Dict[str, List[str]] = defaultdict(list)
    for name, value in fields:
        values[name[:-2] if name.endswith("[]") else name].append(value)
    _check_temperature(_last(values, "temperature"))
    options = SessionOptions(
        language=language_code(_last(values, "language"), model_size),
        task=task,
        prompt=joined_prompt(_last(values, "prompt"), values["keywords"]),
        sample_rate=SAMPLE_RATE,
        detail=True,
    )
    granularities = values["timestamp_granularities"] or ["segment"]
    for granularity in granularities:
        _check_one_of("timestamp_granularities[]", granularity, _GRANULARITIES)
    response_format = _last(values, "response_format") or "json"
    _check_one_of("response_format", response_format, _FORMATS)
    return Asked(options, response_format, frozenset(granularities), _truth("stream", _last(values, "stream")))


def _last(values: Mapping[str, List[str]], name: str) -> str:
    return values[name][-1].strip() if values.get(name) else ""


def _check_one_of(param: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise BadRequest(f"{param}: '{shown(value)}' is not supported; expected one of {', '.join(known)}", param)


def _check_temperature(text: str) -> None:
    """It is not used: the recogniser takes its own where a result looks wrong."""
    try:
        temperature = float(text or 0)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        raise BadRequest(f"temperature: '{shown(text)}' is no number from 0 to 1", "temperature")


def _truth(param: str, text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise BadRequest(f"{param}: '{shown(text)}' is neither true nor false", param)
    return text.lower() in _TRUE


# --- answers ---------------------------------------------------------------------------------


class Heard(NamedTuple):
    """What was heard in a file.

    Attributes:
        results: in order, with detail.
        duration_s: of the sound.
        language: a code, where no result tells; None: unknown.
    """

    results: Sequence[Result]
    duration_s: float
    language: Optional[str]

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(result.text for result in self.results)


class Answer(NamedTuple):
    """The body of a response."""

    body: str
    media_type: str


def answer(asked: Asked, heard: Heard) -> Answer:
    """All of it, in the format that is asked for."""
    kind = asked.response_format
    if kind in SUBTITLES:
        subtitles = SubtitleFormat(kind)
        cues = [subtitles.result(result) for result in heard.results]
        return Answer("".join([subtitles.begin(), *cues]), _SUBTITLE_TYPES[kind])
    if kind == "text":
        return Answer(f"{heard.text}\n", "text/plain")
    fields = _verbose(asked, heard) if kind == "verbose_json" else {"text": heard.text}
    return Answer(to_json({**fields, "usage": _usage(heard)}), "application/json")


def delta(text: str, is_first: bool) -> Dict[str, Any]:
    """The event of a result; all deltas together are the text."""
    return {"type": "transcript.text.delta", "delta": text if is_first else f" {text}"}


def done(text: str) -> Dict[str, Any]:
    """The last event. Without `usage`: there OpenAI's clients expect a count of tokens, and there is none."""
    return {"type": "transcript.text.done", "text": text}


def _verbose(asked: Asked, heard: Heard) -> Dict[str, Any]:
    task = asked.options.task
    fields: Dict[str, Any] = {
        "task": task,
        "language": "english" if task == "translate" else _spoken(heard),
        "duration": round(heard.duration_s, 2),
        "text": heard.text,
    }
    if "word" in asked.granularities:
        fields["words"] = [
            {"word": word.text, "start": word.start_s, "end": word.end_s}
            for _, detail in _detailed(heard)
            for word in detail.words
        ]
    if "segment" in asked.granularities:
        fields["segments"] = [_segment(*parts, number) for number, parts in enumerate(_detailed(heard))]
    return fields


def _segment(result: Result, detail: Detail, number: int) -> Dict[str, Any]:
    text = f" {result.text}"  # Whisper's begin so: joined, they are the text
    return {
        "id": number,
        "seek": round(result.start_s * _CENTISECONDS),
        "start": result.start_s,
        "end": result.end_s,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": detail.avg_logprob,
        "compression_ratio": round(_compression_ratio(text), 3),
        "no_speech_prob": detail.no_speech_prob,
    }


def _compression_ratio(text: str) -> float:
    data = text.encode("utf-8", errors="replace")
    return len(data) / len(zlib.compress(data))


def _spoken(heard: Heard) -> str:
    """The name of the language that is spoken for longest."""
    seconds: Dict[str, float] = defaultdict(float)
    for result, detail in _detailed(heard):
        seconds[detail.language] += result.end_s - result.start_s
    code = max(seconds, key=lambda language: seconds[language]) if seconds else heard.language
    return LANGUAGES.get(code or "", "unknown")


def _detailed(heard: Heard) -> List[Tuple[Result, Detail]]:
    return [(result, result.detail) for result in heard.results if result.detail is not None]


def _usage(heard: Heard) -> Dict[str, Any]:
    return {"type": "duration", "seconds": round(heard.duration_s, 2)}


def to_json(fields: Mapping[str, Any]) -> str:
    """One line."""
    return json.dumps(fields, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def fallback_language(asked: Asked, configured: str) -> Optional[str]:
    """The code of the language that nothing was heard in; None where it would have been found out."""
    language = asked.options.language or configured
    return None if language == AUTO_LANGUAGE else language


# --- errors ----------------------------------------------------------------------------------

_STATUSES = (  # the first that fits
    (TooLarge, 413),
    (TooSlow, 408),
    (WrongKind, 415),
    (BadRequest, 400),
    (WrongKey, 401),
    (Busy, 503),
    (NoServer, 503),
    (GatewayError, 502),
)
_CODES_OF = ((WrongKey, "invalid_api_key"), (Busy, "server_busy"), (NoServer, "no_server"))


def status_of(error: GatewayError) -> int:
    """Of the response."""
    return next(status for kind, status in _STATUSES if isinstance(error, kind))


def headers_of(error: GatewayError) -> Dict[str, str]:
    """Of the response, beside those of its content."""
    if isinstance(error, (Busy, NoServer)):
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {"WWW-Authenticate": "Bearer"} if isinstance(error, WrongKey) else {}


def error_of(error: GatewayError) -> Dict[str, Any]:
    """The body of the response."""
    status = status_of(error)
    code = next((code for kind, code in _CODES_OF if isinstance(error, kind)), None)
    return error_fields(status, str(error), getattr(error, "param", None), code)


def error_fields(status: int, message: str, param: Optional[str] = None, code: Optional[str] = None) -> Dict[str, Any]:
    """OpenAI's form of an error."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


# --- models ----------------------------------------------------------------------------------


def models(size: str, created_s: int) -> List[Dict[str, Any]]:
    """The configured one, and the names that clients know; every name means the same.

    Args:
        size: as configured, a name or a path.
        created_s: Unix time.
    """
    names = dict.fromkeys((size.rstrip("/").rsplit("/", 1)[-1], *ALIASES))
    return [{"id": name, "object": "model", "created": created_s, "owned_by": "speech-to-text"} for name in names]
