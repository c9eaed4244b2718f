"""What an engine does where there is no memory for its work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.scarcity import Scarcity
from recognizer.request import Context, Recognition, Request

FULL = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
BROKEN = RuntimeError("CUDA error: an illegal memory access was encountered")
RESULT = Recognition("yes", "en", -0.1, 0.0, 1.0, 0.0, 2.0, (), False)
CONTEXT = Context(np.zeros(16000, dtype=np.float32), 0.5, "what was said before", "en")


class Attempts:
    """Ends each attempt in turn as it is told, the later ones well; notes what happens."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.happened: list[object] = []
        self.scarcity = Scarcity("cuda:1", lambda: self.happened.append("made room"))

    def __call__(self, request: Request) -> Recognition:
        self.happened.append(request)
        if self._errors:
            raise self._errors.pop(0)
        return RESULT


def test_an_utterance_without_memory_is_tried_once_more_with_less_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempts = Attempts(FULL)
    asked = Request("en", words=True, context=CONTEXT)
    assert attempts.scarcity.recognize(attempts, asked) is RESULT
    first, room, second = attempts.happened
    assert (first, room) == (asked, "made room")
    assert isinstance(second, Request)
    assert second.context is not None
    assert (second.context.text, second.context.held_s, second.words) == ("", 0.5, True)
    (message,) = caplog.messages
    assert message == "there is no memory on cuda:1 for an utterance: it is tried once more, with less"


def test_an_utterance_without_memory_twice_fails(caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts(FULL, FULL)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        attempts.scarcity.recognize(attempts, Request("en"))
    assert len(attempts.happened) == 3


def test_what_is_no_want_of_memory_is_not_tried_again() -> None:
    attempts = Attempts(BROKEN)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        attempts.scarcity.recognize(attempts, Request("en"))
    assert len(attempts.happened) == 1
    assert not attempts.scarcity.met(BROKEN, 1.0)
    assert not attempts.scarcity.rests(1.0)


def test_work_ahead_of_time_rests_for_a_while_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts()
    assert not attempts.scarcity.rests(10.0)
    assert attempts.scarcity.met(FULL, 10.0)
    assert attempts.scarcity.met(FULL, 11.0)
    assert attempts.happened == ["made room", "made room"]
    assert attempts.scarcity.rests(15.9)
    assert not attempts.scarcity.rests(16.0)
    assert len(caplog.messages) == 1
