"""One recogniser in a process of its own: `python contenders.py NAME THREADS FOLDER_OF_MODELS`.

Reads one line for each segment, `LANGUAGE PATH_OF_SAMPLES.npy`, and answers with one line of JSON: text and seconds.
Each contender imports only what it needs, as each has its own environment.
"""

import json
import os
import resource
import sys
import time
from typing import Any, Callable, Dict

import numpy as np

Recognise = Callable[[Any, str], str]


def ours(threads: int, beam_size: int, **settings: str) -> Recognise:
    """The recogniser of this project."""
    from recognizer.recognizer import Recognizer, RecognizerSettings  # noqa: PLC0415

    made: Dict[str, Recognizer] = {}

    def recognise(samples: Any, language: str) -> str:
        if language not in made:
            made.clear()
            made[language] = Recognizer(
                RecognizerSettings(device="cpu", language=language, beam_size=beam_size, **settings), threads
            )
        return made[language].recognize(samples).text

    return recognise


def openai_whisper(threads: int, beam_size: int) -> Recognise:
    """`whisper.transcribe` with its own fallback."""
    import torch  # noqa: PLC0415

    from recognizer.weights import load_weights  # noqa: PLC0415

    torch.set_num_threads(threads)
    model = load_weights("base").eval()
    beam = beam_size if beam_size > 1 else None

    def recognise(samples: Any, language: str) -> str:
        return str(
            model.transcribe(
                samples,
                language=language,
                beam_size=beam,
                without_timestamps=True,
                condition_on_previous_text=False,
                fp16=False,
            )["text"]
        )

    return recognise


def faster_whisper(threads: int, beam_size: int, folder: str) -> Recognise:
    """CTranslate2 in int8."""
    from faster_whisper import WhisperModel  # noqa: PLC0415

    model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=threads)

    def recognise(samples: Any, language: str) -> str:
        segments, _ = model.transcribe(
            samples,
            language=language,
            beam_size=beam_size,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        return " ".join(segment.text for segment in segments)

    return recognise


def openvino_genai(threads: int, beam_size: int, folder: str) -> Recognise:
    """OpenVINO's pipeline, its weights in int8."""
    from openvino_genai import WhisperPipeline  # noqa: PLC0415

    pipeline = WhisperPipeline(folder, "CPU", INFERENCE_NUM_THREADS=threads)

    def recognise(samples: Any, language: str) -> str:
        result = pipeline.generate(
            samples,
            language=f"<|{language}|>",
            task="transcribe",
            return_timestamps=False,
            num_beams=beam_size,
        )
        return str(result.texts[0])

    return recognise


def make(name: str, threads: int, folder: str) -> Recognise:
    """The contender of that name."""
    ctranslate2, openvino = os.path.join(folder, "ctranslate2"), os.path.join(folder, "openvino")
    makers: Dict[str, Callable[[], Recognise]] = {
        "ours, beam 5": lambda: ours(threads, 5),
        "ours, greedy": lambda: ours(threads, 1),
        "ours, beam 5, full window": lambda: ours(threads, 5, window="full"),
        "ours, beam 5, float32": lambda: ours(threads, 5, compute="float32"),
        "ours, beam 5, float32, full window": lambda: ours(threads, 5, compute="float32", window="full"),
        "openai-whisper float32, beam 5": lambda: openai_whisper(threads, 5),
        "faster-whisper int8, beam 5": lambda: faster_whisper(threads, 5, ctranslate2),
        "faster-whisper int8, greedy": lambda: faster_whisper(threads, 1, ctranslate2),
        "OpenVINO GenAI int8, beam 5": lambda: openvino_genai(threads, 5, openvino),
        "OpenVINO GenAI int8, greedy": lambda: openvino_genai(threads, 1, openvino),
    }
    return makers[name]()


def main() -> None:
    """Answer until there is nothing more to recognise."""
    name, threads, folder = sys.argv[1:]
    # Some make threads that their own setting does not count.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(threads)])
    recognise = make(name, int(threads), folder)
    for line in sys.stdin:
        language, path = line.rstrip("\n").split(" ", 1)
        samples = np.load(path)
        started_s = time.perf_counter()
        text = recognise(samples, language)
        seconds = time.perf_counter() - started_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"text": text, "seconds": seconds, "peak_mb": peak_mb}), flush=True)


if __name__ == "__main__":
    main()
