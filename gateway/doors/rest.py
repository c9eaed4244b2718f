"""OpenAI's REST API for audio files: POST /v1/audio/transcriptions and /v1/audio/translations, GET /v1/models.

A file is taken whole, then decoded as fast as a server recognises it; until then it has no engine.
"""

import asyncio
import logging
import time
from typing import Any, AsyncGenerator, Awaitable, Callable, List, Mapping, Optional

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from gateway import openai
from gateway.decoding import decoded
from gateway.errors import GatewayError
from gateway.line import Line
from gateway.services import Services
from gateway.threads import Threads
from gateway.upload import Body, uploaded
from gateway.web import user_of
from protocol.packets import printable
from util import Result

_log = logging.getLogger(__name__)

PREFIX = "/v1/"
_THREADS = 4  # for pieces of files that come, and for seconds of sound that are decoded


def routes(services: Services) -> List[BaseRoute]:
    """Where it is found."""
    threads = Threads(_THREADS, "rest")
    created_s = int(time.time())
    listed = openai.models(services.config.model.size, created_s)

    async def models(request: Request) -> Response:
        with services.admission():
            services.keys.check(request.headers)
        return JSONResponse({"object": "list", "data": listed})

    async def model(request: Request) -> Response:
        with services.admission():
            services.keys.check(request.headers)
        name = request.path_params["name"]
        for fields in listed:
            if fields["id"] == name:
                return JSONResponse(fields)
        message = f"The model '{printable(name)}' does not exist; GET {PREFIX}models names those that do"
        return JSONResponse(openai.error_fields(404, message, "model", "model_not_found"), 404)

    return [
        Route("/v1/audio/transcriptions", _Audio(services, threads, "transcribe"), methods=["POST"]),
        Route("/v1/audio/translations", _Audio(services, threads, "translate"), methods=["POST"]),
        Route("/v1/models", models),
        Route("/v1/models/{name:path}", model),
    ]


# --- errors ----------------------------------------------------------------------------------


async def refused(_: Request, error: Exception) -> Response:
    """The response to a request that a door raised a GatewayError for."""
    assert isinstance(error, GatewayError)
    return _refusal(error)


async def not_served(request: Request, error: Exception) -> Response:
    """The response where there is no such path or method, or the gateway has failed; below /v1/ in OpenAI's form."""
    status, detail, headers = 500, "the gateway has failed; its log says more", None
    if isinstance(error, HTTPException):
        status, detail, headers = error.status_code, error.detail, error.headers
    path = request.url.path
    if not path.startswith(PREFIX):
        return PlainTextResponse(detail, status, headers)
    what = f"{detail}: {request.method} {printable(path)}" if status in (404, 405) else detail
    return JSONResponse(openai.error_fields(status, what), status, headers)


async def not_heard(request: Request, _: Exception) -> Response:
    """The response that nobody gets: the client has left in the middle of its request."""
    _log.info("%s has left", _user(request.scope))
    return Response()


def _refusal(error: GatewayError) -> Response:
    return JSONResponse(openai.error_of(error), openai.status_of(error), openai.headers_of(error))


# --- files -----------------------------------------------------------------------------------

_Tell = Callable[[Result], Awaitable[None]]
_EVENT_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx hands each event on at once
]


class _Audio:
    """Takes a file and answers what is said in it; an ASGI application."""

    def __init__(self, services: Services, threads: Threads, task: str) -> None:
        self._services = services
        self._threads = threads
        self._task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(receive, self._services.config.gateway.max_upload_mb)
        events = _Events(send)
        try:
            with self._services.admission():
                response = await self._answered(scope, body, events)
        except ClientDisconnect:
            _log.info("%s has left", _user(scope))
        except GatewayError as error:
            _log.info("%s is not served: %s", _user(scope), error)
            if events.have_begun:
                await events.end({"type": "error", **openai.error_of(error)})
            else:
                await body.answer(_refusal(error), scope, send)
        else:
            if response is not None:
                await body.answer(response, scope, send)

    async def _answered(self, scope: Scope, body: Body, events: "_Events") -> Optional[Response]:
        """The response; None where it has been sent as events."""
        config = self._services.config
        self._services.keys.check(Headers(scope=scope))
        async with uploaded(scope, body, self._threads) as upload:
            asked = openai.asked(upload.texts, self._task, config.model.size)
            blocks = decoded(upload.file, printable(upload.filename) or "file", self._threads)
            line = self._services.line(asked.options, _user(scope))
            heard = _Heard(events if asked.is_streamed else None)
            await body.unless_left(_hear(line, blocks, heard.add))
        whole = openai.Heard(heard.results, line.now_s, openai.fallback_language(asked, config.model.language))
        if asked.is_streamed:
            await events.end(openai.done(whole.text))
            return None
        answer = openai.answer(asked, whole)
        return Response(answer.body, media_type=answer.media_type)


def _user(scope: Scope) -> str:
    return user_of("rest", HTTPConnection(scope))


async def _hear(line: Line, blocks: "AsyncGenerator[bytes, None]", tell: _Tell) -> None:
    """Let the line hear all blocks, and tell the results as they come. Raises GatewayError."""
    tasks = [asyncio.ensure_future(part) for part in (_speak(line, blocks), _listen(line, tell))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await line.close()


async def _speak(line: Line, blocks: "AsyncGenerator[bytes, None]") -> None:
    try:
        async for block in blocks:
            await line.audio(block)
    finally:
        await blocks.aclose()
    await line.finish()


async def _listen(line: Line, tell: _Tell) -> None:
    async for event in line.events():
        if isinstance(event, Result):
            await tell(event)


class _Heard:
    """The results so far; told as events where there are some."""

    def __init__(self, events: "Optional[_Events]") -> None:
        self._events = events
        self.results: List[Result] = []

    async def add(self, result: Result) -> None:
        self.results.append(result)
        if self._events is not None:
            await self._events.say(openai.delta(result.text, is_first=len(self.results) == 1))


class _Events:
    """A response of server-sent events; it begins with the first."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.have_begun = False

    async def say(self, fields: Mapping[str, Any]) -> None:
        """The next event."""
        if not self.have_begun:
            self.have_begun = True
            await self._send({"type": "http.response.start", "status": 200, "headers": _EVENT_HEADERS})
        data = f"data: {openai.to_json(fields)}\n\n".encode()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, fields: Mapping[str, Any]) -> None:
        """The last one."""
        await self.say(fields)
        await self._send({"type": "http.response.body", "body": b""})
