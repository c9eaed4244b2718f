"""A session's audio → utterances, by WebRTC VAD."""

from typing import Iterator, NamedTuple, Optional

import webrtcvad

from boundary.settings import EngineSettings
from engine.endpointer import Endpointer, Segment


class Utterance(NamedTuple):
    """A segment with its audio (PCM as the client sent it); seconds from the session's first byte of audio."""

    start_s: float
    end_s: float
    pcm: bytes


class Segmenter:
    """One session's audio: bytes in, utterances out. Keeps no more than the open segment and its pre-roll."""

    def __init__(self, settings: EngineSettings) -> None:
        self._audio = settings.audio
        self._vad = webrtcvad.Vad(settings.vad.mode)
        self._endpointer = Endpointer(settings.vad, settings.audio.frame_duration_ms)
        self._pcm = bytearray()
        self._pcm_start = 0  # frames: where _pcm begins
        self._next_byte = 0  # in _pcm: where the next frame begins

    @property
    def in_utterance(self) -> bool:
        """Whether one has begun and not ended."""
        return self._endpointer.in_segment

    def feed(self, pcm: bytes) -> Iterator[Utterance]:
        """Utterances that end within what came so far."""
        self._pcm += pcm
        size = self._audio.frame_bytes
        while self._next_byte + size <= len(self._pcm):
            frame = bytes(self._pcm[self._next_byte : self._next_byte + size])
            self._next_byte += size
            segment = self._endpointer.feed(self._vad.is_speech(frame, self._audio.sample_rate))
            if segment is not None:
                yield self._utterance(segment)
            self._forget()

    def finish(self) -> Iterator[Utterance]:
        """The utterance that was going on when the stream ended, if any; less than a frame at the end is dropped."""
        segment = self._endpointer.finish()
        if segment is not None:
            yield self._utterance(segment)

    def ending(self) -> Optional[Utterance]:
        """The utterance that is going on, if it has been followed by a little silence: as it is if that goes on."""
        segment = self._endpointer.ending
        return None if segment is None else self._utterance(segment)

    def is_ending_at(self, end_s: float) -> bool:
        """Whether `ending` would still end there."""
        segment = self._endpointer.ending
        return segment is not None and self._seconds(segment.end) == end_s

    def _utterance(self, segment: Segment) -> Utterance:
        size = self._audio.frame_bytes
        audio_start, audio_end = segment.audio_start - self._pcm_start, segment.audio_end - self._pcm_start
        pcm = bytes(self._pcm[audio_start * size : audio_end * size])
        return Utterance(self._seconds(segment.start), self._seconds(segment.end), pcm)

    def _seconds(self, frames: int) -> float:
        return frames * self._audio.frame_duration_ms / 1000

    def _forget(self) -> None:
        unneeded = (self._endpointer.keep_from - self._pcm_start) * self._audio.frame_bytes
        if unneeded:
            del self._pcm[:unneeded]
            self._pcm_start = self._endpointer.keep_from
            self._next_byte -= unneeded
