"""A recording cut into segments as the server cuts it, and how wrong a text is."""

import re
import unicodedata
from typing import List, Sequence

import jiwer
import numpy as np

from boundary.settings import EngineSettings, default_session
from engine.segmenter import Segmenter, Utterance
from recognizer.audio import SAMPLE_RATE, Samples, to_samples

_FULL_SCALE = 32767


def segments(audio: bytes, sample_rate: int = SAMPLE_RATE, encoding: str = "pcm_s16le") -> List[Samples]:
    """What the server would cut mono audio into."""
    settings = EngineSettings()
    session = default_session(settings)._replace(sample_rate=sample_rate, encoding=encoding)
    segmenter = Segmenter(settings, session)
    happened = (*segmenter.feed(audio), *segmenter.finish())
    return [to_samples(one.pcm, one.sample_rate) for one in happened if isinstance(one, Utterance)]


def to_pcm(samples: Samples) -> bytes:
    """As 16-bit PCM; what is too loud is clipped."""
    return np.rint(samples * _FULL_SCALE).clip(-_FULL_SCALE, _FULL_SCALE).astype("<i2").tobytes()


def normal(text: str, language: str) -> str:
    """Letters and digits only; Korean without spaces, as its spelling leaves them free."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"[^\w ]", "" if language == "ko" else " ", text.replace("'", ""))
    return ("" if language == "ko" else " ").join(text.split())


def tokens(text: str, language: str) -> List[str]:
    """What error rates count: words, in Korean syllables."""
    text = normal(text, language)
    return list(text) if language == "ko" else text.split()


def error_rate(references: Sequence[Sequence[str]], texts: Sequence[str], language: str) -> float:
    """Character (Korean) or word error rate over all recordings, each against the nearest of its references."""
    metric = jiwer.cer if language == "ko" else jiwer.wer
    hypotheses = [normal(text, language) for text in texts]
    nearest = [
        min((normal(one, language) for one in spellings), key=lambda one: float(metric([one], [hypothesis])))
        for spellings, hypothesis in zip(references, hypotheses)
    ]
    return float(metric(nearest, hypotheses))
