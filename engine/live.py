"""When an open utterance is looked at again for live text, and what its client has been shown of it. Pure."""

from typing import Optional

from protocol.data import Partial

INTERVAL_S = 0.3  # of new sound between two looks, where there is a core for it
_NEVER_S = -1.0


class LiveSchedule:
    """One session's live text. Times are those of its audio, in seconds."""

    def __init__(self) -> None:
        self._begins_s = _NEVER_S  # where the sound of the one begins that is looked at
        self._looked_s = 0.0  # up to where
        self._settled_s = _NEVER_S  # up to where it was recognised in a pause
        self._shown: Optional[Partial] = None

    def is_due(self, audio_start_s: float, heard_s: float) -> bool:
        """Whether there is enough new sound of the open utterance, which begins there and is heard up to there."""
        looked_s = self._looked_s if audio_start_s == self._begins_s else audio_start_s
        return round(heard_s - looked_s, 3) >= INTERVAL_S  # frames are whole milliseconds

    def begin(self, audio_start_s: float) -> bool:
        """The open utterance begins there; whether it is another one than before."""
        is_new = audio_start_s != self._begins_s
        if is_new:
            self._begins_s = audio_start_s
            self._looked_s = audio_start_s
            self._settled_s = _NEVER_S
            self._shown = None
        return is_new

    def looked(self, heard_s: float) -> None:
        """It was looked at up to there."""
        self._looked_s = heard_s

    def settle(self, start_s: float, end_s: float) -> bool:
        """Its speech from `start_s` to `end_s` was recognised in the pause behind; whether that is news.

        Not before it has speech of its own: until then its beginning may move, and all would be shown anew.
        """
        is_new = start_s < end_s != self._settled_s
        self._settled_s = end_s
        return is_new

    def news(self, partial: Partial) -> Optional[Partial]:
        """What its client is to be shown: nothing, where there is nothing or it says what was shown before."""
        texts = (partial.stable, partial.unstable)
        if not any(texts) or (self._shown is not None and texts == self._shown[2:]):
            return None
        self._shown = partial
        return partial
