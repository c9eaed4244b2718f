"""Results → text for people, JSON for programs, subtitles for players. Nothing here writes.

Control characters, and what else a terminal might obey, are escaped, whatever the server has sent.
"""

import abc
import json
import unicodedata
from typing import Any, Dict, Iterator, List, NamedTuple, Optional

from protocol.data import Partial, Word
from protocol.packets import printable
from util import Result

FORMATS = ("text", "json", "srt", "vtt")
SUBTITLES = ("srt", "vtt")
SUFFIXES = {"text": ".txt", "json": ".jsonl", "srt": ".srt", "vtt": ".vtt"}

_LINE_COLUMNS = 42  # a wide character takes two
_CUE_LINES = 2
_CUE_S = 7.0
_STEPS = 10  # from the shortest cues that could do to the longest
_LEAST_S = 0.001  # a cue without a length is none
_SRT = str.maketrans("<>", "‹›")  # players take < > for tags, and SubRip has no way to escape them
_VTT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


class Format(abc.ABC):
    """For one recording; "" is nothing."""

    def begin(self) -> str:
        """What opens it."""
        return ""

    @abc.abstractmethod
    def result(self, result: Result) -> str:
        """A result, with the ends of its lines."""

    def partial(self, partial: Partial) -> str:
        """An utterance that is still open."""
        return ""


class TextFormat(Format):
    """`START END : TEXT`, below a heading where there is one."""

    def __init__(self, heading: Optional[str] = None) -> None:
        self._heading = heading

    def begin(self) -> str:
        """The heading."""
        return "" if self._heading is None else f"==> {printable(self._heading)} <==\n"

    def result(self, result: Result) -> str:
        """One line."""
        return f"{result.start_s:.1f} {result.end_s:.1f} : {printable(result.text)}\n"


class JsonFormat(Format):
    """One object a line, each with its `type` and the file that it is of, None for a microphone."""

    def __init__(self, name: Optional[str]) -> None:
        self._name = name

    def result(self, result: Result) -> str:
        """With its detail, where there is one."""
        detail = result.detail
        fields: Dict[str, Any] = {"start": result.start_s, "end": result.end_s, "text": result.text}
        if detail is not None:
            fields.update(
                language=detail.language,
                cause=detail.cause.value,
                avg_logprob=detail.avg_logprob,
                no_speech_prob=detail.no_speech_prob,
                confidence=detail.confidence,
                words=[
                    {"word": word.text, "start": word.start_s, "end": word.end_s, "confidence": word.confidence}
                    for word in detail.words
                ],
            )
        return self._line("result", fields)

    def partial(self, partial: Partial) -> str:
        """With both of its parts."""
        times = {"start": partial.start_s, "end": partial.end_s}
        return self._line("partial", {**times, "stable": partial.stable, "unstable": partial.unstable})

    def _line(self, kind: str, fields: Dict[str, Any]) -> str:
        line = json.dumps({"type": kind, "file": self._name, **fields}, ensure_ascii=False)
        return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in line) + "\n"


