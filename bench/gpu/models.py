"""The models that are measured, real ones and such with random weights, and what they hear."""

from pathlib import Path
from typing import Dict, List, Sequence

import whisper

from bench.recordings import Recording, read_recordings
from bench.speech import segments
from demo.recording import TRANSCRIPT, recording_pcm
from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from recognizer.checkpoints import Checkpoint, write_openai
from tests.harness.random_models import random_model

RANDOM = "random:"  # what a model's name begins with, before the name of its shape

# Published shapes, and one that is small enough to try all this on a processor.
SHAPES: Dict[str, whisper.ModelDimensions] = {
    "turbo": whisper.ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 4),
    "large-v3": whisper.ModelDimensions(128, 1500, 1280, 20, 32, 51866, 448, 1280, 20, 32),
    "base": whisper.ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
    "small test": whisper.ModelDimensions(80, 1500, 64, 2, 2, 51865, 448, 64, 2, 2),
}
MODELS = tuple(f"{RANDOM}{name}" for name in SHAPES)

_EAGERNESS = 13.0  # so that texts end soon at every temperature: who hears nonsense tries all
_PIECES_S = (3, 5, 8)
_BYTES_PER_S = 2 * SAMPLE_RATE


def is_random(model: str) -> bool:
    """Whether nothing that the model writes means anything."""
    return model.startswith(RANDOM)


def write_random(model: str, path: Path) -> None:
    """Draw a model's weights, and keep them in half precision as the published files have them; raises OSError."""
    drawn = random_model(SHAPES[model[len(RANDOM) :]], _EAGERNESS)
    halves = {name: tensor.half() for name, tensor in drawn.state_dict().items()}
    write_openai(Checkpoint(vars(drawn.dims), halves), path)


def recordings(folder: str, most: int) -> List[Recording]:
    """So many, evenly out of a folder with a manifest; the demo's where it is empty. Raises FileNotFoundError."""
    if not folder:
        return [Recording("beckett.wav", "en", [TRANSCRIPT], recording_pcm())]
    spoken = [one for one in read_recordings(Path(folder)) if one.references]
    return spoken[:: max(1, len(spoken) // most)][:most]


def utterances(recording: Recording) -> List[Samples]:
    """What the server would cut a recording into, of no more than it hears at once."""
    return [samples[: 30 * SAMPLE_RATE] for samples in segments(recording.pcm)]


def pieces(several: Sequence[Recording], count: int) -> List[Samples]:
    """Sound of several lengths, cut anywhere."""
    pcm = b"".join(one.pcm for one in several)
    found = []
    for index in range(count):
        n_bytes = _PIECES_S[index % len(_PIECES_S)] * _BYTES_PER_S
        start = 2 * (index * max(0, len(pcm) - n_bytes) // (2 * max(1, count - 1)))
        found.append(to_samples(pcm[start : start + n_bytes], SAMPLE_RATE))
    return found


def ten_seconds(several: Sequence[Recording]) -> Samples:
    """The first ten seconds of all, one after the other."""
    pcm = b"".join(one.pcm for one in several)
    return to_samples((pcm * (1 + 10 * _BYTES_PER_S // len(pcm)))[: 10 * _BYTES_PER_S], SAMPLE_RATE)
