"""The names of models and languages are those of the library."""

import subprocess
import sys
from pathlib import Path

import whisper
from whisper import tokenizer

from recognizer.catalog import LANGUAGES, MODEL_NAMES

ROOT = Path(__file__).resolve().parents[2]


def test_every_model_of_the_library_is_known() -> None:
    assert list(MODEL_NAMES) == whisper.available_models()


def test_every_language_of_the_library_is_known() -> None:
    assert LANGUAGES == tokenizer.LANGUAGES


def test_the_names_cost_no_import_of_torch() -> None:
    code = "import sys, recognizer.catalog; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"
