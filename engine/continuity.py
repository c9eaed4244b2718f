"""What one utterance is to the next, where speech goes on. Pure: knows no clock, process or model.

An utterance that was cut by its length has its last words in the middle of what is said: they are left to the next one,
which hears them again with what follows. So no word is sent that was only half heard, and none twice. Its sound and its
text also stand before the next utterance when that is recognised, as those of one that ended less than a second ago do:
measured, it is the sound before that helps, and its text as the beginning of what is decoded (docs/benchmarks.md).
An utterance whose text is not to be trusted is no context, so that an error does not feed itself. Words that were left
and cannot be heard again, as silence followed or there is no room for their sound, are said as they were heard.
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np

from engine.segmenter import Utterance
from recognizer.audio import SAMPLE_RATE, Samples
from recognizer.request import Context, Recognition, TimedWord

HELD_S = 1.2  # before a cut: words that end in it are left to the next utterance
_PAUSE_S = 1.0  # from which on speech does not go on
_ROOM_S = 30.0  # of sound that the recogniser hears at once
_SOUND_LOGPROB = -0.8


class Said(NamedTuple):
    """What an utterance comes to; seconds from the session's first byte of audio, also those of the words."""

    start_s: float
    end_s: float
    text: str
    words: Tuple[TimedWord, ...]


class _Before(NamedTuple):
    """An utterance that the next may go on from."""

    utterance: Utterance
    samples: Samples  # its own, and before them those that it was left
    said_until_s: float
    text: str  # that was said; empty where it is not to be trusted
    left: Tuple[TimedWord, ...]  # to the next utterance; from the session's first byte
    language: str


class Continuity:
    """One session's utterances, in order. `is_on`: whether one is anything to the next."""

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on
        self._before: Optional[_Before] = None

    def context(self, utterance: Utterance) -> Optional[Context]:
        """What was said just before the utterance, if it goes on from that."""
        before = self._before
        if before is None or not self._goes_on(utterance):
            return None
        gap_s = utterance.audio_start_s - before.utterance.audio_end_s
        samples = np.append(before.samples, np.zeros(max(0, round(gap_s * SAMPLE_RATE)), np.float32))
        held_s = self._left_s(utterance) if before.left else 0.0
        return Context(samples, held_s, before.text, before.language)

    def start_s(self, utterance: Utterance) -> float:
        """Where the utterance begins, with what was left to it."""
        return self._before.said_until_s if self._left and self._before is not None else utterance.start_s

    def wants_words(self, utterance: Utterance) -> bool:
        """Whether it has to be known where the words are."""
        return self._is_on and utterance.is_cut_off

    def is_empty(self, utterance: Utterance) -> bool:
        """Whether there is nothing to recognise: no speech of its own, and nothing was left to it."""
        return utterance.start_s == utterance.end_s and not self._left

    def say(self, utterance: Utterance, samples: Samples, recognition: Recognition) -> Said:
        """What is said now, of an utterance with these samples; the rest is left to the next one."""
        left_before, start_s = self._left, self.start_s(utterance)
        is_heard_again = bool(left_before) and self._goes_on(utterance)
        if is_heard_again and self._before is not None:
            n_left = max(1, round(self._left_s(utterance) * SAMPLE_RATE))
            samples = np.append(self._before.samples[-n_left:], samples)
        words = tuple(_moved(word, utterance.audio_start_s) for word in recognition.words)
        text, end_s = recognition.text, utterance.end_s
        is_told_late = bool(left_before) and not (is_heard_again and text)
        if is_told_late:  # they were heard before, whatever it is that follows
            words, text = left_before + words, f"{_joined(left_before)} {text}".rstrip()
        left: Tuple[TimedWord, ...] = ()
        sound = self._is_on and _is_sound(recognition)
        if sound and utterance.is_cut_off:
            words, left = _divided(words, utterance.audio_end_s - HELD_S)
        if left:
            text, end_s = _joined(words), min(max(words[-1].end_s, start_s), utterance.end_s)
        self._before = None
        if self._is_on:
            trusted = text if sound and not is_told_late else ""
            self._before = _Before(utterance, samples, end_s, trusted, left, recognition.language)
        end_s = max(start_s, end_s)
        return Said(start_s, end_s, text, tuple(_within(word, start_s, end_s) for word in words))

    @property
    def _left(self) -> Tuple[TimedWord, ...]:
        return () if self._before is None else self._before.left

    def _left_s(self, utterance: Utterance) -> float:
        """Seconds of sound before the utterance whose words were left to it."""
        assert self._before is not None
        return utterance.audio_start_s - self._before.said_until_s

    def _goes_on(self, utterance: Utterance) -> bool:
        """Whether it goes on from the one before, and there is room for the sound of what that has left to it."""
        before = self._before
        if before is None or utterance.start_s - before.utterance.end_s >= _PAUSE_S:
            return False
        own_s = utterance.audio_end_s - utterance.audio_start_s
        return not before.left or self._left_s(utterance) + own_s <= _ROOM_S


def _is_sound(recognition: Recognition) -> bool:
    """Whether an error in it is unlikely enough to build on it."""
    return bool(recognition.text) and recognition.temperature == 0 and recognition.avg_logprob >= _SOUND_LOGPROB


def _divided(words: Tuple[TimedWord, ...], until_s: float) -> Tuple[Tuple[TimedWord, ...], Tuple[TimedWord, ...]]:
    """Words to say and words to leave: those behind `until_s`, but no more than half of all."""
    said = [word for word in words if word.end_s <= until_s]
    n_said = max(len(said), (len(words) + 1) // 2)
    return words[:n_said], words[n_said:]


def _moved(word: TimedWord, seconds: float) -> TimedWord:
    return word._replace(start_s=word.start_s + seconds, end_s=word.end_s + seconds)


def _within(word: TimedWord, start_s: float, end_s: float) -> TimedWord:
    """A word that begins in the pre-roll, say, at the beginning of the speech."""
    return word._replace(start_s=min(max(word.start_s, start_s), end_s), end_s=min(max(word.end_s, start_s), end_s))


def _joined(words: Tuple[TimedWord, ...]) -> str:
    return " ".join(word.text for word in words)
