"""A session in real time through the gateway's OpenAI door."""

import asyncio
import base64
import json
import os
from typing import AsyncIterator, Dict, List, NamedTuple, Tuple

import websockets

from bench.gateway.tap import Shown

RATE = 24_000  # Hz, of the OpenAI Realtime API
_SAMPLE_BYTES = 2
_TRANSCRIPTION = "conversation.item.input_audio_transcription"


class Session(NamedTuple):
    """What a client saw; times on the loop's clock.

    Attributes:
        sent: the time, and how many bytes of sound it had sent by then.
        seen: when a text stood for the first time.
    """

    sent: List[Tuple[float, int]]
    seen: Dict[Shown, float]


async def stream(url: str, pcm: bytes, packet_ms: int) -> Session:
    """Say all of it at the pace of a microphone: base64 in JSON, stable text as deltas."""
    session = Session([], {})
    async with websockets.connect(f"{url}?intent=transcription") as websocket:
        format_ = {"type": "audio/pcm", "rate": RATE}
        turns = {"type": "server_vad", "silence_duration_ms": 480}
        asked = {"type": "transcription", "audio": {"input": {"format": format_, "turn_detection": turns}}}
        await websocket.send(json.dumps({"type": "session.update", "session": asked}))
        listening = asyncio.ensure_future(_listen(websocket, session))
        try:
            total = 0
            async for packet in _packets(pcm, packet_ms):
                audio = base64.b64encode(packet).decode()
                total += len(packet)
                session.sent.append((asyncio.get_running_loop().time(), total))
                await websocket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
        finally:
            listening.cancel()
            ends = await asyncio.gather(listening, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
    return session


def be_silent(url: str, sessions: int, duration_s: float, packet_ms: int, niceness: int) -> None:
    """So many sessions at once; for a process of their own, so that what they cost makes nobody else late."""
    os.nice(niceness)

    async def main() -> None:
        silence = bytes(int(duration_s * RATE) * 2)
        await asyncio.gather(*(stream(url, silence, packet_ms) for _ in range(sessions)))

    asyncio.run(main())


async def _listen(websocket: websockets.ClientConnection, session: Session) -> None:
    loop, results, text = asyncio.get_running_loop(), 0, ""
    async for message in websocket:
        event = json.loads(message)
        if event["type"] == "error":
            raise RuntimeError(event["error"]["message"])
        if event["type"] == f"{_TRANSCRIPTION}.delta":
            text += event["delta"]
            session.seen.setdefault((results, text), loop.time())
        elif event["type"] == f"{_TRANSCRIPTION}.completed" and event["transcript"]:
            session.seen.setdefault((results, event["transcript"]), loop.time())
            results, text = results + 1, ""


async def _packets(pcm: bytes, packet_ms: int) -> AsyncIterator[bytes]:
    """Each when a microphone would have filled it."""
    size = RATE * packet_ms // 1000 * _SAMPLE_BYTES
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for start in range(0, len(pcm), size):
        await asyncio.sleep((start + size) / (RATE * _SAMPLE_BYTES) - (loop.time() - start_s))
        yield pcm[start : start + size]
