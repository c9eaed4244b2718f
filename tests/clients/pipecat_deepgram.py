"""Pipecat's DeepgramSTTService behind its own VAD: `pipecat_deepgram.py HOST:PORT KEY LANGUAGE FILE`.

FILE is 16 kHz mono PCM. The pipeline sends Finalize when the VAD hears the speaker stop. Prints the frames that come
out of the service.
"""

import asyncio
import json
import sys
from pathlib import Path

from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    EndFrame,
    ErrorFrame,
    InputAudioRawFrame,
    InterimTranscriptionFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.deepgram.stt import DeepgramSTTService
from pipecat.workers.runner import WorkerRunner

RATE = 16000
CHUNK_S = 0.02
CHUNK_BYTES = 640
QUIET_S = 3.0  # behind the sound, for the last final


class Printer(FrameProcessor):
    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, (InterimTranscriptionFrame, TranscriptionFrame)):
            said = {"type": type(frame).__name__, "text": frame.text, "finalized": getattr(frame, "finalized", None)}
            print(json.dumps(said, ensure_ascii=False), flush=True)
        elif isinstance(frame, ErrorFrame):
            print(json.dumps({"type": "ErrorFrame", "text": frame.error}), flush=True)
        await self.push_frame(frame, direction)


async def main(url: str, key: str, language: str, path: str) -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    stt = DeepgramSTTService(
        api_key=key, base_url=f"ws://{url}", settings=DeepgramSTTService.Settings(language=language)
    )
    pipeline = Pipeline([Printer(), VADProcessor(vad_analyzer=SileroVADAnalyzer()), stt, Printer()])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=RATE), cancel_on_idle_timeout=False)
    pcm = Path(path).read_bytes() + bytes(int(QUIET_S * RATE) * 2)

    @worker.event_handler("on_pipeline_started")
    async def speak(worker, _):
        for start in range(0, len(pcm), CHUNK_BYTES):
            await worker.queue_frame(InputAudioRawFrame(pcm[start : start + CHUNK_BYTES], RATE, 1))
            await asyncio.sleep(CHUNK_S)
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


asyncio.run(main(*sys.argv[1:]))
