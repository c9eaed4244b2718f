"""The recogniser as another processor would run it: `python -m bench.paths.recogniser COMPUTE COMPILED`.

Answers as `bench.recognizers.contenders`; both are settings of the model.
"""

import sys

from bench.recognizers.contenders import answer
from recognizer.recognizer import Recognizer
from recognizer.request import Request
from recognizer.settings import RecognizerSettings


def main() -> None:
    """Be it."""
    compute, compiled = sys.argv[1:]
    recogniser = Recognizer(RecognizerSettings(device="cpu", compute=compute, compiled=compiled), 1)
    recogniser.warm_up()
    answer(lambda samples, language: recogniser.recognize(samples, Request(language)).text)


if __name__ == "__main__":
    main()
