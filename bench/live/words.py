"""Where the words of a text lie in its sound, by openai-whisper's own alignment in float32."""

from typing import Dict, List, Tuple

import whisper
from whisper.timing import find_alignment
from whisper.tokenizer import get_tokenizer

from bench.live.compare import Piece, words_of
from bench.load.plan import BYTES_PER_S, Stream, placed_at
from recognizer.audio import SAMPLE_RATE, Samples, to_samples
from recognizer.weights import load_weights
from util import Result

_SIZE = "base"
_BEFORE_S = 0.3  # of sound before an utterance that the server may listen to


class Aligner:
    """Aligns what was said in a recording once. It is slow, seconds: not while something is measured."""

    def __init__(self) -> None:
        self._model = load_weights(_SIZE)
        self._model.set_alignment_heads(whisper._ALIGNMENT_HEADS[_SIZE])
        self._known: Dict[Tuple[str, float, str], List[Piece]] = {}

    def words(self, stream: Stream, result: Result, language: str) -> List[Piece]:
        """The words of a result as blanks separate them; seconds from the beginning of the stream."""
        placed = placed_at(stream.placed, result.end_s)
        # Where a recording stands on the grid of frames, a result begins some milliseconds earlier or later in it.
        key = (placed.recording.name, round(result.start_s - placed.start_s, 1), result.text)
        if key not in self._known:
            begin_s = max(0.0, result.start_s - _BEFORE_S)
            pcm = stream.pcm[_bytes(begin_s) : _bytes(result.end_s)]
            words = self.words_in(to_samples(pcm, SAMPLE_RATE), result.text, language)
            self._known[key] = [_moved(word, begin_s - placed.start_s) for word in words]
        return [_moved(word, placed.start_s) for word in self._known[key]]

    def words_in(self, samples: Samples, text: str, language: str) -> List[Piece]:
        """The words of a text as blanks separate them; seconds from the beginning of the samples."""
        return words_of(self._pieces(samples, text, language))

    def _pieces(self, samples: Samples, text: str, language: str) -> List[Piece]:
        mel = whisper.log_mel_spectrogram(samples, self._model.dims.n_mels, padding=whisper.audio.N_SAMPLES)
        frames = min(len(samples) // whisper.audio.HOP_LENGTH, whisper.audio.N_FRAMES)
        tokenizer = get_tokenizer(self._model.is_multilingual, language=language, task="transcribe")
        found = find_alignment(
            self._model,
            tokenizer,
            tokenizer.encode(" " + text.strip()),
            whisper.pad_or_trim(mel, whisper.audio.N_FRAMES),
            frames,
        )
        # The last piece is the end of the text.
        return [Piece(one.word, float(one.start), float(one.end)) for one in found if one.word != "<|endoftext|>"]


def _bytes(time_s: float) -> int:
    return 2 * round(time_s * BYTES_PER_S / 2)


def _moved(word: Piece, later_s: float) -> Piece:
    return Piece(word.text, word.start_s + later_s, word.end_s + later_s)
