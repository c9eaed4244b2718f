"""Deepgram's own SDK: `deepgram_sdk.py HOST:PORT KEY LANGUAGE FILE`, FILE is 16 kHz mono PCM; prints every message.

The sound comes as fast as it is said; then Finalize, and when that is answered CloseStream.
"""

import asyncio
import json
import sys
from pathlib import Path

from deepgram import AsyncDeepgramClient
from deepgram.core.events import EventType
from deepgram.environment import DeepgramClientEnvironment

CHUNK_S = 0.1
CHUNK_BYTES = 3200


async def main(url: str, key: str, language: str, path: str) -> None:
    environment = DeepgramClientEnvironment(base=f"http://{url}", production=f"ws://{url}", agent="", agent_rest="")
    client = AsyncDeepgramClient(api_key=key, environment=environment)
    pcm = Path(path).read_bytes()
    finalized = asyncio.Event()

    def told(message: object) -> None:
        print(json.dumps(message.model_dump(exclude_none=True), ensure_ascii=False), flush=True)
        if getattr(message, "from_finalize", False):
            finalized.set()

    async with client.listen.v1.connect(
        model="nova-3",
        language=language,
        encoding="linear16",
        sample_rate=16000,
        channels=1,
        interim_results=True,
        punctuate=True,
        vad_events=True,
        utterance_end_ms=1000,
    ) as connection:
        connection.on(EventType.MESSAGE, told)
        connection.on(EventType.ERROR, lambda error: print(error, file=sys.stderr))
        listening = asyncio.create_task(connection.start_listening())
        for start in range(0, len(pcm), CHUNK_BYTES):
            await connection.send_media(pcm[start : start + CHUNK_BYTES])
            await asyncio.sleep(CHUNK_S)
        await connection.send_keep_alive()
        await connection.send_finalize()
        await asyncio.wait_for(finalized.wait(), 60)
        await connection.send_close_stream()
        await asyncio.wait_for(listening, 60)


asyncio.run(main(*sys.argv[1:]))
