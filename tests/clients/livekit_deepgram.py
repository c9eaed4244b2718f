"""LiveKit's Deepgram plugin: `livekit_deepgram.py HOST:PORT KEY LANGUAGE FILE`, FILE is 16 kHz mono PCM.

Prints its events.
"""

import asyncio
import json
import sys
from pathlib import Path

import aiohttp
from livekit import rtc
from livekit.agents.stt import SpeechEventType
from livekit.plugins import deepgram

RATE = 16000
CHUNK_S = 0.05
CHUNK_BYTES = 1600


async def main(url: str, key: str, language: str, path: str) -> None:
    pcm = Path(path).read_bytes()
    async with aiohttp.ClientSession() as session:
        stt = deepgram.STT(
            language=language,
            api_key=key,
            base_url=f"http://{url}/v1/listen",
            http_session=session,
            utterance_end_ms=1000,
        )
        stream = stt.stream()

        async def speak() -> None:
            for start in range(0, len(pcm), CHUNK_BYTES):
                chunk = pcm[start : start + CHUNK_BYTES]
                stream.push_frame(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))
                await asyncio.sleep(CHUNK_S)
            stream.flush()
            stream.end_input()

        speaking = asyncio.create_task(speak())
        async for event in stream:
            if event.type is not SpeechEventType.RECOGNITION_USAGE:
                heard = [
                    {"text": one.text, "start": one.start_time, "end": one.end_time, "confidence": one.confidence}
                    for one in event.alternatives
                ]
                print(json.dumps({"type": event.type.value, "alternatives": heard}, ensure_ascii=False), flush=True)
        await speaking
        await stream.aclose()


asyncio.run(main(*sys.argv[1:]))
