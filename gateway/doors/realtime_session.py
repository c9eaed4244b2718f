"""What a client of the Realtime API asks for: read from the nested form of today and the older flat one, shown in both.

A field that is left out stays as it was; one that is null goes back to its default. Unknown fields are not looked at.
"""

import re
from dataclasses import dataclass, field, replace
from typing import Any, Dict, List, Optional, Tuple

from gateway.asked import RATES, joined_prompt, language_code
from gateway.errors import BadRequest
from protocol.data import SessionOptions
from recognizer.catalog import AUTO_LANGUAGE

PARTIAL = "item.input_audio_transcription.partial"
WORDS = "item.input_audio_transcription.words"

_PCM, _MULAW, _ALAW = "pcm_s16le", "mulaw", "alaw"
_ENCODINGS = {"audio/pcm": _PCM, "audio/pcmu": _MULAW, "audio/pcma": _ALAW}
_FLAT_ENCODINGS = {"pcm16": _PCM, "g711_ulaw": _MULAW, "g711_alaw": _ALAW}
_FORMATS = {encoding: name for name, encoding in _ENCODINGS.items()}
_FLAT_FORMATS = {encoding: name for name, encoding in _FLAT_ENCODINGS.items()}
_RATES = {_PCM: 24_000, _MULAW: 8000, _ALAW: 8000}  # Hz, where none is named
_SILENCE_LIMITS_MS = (100, 5000)  # of what the server takes
_LONGEST_MS = 1_000_000  # that is taken for a number of milliseconds
_DETECTORS = ("server_vad", "semantic_vad")  # the same here
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can escape half of a pair
_NOT_NAMED = "none"  # Riva's: the format that is usual


@dataclass(frozen=True)
class Detection:
    """How silence ends utterances.

    Attributes:
        threshold, prefix_padding_ms: as asked for; the server has its own.
        silence_ms: of closing silence; None leaves it to the server.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_ms: Optional[int] = None


@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
        detection: None: the client ends its turns itself.
        model: whatever the client calls it.
        language: a Whisper code or `auto`; None leaves it to the server.
        include: names of what is to be told beside OpenAI's events.
    """

    encoding: str = _PCM
    rate: int = _RATES[_PCM]
    detection: Optional[Detection] = field(default_factory=Detection)
    model: Optional[str] = None
    language: Optional[str] = None
    prompt: str = ""
    keywords: Tuple[str, ...] = ()
    noise_reduction: Optional[str] = None
    include: Tuple[str, ...] = ()

    @property
    def options(self) -> SessionOptions:
        """The same for the server."""
        return SessionOptions(
            language=self.language,
            prompt=joined_prompt(self.prompt, self.keywords),
            sample_rate=self.rate,
            encoding=self.encoding,
            silence_ms=self.detection.silence_ms if self.detection else None,
            turn="auto" if self.detection else "manual",
            partial=True,
            events=True,
            detail=True,
        )


# --- reading ---------------------------------------------------------------------------------


def updated(settings: Settings, session: Any, model_size: str) -> Settings:
    """The settings with what a session object asks for, in either form.

    Args:
        settings: as they were.
        session: as the client has sent it.
        model_size: as configured; some have one language only.

    Raises:
        BadRequest: a value cannot be; its param says which.
    """
    fields = Fields(session, "session")
    if fields.text("type", "transcription") not in ("transcription", "realtime"):
        raise BadRequest("session.type: this door transcribes; expected transcription", "session.type")
    if "include" in fields:
        settings = replace(settings, include=tuple(fields.texts("include")))
    nested = fields.object("audio").object("input")
    settings = _with_format(settings, nested.object("format"))
    settings = _with_flat_format(settings, fields)
    for owner, prefix in ((nested, ""), (fields, "input_audio_")):
        settings = _with_transcription(settings, owner, f"{prefix}transcription", model_size)
        settings = _with_noise_reduction(settings, owner, f"{prefix}noise_reduction")
        settings = _with_detection(settings, owner)
    return settings


