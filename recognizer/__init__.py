"""Recognition of one utterance: samples in, text and confidences out.

    catalog.py       the names that Whisper knows: models and languages (imports nothing heavy)
    audio.py         PCM of any supported rate → the samples Whisper wants
    weights.py       a model's name or path → a loaded model: cache, packages, download
    checkpoints.py   the three file formats that weights come in
    recognizer.py    the recogniser

Import the modules themselves: this package imports none of them, so that a process which
needs only the names does not load torch.
"""

from util import printable


class RecognizerError(Exception):
    """The recogniser cannot be had as configured; the text is one line for the person who configured it."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))
