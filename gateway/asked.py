"""What clients of any door ask for, in the words of the TCP protocol. Pure."""

import json
from typing import Any, Dict, Iterable, List, Optional, Sequence

from config.sections import check_language
from gateway.errors import BadRequest
from protocol.packets import printable
from recognizer.catalog import LANGUAGES

RATES = (8000, 48000)  # Hz, the least and the most that the protocol takes

_LONGEST_PROMPT = 2000  # characters, as the protocol allows
_LONGEST_SHOWN = 60  # characters of a wrong value
_LONGEST_REASON = 100  # characters of why a text is no JSON
_MOST_PARTS = 10_000  # of a JSON text: an empty list of two characters takes 64 bytes, and sound may have 16 MiB
_CODES = {name: code for code, name in LANGUAGES.items()}


def language_code(text: str, model_size: str, param: str = "language") -> Optional[str]:
    """The Whisper code of a language, named in English or by its code, alone or with a region; None of nothing.

    `ko` of `ko`, `ko-KR`, `ko_KR` and `Korean`; `auto` of `auto`.

    Raises:
        BadRequest: a model of that size does not know the language; names `param`.
    """
    lowered = text.strip().lower()
    if not lowered:
        return None
    code = _CODES.get(lowered) or lowered.replace("_", "-").partition("-")[0]
    try:
        return check_language(code, model_size)
    except ValueError as error:
        raise BadRequest(f"{param}: '{shown(text)}' is not supported; {error}", param) from error


def joined_prompt(prompt: str, keywords: Sequence[str]) -> Optional[str]:
    """Keywords and a text as a prompt; of one that is too long the end, as in OpenAI's."""
    parts = [part for part in (", ".join(keywords), prompt) if part]
    return " ".join(parts)[-_LONGEST_PROMPT:] or None


def prompt_of(terms: Iterable[str]) -> Optional[str]:
    """Names and jargon as a prompt: as many of the first as the protocol allows; None for none."""
    taken: List[str] = []
    length = 0
    for term in filter(None, (term.strip() for term in terms)):
        length += len(term) + len(", ")
        if length - len(", ") > _LONGEST_PROMPT:
            break
        taken.append(term)
    return ", ".join(taken) or None


def json_object(text: str, what: str) -> Dict[str, Any]:
    """What a client has sent, where that is an object; `what` names it in errors. Raises BadRequest."""
    if sum(map(text.count, ",[{")) > _MOST_PARTS:
        raise BadRequest(f"{what} has more than {_MOST_PARTS} parts")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{what} is no JSON: {printable(str(error)[:_LONGEST_REASON])}") from error
    if not isinstance(fields, dict):
        raise BadRequest(f"{what} is no JSON object")
    return fields


def shown(text: str) -> str:
    """A client's text as an error message shows it."""
    return printable(text[:_LONGEST_SHOWN])