def _with_format(settings: Settings, fields: "Fields") -> Settings:
    encoding, rate = settings.encoding, settings.rate
    if not fields.is_null("type"):
        encoding = fields.choice("type", _ENCODINGS)
        rate = _RATES[encoding]
    return replace(settings, encoding=encoding, rate=fields.whole("rate", rate, RATES))


def _with_flat_format(settings: Settings, fields: "Fields") -> Settings:
    if fields.text("input_audio_format", _NOT_NAMED) != _NOT_NAMED:
        encoding = fields.choice("input_audio_format", _FLAT_ENCODINGS)
        settings = replace(settings, encoding=encoding, rate=_RATES[encoding])
    params = fields.object("input_audio_params")
    params.whole("num_channels", 1, (1, 1))
    return replace(settings, rate=params.whole("sample_rate_hz", settings.rate, RATES))


def _with_transcription(settings: Settings, owner: "Fields", name: str, model_size: str) -> Settings:
    if name not in owner:
        return settings
    if owner.is_null(name):
        return replace(settings, model=None, language=None, prompt="", keywords=())
    fields = owner.object(name)
    if "model" in fields:
        settings = replace(settings, model=fields.text("model", "") or None)
    if "prompt" in fields:
        settings = replace(settings, prompt=fields.text("prompt", ""))
    if "keywords" in fields:
        settings = replace(settings, keywords=tuple(fields.texts("keywords")))
    if "languages" in fields:
        settings = replace(settings, language=_one_language(fields, model_size))
    if "language" in fields:
        code = language_code(fields.text("language", ""), model_size, fields.param("language"))
        settings = replace(settings, language=code)
    return settings


def _one_language(fields: "Fields", model_size: str) -> Optional[str]:
    """Of several, the recogniser finds out which is spoken."""
    param = fields.param("languages")
    codes = {language_code(text, model_size, param) for text in fields.texts("languages")} - {None}
    return codes.pop() if len(codes) == 1 else AUTO_LANGUAGE if codes else None


def _with_noise_reduction(settings: Settings, owner: "Fields", name: str) -> Settings:
    """It is shown as asked for; the recogniser hears the sound as it is."""
    if name not in owner:
        return settings
    return replace(settings, noise_reduction=owner.object(name).text("type", "") or None)


def _with_detection(settings: Settings, owner: "Fields") -> Settings:
    if "turn_detection" not in owner:
        return settings
    if owner.is_null("turn_detection"):
        return replace(settings, detection=None)
    fields = owner.object("turn_detection")
    detection = settings.detection or Detection()
    if not fields.is_null("type"):
        fields.choice("type", dict.fromkeys(_DETECTORS, ""))
    silence_ms = detection.silence_ms
    if "silence_duration_ms" in fields:
        silence_ms = _silence_ms(fields)
    threshold = fields.number("threshold", detection.threshold, (0, 1))
    padding_ms = fields.whole("prefix_padding_ms", detection.prefix_padding_ms, (0, _LONGEST_MS))
    return replace(settings, detection=Detection(threshold, padding_ms, silence_ms))


def _silence_ms(fields: "Fields") -> Optional[int]:
    """The nearest that the server takes."""
    if fields.is_null("silence_duration_ms"):
        return None
    least_ms, most_ms = _SILENCE_LIMITS_MS
    return min(max(fields.whole("silence_duration_ms", 0, (0, _LONGEST_MS)), least_ms), most_ms)


