"""Which words of an open utterance will not change any more. Pure rules over what successive looks at it have heard.

The thresholds are measured (docs/benchmarks.md): of the words that a look was so sure of, and that looks had heard for
so much of the sound, how many stood in the result in the end.
"""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import List, NamedTuple, Optional, Sequence, Tuple

_TORN = "\ufffd"


class HeardToken(NamedTuple):
    """A token as one look heard it: its number, its bytes, its probability, and where the decoder listened for it."""

    token: int
    spelling: bytes
    probability: float
    at_s: float


class HeardWord(NamedTuple):
    """A word, or the punctuation behind one, as one look heard it.

    Attributes:
        text: with the blank before it, if it has one.
        tokens: of the model.
        probability: of the least probable of them.
        end_s: in the sound, as far as the decoder's attention tells.
        complete: whether what follows shows that nothing will be added to it.
    """

    text: str
    tokens: Tuple[HeardToken, ...]
    probability: float
    end_s: float
    complete: bool


class Look(NamedTuple):
    """What one look heard behind the text that is stable.

    Attributes:
        avg_logprob: of its tokens.
        no_speech_prob: Whisper's own estimate that nobody spoke; 0 where text is stable already.
        closely: how it was taken.
    """

    words: List[HeardWord]
    avg_logprob: float
    no_speech_prob: float
    closely: bool


@dataclass(frozen=True)
class StabilityRules:
    """When a word is stable.

    Attributes:
        sure: the least probability of a word, and for how much new sound looks must have heard it; any pair is enough.
        least_quickly: the least of a word in a look that was no close one.
        late_s: a word with so much sound behind it stays, however doubtful: it holds up all that follow.
        last_sure: the least of a word with nothing behind it, though the look says that the sentence is over;
        again_s: for so much sound looks must have heard it, as it may be the beginning of a longer one.
        early_s: nothing is stable in a sound that is shorter.
        punctuation: the least of punctuation with nothing stable behind it.
        horizon_s: a stable word ends so long before the end of the sound.
        settled_logprob: of a result in a pause, on average of its tokens, that is sure;
        settled_s: what it says stays after so much silence,
        settled_late_s: or after so much where it is not sure: speech may go on, and change it.
    """

    sure: Tuple[Tuple[float, float], ...] = ((0.85, 0.0), (0.6, 0.3), (0.4, 0.6), (0.3, 0.9), (0.2, 1.2), (0.0, 1.5))
    least_quickly: float = 0.4
    late_s: float = 3.0
    last_sure: float = 0.8
    again_s: float = 0.3
    early_s: float = 1.2
    punctuation: float = 0.8
    horizon_s: float = 0.1
    settled_logprob: float = -0.3
    settled_s: float = 0.23
    settled_late_s: float = 0.38


RULES = StabilityRules()


def spoken(text: str) -> str:
    """What is heard of a text: letters and digits."""
    return re.sub(r"\W", "", text).casefold()


def words_of(tokens: Sequence[HeardToken], ended: bool) -> List[HeardWord]:
    """Tokens → words, and punctuation apart from them; `ended`: another word follows, or nothing."""
    groups: List[List[HeardToken]] = []
    for token in tokens:
        if (
            not groups
            or token.spelling.startswith(b" ")
            or _is_mark(token.spelling) != _is_mark(groups[-1][-1].spelling)
        ):
            groups.append([])
        groups[-1].append(token)
    return [_word(group, groups[index + 1 :], ended) for index, group in enumerate(groups)]


def begins_another(spelling: bytes) -> bool:
    """Whether a token adds nothing to the word before it."""
    return spelling.startswith(b" ") or _is_mark(spelling)


def _word(group: List[HeardToken], following: List[List[HeardToken]], ended: bool) -> HeardWord:
    text = _text(group)
    complete = ended or any(later[0].spelling.startswith(b" ") for later in following)
    if following and _is_mark(following[0][0].spelling):
        complete = complete or not text[-1:].isdecimal()  # 26.7, 100,000
    return HeardWord(
        text,
        tuple(group),
        min(token.probability for token in group),
        max(token.at_s for token in group),
        complete,
    )


def _text(tokens: Sequence[HeardToken]) -> str:
    """Without characters of which parts are missing: others may follow."""
    return b"".join(token.spelling for token in tokens).decode("utf-8", "replace").replace(_TORN, "")


