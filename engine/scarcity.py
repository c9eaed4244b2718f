"""What an engine does where there is no memory for its work: other engines and programs take some, and give it back.

An utterance that has ended is tried once more, with what was kept given back and with less to hear. Work that nobody
waits for is left alone for a while. Where that does not help, the engine ends, and so gives back all that it has.
"""

import logging
from dataclasses import replace
from typing import Callable

from recognizer.memory import is_out_of_memory
from recognizer.request import Recognition, Request

_log = logging.getLogger(__name__)

_REST_S = 5.0


class Scarcity:
    """Tells when there was too little memory, and acts on it.

    Args:
        place: where the engine computes, for the log.
        make_room: gives back what is kept for later work.
    """

    def __init__(self, place: str, make_room: Callable[[], None]) -> None:
        self._place = place
        self._make_room = make_room
        self._rests_until_s = 0.0

    def rests(self, now_s: float) -> bool:
        """Whether work that nobody waits for is to be left alone."""
        return now_s < self._rests_until_s

    def met(self, error: Exception, now_s: float) -> bool:
        """Work that nobody waits for has failed; whether that was for want of memory."""
        if not is_out_of_memory(error):
            return False
        if not self.rests(now_s):
            _log.warning("there is no memory on %s to work ahead of time: that rests for %g s", self._place, _REST_S)
        self._rests_until_s = now_s + _REST_S
        self._make_room()
        return True

    def recognize(self, attempt: Callable[[Request], Recognition], request: Request) -> Recognition:
        """Attempt what somebody waits for, twice if need be; raises what the second attempt does."""
        try:
            return attempt(request)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            _log.warning("there is no memory on %s for an utterance: it is tried once more, with less", self._place)
        self._make_room()  # not before the error, and what it holds, is gone
        return attempt(_with_less(request))


def _with_less(request: Request) -> Request:
    """Without what was said before; sound whose words are not said yet is still heard."""
    context = request.context
    return request if context is None else replace(request, context=replace(context, text=""))
