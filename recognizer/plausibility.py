"""What Whisper wrote: whether somebody said it, and whether to try again. Pure rules over one result."""

import re
from typing import Callable

from whisper.decoding import DecodingResult
from whisper.utils import compression_ratio

# Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", section 4.5; the defaults of
# `whisper.transcribe`.
COMPRESSION_RATIO_LIMIT = 2.4
AVG_LOGPROB_LIMIT = -1.0
NO_SPEECH_LIMIT = 0.6

# Of what Whisper is sure of, it is not asked whether it was said (doubt.py).
SURE_LOGPROB = -0.4
SURE_NO_SPEECH = 0.3
HOPELESS_LOGPROB = -1.2

# Laughter, a hum, a held note are written as one sound again and again, at -1.0 and less; 네네네네 is said, at more.
SOUND_LOGPROB = -0.8

# Nobody says more: a decode that reaches this has run away. It fits beside the longest prompt.
_TOKENS_FLOOR = 15
_TOKENS_PER_S = 12
_TOKENS_MOST = 220

# Shorter, and people do say it twice in a row.
_TWICE = re.compile(r"(\w{8,})\1")
_FEW_LETTERS = 8
_MORE_LETTERS = 4
_END_MARKS = re.compile(r"[.,;:?!…。、，？！]+")
_ONE_SOUND = re.compile(r"([^\W\d_])\1{3,}|([a-z]{2})\2{3,}")


def most_tokens(duration_s: float) -> int:
    """How many tokens an utterance may have."""
    return min(_TOKENS_MOST, int(_TOKENS_FLOOR + _TOKENS_PER_S * duration_s))


def is_loop(result: DecodingResult, token_limit: int) -> bool:
    """Whether the decoder has run away."""
    return bool(result.compression_ratio > COMPRESSION_RATIO_LIMIT or len(result.tokens) >= token_limit)


def is_said_twice(text: str) -> bool:
    """Whether a sentence comes twice in a row: what Whisper most likely does wrong in a short window."""
    return _TWICE.search(_letters(text)) is not None


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text).casefold()


def is_one_sound(text: str) -> bool:
    """Whether a single syllable or letter, or two Latin ones, four times or more, are all there is. Digits are said."""
    return _ONE_SOUND.fullmatch(_letters(text)) is not None


def may_lead(text: str) -> bool:
    """Whether a text may stand before the next one: a loop would draw it in."""
    return bool(text) and compression_ratio(text) <= COMPRESSION_RATIO_LIMIT


def goes_on_well(before: str, result: DecodingResult, token_limit: int) -> bool:
    """Whether a text that was decoded behind `before` is to be trusted: an error there must not feed itself."""
    if is_loop(result, token_limit) or result.avg_logprob < AVG_LOGPROB_LIMIT:
        return False
    return is_said_twice(before) or not is_said_twice(f"{before} {result.text}")


def is_end_of_before(word: str) -> bool:
    """Whether a word at the beginning is no more than the punctuation that the text before it was left without."""
    return _END_MARKS.fullmatch(word) is not None


def is_rest(before: str, result: DecodingResult, token_limit: int) -> bool:
    """Whether `result` is what was said behind `before`, and not what Whisper writes where nothing is left to write."""
    rest = _letters(result.text)
    is_new = rest and (len(rest) < _FEW_LETTERS or rest not in _letters(before))
    return bool(is_new) and result.avg_logprob > SOUND_LOGPROB and goes_on_well(before, result, token_limit)


def says_more(result: DecodingResult, known: str, text: str, token_limit: int) -> bool:
    """Whether a part of the sound, decoded for itself, says clearly more than is `known` of it in the `text`."""
    letters = _letters(result.text)
    if is_loop(result, token_limit) or is_one_sound(result.text) or result.avg_logprob <= SOUND_LOGPROB:
        return False
    is_new = len(letters) < _FEW_LETTERS or letters not in _letters(text)
    return is_new and len(letters) >= len(_letters(known)) + _MORE_LETTERS


def looks_wrong(result: DecodingResult, token_limit: int) -> bool:
    """Whether another attempt may do better.

    A low probability alone is no reason: measured, the second attempt was no better, and took longer than all else.
    """
    return is_loop(result, token_limit) and not _is_silence(result)


def is_speech(result: DecodingResult, token_limit: int, seems_said: Callable[[], bool]) -> bool:
    """Whether the text is what somebody said, as far as all the signs together tell.

    `seems_said` is asked only where Whisper itself is not sure.
    """
    if _is_silence(result) or is_loop(result, token_limit):
        return False
    if is_sure(result.avg_logprob, result.no_speech_prob):
        return True
    if is_one_sound(result.text) and result.avg_logprob < SOUND_LOGPROB:
        return False
    return seems_said()


def is_sure(avg_logprob: float, no_speech_prob: float) -> bool:
    """Whether Whisper's own certainty is enough."""
    return avg_logprob > SURE_LOGPROB and no_speech_prob < SURE_NO_SPEECH


def _is_silence(result: DecodingResult) -> bool:
    return bool(result.no_speech_prob > NO_SPEECH_LIMIT and result.avg_logprob < AVG_LOGPROB_LIMIT)