def _is_mark(spelling: bytes) -> bool:
    text = spelling.decode("utf-8", "replace")
    return _TORN not in text and not spoken(text)


class Seen(NamedTuple):
    """A word of the last look, and how long the sound was when a look first heard it there."""

    spoken: str
    since_s: float


def heard_since(words: Sequence[HeardWord], before: Sequence[Seen], sound_s: float) -> List[float]:
    """How long the sound was when a look first heard each of `words`; this look is at `sound_s`.

    A word that the looks hear differently does not make those around it new; punctuation always is.
    """
    said = [(index, spoken(word.text)) for index, word in enumerate(words) if spoken(word.text)]
    matcher = SequenceMatcher(None, [one.spoken for one in before], [letters for _, letters in said], autojunk=False)
    since_s = [sound_s] * len(words)
    for old, new, size in matcher.get_matching_blocks():
        for (index, _), one in zip(said[new : new + size], before[old : old + size]):
            since_s[index] = one.since_s
    return since_s


def remembered(words: Sequence[HeardWord], since_s: Sequence[float]) -> List[Seen]:
    """What `heard_since` wants to know of this look at the next."""
    return [Seen(spoken(word.text), began_s) for word, began_s in zip(words, since_s) if spoken(word.text)]


def count_stable(
    look: Look, since_s: Sequence[float], sound_s: float, latest_s: float, rules: StabilityRules = RULES
) -> int:
    """How many of the first words of a look at `sound_s` of sound are stable, of those that end until `latest_s`.

    `since_s` is from `heard_since`.
    """
    words = look.words
    latest_s = min(latest_s, sound_s - rules.horizon_s)
    least = 0.0 if look.closely else rules.least_quickly
    stable = 0
    if sound_s < rules.early_s:
        return stable
    for index, (word, began_s) in enumerate(zip(words, since_s)):
        if not (word.complete and word.end_s <= latest_s):
            break
        if not spoken(word.text):
            if stable == index and word.probability >= rules.punctuation:
                stable = index + 1
            continue
        is_last = not any(spoken(later.text) for later in words[index + 1 :])
        heard_s = round(sound_s - began_s, 3)  # samples are counted, tenths of seconds are not exact
        if word.probability < least or not _stays(word, heard_s, sound_s, is_last, rules):
            break
        stable = index + 1
    return stable


def _stays(word: HeardWord, heard_s: float, sound_s: float, is_last: bool, rules: StabilityRules) -> bool:
    """Whether a word that looks have heard for `heard_s` is stable, if all before it is."""
    if is_last and (word.probability < rules.last_sure or heard_s < rules.again_s):
        return False
    if sound_s - word.end_s >= rules.late_s:
        return True
    return any(word.probability >= sure and heard_s >= least_s for sure, least_s in rules.sure)


def may_settle(avg_logprob: float, silence_s: float, rules: StabilityRules = RULES) -> bool:
    """Whether what was recognised in a pause may stay, though speech may go on."""
    return silence_s >= (rules.settled_s if avg_logprob >= rules.settled_logprob else rules.settled_late_s)


def continuation(stable: str, text: str, most_changes: float = 0.34) -> Optional[str]:
    """The part of `text` that follows what is stable already; None where `text` says something else.

    The place is that up to which `text` is nearest to `stable`, in letters that are added, missing or changed;
    `most_changes` of the stable ones may be.
    """
    letters = spoken(stable)
    distances = list(range(len(letters) + 1))  # of each beginning of `stable` from the text so far
    best, least = 0, distances[-1]
    for place, char in enumerate(text, 1):
        letter = spoken(char)
        if not letter:
            continue
        distances = _next_row(distances, letters, letter)
        fits = letter == letters[-1:] or not spoken(text[place : place + 1])  # the last letter, or the last of a word
        if distances[-1] < least or (distances[-1] == least and fits):
            best, least = place, distances[-1]
    if least > most_changes * len(letters):
        return None
    rest = text[best:].rstrip()
    return re.sub(r"^[^\w\s]+", "", rest) if without_end_marks(stable) != stable else rest


def _next_row(distances: List[int], letters: str, letter: str) -> List[int]:
    row = [distances[0] + 1]
    for index, other in enumerate(letters):
        row.append(min(row[-1] + 1, distances[index + 1] + 1, distances[index] + (letter != other)))
    return row


def without_end_marks(text: str) -> str:
    """Punctuation at the end belongs to a sentence that may go on."""
    return re.sub(r"[^\w]+$", "", text)
