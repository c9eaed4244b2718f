"""What a person sees: results with a bar below them, and what to do about an error."""

import io
import sys
from contextlib import contextmanager
from typing import Callable, Iterator, NamedTuple, Optional

from client.errors import ClientError, ServerError
from client.live_line import LiveLine, can_show
from protocol.data import Partial
from protocol.packets import ErrorCode, printable

_SO_FAR = "what was printed is right"
_HINTS = {
    ErrorCode.SERVER_TOO_BUSY.value: "every engine has a client: try again later; --status shows the engines",
    ErrorCode.ENGINE_FAILED.value: f"{_SO_FAR}; run it again for the rest: the engine comes back by itself",
    ErrorCode.TIMEOUT.value: f"{_SO_FAR}; the server's limits are network.socket_timeout and network.max_session",
    ErrorCode.SERVER_STOPPING.value: f"{_SO_FAR}; try again when the server runs, or with another one",
}


def explain(error: ClientError) -> str:
    """One line for the error, with what to do where it does not say so itself."""
    hint = _HINTS.get(error.code) if isinstance(error, ServerError) else None
    return printable(str(error)) + (f" ({hint})" if hint else "")


def show_what_the_terminal_can() -> None:
    """From now on a character that has no place in the output's encoding is shown as '?' instead of being an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")


class Screen(NamedTuple):
    """Where what is shown goes: text with its line ends, live text, how many seconds of audio have been sent."""

    show: Callable[[str], object]
    show_live: Callable[[Partial], object]
    advance: Callable[[float], object]


@contextmanager
def screen(total_s: Optional[float], is_live: bool) -> Iterator[Screen]:
    """A bar below the results on a terminal, where tqdm is installed and the length known; or live text; or neither."""
    if is_live and can_show(sys.stdout):
        with _live_screen() as shown:
            yield shown
        return
    plain = Screen(_print, _nothing, _nothing)
    if total_s is None or not sys.stderr.isatty():
        yield plain
        return
    try:
        from tqdm import tqdm  # noqa: PLC0415 - only a terminal needs it
    except ImportError:
        yield plain
        return
    bar_format = "{percentage:3.0f}%|{bar}| {n:.1f}/{total:.1f} s"
    with tqdm(total=total_s, bar_format=bar_format, leave=False) as bar:
        yield Screen(lambda text: tqdm.write(text, end=""), _nothing, bar.update)


@contextmanager
def _live_screen() -> Iterator[Screen]:
    line = LiveLine(sys.stdout)

    def show(text: str) -> None:
        line.clear()
        _print(text)

    try:
        yield Screen(show, line.draw, _nothing)
    finally:
        line.clear()


def _print(text: str) -> None:
    print(text, end="", flush=True)


def _nothing(_: object) -> None:
    pass
