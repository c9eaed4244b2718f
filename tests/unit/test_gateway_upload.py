"""Requests with a body: how much is taken, how long is waited, and what is left of them."""

from __future__ import annotations

import asyncio
import errno
import io
import os
from pathlib import Path
from typing import Any, Awaitable, Callable, Dict, List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import BadRequest, Busy, TooLarge, TooSlow, WrongKind
from gateway.form import FormParser
from gateway.threads import Threads
from gateway.upload import Body, uploaded
from tests.harness.descriptors import nameless_files
from tests.harness.http import BOUNDARY, FORM_TYPE, Exchange, form

MEGABYTE = 1024 * 1024
THREADS = Threads(2, "test")
Handle = Callable[[Scope, Body, Send], Awaitable[Any]]


async def content_of(scope: Scope, body: Body, send: Send) -> bytes:
    async with uploaded(scope, body, THREADS) as upload:
        return upload.file.read()


def served(exchange: Exchange, handle: Handle = content_of, patience_s: float = 60.0) -> Any:
    """What `handle` returns."""
    returned: List[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        returned.append(await handle(scope, Body(receive, 2, patience_s), send))
        await PlainTextResponse("ok")(scope, receive, send)

    async def run() -> None:
        await asyncio.wait_for(exchange.run(app), 30)

    asyncio.run(run())
    return returned[0]


def upload(*pieces: bytes, is_whole: bool = True, **headers: str) -> Exchange:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange("POST", "/", pieces, {"Content-Type": FORM_TYPE, **named}, is_whole)


def pieces_of(body: bytes, size: int = 65536) -> List[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def test_a_file_arrives_as_it_was_sent_however_it_is_cut() -> None:
    content = bytes(range(256)) * 5000 + b"\r\n--012345"
    for size in (65536, 1000):
        assert served(upload(*pieces_of(form(content), size))) == content
    assert served(upload(*pieces_of(form(content[-300:]), 1))) == content[-300:]


def test_more_than_is_taken_is_refused_while_it_comes() -> None:
    """Whatever length was declared."""
    pieces = pieces_of(form(bytes(10 * MEGABYTE)))
    for exchange in (upload(*pieces), upload(*pieces, Content_Length="1000")):
        with pytest.raises(TooLarge, match="the file is larger than 2 MB"):
            served(exchange)
        assert exchange.unread >= 6 * 16


def test_more_than_is_taken_is_refused_before_it_comes_where_it_is_declared() -> None:
    exchange = upload(b"--", Content_Length=str(10 * MEGABYTE))
    with pytest.raises(TooLarge):
        served(exchange)
    assert exchange.unread == 2


def test_a_client_that_says_nothing_more_is_not_waited_for() -> None:
    with pytest.raises(TooSlow, match="100 bytes"):
        served(upload(form(bytes(1000))[:100], is_whole=False), patience_s=0.05)


def test_a_client_that_trickles_is_not_waited_for_either() -> None:
    """Each piece comes well before the patience is over, but none buys as much as it costs."""

    begin = pieces_of(form(bytes(1000)), 1)

    async def trickle(scope: Scope, body: Body, send: Send) -> None:
        async def receive() -> Message:
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": begin.pop(0), "more_body": True}

        async with uploaded(scope, Body(receive, 2, patience_s=0.3), THREADS):
            pytest.fail("the form never ends")

    with pytest.raises(TooSlow):
        served(upload(), trickle)


def test_patience_lasts_as_long_as_enough_comes() -> None:
    """In all longer than the patience with one that is silent."""
    pieces = pieces_of(form(bytes(25 * 4096)), 4096)

    async def steady(scope: Scope, body: Body, send: Send) -> int:
        async def receive() -> Message:
            await asyncio.sleep(0.05)
            return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

        return len(await content_of(scope, Body(receive, 2, patience_s=1.0), send))

    assert served(upload(), steady) == 25 * 4096


HALF_FORMS = {
    "nothing": b"",
    "half a boundary": form(b"abc")[:9],
    "half a header": form(b"abc")[:40],
    "half a file": form(b"abc")[:-30],
    "no last boundary": form(b"abc")[: -len(f"--{BOUNDARY}--\r\n")],
    "no file": form(None, [("model", "whisper-1")]),
    "a file of another name": form(b"abc").replace(b'name="file"', b'name="other"'),
    "a file that is text": form(None, [("file", "abc")]),
}


@pytest.mark.parametrize("body", HALF_FORMS.values(), ids=HALF_FORMS)
def test_a_form_without_a_whole_file_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest, match=r"file: (there is none|the form breaks off)") as caught:
        served(upload(body))
    assert caught.value.param == "file"


NO_FORMS = {
    "no form": b"no form at all",
    "another boundary": b"--otherboundary\r\n" + form(b"abc"),
    "two files": form(b"abc")[: -len(f"--{BOUNDARY}--\r\n")] + form(b"abc"),
    "many fields": form(b"", [("a", "b")] * 101),
    "a long field": form(None, [("prompt", "x" * 100_000)]),
    "a long header": form(None, [("x" * 100_000, "b")]),
    "no name": form(b"abc").replace(b'name="file"; ', b""),
}


@pytest.mark.parametrize("body", NO_FORMS.values(), ids=NO_FORMS)
def test_a_form_that_cannot_be_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        served(upload(*pieces_of(body, 1000)))


def test_texts_and_files_beside_the_file_do_not_get_into_it() -> None:
    body = form(b"sound", [("model", "whisper-1"), ("prompt", "한국어"), ("prompt", "\r\n--")])
    other = form(b"other").replace(b'name="file"', b'name="logo"')[: -len(f"--{BOUNDARY}--\r\n")]

    async def read(scope: Scope, body: Body, send: Send) -> None:
        async with uploaded(scope, body, THREADS) as upload:
            assert upload.texts == [("model", "whisper-1"), ("prompt", "한국어"), ("prompt", "\r\n--")]
            assert (upload.file.read(), upload.filename) == (b"sound", "speech.wav")

    served(upload(other + body, b"behind the end"), read)


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=4))
def test_whatever_is_sent_is_understood_or_refused(noise: bytes, cuts: List[int]) -> None:
    whole = form(b"abc", [("a", "b")])
    cuts = sorted(cuts)
    body = whole[: cuts[0]] + noise + whole[cuts[-1] :] if cuts else noise
    file = io.BytesIO()
    parser = FormParser(FORM_TYPE, file)
    try:
        for piece in pieces_of(body, 7):
            parser.feed(piece)
    except BadRequest as error:
        told = str(error)
    else:
        told = "understood"
        assert parser.filename is not None or not file.getvalue()
    assert told.isprintable()


