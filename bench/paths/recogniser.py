"""The recogniser as another processor would run it: `python -m bench.paths.recogniser ENCODER DECODER`.

Answers as `bench.recognizers.contenders`; the numbers are those of `model.compute`, or both `auto`.
"""

import sys

from bench.recognizers.contenders import answer
from recognizer.loading import load
from recognizer.precision import Precision
from recognizer.recognizer import Recognizer, RecognizerSettings
from recognizer.request import Request


def main() -> None:
    """Be it."""
    encoder, decoder = sys.argv[1:]
    settings = RecognizerSettings(device="cpu")
    loaded = None
    if encoder != "auto":
        loaded = load(settings.size, Precision(encoder, decoder, "a benchmark asks for it"), settings.beam_size)
    recogniser = Recognizer(settings, 1, loaded=loaded)
    recogniser.warm_up()
    answer(lambda samples, language: recogniser.recognize(samples, Request(language)).text)


if __name__ == "__main__":
    main()
