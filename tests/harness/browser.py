"""A real browser: headless Chromium, whose microphone plays a recording."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Type

import pytest

from tests.harness.server import PROJECT

if TYPE_CHECKING:
    from playwright.sync_api import Page, Playwright

AXE = PROJECT / "tests" / "clients" / "node_modules" / "axe-core" / "axe.min.js"
INSECURE_HOST = "stt.test"  # a name of this machine that browsers do not trust as they do localhost
_PATIENCE_MS = 60_000.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def write_wav(path: Path, pcm: bytes, rate: int = 16000) -> Path:
    """Mono 16-bit PCM as a file."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    return path


def driver() -> Iterator[Playwright]:
    """For a fixture: what starts browsers; one in a process. The test is skipped without it."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in requirements-dev.txt")
    with sync_api.sync_playwright() as playwright:
        yield playwright


class Chromium:
    """A running browser; the test is skipped where there is none.

    Args:
        playwright: what starts it.
        recording: what the microphone plays once, from when it is opened; None: there is no microphone.
        is_allowed: whether pages are given the microphone.

    Attributes:
        faults: what a page did wrong: errors that nobody caught, and what its own policy forbids. Leaving the context
            ends the browser, and is an AssertionError if there are any.
    """

    def __init__(self, playwright: Playwright, recording: Optional[Path], is_allowed: bool = True) -> None:
        program = next(filter(None, map(shutil.which, _NAMES)), None)
        if program is None:
            pytest.skip("Chromium is not here; make clients installs it")
        self.faults: List[str] = []
        arguments = [f"--host-resolver-rules=MAP {INSECURE_HOST} 127.0.0.1"]
        arguments.append("--use-fake-ui-for-media-stream" + ("" if is_allowed else "=deny"))
        if recording is not None:
            arguments.append("--use-fake-device-for-media-stream")
            arguments.append(f"--use-file-for-fake-audio-capture={recording}%noloop")
        self._browser = playwright.chromium.launch(executable_path=program, args=arguments)

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        self._browser.close()
        if kind is None:
            assert self.faults == []

    def open(self, url: str, **context: Any) -> Page:
        """A page in a fresh profile; `context`: as in playwright's `Browser.new_context`."""
        profile = self._browser.new_context(accept_downloads=True, **context)
        profile.set_default_timeout(_PATIENCE_MS)
        page: Page = profile.new_page()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._said(message.text))
        page.goto(url)
        return page

    def _said(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.faults.append(text)


def violations(page: Page) -> List[str]:
    """What axe-core finds that keeps people from using the page as it is now; the test is skipped without axe-core."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed; make clients installs it")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [
        f"{one['id']}: {node['html']} {node['failureSummary']}" for one in found["violations"] for node in one["nodes"]
    ]
