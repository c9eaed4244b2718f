"""The page in real Chromium, before a real gateway and server: what a person does, sees and gets."""

from __future__ import annotations

import base64
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, List

import numpy as np
import pytest

from client.session import StreamingClient
from demo.recording import TRANSCRIPT
from tests.harness.browser import INSECURE_HOST, Chromium, driver, violations, write_wav
from tests.harness.gateway import GatewayProcess
from tests.harness.media import write
from tests.harness.server import ServerProcess

if TYPE_CHECKING:
    from playwright.sync_api import Page, Playwright

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SECOND = "Fail again. Fail better."


@pytest.fixture(scope="module")
def spoken(speech: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("microphone") / "speech.wav", bytes(16000) + speech + bytes(64000))


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    yield from driver()


@pytest.fixture(scope="module")
def chromium(playwright: Playwright, spoken: Path) -> Iterator[Chromium]:
    with Chromium(playwright, spoken) as running:
        yield running


def words(text: str) -> List[str]:
    return re.findall(r"\w+", text.lower())


def press(page: Page) -> None:
    page.locator("#main").click()


def lines(page: Page) -> List[str]:
    return list(page.locator("#finals p").all_inner_texts())


def wait_for_lines(page: Page, count: int) -> None:
    if count > 0:
        page.locator("#finals p").nth(count - 1).wait_for()


def wait_for_partial(page: Page) -> str:
    spoken = page.locator("#partials p", has_text=re.compile(r"\w")).first
    spoken.wait_for()
    return spoken.inner_text()


def wait_for_state(page: Page, state: str) -> None:
    page.locator(f"body[data-state={state}]").wait_for()


def status(page: Page) -> str:
    return page.locator("#status").inner_text()


def alert(page: Page) -> str:
    element = page.locator("#alert:not(:empty)")
    element.wait_for()
    return element.inner_text()


def drop(page: Page, path: Path) -> None:
    """A file let fall onto the page."""
    page.evaluate("() => { window.carried = new DataTransfer(); }")
    page.evaluate(
        """async ([name, base64]) => {
            const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
            window.carried.items.add(new File([bytes], name));
        }""",
        [path.name, base64.b64encode(path.read_bytes()).decode()],
    )
    for event in ("dragover", "drop"):
        page.evaluate(
            "name => document.body.dispatchEvent(new DragEvent(name,"
            " { dataTransfer: window.carried, bubbles: true, cancelable: true }))",
            event,
        )


# --- the microphone


def test_text_is_shown_while_it_is_spoken_and_stays_with_its_time(chromium: Chromium, gateway: GatewayProcess) -> None:
    page = chromium.open(gateway.url())
    assert page.locator("#welcome").is_visible()
    press(page)
    partial = wait_for_partial(page)
    assert lines(page) == []
    assert words(TRANSCRIPT)[:1] == words(partial)[:1]
    assert status(page).strip() == "Listening"
    wait_for_lines(page, 2)
    assert words(" ".join(lines(page))) == words(TRANSCRIPT)
    assert page.locator("#finals time").all_inner_texts()[0] == "0:00"
    assert 6 <= int(page.locator("#finals time").all_inner_texts()[1][-1]) <= 8
    latencies = [float(text.split()[0]) for text in page.locator("#finals small").all_inner_texts()]
    assert all(0.3 <= latency_s < 10 for latency_s in latencies)  # silence has to be heard first
    press(page)
    wait_for_state(page, "ended")
    assert status(page).strip() == "Done"
    assert not page.locator("#partials li").count()


def test_what_is_spoken_when_the_button_is_pressed_again_is_recognised(
    chromium: Chromium, gateway: GatewayProcess
) -> None:
    page = chromium.open(gateway.url())
    press(page)
    wait_for_partial(page)
    press(page)
    wait_for_state(page, "ended")
    assert words(lines(page)[0])[:1] == words(TRANSCRIPT)[:1]  # the next word may be torn


def test_a_second_recording_goes_on_where_the_first_has_ended(chromium: Chromium, gateway: GatewayProcess) -> None:
    page = chromium.open(gateway.url())
    for count in (1, 2):
        press(page)
        wait_for_lines(page, count)
        press(page)
        wait_for_state(page, "ended")
    first, second = (int(text[-2:]) for text in page.locator("#finals time").all_inner_texts()[:2])
    assert first < 5 <= second


def test_a_microphone_that_is_refused_is_explained_and_files_still_work(
    playwright: Playwright, spoken: Path, gateway: GatewayProcess
) -> None:
    with Chromium(playwright, spoken, is_allowed=False) as chromium:
        page = chromium.open(gateway.url())
        press(page)
        assert "not allowed" in alert(page)
        drop(page, spoken)
        wait_for_state(page, "ended")
        wait_for_lines(page, 2)


