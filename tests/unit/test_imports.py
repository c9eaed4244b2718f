"""What an engine imports: each has its own copy of what is imported after it was forked."""

import subprocess
import sys

import pytest

from tests.harness.server import PROJECT

_ALL_KINDS = """
import sys
import recognizer.recognizer as of
from demo.recording import recording_wav
from recognizer.audio import to_samples
from recognizer.live import LiveText
from recognizer.request import Context, Request
from recognizer.settings import RecognizerSettings

samples = to_samples(recording_wav().read_bytes()[44:], 16000)
one = of.Recognizer(RecognizerSettings(device="cpu", compiled=sys.argv[1]), 1)
one.warm_up()
live = LiveText(one)
live.begin(Request("en"))
live.tick(samples[:32000])
context = Context(samples[:32000], 0.5, "Ever tried.", "en")
for request in (Request("auto", words=True), Request("ko", "translate", "a prompt"), Request("en", context=context)):
    one.recognize(samples[:64000], request)
of.TEMPERATURES = (0.8,)
one.recognize(samples[:64000], Request("en"))
print(sorted(name for name in sys.modules if name.split(".")[0] == "sympy" or name.startswith("torch._dynamo")))
"""


@pytest.mark.parametrize("compiled", ["auto", "off"])
def test_no_recognition_imports_torchs_compiler(compiled: str) -> None:
    """It takes two seconds and 150 MB, where it is imported while weights are loaded; later each engine would do so."""
    command = [sys.executable, "-W", "ignore", "-c", _ALL_KINDS, compiled]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8", check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == "[]"
