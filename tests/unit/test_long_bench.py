"""Long recordings made of shorter ones."""

from typing import List

from bench.long.joined import joined, trimmed
from bench.long.rows import COLUMNS, Row
from bench.recordings import Recording
from bench.report import table

SECOND_BYTES = 32_000
HALF_SECOND = bytes(SECOND_BYTES // 2)


def recordings(speech: bytes, *languages: str) -> List[Recording]:
    return [
        Recording(str(index), language, [f"one {index}", f"other {index}"], speech)
        for index, language in enumerate(languages)
    ]


def test_silence_at_both_ends_goes_and_speech_stays(phrase: bytes) -> None:
    trim = trimmed(phrase)
    assert trim in phrase
    assert len(trim) <= len(phrase) - SECOND_BYTES  # the phrase has more than a second of silence around it
    assert trimmed(HALF_SECOND + trim + HALF_SECOND) in HALF_SECOND + trim + HALF_SECOND
    assert len(trimmed(HALF_SECOND + trim + HALF_SECOND)) >= len(trim) - SECOND_BYTES // 10


def test_silence_alone_leaves_nothing() -> None:
    assert trimmed(bytes(SECOND_BYTES)) == b""


def test_recordings_of_one_language_are_joined_up_to_a_length_and_a_rest_is_left_out(phrase: bytes) -> None:
    part_s = len(trimmed(phrase)) / SECOND_BYTES
    found = list(joined(recordings(phrase, "en", "ko", "en", "en", "en", "en"), "en", 1.5 * part_s))
    assert [one.references for one in found] == [["one 0 one 2", "other 0 other 2"], ["one 3 one 4", "other 3 other 4"]]
    assert [one.pcm for one in found] == [2 * trimmed(phrase)] * 2


def test_what_has_no_transcript_is_not_joined(phrase: bytes) -> None:
    assert list(joined([Recording("noise", "en", [], phrase)], "en", 0.1)) == []


def test_a_row_says_what_it_measured() -> None:
    assert "| a server | ko | 16.1 | 10.1 % |" in table("conditions", COLUMNS, [Row("a server", "ko", 16.1, 0.1014)])
