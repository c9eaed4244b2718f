"""OpenAI Realtime, transcription only: a WebSocket at `/v1/realtime`, and the calls that make keys for it.

What the client sends, as JSON in text frames:

    session.update                what is asked for, in today's nested form; answered by session.updated
    transcription_session.update  the same in the older flat form; answered by transcription_session.updated
    input_audio_buffer.append     {audio}: base64 of audio/pcm (24 kHz, or the rate that was named), pcmu or pcma
    input_audio_buffer.commit     what was sent so far is a turn
    input_audio_buffer.clear      what was sent and is not committed is dropped; answered by input_audio_buffer.cleared
    input_audio_buffer.done       not OpenAI's: no more audio will come; what is left is told, and the connection closed

What it is told:

    session.created               at once
    input_audio_buffer.speech_started {item_id, audio_start_ms}, .speech_stopped {item_id, audio_end_ms}
    input_audio_buffer.committed  {item_id, previous_item_id}
    conversation.item.input_audio_transcription.delta {item_id, content_index, delta}: text that is not taken back
    conversation.item.input_audio_transcription.completed {item_id, content_index, transcript, usage, languages}
    conversation.item.input_audio_transcription.failed {item_id, content_index, error}
    error {error}                 the client's fault; the connection stays

With `turn_detection` an utterance is an item, and silence commits it. One that was cut by its length is followed by the
next without speech_stopped and speech_started, as somebody speaks on. A commit of the client's ends no utterance while
audio comes; where none has come for half a second after it, it does. Without `turn_detection`, all that is sent between
two commits is an item.

Not OpenAI's, for those who ask for it in the session's `include`:

    item.input_audio_transcription.partial
        conversation.item.input_audio_transcription.partial {item_id, content_index, stable, unstable, start_ms, end_ms}
        as text changes: `stable` is all deltas of the item so far, `unstable` what follows and may still change
    item.input_audio_transcription.words
        in completed: start_ms, end_ms, language (null without text), words [{word, start_ms, end_ms, confidence}];
        words joined by blanks are the transcript

Times count from the first byte of audio that the client has sent.
"""

import binascii
import secrets
from typing import Any, Callable, Dict, List, Sequence

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket

from gateway import openai
from gateway.asked import json_object
from gateway.client_secrets import ClientSecrets
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
from gateway.doors.realtime_calls import calls
from gateway.doors.realtime_items import Event, Items
from gateway.doors.realtime_session import PARTIAL, WORDS, Settings, flat, nested, updated
from gateway.errors import BadRequest, GatewayError
from gateway.keys import REALTIME_TOKEN, shown
from gateway.services import Services
from gateway.upstream import SpeechEvent
from gateway.web import WebSocketStream, user_of
from protocol.data import SessionOptions
from protocol.packets import printable

_COMMIT_PAUSE_S = 0.5  # without audio behind a commit, after which it ends an utterance although silence would
_SUBPROTOCOL = "realtime"
_ECHO_CHARACTERS = 60  # of what a client sent and is told about


