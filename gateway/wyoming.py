r"""The Wyoming protocol's events: bytes ↔ events, and what a server of speech recognition says of itself. Pure.

{"type": …, "data_length": …, "payload_length": …}\n    one line of JSON, where "data" may stand as well
data                                                    JSON, adds to that of the line
payload                                                 sound
"""

import json
from types import MappingProxyType
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

from gateway.asked import json_object
from gateway.errors import BadRequest

_LONGEST_LINE_BYTES = 64 * 1024
_LONGEST_DATA_BYTES = 256 * 1024
_LONGEST_PAYLOAD_BYTES = 4 * 1024 * 1024  # 2 minutes of 16 kHz; clients send a tenth of a second at once
_VERSION = "1.10.2"  # of the protocol's Python package, whose events these are


class Event(NamedTuple):
    """What one side tells the other."""

    type: str
    data: Mapping[str, Any] = MappingProxyType({})
    payload: bytes = b""


class EventParser:
    """Bytes as they come → events. Keeps at most one event that has not come whole."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer without the end of a line
        self._line: Optional[_Line] = None  # whose data and payload are still to come

    def receive(self, data: bytes) -> Iterator[Event]:
        """The events that are whole now; raises BadRequest where the bytes are none, and is of no use afterwards."""
        self._buffer += data
        while True:
            if self._line is None:
                self._line = self._next_line()
            if self._line is None or len(self._buffer) < self._line.data_bytes + self._line.payload_bytes:
                return
            line, self._line = self._line, None
            fields = {**line.data, **_object(self._taken(line.data_bytes), "data")} if line.data_bytes else line.data
            yield Event(line.type, fields, self._taken(line.payload_bytes))

    def _next_line(self) -> "Optional[_Line]":
        end = self._buffer.find(b"\n", self._searched)
        if max(end, len(self._buffer) if end < 0 else 0) > _LONGEST_LINE_BYTES:
            raise BadRequest(f"a line is longer than {_LONGEST_LINE_BYTES} bytes")
        self._searched = 0 if end >= 0 else len(self._buffer)
        return _parsed(self._taken(end + 1)) if end >= 0 else None

    def _taken(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


class _Line(NamedTuple):
    type: str
    data: Dict[str, Any]
    data_bytes: int
    payload_bytes: int


def _parsed(line: bytes) -> _Line:
    fields = _object(line, "a line")
    kind, data = fields.get("type"), fields.get("data")
    if not isinstance(kind, str):
        raise BadRequest("a line has no type")
    if data is not None and not isinstance(data, dict):
        raise BadRequest("data: expected an object")
    return _Line(
        kind,
        data or {},
        _length(fields, "data_length", _LONGEST_DATA_BYTES),
        _length(fields, "payload_length", _LONGEST_PAYLOAD_BYTES),
    )


def _length(fields: Dict[str, Any], name: str, most: int) -> int:
    value = fields.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise BadRequest(f"{name}: expected 0 to {most}")
    return value


def _object(data: bytes, what: str) -> Dict[str, Any]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{what} is no UTF-8") from error
    return json_object(text, what)


def encode_event(event: Event) -> bytes:
    """An event as it is sent."""
    data = _json(event.data) if event.data else b""
    line: Dict[str, Any] = {"type": event.type, "version": _VERSION}
    if data:
        line["data_length"] = len(data)
    if event.payload:
        line["payload_length"] = len(event.payload)
    return b"".join((_json(line), b"\n", data, event.payload))


def _json(fields: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(fields), ensure_ascii=False).encode("utf-8", errors="replace")


def info(model: str, languages: List[str]) -> Dict[str, Any]:
    """The data of `info`: one program, with one model."""
    program = {
        **_artifact("whisper", "Streaming speech to text with Whisper"),
        "models": [{**_artifact(model, f"Whisper {model}"), "languages": languages}],
        "supports_transcript_streaming": True,
        "requires_external_vad": True,  # a round ends when the client says so
        "prefers_auto_gain_enabled": False,
        "prefers_noise_reduction_enabled": False,
    }
    return {"asr": [program]}


def _artifact(name: str, description: str) -> Dict[str, Any]:
    attribution = {"name": "OpenAI", "url": "https://github.com/openai/whisper"}
    return {"name": name, "description": description, "attribution": attribution, "installed": True, "version": None}
