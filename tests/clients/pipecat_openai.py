"""Pipecat's OpenAIRealtimeSTTService: `pipecat_openai.py HOST:PORT LANGUAGE MODE TEXTS FILE`.

FILE is mono PCM: 24 kHz where MODE is `server_vad`, 16 kHz where it is `vad`, Pipecat's own VAD, at whose stops the
service commits. Prints the frames that come out of the service, until TEXTS transcriptions have come.
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
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.openai.stt import OpenAIRealtimeSTTService
from pipecat.transcriptions.language import Language
from pipecat.workers.runner import WorkerRunner

CHUNK_S = 0.02
SILENCE_S = 1.0  # behind the sound, for a VAD to hear that it has ended
TEXTS = (InterimTranscriptionFrame, TranscriptionFrame)
TURNS = (ProposedUserStartedSpeakingFrame, ProposedUserStoppedSpeakingFrame)


class Printer(FrameProcessor):
    def __init__(self, texts: int) -> None:
        super().__init__()
        self._left = texts
        self.has_all = asyncio.Event()

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        if isinstance(frame, TEXTS):
            print(json.dumps({"type": type(frame).__name__, "text": frame.text}, ensure_ascii=False), flush=True)
            self._left -= isinstance(frame, TranscriptionFrame)
        elif isinstance(frame, TURNS) and direction is FrameDirection.DOWNSTREAM:
            print(json.dumps({"type": type(frame).__name__}), flush=True)
        elif isinstance(frame, ErrorFrame):
            print(json.dumps({"type": "ErrorFrame", "text": frame.error}), flush=True)
        if not self._left:
            self.has_all.set()
        await self.push_frame(frame, direction)


async def main(url: str, language: str, mode: str, texts: str, path: str) -> None:
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    is_local = mode == "vad"
    rate = 16000 if is_local else 24000
    stt = OpenAIRealtimeSTTService(
        api_key="any",
        base_url=f"ws://{url}/v1/realtime",
        turn_detection=False if is_local else {"type": mode},
        settings=OpenAIRealtimeSTTService.Settings(language=Language(language)),
    )
    vad = [VADProcessor(vad_analyzer=SileroVADAnalyzer())] if is_local else []
    printer = Printer(int(texts))
    pipeline = Pipeline([*vad, stt, printer])
    worker = PipelineWorker(pipeline, params=PipelineParams(audio_in_sample_rate=rate), cancel_on_idle_timeout=False)
    pcm = Path(path).read_bytes() + bytes(int(SILENCE_S * rate) * 2)
    chunk_bytes = int(CHUNK_S * rate) * 2

    @worker.event_handler("on_pipeline_started")
    async def speak(worker, _):
        for start in range(0, len(pcm), chunk_bytes):
            await worker.queue_frame(InputAudioRawFrame(pcm[start : start + chunk_bytes], rate, 1))
            await asyncio.sleep(CHUNK_S)
        await printer.has_all.wait()
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


asyncio.run(main(*sys.argv[1:]))
