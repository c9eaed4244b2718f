"""Wyoming's own client, calling as Home Assistant does: `wyoming_client.py HOST PORT LANGUAGE FILE …`.

Each FILE, 16 kHz mono PCM, is a round in the same connection. Prints the events that come.
"""

import asyncio
import json
import sys
from pathlib import Path

from wyoming.asr import Transcribe, Transcript, TranscriptStop
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info

RATE, WIDTH, CHANNELS = 16000, 2, 1
CHUNK_BYTES = 2048


async def main(host: str, port: str, language: str, *paths: str) -> None:
    async with AsyncTcpClient(host, int(port)) as client:
        await client.write_event(Describe().event())
        event = await client.read_event()
        info = Info.from_event(event)
        print(json.dumps({"type": event.type, "data": event.data}), flush=True)
        assert language in info.asr[0].models[0].languages
        for path in paths:
            await round_of(client, language, Path(path).read_bytes())


async def round_of(client: AsyncTcpClient, language: str, pcm: bytes) -> None:
    await client.write_event(Transcribe(language=language).event())
    await client.write_event(AudioStart(rate=RATE, width=WIDTH, channels=CHANNELS).event())
    for start in range(0, len(pcm), CHUNK_BYTES):
        chunk = AudioChunk(rate=RATE, width=WIDTH, channels=CHANNELS, audio=pcm[start : start + CHUNK_BYTES])
        await client.write_event(chunk.event())
    await client.write_event(AudioStop().event())
    while True:
        event = await client.read_event()
        if event is None:
            raise SystemExit("the server has left")
        print(json.dumps({"type": event.type, "data": event.data}, ensure_ascii=False), flush=True)
        if Transcript.is_type(event.type):
            assert Transcript.from_event(event).text is not None
        if TranscriptStop.is_type(event.type) or Error.is_type(event.type):
            return


asyncio.run(main(*sys.argv[1:]))