def test_where_there_is_no_microphone_that_is_said(playwright: Playwright, gateway: GatewayProcess) -> None:
    with Chromium(playwright, None) as chromium:
        page = chromium.open(gateway.url())
        press(page)
        assert "no microphone" in alert(page)


def test_a_page_that_a_browser_does_not_trust_says_what_the_microphone_needs(
    chromium: Chromium, gateway: GatewayProcess
) -> None:
    page = chromium.open(f"http://{INSECURE_HOST}:{gateway.port}/")
    press(page)
    assert "https" in alert(page)
    assert page.locator("#main").get_attribute("aria-label") == "Start listening"


# --- what comes between


def test_while_the_server_is_busy_the_page_waits_and_loses_nothing(
    chromium: Chromium, server: ServerProcess, gateway: GatewayProcess
) -> None:
    with StreamingClient("127.0.0.1", server.port):
        page = chromium.open(gateway.url())
        press(page)
        wait_for_state(page, "waiting")
        assert "taken" in status(page)
        assert re.search(r"Next attempt in \d s", status(page))
    wait_for_lines(page, 2)
    assert words(" ".join(lines(page))) == words(TRANSCRIPT)
    press(page)
    wait_for_state(page, "ended")


@pytest.mark.parametrize("finals", [0, 1])
def test_nothing_is_lost_nor_comes_twice_when_the_gateway_is_killed(
    chromium: Chromium, server: ServerProcess, finals: int
) -> None:
    port = free_port()
    with GatewayProcess([server.port], {"port": port}) as first:
        page = chromium.open(first.url())
        press(page)
        wait_for_lines(page, finals)
        wait_for_partial(page)
        first.process.kill()
    wait_for_state(page, "waiting")
    assert "lost" in status(page)
    with GatewayProcess([server.port], {"port": port}):
        wait_for_lines(page, 2)
        press(page)
        wait_for_state(page, "ended")
    assert words(" ".join(lines(page))) == words(TRANSCRIPT)
    assert page.locator(".gap").count() == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_the_key_is_asked_for_until_it_is_right(chromium: Chromium, server: ServerProcess) -> None:
    with GatewayProcess([server.port], {"api_keys": ["the-right-key"]}) as gateway:
        page = chromium.open(gateway.url())
        press(page)
        dialog = page.locator("#key")
        dialog.wait_for()
        assert not page.locator("#key-wrong").is_visible()
        assert violations(page) == []
        page.keyboard.type("a/wrong one")
        page.keyboard.press("Enter")
        page.locator("#key-wrong").wait_for()
        page.keyboard.type("the-right-key")
        page.keyboard.press("Enter")
        wait_for_lines(page, 2)
        assert words(" ".join(lines(page))) == words(TRANSCRIPT)
        press(page)
        wait_for_state(page, "ended")
        page.reload()
        press(page)
        wait_for_state(page, "listening")  # it is kept for the tab
        assert not dialog.is_visible()
        press(page)
        wait_for_state(page, "ended")


# --- files


def test_a_file_that_is_dropped_is_recognised_faster_than_it_was_spoken(
    chromium: Chromium, gateway: GatewayProcess, spoken: Path
) -> None:
    page = chromium.open(gateway.url())
    drop(page, spoken)
    page.locator("#progress").wait_for()
    wait_for_state(page, "ended")
    assert words(" ".join(lines(page))) == words(TRANSCRIPT)
    assert page.locator("#finals small").count() == 0
    assert status(page).strip() == "Done"


