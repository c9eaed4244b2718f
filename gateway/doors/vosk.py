"""Vosk: the WebSocket of vosk-server, as Asterisk, FreeSWITCH and Jitsi speak it.

Every binary frame is answered by exactly one message: what is the latest of an open utterance, or the next one that has
ended. `{"reset": 1}` and `{"eof": 1}` end the utterance and are answered by one final with all that no reply has told;
after that of `eof` the connection is closed.
"""

import json
import re
from dataclasses import replace
from typing import Any, Dict, List, Optional, Sequence

from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from gateway.asked import RATES, json_object, prompt_of
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
from gateway.errors import BadRequest, GatewayError
from gateway.openai import headers_of, status_of
from gateway.services import Services
from gateway.upstream import SpeechEvent
from gateway.web import WebSocketStream, user_of
from protocol.data import Cause, Partial, SessionOptions, UtteranceDone
from util import Result

DEFAULT_RATE = 8000  # Hz; telephone systems send no configuration
_UNKNOWN = "[unk]"  # stands in lists of phrases for whatever is none of them
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def routes(services: Services) -> List[BaseRoute]:
    """Where it is found."""

    async def serve(websocket: WebSocket) -> None:
        needs_key = websocket.scope["server"][1] != services.open_port  # there, clients have no place for one
        try:
            with services.admission():
                if needs_key:
                    services.keys.check(websocket.headers, websocket.scope["subprotocols"])
        except GatewayError as error:
            await websocket.send_denial_response(PlainTextResponse(f"{error}\n", status_of(error), headers_of(error)))
            return
        await websocket.accept()
        vosk = Vosk()
        await services.converse(WebSocketStream(websocket), vosk, vosk.options, user_of("vosk", websocket))

    return [WebSocketRoute("/", serve)]


class Vosk(Translator):
    """One client of vosk-server's protocol."""

    def __init__(self) -> None:
        self.options = SessionOptions(sample_rate=DEFAULT_RATE, partial=True, detail=True, events=True)
        self._partial = ""
        self._finals: List[Result] = []  # that no reply has told yet
        self._frames_since: List[int] = []  # for each `reset` that is still to be answered, the frames that followed it
        self._with_words = True
        self._with_alternatives = False

    def received(self, message: Message) -> Sequence[Action]:
        """Audio, or what is asked for."""
        if isinstance(message, str):
            return self._told(json_object(message, "a text frame"))
        if self._frames_since:  # replies come in the order of what they reply to
            self._frames_since[-1] += 1
            return [Audio(message)]
        return [Audio(message), Say(self._reply())]

    def heard(self, event: SpeechEvent) -> Sequence[Answer]:
        """Kept for the next reply, unless it is what a `reset` waits for."""
        if isinstance(event, Partial):
            self._partial = f"{event.stable} {event.unstable}".strip()
        elif isinstance(event, Result):
            self._finals.append(event)
        elif isinstance(event, UtteranceDone):
            self._partial = ""
            if event.cause is Cause.ASKED and self._frames_since:
                return [Say(self._rest()), *(Say(self._reply()) for _ in range(self._frames_since.pop(0)))]
        return []

    def ended(self) -> Sequence[Answer]:
        """All that no reply has told."""
        return [Say(self._rest()), Close()]

    def failed(self, error: GatewayError) -> Sequence[Answer]:
        """The protocol has no word for it: the connection is closed with a reason."""
        return [goodbye(error)]

    # --- what is asked for

    def _told(self, fields: Dict[str, Any]) -> List[Action]:
        if fields.get("eof"):
            return [Finish()]
        if fields.get("reset"):
            self._frames_since.append(0)
            return [EndUtterance()]
        config = fields.get("config")
        if not isinstance(config, dict):
            raise BadRequest('expected {"config": {…}}, {"eof": 1}, {"reset": 1} or audio')
        self._with_words = bool(config.get("words", self._with_words))
        self._with_alternatives = bool(config.get("max_alternatives", self._with_alternatives))
        self.options = replace(self.options, **_asked(config))
        return [Configure(self.options)]

    # --- replies

    def _reply(self) -> str:
        if self._finals:
            return self._final([self._finals.pop(0)])
        return _json({"partial": self._partial})

    def _rest(self) -> str:
        results, self._finals = self._finals, []
        return self._final(results)

    def _final(self, results: List[Result]) -> str:
        text = " ".join(result.text for result in results)
        details = [result.detail for result in results if result.detail is not None]
        words = [
            {"conf": word.confidence, "end": word.end_s, "start": word.start_s, "word": word.text}
            for detail in details
            for word in detail.words
        ]
        final: Dict[str, Any] = {"result": words} if words and self._with_words else {}
        if not self._with_alternatives:
            return _json({**final, "text": text})
        confidence = min((detail.confidence for detail in details), default=0.0)
        return _json({"alternatives": [{"confidence": confidence, **final, "text": text}]})


def _asked(config: Dict[str, Any]) -> Dict[str, Any]:
    """The options that a configuration names."""
    options: Dict[str, Any] = {}
    if "sample_rate" in config:
        options["sample_rate"] = _rate(config["sample_rate"])
    if "phrase_list" in config:
        options["prompt"] = _prompt(config["phrase_list"])
    return options


def _rate(value: Any) -> int:
    least, most = RATES
    try:
        rate = float(value)  # as vosk-server, which takes it as text too
    except (TypeError, ValueError, OverflowError):
        rate = 0.0
    if not least <= rate <= most or rate != int(rate):
        raise BadRequest(f"sample_rate: expected whole Hz, {least} to {most}", "sample_rate")
    return int(rate)


def _prompt(phrases: Any) -> Optional[str]:
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise BadRequest("phrase_list: expected a list of texts", "phrase_list")
    return prompt_of(phrase for phrase in phrases if phrase != _UNKNOWN)


def _json(fields: Dict[str, Any]) -> str:
    """Laid out as Vosk does; no text in it ends with `""`, which FreeSWITCH takes for an empty result."""
    text = json.dumps(fields, ensure_ascii=False, indent=2, separators=(",", " : "))
    return _ESCAPE.sub(lambda escape: "\\u0022" if escape[1] == '"' else escape[0], text)
