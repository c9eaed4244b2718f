"""Voiced and unvoiced frames → segments."""

from typing import NamedTuple, Optional, Tuple

from config.sections import VadConfig
from protocol.data import Cause

_PREROLL_MS = 300  # of sound before a segment that the recogniser hears, so that soft onsets are not lost
_TAIL_MS = 90  # of sound after a segment that the recogniser hears: what comes later is silence
_PAUSE_MS = 90  # shorter gaps are part of a word
_PAUSE_SEARCH_S = 3.0  # how far back a forced cut looks for a pause


class Segment(NamedTuple):
    """An utterance in frames; every end is exclusive.

    Attributes:
        start, end: first voiced frame, and one past the last voiced one.
        audio_start, audio_end: what the recogniser should hear: with pre-roll and the first of the closing silence.
        cause: why it has ended.
        is_cut_off: it was ended in the middle of speech, because of its length; the next one is open already.
    """

    start: int
    end: int
    audio_start: int
    audio_end: int
    cause: Cause = Cause.SILENCE
    is_cut_off: bool = False


class Endpointer:
    """Voiced and unvoiced frames in, segments out. Knows no audio, VAD, clock or socket."""

    def __init__(self, vad: VadConfig, frame_duration_ms: int) -> None:
        self._silence_frames = vad.silence_threshold
        self._max_frames = int(vad.max_speech_duration * 1000 / frame_duration_ms)
        self._preroll_frames = _PREROLL_MS // frame_duration_ms
        self._tail_frames = _TAIL_MS // frame_duration_ms
        self._pause_frames = _PAUSE_MS // frame_duration_ms
        self._search_frames = min(int(_PAUSE_SEARCH_S * 1000 / frame_duration_ms), self._max_frames // 2)
        self.frames = 0  # fed so far
        self._cut_end = 0  # where the segment before ended: no pre-roll reaches behind it
        self._start: Optional[int] = None
        self._audio_start = 0
        self._voiced_end = 0
        self._pause: Optional[Tuple[int, int]] = None  # the last one inside the segment

    @property
    def keep_from(self) -> int:
        """The first frame whose audio may still be asked for."""
        return self._preroll_start(self.frames) if self._start is None else self._audio_start

    @property
    def in_segment(self) -> bool:
        """Whether one has begun and not ended."""
        return self._start is not None

    @property
    def audio_start(self) -> Optional[int]:
        """Where the sound of the open segment begins, if there is one."""
        return None if self._start is None else self._audio_start

    @property
    def voiced_start(self) -> Optional[int]:
        """Where the open segment begins, if it has a voiced frame: one that goes on after a cut need not."""
        return self._start if self._start is not None and self._voiced_end > self._start else None

    @property
    def earliest_cut(self) -> Optional[int]:
        """Where the open segment is cut at the earliest if it gets too long, as far as its pauses tell."""
        if self._start is None:
            return None
        limit = self._start + self._max_frames
        has_place = self._pause is not None and limit - self._pause[1] <= self._search_frames
        return self._pause[0] if has_place and self._pause is not None else limit

    @property
    def so_far(self) -> Optional[Segment]:
        """The open segment with all that was fed."""
        if self._start is None:
            return None
        return Segment(self._start, self._voiced_end, self._audio_start, self.frames)

    @property
    def ending(self) -> Optional[Segment]:
        """The open segment as it will be if the silence behind it goes on; None before that silence has its length."""
        if self._start is None or self.frames - self._voiced_end < self._tail_frames:
            return None
        return self._segment(self._start, self._voiced_end, self.frames)

    def feed(self, voiced: bool) -> Optional[Segment]:
        """Count one frame; returns the segment that it completes, if any."""
        frame = self.frames
        self.frames += 1
        if self._start is None:
            if voiced:
                self._open(frame)
        elif voiced:
            if self._voiced_end == self._start:
                self._start = frame
                self._audio_start = self._preroll_start(frame)
            elif frame - self._voiced_end >= self._pause_frames:
                self._pause = (self._voiced_end, frame)
            self._voiced_end = self.frames
        elif self.frames - self._voiced_end >= self._silence_frames:
            return self._close(self._voiced_end, self.frames)
        if self._start is not None and self.frames - self._start >= self._max_frames:
            return self._force()
        return None

    def end(self, cause: Cause) -> Optional[Segment]:
        """The open segment ends here; returns it, if there is one."""
        return None if self._start is None else self._close(self._voiced_end, self.frames, cause)

    def _preroll_start(self, frame: int) -> int:
        return max(frame - self._preroll_frames, self._cut_end)

    def _open(self, frame: int) -> None:
        self._start = frame
        self._audio_start = self._preroll_start(frame)
        self._voiced_end = frame + 1
        self._pause = None

    def _close(self, end: int, audio_end: int, cause: Cause = Cause.SILENCE) -> Segment:
        assert self._start is not None
        segment = self._segment(self._start, end, audio_end)._replace(cause=cause)
        self._start = None
        self._cut_end = end
        return segment

    def _segment(self, start: int, end: int, audio_end: int) -> Segment:
        return Segment(start, end, self._audio_start, min(audio_end, end + self._tail_frames))

    def _force(self) -> Segment:
        """Cut a segment that is too long: at its last pause where there is one, else here, and it goes on."""
        if self.frames - self._voiced_end >= self._pause_frames or self._pause is None:
            return self._close_here()
        pause_start, resumed = self._pause
        if self.frames - resumed > self._search_frames:
            return self._close_here()
        voiced_end = self._voiced_end
        segment = self._close(pause_start, resumed, Cause.LENGTH)
        self._open(resumed)
        self._voiced_end = voiced_end
        return segment

    def _close_here(self) -> Segment:
        pauses = self.frames - self._voiced_end >= self._pause_frames
        segment = self._close(self._voiced_end, self.frames, Cause.LENGTH)
        self._cut_end = self.frames
        if pauses:
            return segment
        self._open(self.frames)
        self._voiced_end = self.frames
        return segment._replace(is_cut_off=True)