class Fields:
    """A JSON object of the client's, and where it stands. What is null or missing in it has its default.

    Its methods raise BadRequest, naming the field, where that is of another kind.
    """

    def __init__(self, fields: Any, param: str) -> None:
        if fields is None:
            fields = {}
        if not isinstance(fields, dict):
            raise BadRequest(f"{param}: expected an object", param)
        self._fields: Dict[str, Any] = fields
        self._param = param

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def param(self, name: str) -> str:
        """Where a field stands."""
        return f"{self._param}.{name}"

    def is_null(self, name: str) -> bool:
        """Whether it is null or missing."""
        return self._fields.get(name) is None

    def object(self, name: str) -> "Fields":
        """An object in it; by default one without fields."""
        return Fields(self._fields.get(name), self.param(name))

    def text(self, name: str, default: str) -> str:
        """Any text."""
        value = self._fields.get(name)
        return default if value is None else _checked_text(value, self.param(name))

    def texts(self, name: str) -> List[str]:
        """A list of texts; by default an empty one."""
        value = self._fields.get(name)
        if not isinstance(value, (list, type(None))):
            raise BadRequest(f"{self.param(name)}: expected a list of texts", self.param(name))
        return [_checked_text(text, self.param(name)) for text in value or ()]

    def number(self, name: str, default: float, limits: Tuple[float, float]) -> float:
        """One within limits, which it may reach."""
        value = self._fields.get(name)
        if value is None:
            return default
        least, most = limits
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            expected = f"{least:g}" if least == most else f"a number from {least:g} to {most:g}"
            raise BadRequest(f"{self.param(name)}: expected {expected}", self.param(name))
        return value

    def whole(self, name: str, default: int, limits: Tuple[float, float]) -> int:
        """The same without a fraction."""
        value = self.number(name, default, limits)
        if value != int(value):
            raise BadRequest(f"{self.param(name)}: expected a whole number", self.param(name))
        return int(value)

    def choice(self, name: str, known: Dict[str, str]) -> str:
        """What the text of a field stands for; there is one."""
        text = self.text(name, "")
        if text not in known:
            raise BadRequest(f"{self.param(name)}: expected one of {', '.join(known)}", self.param(name))
        return known[text]


def _checked_text(value: Any, param: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{param}: expected text", param)
    if _SURROGATE.search(value):
        raise BadRequest(f"{param}: expected text; half of a surrogate pair is none", param)
    return value


def asked_by(settings: Settings) -> Dict[str, Any]:
    """A session object that asks for these settings."""
    session = nested(settings, "", 0)
    detection = settings.detection
    if detection is not None and detection.silence_ms is None:
        del session["audio"]["input"]["turn_detection"]["silence_duration_ms"]
    return session


# --- showing ---------------------------------------------------------------------------------


def nested(settings: Settings, session_id: str, silence_ms: int) -> Dict[str, Any]:
    """The whole session in today's form; `silence_ms`: the server's own."""
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": session_id,
        "include": list(settings.include),
        "audio": {
            "input": {
                "format": {"type": _FORMATS[settings.encoding], "rate": settings.rate},
                "transcription": _transcription(settings),
                "noise_reduction": _noise_reduction(settings),
                "turn_detection": _detection(settings, silence_ms),
            }
        },
    }


def flat(settings: Settings, session_id: str, silence_ms: int) -> Dict[str, Any]:
    """The same in the older form."""
    return {
        "object": "realtime.transcription_session",
        "id": session_id,
        "include": list(settings.include),
        "input_audio_format": _FLAT_FORMATS[settings.encoding],
        "input_audio_params": {"sample_rate_hz": settings.rate, "num_channels": 1},
        "input_audio_transcription": _transcription(settings),
        "input_audio_noise_reduction": _noise_reduction(settings),
        "turn_detection": _detection(settings, silence_ms),
    }


def _transcription(settings: Settings) -> Dict[str, Any]:
    return {
        "model": settings.model,
        "language": settings.language,
        "prompt": settings.prompt,
        "keywords": list(settings.keywords),
    }


def _noise_reduction(settings: Settings) -> Optional[Dict[str, Any]]:
    return {"type": settings.noise_reduction} if settings.noise_reduction else None


def _detection(settings: Settings, silence_ms: int) -> Optional[Dict[str, Any]]:
    detection = settings.detection
    if detection is None:
        return None
    return {
        "type": "server_vad",
        "threshold": detection.threshold,
        "prefix_padding_ms": detection.prefix_padding_ms,
        "silence_duration_ms": silence_ms if detection.silence_ms is None else detection.silence_ms,
    }
