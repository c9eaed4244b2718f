"""The picture of the page in README.md: `python -m tests.screenshot FILE.png`, in the fonts of this machine."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict

from demo.recording import recording_pcm
from tests.harness.browser import Chromium, driver, write_wav
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess

_LOOK: Dict[str, Any] = {
    "locale": "en-US",
    "color_scheme": "light",
    "viewport": {"width": 960, "height": 560},
    "device_scale_factor": 2,
}


def main(path: str) -> None:
    """Speak to the page, and take the picture while the second utterance is being said."""
    with tempfile.TemporaryDirectory(prefix="stt-screenshot-") as folder, ServerProcess(
        {"model": {"language": "en"}}
    ) as server, GatewayProcess([server.port]) as gateway:
        recording = write_wav(Path(folder) / "speech.wav", bytes(16000) + recording_pcm() + bytes(64000))
        for playwright in driver():
            with Chromium(playwright, recording) as chromium:
                page = chromium.open(gateway.url(), **_LOOK)
                page.locator("#main").click()
                page.locator("#finals p").first.wait_for()
                page.locator("#partials i", has_text=re.compile(r"\w")).wait_for()
                page.screenshot(path=path)


if __name__ == "__main__":
    main(sys.argv[1])
