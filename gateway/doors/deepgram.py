"""Deepgram: live transcription as of its `/v1/listen`.

Interim results are an open utterance so far, final ones its text. `Finalize` ends the utterance and always gets one
final with `from_finalize`; `CloseStream` gets all that is left and `Metadata`.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, Dict, Iterable, List, Optional, Sequence, Tuple

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from gateway.asked import RATES, json_object, language_code, prompt_of, shown
from gateway.audio import MOST_CHANNELS, PCM16_BYTES, MonoPcm
from gateway.conversation import (
    Action,
    Answer,
    Audio,
    Close,
    Configure,
    EndUtterance,
    Finish,
    Message,
    Say,
    Translator,
    goodbye,
)
from gateway.errors import BadRequest, GatewayError, WrongKey
from gateway.openai import headers_of, status_of
from gateway.services import Services
from gateway.upstream import SpeechEvent
from gateway.web import WebSocketStream, user_of
from protocol.data import Cause, Partial, SessionOptions, SpeechStarted, UtteranceDone, Word
from recognizer.catalog import AUTO_LANGUAGE
from util import Result

_SUBPROTOCOL = "token"  # browsers send it and the key behind it
_ENCODINGS = {"linear16": "pcm_s16le", "mulaw": "mulaw", "alaw": "alaw"}
_G711_RATE = 8000  # Hz, unless another is named
_SILENCE_MS = (100, 5000)  # that the server can wait for
_LONGEST_END_MS = 60_000
_ANY_LANGUAGE = "multi"
_UNSUPPORTED = ("callback", "redact")  # what may not be passed over: results would go astray, secrets be told
_ECHO_CHARACTERS = 1000  # of what a client sent and is told about
_CHANNEL = [0, 1]  # the first of one: the channels are mixed
_SURE, _UNSURE = 1.0, 0.5  # confidence of an interim word that is never taken back, and of one that may be


def routes(services: Services) -> List[BaseRoute]:
    """Where it is found."""

    async def serve(websocket: WebSocket) -> None:
        request_id = str(uuid.uuid4())
        size = services.config.model.size
        subprotocols = websocket.scope["subprotocols"]
        try:
            with services.admission():
                services.keys.check(websocket.headers, subprotocols)
                listen = asked(websocket.query_params.multi_items(), size)
        except GatewayError as error:
            await websocket.send_denial_response(_refusal(error, request_id))
            return
        headers = [(b"dg-request-id", request_id.encode())]
        await websocket.accept(_SUBPROTOCOL if _SUBPROTOCOL in subprotocols else None, headers)
        deepgram = Deepgram(listen, request_id, datetime.now(timezone.utc).isoformat(), size)
        await services.converse(WebSocketStream(websocket), deepgram, listen.options, user_of("deepgram", websocket))

    return [WebSocketRoute("/v1/listen", serve)]


def _refusal(error: GatewayError, request_id: str) -> JSONResponse:
    """Why there is no WebSocket, as Deepgram says it; `dg-error` is for clients that see no body."""
    status = status_of(error)
    code = "INVALID_AUTH" if isinstance(error, WrongKey) else HTTPStatus(status).phrase
    told = {"dg-request-id": request_id, "dg-error": str(error).encode("ascii", "replace").decode()}
    headers = {**headers_of(error), **told}
    return JSONResponse({"err_code": code, "err_msg": str(error), "request_id": request_id}, status, headers)


# --- what is asked for -----------------------------------------------------------------------


@dataclass(frozen=True)
class Listen:
    """What the query asks for.

    Attributes:
        options: for the server.
        channels: of the sound that comes.
        has_endpoints: whether a final at a pause says `speech_final`.
        utterance_end_s: of silence behind the last word, after which `UtteranceEnd` comes; None for never.
        has_vad_events: whether `SpeechStarted` comes.
        names_languages: whether results say what language was heard.
    """

    options: SessionOptions
    channels: int = 1
    has_endpoints: bool = True
    utterance_end_s: Optional[float] = None
    has_vad_events: bool = False
    names_languages: bool = False

    @property
    def width_bytes(self) -> int:
        """Of a sample."""
        return PCM16_BYTES if self.options.encoding == "pcm_s16le" else 1


def asked(query: Iterable[Tuple[str, str]], model_size: str) -> Listen:
    """What a query asks for; names that are unknown are not looked at.

    Args:
        query: names and values; of a value that can only be one, the last counts.
        model_size: as configured; some have one language only.

    Raises:
        BadRequest: a value is missing or cannot be.
    """
    pairs = list(query)
    values = {name: value.strip() for name, value in pairs}
    for name in _UNSUPPORTED:
        if values.get(name, "false").lower() not in ("", "false"):
            raise BadRequest(f"{name} is not supported", name)
    encoding = _encoding(values)
    channels = _channels(values, encoding)
    language = _language(values, model_size)
    silence_ms, has_endpoints = _endpointing(values)
    options = SessionOptions(
        language=language,
        prompt=prompt_of(_terms(pairs)),
        sample_rate=_rate(values, encoding),
        encoding=encoding,
        silence_ms=silence_ms,
        partial=_truth(values, "interim_results"),
        events=True,
        detail=True,
    )
    return Listen(
        options,
        channels,
        has_endpoints,
        _utterance_end_s(values),
        _truth(values, "vad_events"),
        language == AUTO_LANGUAGE,
    )


def _encoding(values: Dict[str, str]) -> str:
    name = values.get("encoding")
    if name is None:
        raise BadRequest(f"encoding is missing; expected {_any_of(_ENCODINGS)}, without a container", "encoding")
    if name not in _ENCODINGS:
        raise BadRequest(f"encoding: '{shown(name)}' is not supported; expected {_any_of(_ENCODINGS)}", "encoding")
    return _ENCODINGS[name]


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(names)


def _rate(values: Dict[str, str], encoding: str) -> int:
    if "sample_rate" not in values and encoding != "pcm_s16le":
        return _G711_RATE
    return _number(values, "sample_rate", *RATES)


def _channels(values: Dict[str, str], encoding: str) -> int:
    channels = _number(values, "channels", 1, MOST_CHANNELS) if "channels" in values else 1
    if channels > 1 and _truth(values, "multichannel"):
        raise BadRequest(
            "multichannel: channels are mixed, not heard one by one; open a connection for each", "multichannel"
        )
    if channels > 1 and encoding != "pcm_s16le":
        raise BadRequest("channels: expected 1 with mulaw and alaw", "channels")
    return channels


def _language(values: Dict[str, str], model_size: str) -> Optional[str]:
    if _truth(values, "detect_language") or values.get("language") == _ANY_LANGUAGE:
        return AUTO_LANGUAGE
    return language_code(values.get("language", ""), model_size)


def _endpointing(values: Dict[str, str]) -> Tuple[Optional[int], bool]:
    """The silence that ends an utterance, and whether a final says that it did.

    Deepgram's own default is 10 ms and LiveKit's 25, meant for a recogniser that knows the end by other signs. What is
    below the least silence that the server can wait for leaves it to the server's configuration.
    """
    value = values.get("endpointing", "true").lower()
    if value in ("true", "false"):
        return None, value == "true"
    least, most = _SILENCE_MS
    silence_ms = _number(values, "endpointing", 0, None)
    return (min(silence_ms, most) if silence_ms >= least else None), True


def _utterance_end_s(values: Dict[str, str]) -> Optional[float]:
    if values.get("utterance_end_ms", "false").lower() in ("", "false"):
        return None
    return _number(values, "utterance_end_ms", 1, _LONGEST_END_MS) / 1000


def _terms(query: Iterable[Tuple[str, str]]) -> Iterable[str]:
    """Key terms, and the keywords that are not to be heard less often; `word:boost`."""
    for name, value in query:
        if name == "keyterm":
            yield value
        elif name == "keywords":
            word, _, boost = value.partition(":")
            if not boost.startswith("-"):
                yield word


def _truth(values: Dict[str, str], name: str) -> bool:
    value = values.get(name, "false").lower()
    if value not in ("true", "false", ""):
        raise BadRequest(f"{name}: '{shown(values[name])}' is neither true nor false", name)
    return value == "true"


def _number(values: Dict[str, str], name: str, least: int, most: Optional[int]) -> int:
    value = values.get(name, "")
    if value.isascii() and value.isdigit() and len(value) < 10 and least <= int(value) <= (most or int(value)):
        return int(value)
    allowed = f"a whole number from {least}" + ("" if most is None else f" to {most}")
    raise BadRequest(f"{name}: '{shown(value)}' is not allowed; expected {allowed}", name)


# --- the conversation ------------------------------------------------------------------------


class Deepgram(Translator):
    """One client of Deepgram's protocol.

    Args:
        listen: what its query asks for.
        request_id: a name for the connection.
        created: when it began, in ISO 8601.
        model: the recogniser's name.
    """

    quiet_limit_s = 10.0

    def __init__(self, listen: Listen, request_id: str, created: str, model: str) -> None:
        self._listen = listen
        self._options = listen.options
        self._request_id = request_id
        self._created = created
        self._model = {"name": model, "version": "1", "arch": "whisper"}
        self._model_uuid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"whisper/{model}"))
        self._pcm = MonoPcm(listen.width_bytes, listen.channels)
        self._digest = hashlib.sha256()
        self._audio_bytes = 0
        self._is_finished = False
        self._going_on = 0  # utterances that have begun and of which more is to come
        self._last_word_end_s: Optional[float] = None  # that UtteranceEnd has yet to tell

    # --- what the client says

    def received(self, message: Message) -> Sequence[Action]:
        """Sound, or what is asked for."""
        if self._is_finished:
            return []
        if isinstance(message, str):
            return self._told(message)
        if not message:  # as older clients end the stream
            return self._finish()
        self._digest.update(message)
        self._audio_bytes += len(message)
        sound = self._pcm.take(message) if self._listen.width_bytes > 1 else message
        return [Audio(sound), *self._utterance_end()]

    def quiet(self) -> Sequence[Answer]:
        """The connection is closed, unless the client waits for the end."""
        if self._is_finished:
            return []
        return [Close(1011, f"NET-0001: no audio and no KeepAlive for {self.quiet_limit_s:g} s")]

    def _told(self, message: str) -> List[Action]:
        try:
            fields = json_object(message, "a text frame")
        except BadRequest as error:
            return [self._schema_error(str(error), message)]
        kind = fields.get("type")
        if kind == "KeepAlive":
            return []
        if kind == "Finalize":
            return [EndUtterance()]
        if kind == "CloseStream":
            return self._finish()
        if kind == "Configure":
            return self._configure(fields, message)
        return [self._schema_error("expected KeepAlive, Finalize, CloseStream or Configure", message)]

    def _finish(self) -> List[Action]:
        self._is_finished = True
        return [Finish()]

    def _configure(self, fields: Dict[str, Any], message: str) -> List[Action]:
        """Other key terms, from now on; of the features there is nothing to turn on or off."""
        terms = fields.get("keyterms")
        done = {"type": "ConfigureSuccess", "request_id": self._request_id}
        if terms is None:
            return [_say(done)]
        if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
            return [self._schema_error("keyterms: expected a list of texts", message)]
        self._options = replace(self._options, prompt=prompt_of(terms))
        return [Configure(self._options), _say({**done, "keyterms": terms})]

    def _schema_error(self, description: str, message: str) -> Say:
        told = {"description": description, "message": message[:_ECHO_CHARACTERS]}
        return _say({"type": "Error", "variant": "SchemaError", **told})

    # --- what it is told

    def heard(self, event: SpeechEvent) -> Sequence[Answer]:
        """Results and events as they come."""
        if isinstance(event, Partial):
            return [self._interim(event)]
        if isinstance(event, Result):
            return [self._final(event)]
        if isinstance(event, SpeechStarted):
            return self._started(event)
        if isinstance(event, UtteranceDone):
            return self._done(event)
        return []

    def ended(self) -> Sequence[Answer]:
        """What the stream was."""
        return [
            _say(
                {
                    "type": "Metadata",
                    "transaction_key": "deprecated",
                    "request_id": self._request_id,
                    "sha256": self._digest.hexdigest(),
                    "created": self._created,
                    "duration": round(self._audio_s, 3),
                    "channels": self._listen.channels,
                    "models": [self._model_uuid],
                    "model_info": {self._model_uuid: self._model},
                }
            ),
            Close(),
        ]

    def failed(self, error: GatewayError) -> Sequence[Answer]:
        """An error event."""
        kind = type(error).__name__
        return [_say({"type": "Error", "variant": kind, "description": str(error), "code": kind}), goodbye(error)]

    @property
    def _audio_s(self) -> float:
        assert self._options.sample_rate is not None
        frame_bytes = self._listen.width_bytes * self._listen.channels
        return self._audio_bytes / (frame_bytes * self._options.sample_rate)

    def _interim(self, partial: Partial) -> Say:
        stable, unstable = partial.stable.split(), partial.unstable.split()
        words = _spread(stable, unstable, partial.start_s, partial.end_s)
        confidence = sum(word.confidence for word in words) / len(words) if words else 0.0
        alternative = {
            "transcript": f"{partial.stable} {partial.unstable}".strip(),
            "confidence": round(confidence, 2),
            "words": [_word(word) for word in words],
        }
        return self._results(partial.start_s, partial.end_s, alternative)

    def _final(self, result: Result) -> Say:
        detail = result.detail
        cause, words = (detail.cause, detail.words) if detail is not None else (Cause.SILENCE, ())
        alternative: Dict[str, Any] = {
            "transcript": result.text,
            "confidence": detail.confidence if detail is not None else 0.0,
            "words": [_word(word) for word in words],
        }
        if detail is not None and self._listen.names_languages:
            alternative["languages"] = [detail.language]
        self._last_word_end_s = words[-1].end_s if words else result.end_s
        return self._results(result.start_s, result.end_s, alternative, cause)

    def _started(self, event: SpeechStarted) -> List[Answer]:
        self._going_on += 1
        if not self._listen.has_vad_events:
            return []
        return [_say({"type": "SpeechStarted", "channel": _CHANNEL, "timestamp": round(event.at_s, 3)})]

    def _done(self, event: UtteranceDone) -> List[Answer]:
        """An empty final where there was no text: clients wait for the answer to Finalize, and for an end."""
        if event.end_s > event.start_s:  # otherwise nothing was open
            self._going_on = max(0, self._going_on - 1)
        answers: List[Answer] = []
        if not event.has_text:
            empty = {"transcript": "", "confidence": 0.0, "words": []}
            answers.append(self._results(event.start_s, event.end_s, empty, event.cause))
        return [*answers, *self._utterance_end()]

    def _utterance_end(self) -> List[Say]:
        """Where nobody has spoken for so long behind the last word."""
        last_s, gap_s = self._last_word_end_s, self._listen.utterance_end_s
        if gap_s is None or last_s is None or self._going_on or self._audio_s < last_s + gap_s:
            return []
        self._last_word_end_s = None
        return [_say({"type": "UtteranceEnd", "channel": _CHANNEL, "last_word_end": round(last_s, 3)})]

    def _results(self, start_s: float, end_s: float, alternative: Dict[str, Any], cause: Optional[Cause] = None) -> Say:
        """`cause` is why the utterance has ended; None for an interim result."""
        is_silent = cause is Cause.SILENCE and self._listen.has_endpoints
        return _say(
            {
                "type": "Results",
                "channel_index": _CHANNEL,
                "duration": round(end_s - start_s, 3),
                "start": round(start_s, 3),
                "is_final": cause is not None,
                "speech_final": is_silent or cause in (Cause.ASKED, Cause.FINISH),
                "channel": {"alternatives": [alternative]},
                "metadata": {
                    "request_id": self._request_id,
                    "model_info": self._model,
                    "model_uuid": self._model_uuid,
                },
                "from_finalize": cause is Cause.ASKED,
            }
        )


def _say(fields: Dict[str, Any]) -> Say:
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return Say(text.encode("utf-8", "replace").decode())  # a client's text may hold half of a surrogate pair


def _word(word: Word) -> Dict[str, Any]:
    return {
        "word": _bare(word.text),
        "start": round(word.start_s, 3),
        "end": round(word.end_s, 3),
        "confidence": word.confidence,
        "punctuated_word": word.text,
    }


def _bare(text: str) -> str:
    """A word in small letters, without what stands around it."""
    bare = text.lower()
    kept = [index for index, letter in enumerate(bare) if letter.isalnum()]
    return bare[kept[0] : kept[-1] + 1] if kept else bare


def _spread(stable: List[str], unstable: List[str], start_s: float, end_s: float) -> List[Word]:
    """Words of live text, which has no times: each takes its share of the letters."""
    texts = stable + unstable
    letter_s = (end_s - start_s) / max(1, sum(map(len, texts)))
    words: List[Word] = []
    for index, text in enumerate(texts):
        word_end_s = start_s + len(text) * letter_s
        words.append(Word(text, start_s, word_end_s, _SURE if index < len(stable) else _UNSURE))
        start_s = word_end_s
    return words
