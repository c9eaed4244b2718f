"""Recognition of one utterance: samples in, text and confidences out.

    catalog.py       the names that Whisper knows: models and languages (imports nothing heavy)
    audio.py         PCM of any supported rate → the samples Whisper wants
    weights.py       a model's name or path → a loaded model: cache, packages, download
    loading.py       weights → encoder and decoder on a device, and lent to others
    devices.py       which devices there are
    checkpoints.py   the three file formats that weights come in
    request.py       what is asked, and what is answered
    words.py         the text's tokens → words with times
    confidence.py    how likely a word is right
    plausibility.py  what is speech, and what looks wrong (pure)
    doubt.py         what tells whether a doubtful text was said (pure)
    voice.py         where the line between lies, as fitted
    judge.py         what that needs from the models
    search.py        the beam
    alignment.py     which heads of the decoder follow the speech
    recognizer.py    the recogniser: windows, second tries
    network.py       encoder and decoder together, with shapes as they come or with fixed ones
    encoder.py       Whisper's encoder over as much sound as there is
    windows.py       how much silence a model needs behind it
    attention.py     its attention, the way that is fastest on the processor
    decoder.py       Whisper's decoder with memory allocated once, behind openai-whisper's loop
    static.py        the decoder in work of fixed shapes
    tensor_search.py the searches as operations on tensors
    graphs.py        work that is captured once and replayed: CUDA graphs
    mel.py           log-mel where the sound is
    live.py          an open utterance: text that stays, and text that may change
    look.py          what the decoder hears in as much of it as there is
    stability.py     which of its words stay (pure)
    hearing.py       the encoder over an utterance that grows
    layers.py        what both are built of
    compiled/        what is in int8, in C
    processor.py     what the processor can do
    precision.py     float32, bfloat16, int8: which, and how
    int8.py          matrices in int8
    speech.py        a second look at a segment by Silero VAD
    memory.py        telling a machine without memory from a fault

Import the modules themselves: this package imports none of them, so that a process which
needs only the names does not load torch.
"""

from protocol.packets import printable


class RecognizerError(Exception):
    """The recogniser cannot be had as configured; the text is one line for the person who configured it."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))
