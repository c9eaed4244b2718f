"""One call at each door: the same sound, and what comes back for it. No caller knows what is right."""

import base64
import contextlib
import io
import json
import socket
import threading
import time
import wave
from http.client import HTTPException
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

import numpy as np
import soxr
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from gateway.wyoming import Event, EventParser, encode_event
from protocol.packets import MAGIC, Header
from tests.harness.http import post_form
from tests.harness.wire import BEGIN, END, FINISH, Wire, audio_packets, user_packet
from util import parse_result

PATIENCE_S = 180.0
_RATE = 16_000
_REALTIME_RATE = 24_000  # Hz, of OpenAI's Realtime API
_SAMPLE_BYTES = 2
_WITH_A_REASON = (1011, 1013)  # codes with which a door closes when it does not serve, or not any longer
_DONE = 1000


class Heard(NamedTuple):
    """What a call brought.

    Attributes:
        texts: in order.
        told: why there are no more; None where these are all.
        cut: how the connection ended where nobody said why; None where somebody did, or there was no reason.
    """

    texts: List[str]
    told: Optional[str] = None
    cut: Optional[str] = None


class Pace(NamedTuple):
    """How a caller sends: milliseconds of sound in a packet, times as fast as it was spoken."""

    packet_ms: int
    speed: float

    def pieces(self, pcm: bytes, rate: int = _RATE) -> Iterator[bytes]:
        """The sound, each piece when its time has come."""
        size = rate * self.packet_ms // 1000 * _SAMPLE_BYTES
        for start in range(0, len(pcm), size):
            yield pcm[start : start + size]
            time.sleep(self.packet_ms / 1000 / self.speed)


# Port, 16 kHz PCM, pace, and a list for the texts as they come; returns why there are no more, None where these are
# all, and raises where the connection ends.
Caller = Callable[[int, bytes, Pace, List[str]], Optional[str]]


def call(caller: Caller, port: int, pcm: bytes, pace: Pace) -> Heard:
    """What it brings, however it ends."""
    texts: List[str] = []
    try:
        return Heard(texts, told=caller(port, pcm, pace, texts))
    except ConnectionClosed as error:
        if error.rcvd is not None and error.rcvd.code in _WITH_A_REASON:
            return Heard(texts, told=f"close {error.rcvd.code}")
        return Heard(texts, cut=repr(error))
    except InvalidStatus as error:
        return Heard(texts, told=_told_by(error.response.status_code, error.response.body.decode()))
    except (OSError, EOFError, HTTPException, InvalidHandshake) as error:
        return Heard(texts, cut=repr(error))


# --- the protocol --------------------------------------------------------------------------------


