"""LiveKit's OpenAI plugin over the Realtime API: `livekit_openai.py HOST:PORT LANGUAGE MODE TEXTS FILE`.

FILE is 24 kHz mono PCM. MODE: `server_vad`, or `vad`, where a model without detection makes the plugin use its own VAD
and commit. Prints its events, until TEXTS final transcripts have come.
"""

import asyncio
import json
import sys
from pathlib import Path

from livekit import rtc
from livekit.agents import utils
from livekit.agents.stt import SpeechEventType
from livekit.plugins import openai

RATE = 24000
CHUNK_S = 0.05
CHUNK_BYTES = int(CHUNK_S * RATE) * 2


async def main(url: str, language: str, mode: str, texts: str, path: str) -> None:
    pcm = Path(path).read_bytes()
    model = "gpt-realtime-whisper" if mode == "vad" else "gpt-4o-transcribe"
    async with utils.http_context.open():
        stt = openai.STT(base_url=f"http://{url}/v1", api_key="any", language=language, model=model, use_realtime=True)
        stream = stt.stream()

        async def speak() -> None:
            for start in range(0, len(pcm), CHUNK_BYTES):
                chunk = pcm[start : start + CHUNK_BYTES]
                stream.push_frame(rtc.AudioFrame(chunk, RATE, 1, len(chunk) // 2))
                await asyncio.sleep(CHUNK_S)

        speaking = asyncio.create_task(speak())
        left = int(texts)
        async for event in stream:
            if event.type is not SpeechEventType.RECOGNITION_USAGE:
                said = [{"text": one.text, "language": str(one.language)} for one in event.alternatives]
                print(json.dumps({"type": event.type.value, "alternatives": said}, ensure_ascii=False), flush=True)
            left -= event.type is SpeechEventType.FINAL_TRANSCRIPT
            if not left:
                break
        await speaking
        await stream.aclose()
        await stt.aclose()


asyncio.run(main(*sys.argv[1:]))
