"""OpenAI's own client of the Realtime API: `openai_realtime.py HOST:PORT LANGUAGE MODE TEXTS FILE`.

FILE is 24 kHz mono PCM. MODE: `server_vad` has the server find the ends of utterances, `manual` commits all as one
turn. Prints the events, until TEXTS transcripts with text have come.
"""

import asyncio
import base64
import sys
from pathlib import Path

from openai import AsyncOpenAI

RATE = 24000
CHUNK_BYTES = RATE // 10 * 2


async def main(url: str, language: str, mode: str, texts: str, path: str) -> None:
    client = AsyncOpenAI(base_url=f"http://{url}/v1", api_key="any")
    turn_detection = None if mode == "manual" else {"type": mode}
    pcm = Path(path).read_bytes()
    async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        await connection.session.update(
            session={
                "type": "transcription",
                "audio": {
                    "input": {
                        "format": {"type": "audio/pcm", "rate": RATE},
                        "transcription": {"model": "whisper-1", "language": language},
                        "turn_detection": turn_detection,
                    }
                },
            }
        )

        async def speak() -> None:
            for start in range(0, len(pcm), CHUNK_BYTES):
                audio = base64.b64encode(pcm[start : start + CHUNK_BYTES]).decode()
                await connection.input_audio_buffer.append(audio=audio)
            await connection.input_audio_buffer.commit()

        speaking = asyncio.create_task(speak())
        left = int(texts)
        async for event in connection:
            print(event.model_dump_json(), flush=True)
            if event.type == "conversation.item.input_audio_transcription.completed" and event.transcript:
                left -= 1
                if not left:
                    break
        await speaking


asyncio.run(main(*sys.argv[1:]))
