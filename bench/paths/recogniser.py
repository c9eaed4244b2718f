"""The recogniser as another processor would run it: `python -m bench.paths.recogniser ENCODER DECODER COMPILED`.

Answers as `bench.recognizers.contenders`; the numbers are those of `model.compute`, or both `auto`, and of
`model.compiled`.
"""

import sys

from bench.recognizers.contenders import answer
from recognizer.compiled.library import choose_library
from recognizer.loading import load
from recognizer.precision import Precision
from recognizer.recognizer import Recognizer, RecognizerSettings
from recognizer.request import Request


def main() -> None:
    """Be it."""
    encoder, decoder, compiled = sys.argv[1:]
    settings = RecognizerSettings(device="cpu", compiled=compiled)
    loaded = None
    if encoder != "auto":
        precision = Precision(encoder, decoder, "a benchmark asks for it")
        loaded = load(settings.size, precision, settings.beam_size, choose_library(compiled)[0])
    recogniser = Recognizer(settings, 1, loaded=loaded)
    recogniser.warm_up()
    answer(lambda samples, language: recogniser.recognize(samples, Request(language)).text)


if __name__ == "__main__":
    main()
