"""Which parts a measurement has, how long each may take, and what each is told and tells."""

import json
from typing import Any, Dict, List, NamedTuple, TextIO

MACHINE = "machine"
# Seconds, with the start of a process; together, with the picture, ten minutes.
LIMITS_S: Dict[str, float] = {MACHINE: 60, "parity": 80, "timing": 60, "others": 70, "live": 190, "memory": 120}
TOTAL_S = 600.0
PICTURE_S = 15.0


class Settings(NamedTuple):
    """What is measured.

    Attributes:
        device: a card, `cuda:0`, or `cpu`.
        compute: in which numbers: `float16` on a card, which is what our own `auto` means there, and `float32`.
        models: what is loaded for each model's name: a size, or a path.
        speech: a folder of recordings; empty for the demo's.
        engines: of the servers, in rising order.
        seconds: of speech that count for each of them.
        utterances: of each kind, that are recognised.
        repeats: of each work that is timed.
        bench_python: which may have faster-whisper.
    """

    device: str
    compute: str
    models: Dict[str, str]
    speech: str
    engines: List[int]
    seconds: float
    utterances: int
    repeats: int
    bench_python: str

    @property
    def has_card(self) -> bool:
        """Whether a card computes."""
        return self.device != "cpu"

    def ours(self, model: str) -> Dict[str, str]:
        """What our recogniser and server are told of a model."""
        return {
            "size": self.models[model],
            "device": self.device,
            "compute": "auto" if self.has_card else self.compute,
        }


class Teller:
    """Says what a part finds, a line of JSON each.

    Args:
        file: where to.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def row(self, part: str, row: Any) -> None:
        """A row of the part's table."""
        self._say("row", {"part": part, "fields": row._asdict()})

    def note(self, text: str) -> None:
        """What a reader should know."""
        self._say("note", text)

    def fault(self, text: str) -> None:
        """What is wrong, in one line; the part goes on."""
        self._say("fault", " ".join(text.split()))

    def _say(self, kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=self._file, flush=True)
