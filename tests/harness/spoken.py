"""What a server may hear, for the doors' translators: results as they come, and any events at all for hypothesis."""

from __future__ import annotations

from typing import Optional

from hypothesis import strategies as st

from gateway.upstream import SpeechEvent
from protocol.data import Cause, Detail, Partial, SpeechStarted, SpeechStopped, UtteranceDone, Word
from util import Result

TIMES = st.floats(0, 1e5)
WORDS = st.lists(
    st.text("가나다aB.,\"'\\ ", min_size=1, max_size=5).filter(lambda text: bool(text.strip())), max_size=4
)


def heard(
    text: str, start_s: float = 0.0, end_s: float = 1.0, cause: Cause = Cause.SILENCE, language: str = "en"
) -> Result:
    """A result whose words share its time."""
    texts = text.split()
    word_s = (end_s - start_s) / max(1, len(texts))
    words = [Word(one, start_s + at * word_s, start_s + (at + 1) * word_s, 0.9) for at, one in enumerate(texts)]
    return Result(start_s, end_s, text, Detail(language, cause, -0.2, 0.0, 0.9, tuple(words)))


def done(cause: Cause, has_text: bool, start_s: float = 0.0, end_s: float = 1.0) -> UtteranceDone:
    """The end of an utterance; with nothing open, both times are the same."""
    return UtteranceDone(start_s, end_s, cause, has_text)


def any_event(causes: Optional[list[Cause]] = None) -> st.SearchStrategy[SpeechEvent]:
    """Any event, with any of the causes."""
    cause = st.sampled_from(causes or list(Cause))
    return st.one_of(
        st.builds(Partial, TIMES, TIMES, WORDS.map(" ".join), WORDS.map(" ".join)),
        st.builds(lambda words, start, end, why: heard(" ".join(words), start, end, why), WORDS, TIMES, TIMES, cause),
        st.builds(SpeechStarted, TIMES),
        st.builds(SpeechStopped, TIMES, cause),
        st.builds(UtteranceDone, TIMES, TIMES, cause, st.booleans()),
    )