@pytest.mark.parametrize("kind", ["", "application/json", "application/x-www-form-urlencoded", "multipart/mixed"])
def test_what_is_no_form_is_of_the_wrong_kind(kind: str) -> None:
    with pytest.raises(WrongKind, match="expected multipart/form-data"):
        served(Exchange("POST", "/", [b"abc"], {"Content-Type": kind} if kind else {}))


def test_a_form_without_a_boundary_is_refused() -> None:
    with pytest.raises(BadRequest):
        served(Exchange("POST", "/", [form(b"abc")], {"Content-Type": "multipart/form-data"}))


@pytest.mark.parametrize("is_torn", [False, True])
def test_nothing_is_left_of_a_large_file(is_torn: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: List[str] = []

    async def look(scope: Scope, body: Body, send: Send) -> bool:
        try:
            async with uploaded(scope, body, THREADS):
                seen.extend(nameless_files(os.getpid()))
        except ClientDisconnect:
            return True
        return False

    body = form(bytes(2 * MEGABYTE))
    exchange = upload(*pieces_of(body[:-100] if is_torn else body), is_whole=not is_torn)
    exchange.leave()
    assert served(exchange, look) is is_torn
    assert any(str(tmp_path) in name for name in seen) is not is_torn
    assert list(tmp_path.iterdir()) == []
    assert not any(str(tmp_path) in name for name in nameless_files(os.getpid()))


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: FormParser, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(FormParser, "feed", full)
    with pytest.raises(Busy, match="no room for the file: No space left on device"):
        served(upload(form(b"abc")))


def test_no_folder_for_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(Busy, match="no room for the file: No such file or directory"):
        served(upload(form(b"abc")))


def test_who_leaves_while_it_is_worked_for_ends_the_work() -> None:
    ended: List[Optional[str]] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("work")

    exchange = upload(form(b"abc"))

    async def handle(scope: Scope, body: Body, send: Send) -> None:
        await content_of(scope, body, send)
        asyncio.get_running_loop().call_soon(exchange.leave)
        await body.unless_left(work())

    with pytest.raises(ClientDisconnect):
        served(exchange, handle)
    assert ended == ["work"]


def test_who_still_sends_gets_its_answer_and_the_rest_is_dropped() -> None:
    exchange = upload(*pieces_of(form(bytes(3 * MEGABYTE))))
    replies: Dict[str, int] = {}

    async def handle(scope: Scope, body: Body, send: Send) -> None:
        async def watched(message: Message) -> None:
            await send(message)
            if message.get("body"):
                replies["unread when it was answered"] = exchange.unread

        await body.answer(PlainTextResponse("no", 401), scope, watched)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handle(scope, Body(receive, 2), send)

    reply = asyncio.run(exchange.run(app))
    assert (reply.status, reply.text, reply.headers["connection"]) == (401, "no", "close")
    assert replies["unread when it was answered"] > 40
    assert exchange.unread == 0
    assert exchange.is_complete
