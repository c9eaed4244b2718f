"""One recogniser in a process of its own: `python -m bench.recognizers.contenders NAME THREADS FOLDER_OF_MODELS`.

Reads one line for each segment, `LANGUAGE PATH_OF_SAMPLES.npy`, and answers with one line of JSON: text and seconds.
Each contender imports only what it needs, as each has its own environment.
"""

import gc
import json
import os
import resource
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import numpy as np

CTRANSLATE2, OPENVINO = "ctranslate2", "openvino"  # folders of models

_ALONE = {"condition_on_previous_text": False}
_TEXT_ALONE = {"without_timestamps": True, **_ALONE}  # of a segment; a longer file is cut by its timestamps

Recognise = Callable[[Any, str], str]  # samples and a language → text


class Contender(NamedTuple):
    """What makes a recogniser of a number of threads and the folder of models, and whose Python runs it."""

    environment: str
    make: Callable[[int, Path], Recognise]


def ours(threads: int, _: Path, beam_size: int, **settings: str) -> Recognise:
    """The recogniser of this project."""
    from recognizer.recognizer import Recognizer  # noqa: PLC0415
    from recognizer.request import Request  # noqa: PLC0415
    from recognizer.settings import RecognizerSettings  # noqa: PLC0415

    recognizer = Recognizer(RecognizerSettings(beam_size=beam_size, **{"device": "cpu", **settings}), threads)
    recognizer.warm_up()

    def recognise(samples: Any, language: str) -> str:
        return recognizer.recognize(samples, Request(language)).text

    return recognise


def openai_whisper(
    threads: int,
    _: Path,
    beam_size: Optional[int],
    whole_file: bool = False,
    device: str = "cpu",
    size: str = "base",
) -> Recognise:
    """`whisper.transcribe` with its own fallback; on a card in float16."""
    import torch  # noqa: PLC0415

    from recognizer.weights import load_weights  # noqa: PLC0415

    torch.set_num_threads(threads)
    model = load_weights(size).eval().to(device)

    def recognise(samples: Any, language: str) -> str:
        options = _ALONE if whole_file else _TEXT_ALONE
        found = model.transcribe(samples, language=language, beam_size=beam_size, fp16=device != "cpu", **options)
        return str(found["text"])

    return recognise


def faster_whisper(
    threads: int,
    models: Path,
    beam_size: int,
    whole_file: bool = False,
    **settings: Any,
) -> Recognise:
    """CTranslate2; on the processor in int8."""
    from faster_whisper import WhisperModel  # noqa: PLC0415

    settings = {"device": "cpu", "compute_type": "int8", **settings}
    model = WhisperModel(str(models / CTRANSLATE2), cpu_threads=threads, **settings)

    def recognise(samples: Any, language: str) -> str:
        options = _ALONE if whole_file else _TEXT_ALONE
        segments, _ = model.transcribe(samples, language=language, beam_size=beam_size, **options)
        return " ".join(segment.text for segment in segments)

    return recognise


def openvino_genai(threads: int, models: Path, beam_size: int) -> Recognise:
    """OpenVINO's pipeline, its weights in int8."""
    from openvino_genai import WhisperPipeline  # noqa: PLC0415

    pipeline = WhisperPipeline(str(models / OPENVINO), "CPU", INFERENCE_NUM_THREADS=threads)

    def recognise(samples: Any, language: str) -> str:
        options = {"language": f"<|{language}|>", "task": "transcribe", "return_timestamps": False}
        result = pipeline.generate(samples, num_beams=beam_size, **options)
        return str(result.texts[0])

    return recognise


CONTENDERS = {
    "ours, beam 5": Contender("server", partial(ours, beam_size=5)),
    "ours, greedy": Contender("server", partial(ours, beam_size=1)),
    "ours, beam 5, full window": Contender("server", partial(ours, beam_size=5, window="full")),
    "ours, beam 5, float32": Contender("server", partial(ours, beam_size=5, compute="float32")),
    "ours, beam 5, float32, full window": Contender(
        "server", partial(ours, beam_size=5, compute="float32", window="full")
    ),
    "openai-whisper float32, beam 5": Contender("server", partial(openai_whisper, beam_size=5)),
    "faster-whisper int8, beam 5": Contender("bench", partial(faster_whisper, beam_size=5)),
    "faster-whisper int8, greedy": Contender("bench", partial(faster_whisper, beam_size=1)),
    "OpenVINO GenAI int8, beam 5": Contender("bench", partial(openvino_genai, beam_size=5)),
    "OpenVINO GenAI int8, greedy": Contender("bench", partial(openvino_genai, beam_size=1)),
}

# Of recordings of minutes, not of segments (`python -m bench.long`).
WHOLE_FILES = {
    "faster-whisper int8, beam 5, whole file": Contender(
        "bench", partial(faster_whisper, beam_size=5, whole_file=True)
    ),
    "openai-whisper float32, beam 5, whole file": Contender(
        "server", partial(openai_whisper, beam_size=5, whole_file=True)
    ),
    "openai-whisper float32, greedy, whole file": Contender(
        "server", partial(openai_whisper, beam_size=None, whole_file=True)
    ),
}
ALL = {**CONTENDERS, **WHOLE_FILES}


def answer(recognise: Recognise) -> None:
    """Answer until there is nothing more to recognise."""
    for line in sys.stdin:
        language, path = line.rstrip("\n").split(" ", 1)
        samples = np.load(path)
        started_s = time.perf_counter()
        text = recognise(samples, language)
        seconds = time.perf_counter() - started_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"text": text, "seconds": seconds, "peak_mb": peak_mb}), flush=True)


def main() -> None:
    """Be the contender of that name."""
    name, threads, folder = sys.argv[1:]
    # Some make threads that their own setting does not count.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    recognise = ALL[name].make(int(threads), Path(folder))
    gc.collect()
    gc.freeze()  # as in a server's engine: what is loaded is not looked through again
    answer(recognise)
    gc.unfreeze()


if __name__ == "__main__":
    main()
