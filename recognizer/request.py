"""What is asked of the recogniser, and what it answers."""

from dataclasses import dataclass, field
from typing import NamedTuple, Optional, Tuple

from recognizer.audio import Samples
from recognizer.doubt import Signs


@dataclass(frozen=True, eq=False)
class Context:
    """What was said just before an utterance, and is heard again with it.

    Attributes:
        samples: 16 kHz sound that ends where the utterance's begins.
        held_s: at the end of `samples`, of sound whose words are not in `text`: they belong to the utterance.
        text: what was recognised in the rest.
        language: a Whisper code, of `text`.
    """

    samples: Samples
    held_s: float
    text: str
    language: str


@dataclass(frozen=True)
class Request:
    """How an utterance is recognised.

    Attributes:
        language: a Whisper code or `auto`.
        task: `transcribe`, or `translate` for English whatever is spoken.
        prompt: names and jargon that are likely to be said.
        words: whether the times and confidences of words are wanted.
        context: what was said just before, where speech goes on.
    """

    language: str
    task: str = "transcribe"
    prompt: str = ""
    words: bool = False
    context: Optional[Context] = None


class TimedWord(NamedTuple):
    """A word, or what stands between two blanks where a language writes none.

    Attributes:
        text: with the punctuation at it.
        start_s, end_s: from the start of the utterance's samples; below zero in sound that was held.
        confidence: how likely it is right, 0 to 1.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Recognition:
    """What was recognised in one utterance.

    Attributes:
        text: what was said; empty when it is taken for silence.
        language: a Whisper code.
        avg_logprob: natural logarithm of the probability of a token, on average.
        no_speech_prob: Whisper's own estimate that nobody spoke.
        compression_ratio: of the text by zlib; high for loops.
        temperature: at which the text was decoded.
        window_s: of sound that the encoder saw.
        words: of the text, where they were asked for; joined by blanks they are it.
        is_suppressed: there was a text, and it was taken for noise.
        signs: of whether somebody said the text (doubt.py); None where nothing else but Whisper was asked.
    """

    text: str
    language: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    temperature: float
    window_s: float
    words: Tuple[TimedWord, ...] = ()
    is_suppressed: bool = False
    signs: Optional[Signs] = field(default=None, repr=False)  # more than a hundred numbers
