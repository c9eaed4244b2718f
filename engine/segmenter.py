"""A session's audio → utterances, by WebRTC VAD."""

import sys
from dataclasses import dataclass, field
from typing import Iterator, Optional, Union

import webrtcvad

from boundary.settings import EngineSettings, SessionSettings
from engine.endpointer import Endpointer, Segment
from engine.intake import Intake
from protocol.data import Cause, SpeechStarted

_NEVER_FRAMES = sys.maxsize


@dataclass(frozen=True)
class Utterance:
    """A segment with its audio; seconds from the session's first byte of audio.

    Attributes:
        start_s, end_s: of its first and last voiced frame.
        sample_rate: of `pcm`, 16-bit mono with what is before and behind the speech.
        audio_start_s: where `pcm` begins.
        cause: why it has ended, which makes no other utterance of it.
        is_cut_off: it was ended in the middle of speech, because of its length; the next one is open already.
        came_s: when the last of what it is made of came to the engine, by the machine's monotonic clock, as the
            listener says.
    """

    start_s: float
    end_s: float
    audio_start_s: float
    sample_rate: int
    pcm: bytes
    cause: Cause = field(compare=False)
    is_cut_off: bool = field(compare=False, default=False)
    came_s: float = field(compare=False, default=0.0)

    @property
    def audio_end_s(self) -> float:
        """Where `pcm` ends."""
        return self.audio_start_s + len(self.pcm) / 2 / self.sample_rate


class Segmenter:
    """One session's audio: bytes in, utterances out. Keeps no more than the open segment and its pre-roll.

    Args:
        settings: of the engine.
        session: how this session is heard.
    """

    def __init__(self, settings: EngineSettings, session: SessionSettings) -> None:
        self._intake = Intake(session)
        self._vad = webrtcvad.Vad(settings.vad.mode)
        self._frame_ms = settings.audio.frame_duration_ms
        self._frame_bytes = 2 * self._intake.sample_rate * self._frame_ms // 1000
        silence_frames = -(-session.silence_ms // self._frame_ms) if session.turn == "auto" else _NEVER_FRAMES
        vad = settings.vad.model_copy(update={"silence_threshold": silence_frames})
        self._endpointer = Endpointer(vad, self._frame_ms)
        self._pcm = bytearray()
        self._pcm_start = 0  # frames: where _pcm begins
        self._next_byte = 0  # in _pcm: where the next frame begins
        self._told_start: Optional[int] = None  # of the open segment, for which SpeechStarted has been given

    @property
    def in_utterance(self) -> bool:
        """Whether one has begun and not ended."""
        return self._endpointer.in_segment

    @property
    def open_since_s(self) -> Optional[float]:
        """Where the sound of the open utterance begins; None where none is open."""
        start = self._endpointer.audio_start
        return None if start is None else self._seconds(start)

    @property
    def earliest_cut_s(self) -> float:
        """Where the open utterance is cut at the earliest if it gets too long, as far as its pauses tell."""
        cut = self._endpointer.earliest_cut
        return 0.0 if cut is None else self._seconds(cut)

    @property
    def heard_s(self) -> float:
        """Seconds of audio that made whole frames so far."""
        return self._seconds(self._endpointer.frames)

    def feed(self, audio: bytes) -> Iterator[Union[SpeechStarted, Utterance]]:
        """Utterances that begin and end within what came so far."""
        yield from self._feed(self._intake.feed(audio))

    def _feed(self, pcm: bytes) -> Iterator[Union[SpeechStarted, Utterance]]:
        self._pcm += pcm
        size = self._frame_bytes
        while self._next_byte + size <= len(self._pcm):
            frame = bytes(self._pcm[self._next_byte : self._next_byte + size])
            self._next_byte += size
            segment = self._endpointer.feed(self._vad.is_speech(frame, self._intake.sample_rate))
            if segment is not None:
                yield from self._close(segment)
            yield from self._tell_start(self._endpointer.voiced_start)
            self._forget()

    def end(self) -> Iterator[Union[SpeechStarted, Utterance]]:
        """The open utterance ends here; one without audio, of no length, where none is open."""
        segment = self._endpointer.end(Cause.ASKED)
        if segment is not None:
            yield from self._close(segment)
        else:
            now_s = self.heard_s
            yield Utterance(now_s, now_s, now_s, self._intake.sample_rate, b"", Cause.ASKED)

    def finish(self) -> Iterator[Union[SpeechStarted, Utterance]]:
        """The stream is over: the open utterance, if any; less than a frame at the end is dropped."""
        yield from self._feed(self._intake.finish())
        segment = self._endpointer.end(Cause.FINISH)
        if segment is not None:
            yield from self._close(segment)

    @property
    def pauses(self) -> bool:
        """Whether the open utterance has been followed by a little silence."""
        return self._endpointer.ending is not None

    def ending(self) -> Optional[Utterance]:
        """The open utterance, if it has been followed by a little silence: as it is if that goes on."""
        segment = self._endpointer.ending
        return None if segment is None else self._utterance(segment)

    def is_ending_at(self, end_s: float) -> bool:
        """Whether `ending` would still end there."""
        segment = self._endpointer.ending
        return segment is not None and self._seconds(segment.end) == end_s

    def so_far(self) -> Optional[Utterance]:
        """The open utterance, with all that has been heard of it."""
        segment = self._endpointer.so_far
        return None if segment is None else self._utterance(segment)

    def _close(self, segment: Segment) -> Iterator[Union[SpeechStarted, Utterance]]:
        yield from self._tell_start(segment.start)
        self._told_start = None
        yield self._utterance(segment)

    def _tell_start(self, start: Optional[int]) -> Iterator[SpeechStarted]:
        if start is not None and self._told_start is None:
            self._told_start = start
            yield SpeechStarted(self._seconds(start))

    def _utterance(self, segment: Segment) -> Utterance:
        size = self._frame_bytes
        audio_start, audio_end = segment.audio_start - self._pcm_start, segment.audio_end - self._pcm_start
        return Utterance(
            self._seconds(segment.start),
            self._seconds(segment.end),
            self._seconds(segment.audio_start),
            self._intake.sample_rate,
            bytes(self._pcm[audio_start * size : audio_end * size]),
            segment.cause,
            segment.is_cut_off,
        )

    def _seconds(self, frames: int) -> float:
        return frames * self._frame_ms / 1000

    def _forget(self) -> None:
        unneeded = (self._endpointer.keep_from - self._pcm_start) * self._frame_bytes
        if unneeded:
            del self._pcm[:unneeded]
            self._pcm_start = self._endpointer.keep_from
            self._next_byte -= unneeded