def over_tcp(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """A session of the protocol."""

    def say(wire: Wire) -> None:
        wire.send(MAGIC + user_packet("caller") + BEGIN)
        for piece in pace.pieces(pcm):
            wire.send(audio_packets(piece, len(piece)))
        wire.send(FINISH)

    told = None
    with Wire(port) as wire, _meanwhile(say, wire):
        wire.socket.settimeout(PATIENCE_S)
        while True:
            try:
                packet = wire.read()
            except AssertionError as error:
                raise EOFError("in the middle of a packet") from error
            if packet is None:
                raise EOFError("without an end")
            if packet == END:
                return told
            if packet.header is Header.RESULT:
                texts.append(parse_result(packet.data).text)
            elif packet.header is Header.ERROR:
                told = packet.data.decode().partition(":")[0]


# --- WebSockets ----------------------------------------------------------------------------------


def over_realtime(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """OpenAI's Realtime API: one turn, committed."""
    sound = soxr.resample(np.frombuffer(pcm, np.int16), _RATE, _REALTIME_RATE).astype("<i2").tobytes()

    def say(websocket: ClientConnection) -> None:
        input_ = {"format": {"type": "audio/pcm", "rate": _REALTIME_RATE}, "turn_detection": None}
        _tell(websocket, {"type": "session.update", "session": {"type": "transcription", "audio": {"input": input_}}})
        for piece in pace.pieces(sound, _REALTIME_RATE):
            _tell(websocket, {"type": "input_audio_buffer.append", "audio": base64.b64encode(piece).decode()})
        _tell(websocket, {"type": "input_audio_buffer.commit"})

    with _connected(port, "/v1/realtime?intent=transcription") as websocket, _meanwhile(say, websocket):
        for event in _events(websocket):
            kind = event["type"].rpartition(".")[2]
            if kind in ("error", "failed"):
                return f"{kind}: {event['error']['type']}"
            if kind == "completed":
                texts.append(event["transcript"])
                return None
    raise EOFError("without a transcript")


def over_deepgram(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """Deepgram's live API."""

    def say(websocket: ClientConnection) -> None:
        for piece in pace.pieces(pcm):
            websocket.send(piece)
        _tell(websocket, {"type": "CloseStream"})

    query = f"encoding=linear16&sample_rate={_RATE}&interim_results=true"
    with _connected(port, f"/v1/listen?{query}") as websocket, _meanwhile(say, websocket):
        for event in _events(websocket):
            if event["type"] == "Error":
                return str(event["variant"])
            if event["type"] == "Metadata":
                return None
            if event["type"] == "Results" and event["is_final"]:
                texts += filter(None, [event["channel"]["alternatives"][0]["transcript"]])
    raise EOFError("without Metadata")


def over_vosk(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """vosk-server's protocol: closed with 1000 when all has been told."""

    def say(websocket: ClientConnection) -> None:
        _tell(websocket, {"config": {"sample_rate": _RATE}})
        for piece in pace.pieces(pcm):
            websocket.send(piece)
        _tell(websocket, {"eof": 1})

    with _connected(port, "/") as websocket, _meanwhile(say, websocket):
        for event in _events(websocket):
            texts += filter(None, [event.get("text")])
    return None


def _connected(port: int, path: str) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{port}{path}", open_timeout=PATIENCE_S, close_timeout=10, max_size=None)


def _events(websocket: ClientConnection) -> Iterator[Any]:
    """What is told until a close with 1000; raises ConnectionClosed at another, TimeoutError when nothing comes."""
    while True:
        try:
            yield json.loads(websocket.recv(PATIENCE_S))
        except ConnectionClosed as error:
            if error.rcvd is None or error.rcvd.code != _DONE:
                raise
            return


def _tell(websocket: ClientConnection, event: Dict[str, Any]) -> None:
    websocket.send(json.dumps(event))


# --- files ---------------------------------------------------------------------------------------


def over_rest(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """OpenAI's API for files."""
    reply = post_form(port, "/v1/audio/transcriptions", _wav(pcm), [("model", "whisper-1")])
    if reply.status != 200:
        return _told_by(reply.status, reply.text)
    texts += filter(None, [reply.json["text"]])
    return None


def over_rest_events(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """The same, told as it is recognised."""
    form = [("model", "whisper-1"), ("stream", "true")]
    reply = post_form(port, "/v1/audio/transcriptions", _wav(pcm), form)
    if reply.status != 200:
        return _told_by(reply.status, reply.text)
    for event in reply.events:
        if event["type"] == "error":
            return f"error: {event['error']['type']}"
        if event["type"] == "transcript.text.delta":
            texts.append(event["delta"].strip())
        else:
            assert event["text"] == " ".join(texts), (event, texts)
            return None
    raise EOFError("without transcript.text.done")


def _wav(pcm: bytes) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(_SAMPLE_BYTES)
        sound.setframerate(_RATE)
        sound.writeframes(pcm)
    return file.getvalue()


def _told_by(status: int, body: str) -> str:
    """A refusal; HAProxy's own are pages."""
    return f"HTTP {status} of {'the balancer' if body.lstrip().startswith('<') else 'a gateway'}"


# --- Wyoming -------------------------------------------------------------------------------------


def over_wyoming(port: int, pcm: bytes, pace: Pace, texts: List[str]) -> Optional[str]:
    """Home Assistant's protocol: one round."""
    form = {"rate": _RATE, "width": _SAMPLE_BYTES, "channels": 1}

    def say(sock: socket.socket) -> None:
        sock.sendall(encode_event(Event("audio-start", form)))
        for piece in pace.pieces(pcm):
            sock.sendall(encode_event(Event("audio-chunk", form, piece)))
        sock.sendall(encode_event(Event("audio-stop")))

    parser = EventParser()
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock, _meanwhile(say, sock):
        while True:
            data = sock.recv(65536)
            if not data:
                raise EOFError("without a transcript")
            for event in parser.receive(data):
                if event.type == "error":
                    return f"error: {event.data['code']}"
                if event.type == "transcript":
                    texts += filter(None, [event.data["text"]])
                    return None


@contextlib.contextmanager
def _meanwhile(say: Callable[[Any], None], connection: Any) -> Iterator[None]:
    """Let a thread speak while this one listens; who speaks stops when the connection is closed."""

    def said() -> None:
        with contextlib.suppress(OSError, ConnectionClosed):  # the listener sees what became of it
            say(connection)

    speaker = threading.Thread(target=said, daemon=True)
    speaker.start()
    try:
        yield
    finally:
        if isinstance(connection, Wire):
            connection = connection.socket
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        else:
            connection.close()
        speaker.join()


BEHIND_THE_BALANCER: Dict[str, Caller] = {
    "realtime": over_realtime,
    "deepgram": over_deepgram,
    "vosk": over_vosk,
    "rest": over_rest,
    "rest, events": over_rest_events,
}