class Realtime(Translator):
    """One client of the Realtime API.

    Args:
        name: that those of its session, its events and its items are made of.
        settings: to begin with.
        model_size, silence_ms: as configured.
        is_riva: whether the client is NVIDIA's, which expects another first and another last event.
    """

    def __init__(self, name: str, settings: Settings, model_size: str, silence_ms: int, is_riva: bool = False) -> None:
        self._name = name
        self._settings = settings
        self._model_size = model_size
        self._silence_ms = silence_ms
        self._is_riva = is_riva
        self._items = Items(name, detects=settings.detection is not None)
        self._count = 0  # of events
        self._has_uncommitted = False
        self._is_done = False
        self._transcripts: List[str] = []  # of a client that expects all of them at the end
        self._handlers: Dict[str, Callable[[Event], List[Action]]] = {
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "input_audio_buffer.done": self._done,
            "session.update": self._update,
            "transcription_session.update": self._update,
        }
        self._follow_settings(settings)

    @property
    def options(self) -> SessionOptions:
        """What the server is asked for."""
        return self._settings.options

    def opened(self) -> Sequence[Action]:
        """Clients wait for the first event."""
        if self._is_riva:
            conversation = {"id": f"conv_{self._name}", "object": "realtime.conversation"}
            return [self._say({"type": "conversation.created", "conversation": conversation})]
        return [self._say({"type": "session.created", "session": self._session(nested)})]

    # --- what the client says

    def received(self, message: Message) -> Sequence[Action]:
        """A fault of the client's is told; the connection stays."""
        fields: Event = {}
        try:
            fields = json_object(_text(message), "a message")
            return self._handler(fields.get("type"))(fields)
        except BadRequest as error:
            return [self._say({"type": "error", "error": _error_of(error, fields.get("event_id"))})]

    def _handler(self, kind: object) -> Callable[[Event], List[Action]]:
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            raise BadRequest(f"type: '{_echo(kind)}' is no event of this door; expected one of {known}", "type")
        if self._is_done:
            raise BadRequest("nothing is taken after input_audio_buffer.done", "type")
        return handler

    def _append(self, fields: Event) -> List[Action]:
        audio = fields.get("audio")
        if not isinstance(audio, str):
            raise BadRequest("audio: expected base64 as text", "audio")
        data = _decoded(audio)
        self._has_uncommitted = True
        self.quiet_limit_s = None
        return [Audio(data)]

    def _commit(self, _: Event) -> List[Action]:
        if self._settings.detection is not None:
            self.quiet_limit_s = _COMMIT_PAUSE_S
            return []
        self._has_uncommitted = False
        return [*self._said(self._items.commit_turn()), EndUtterance()]

    def quiet(self) -> Sequence[Action]:
        """No audio has followed a commit."""
        if self.quiet_limit_s is None:
            return []
        self.quiet_limit_s = None
        self._items.flush()
        return [EndUtterance()]

    def _clear(self, _: Event) -> List[Action]:
        self._has_uncommitted = False
        self.quiet_limit_s = None
        self._items.clear()
        return [self._say({"type": "input_audio_buffer.cleared"}), EndUtterance()]

    def _done(self, _: Event) -> List[Action]:
        actions = self._committed_turn()
        self._is_done = True
        self.quiet_limit_s = None
        return [*actions, Finish()]

    def _committed_turn(self) -> List[Action]:
        """What the client has not committed, where nothing else would."""
        if self._settings.detection is not None or not self._has_uncommitted:
            return []
        return self._commit({})

    def _update(self, fields: Event) -> List[Action]:
        settings = updated(self._settings, fields.get("session"), self._model_size)
        actions: List[Action] = []
        if (settings.detection is None) != (self._settings.detection is None):
            actions = [*self._committed_turn(), EndUtterance()]
            self._items.switch(detects=settings.detection is not None)
            self.quiet_limit_s = None
        self._follow_settings(settings)
        form = nested if fields["type"] == "session.update" else flat
        answer = {"type": f"{fields['type']}d", "session": self._session(form)}
        return [*actions, Configure(self.options), self._say(answer)]

    def _follow_settings(self, settings: Settings) -> None:
        self._settings = settings
        self._items.with_partials = PARTIAL in settings.include
        self._items.with_words = WORDS in settings.include

    # --- what it is told

    def heard(self, event: SpeechEvent) -> Sequence[Answer]:
        """Told as it comes."""
        return self._said(self._items.heard(event))

    def ended(self) -> Sequence[Answer]:
        """After input_audio_buffer.done."""
        if not self._is_riva:
            return [Close()]
        whole = {"transcript": " ".join(self._transcripts), "is_last_result": True}
        kind = "conversation.item.input_audio_transcription.completed"
        return [self._say({"type": kind, "item_id": f"item_{self._name}", "content_index": 0, **whole}), Close()]

    def failed(self, error: GatewayError) -> Sequence[Answer]:
        """What has begun is told to have failed.

        Without `error`, where trying again may help: LiveKit gives up at one, and connects again when it is closed.
        """
        answers = self._said(self._items.lost(_error_of(error)))
        if isinstance(error, BadRequest):
            answers.append(self._say({"type": "error", "error": _error_of(error)}))
        return [*answers, goodbye(error)]

    def _said(self, events: List[Event]) -> List[Answer]:
        if self._is_riva:
            for event in events:
                if "transcript" in event:
                    event["is_last_result"] = False
                    self._transcripts += [event["transcript"]] if event["transcript"] else []
        return [self._say(event) for event in events]

    def _say(self, event: Event) -> Say:
        self._count += 1
        return Say(openai.to_json({"event_id": f"event_{self._name}_{self._count}", **event}))

    def _session(self, form: Callable[[Settings, str, int], Dict[str, Any]]) -> Dict[str, Any]:
        return form(self._settings, f"sess_{self._name}", self._silence_ms)


def _text(message: Message) -> str:
    if isinstance(message, bytes):
        raise BadRequest("expected JSON in text frames; a binary frame is none")
    return message


def _decoded(audio: str) -> bytes:
    """Of base64; where other characters are left out, the length does not fit."""
    try:
        data = binascii.a2b_base64(audio)
    except ValueError as error:  # binascii.Error is one
        raise BadRequest(f"audio: expected base64; {error}", "audio") from error
    padding = 2 if audio.endswith("==") else 1 if audio.endswith("=") else 0
    if len(audio) // 4 * 3 - padding != len(data):
        raise BadRequest("audio: expected base64 and nothing else", "audio")
    return data


def _echo(said: object) -> str:
    return printable(str(said)[:_ECHO_CHARACTERS])


def _error_of(error: GatewayError, event_id: object = None) -> Event:
    fields: Event = openai.error_of(error)["error"]
    return {**fields, "event_id": _echo(event_id) if isinstance(event_id, str) else None}


# --- where it is found -----------------------------------------------------------------------


def routes(services: Services) -> List[BaseRoute]:
    """Where it is found."""
    client_secrets = ClientSecrets(services.config.gateway.api_keys)
    config = services.config
    silence_ms = config.vad.silence_threshold * config.audio.frame_duration_ms
    size = config.model.size

    def admitted(websocket: WebSocket) -> Any:
        """What the client's secret asks for, if it shows one. Raises WrongKey."""
        subprotocols = websocket.scope["subprotocols"]
        for key in shown(websocket.headers, subprotocols):
            session = client_secrets.session(key)
            if session is not None:
                return session
        services.keys.check(websocket.headers, subprotocols)
        return None

    async def serve(websocket: WebSocket) -> None:
        subprotocols: List[str] = websocket.scope["subprotocols"]
        try:
            with services.admission():
                settings = updated(Settings(model=websocket.query_params.get("model")), admitted(websocket), size)
        except GatewayError as error:
            response = JSONResponse(openai.error_of(error), openai.status_of(error), openai.headers_of(error))
            await websocket.send_denial_response(response)
            return
        is_riva = any(subprotocol.startswith(REALTIME_TOKEN) for subprotocol in subprotocols)
        await websocket.accept(_SUBPROTOCOL if _SUBPROTOCOL in subprotocols else None)
        realtime = Realtime(secrets.token_hex(8), settings, size, silence_ms, is_riva)
        await services.converse(WebSocketStream(websocket), realtime, realtime.options, user_of("realtime", websocket))

    return [WebSocketRoute("/v1/realtime", serve), *calls(services, client_secrets, silence_ms)]