class SubtitleFormat(Format):
    """SubRip or WebVTT: cues of at most two lines and seven seconds, split between words."""

    def __init__(self, kind: str) -> None:
        self._is_vtt = kind == "vtt"
        self._number = 0

    def begin(self) -> str:
        """What a player knows WebVTT by."""
        return "WEBVTT\n\n" if self._is_vtt else ""

    def result(self, result: Result) -> str:
        """Its cues."""
        return "".join(self._cue(cue) for cue in cues(result))

    def _cue(self, cue: "Cue") -> str:
        self._number += 1
        number = "" if self._is_vtt else f"{self._number}\n"
        times = f"{self._time(cue.start_s)} --> {self._time(cue.end_s)}"
        lines = "\n".join(line.translate(_VTT if self._is_vtt else _SRT) for line in cue.lines)
        return f"{number}{times}\n{lines}\n\n"

    def _time(self, seconds: float) -> str:
        whole_s, milliseconds = divmod(round(max(0.0, seconds) * 1000), 1000)
        minutes, whole_s = divmod(whole_s, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{whole_s:02}{'.' if self._is_vtt else ','}{milliseconds:03}"


# --- cues ------------------------------------------------------------------------------------


class Cue(NamedTuple):
    """What is shown at once."""

    start_s: float
    end_s: float
    lines: List[str]


def cues(result: Result) -> Iterator[Cue]:
    """A result in pieces that can be read: two lines of 42 columns, seven seconds.

    The first begins and the last ends with the result, unless that would show it for longer. They are as few as can
    be, and then about as long.
    """
    pieces = _even_pieces(list(_words(result)), result.end_s - result.start_s)
    for index, piece in enumerate(pieces):
        start_s = piece[0].start_s if index else result.start_s
        end_s = piece[-1].end_s if index < len(pieces) - 1 else result.end_s
        end_s = max(start_s + _LEAST_S, min(end_s, start_s + _CUE_S))
        yield Cue(start_s, end_s, balanced([word.text for word in piece]))


def _even_pieces(words: List[Word], duration_s: float) -> List[List[Word]]:
    fewest = _pieces(words, _CUE_S)
    for step in range(_STEPS):
        shortest_s = duration_s / max(1, len(fewest))
        pieces = _pieces(words, shortest_s + (_CUE_S - shortest_s) * step / _STEPS)
        if len(pieces) == len(fewest):
            return pieces
    return fewest


def _pieces(words: List[Word], longest_s: float) -> List[List[Word]]:
    """Each with as many words as go into it."""
    pieces: List[List[Word]] = []
    for word in words:
        if pieces and _fits([*pieces[-1], word], longest_s):
            pieces[-1].append(word)
        else:
            pieces.append([word])
    return pieces


def _fits(words: List[Word], longest_s: float) -> bool:
    lines = wrapped([word.text for word in words])
    return len(lines) <= _CUE_LINES and words[-1].end_s - words[0].start_s <= longest_s


def wrapped(words: List[str]) -> List[str]:
    """The words in lines, as few as it takes."""
    lines: List[str] = []
    for word in words:
        if lines and columns(f"{lines[-1]} {word}") <= _LINE_COLUMNS:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def balanced(words: List[str]) -> List[str]:
    """The same; where it takes two lines, of the most equal length."""
    lines = wrapped(words)
    if len(lines) != 2:
        return lines
    splits = ([" ".join(words[:count]), " ".join(words[count:])] for count in range(1, len(words)))
    return min(splits, key=lambda split: max(columns(line) for line in split))


def _words(result: Result) -> Iterator[Word]:
    """Its words with times that do not run back, none wider than a line."""
    words = result.detail.words if result.detail is not None else ()
    now_s: Optional[float] = None  # where the last word has ended; the first one begins with the result
    for word in words or _spread(result.text.split(), result.start_s, result.end_s):
        text = printable(" ".join(word.text.split()))
        start_s = result.start_s if now_s is None else min(max(now_s, word.start_s), result.end_s)
        now_s = min(max(start_s, word.end_s), result.end_s)
        if text:
            yield from _spread(_narrow(text), start_s, now_s)


def _narrow(text: str) -> List[str]:
    """A word in pieces that fit into a line: languages without blanks have no others."""
    pieces, piece, width = [], "", 0
    for char in text:
        width += _columns_of(char)
        if width > _LINE_COLUMNS:
            pieces.append(piece)
            piece, width = "", _columns_of(char)
        piece += char
    return [*pieces, piece]


def _spread(texts: List[str], start_s: float, end_s: float) -> Iterator[Word]:
    """Each for as long as it is wide."""
    widths = [columns(text) for text in texts]
    second_per_column = (end_s - start_s) / max(1, sum(widths))
    for text, width in zip(texts, widths):
        following_s = start_s + width * second_per_column
        yield Word(text, start_s, following_s, 0.0)
        start_s = following_s


# --- width -----------------------------------------------------------------------------------


def columns(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff":  # joins what is before it
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1