def test_a_file_that_the_browser_cannot_read_is_read_by_the_gateway(
    chromium: Chromium, gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    path = write(tmp_path / "studio.aiff", np.frombuffer(speech, dtype=np.int16))
    page = chromium.open(gateway.url())
    drop(page, path)
    wait_for_state(page, "ended")
    assert lines(page)[-1] == SECOND
    assert page.locator("#finals time").all_inner_texts()[-1] == "0:06"


def test_a_file_without_sound_is_named(chromium: Chromium, gateway: GatewayProcess, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader,")
    page = chromium.open(gateway.url())
    drop(page, path)
    assert alert(page) == "letter.txt holds no sound that can be read."


def test_downloads_hold_what_is_shown(chromium: Chromium, gateway: GatewayProcess, spoken: Path) -> None:
    page = chromium.open(gateway.url())
    page.locator("#file input").set_input_files(spoken)
    wait_for_state(page, "ended")
    shown = lines(page)
    saved = {kind: download(page, kind) for kind in ("txt", "srt", "vtt")}
    assert saved["txt"].splitlines() == shown
    time = r"00:00:\d\d[,.]\d{3}"
    cues = re.findall(rf"^\d+\n{time} --> {time}\n((?:.+\n)+)", saved["srt"], re.MULTILINE)
    assert words(" ".join(cues)) == words(" ".join(shown))
    assert saved["vtt"].startswith("WEBVTT\n\n00:00:00.")
    page.on("dialog", lambda dialog: dialog.accept())
    page.locator("#clear").click()
    page.locator("#welcome").wait_for()


def download(page: Page, kind: str) -> str:
    with page.expect_download() as coming:
        page.locator(f"[data-save={kind}]").click()
    assert coming.value.suggested_filename.endswith(f".{kind}")
    return Path(coming.value.path()).read_text(encoding="utf-8")


# --- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_people_from_using_it(
    chromium: Chromium, gateway: GatewayProcess, spoken: Path, scheme: Any
) -> None:
    page = chromium.open(gateway.url(), color_scheme=scheme, reduced_motion="reduce")
    assert violations(page) == []
    press(page)
    wait_for_partial(page)
    assert violations(page) == []
    press(page)
    wait_for_state(page, "ended")
    assert violations(page) == []
    luminance = page.evaluate("getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/)[0]")
    assert (int(luminance) < 64) == (scheme == "dark")


def test_it_speaks_the_language_of_the_browser_and_can_be_told_another(
    chromium: Chromium, gateway: GatewayProcess
) -> None:
    page = chromium.open(gateway.url(), locale="ko-KR")
    assert page.locator("h2").first.inner_text() == "버튼을 누르고 말하세요."
    assert page.locator("html").get_attribute("lang") == "ko"
    assert page.locator("#spoken select").input_value() == "ko"
    assert page.locator("#spoken option").all_inner_texts()[:3] == ["자동 감지", "한국어", "English"]
    page.locator("#interface [value=en]").click()
    assert page.locator("h2").first.inner_text() == "Press the button and speak."
    page.reload()
    assert page.locator("html").get_attribute("lang") == "en"


@pytest.mark.parametrize("locale", ["ko-KR", "en-GB"])
def test_on_a_phone_everything_is_within_the_screen(
    chromium: Chromium, gateway: GatewayProcess, spoken: Path, locale: str
) -> None:
    page = chromium.open(gateway.url(), locale=locale, **PHONE)
    page.locator("#spoken select").select_option("en")
    page.locator("#file input").set_input_files(spoken)
    wait_for_state(page, "ended")
    wait_for_lines(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for control in ("#main", "#spoken select", "#file span", "#clear", "[data-save=vtt]"):
        box = page.locator(control).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert box["y"] + box["height"] <= 844


def test_the_keyboard_reaches_everything_and_shows_where_it_is(chromium: Chromium, gateway: GatewayProcess) -> None:
    page = chromium.open(gateway.url())
    reached = []
    for _ in range(5):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        outline = page.evaluate(
            "(() => { const at = document.activeElement; return getComputedStyle(at.matches('#file input')"
            " ? at.nextElementSibling : at).outlineStyle; })()"
        )
        assert outline != "none", reached
    assert reached == ["BUTTON", "BUTTON", "SELECT", "main", "INPUT"]
    page.locator("#main").focus()
    page.keyboard.press("Enter")
    wait_for_partial(page)
    page.keyboard.press("Space")
    wait_for_state(page, "ended")
    assert lines(page)


def test_only_what_is_final_is_read_out(chromium: Chromium, gateway: GatewayProcess) -> None:
    page = chromium.open(gateway.url())
    assert page.locator("#finals[role=log]").count() == 1
    assert page.locator("[role=log] #partials, [aria-live=polite] #partials").count() == 0
    assert page.locator("#partials").get_attribute("aria-live") == "off"
    assert page.locator("[role=status] #countdown").count() == 0


def test_thousands_of_lines_do_not_slow_the_next(chromium: Chromium, gateway: GatewayProcess) -> None:
    page = chromium.open(gateway.url())
    took_ms = page.evaluate(
        """async () => {
            const { Transcript } = await import("/page/transcript.js");
            const [section, button] = ["#transcript", "#latest"].map((name) => document.querySelector(name));
            const transcript = new Transcript(section, button, () => {});
            const add = async (count) => {
                const begun_ms = performance.now();
                for (let i = 0; i < count; i++) {
                    const start_s = transcript.lines.length * 3;
                    transcript.open(i, start_s);
                    transcript.partial(i, "that was said", "and may change");
                    const text = "something of the usual length that somebody has said";
                    transcript.final(i, { start_s, end_s: start_s + 2, text, language: "en", words: [] }, 0.5);
                    if (i % 10 === 0) await new Promise(requestAnimationFrame);
                }
                return performance.now() - begun_ms;
            };
            const first_ms = await add(100);
            await add(3000);
            return [first_ms, await add(100)];
        }"""
    )
    assert took_ms[1] < 10 * took_ms[0] + 200
