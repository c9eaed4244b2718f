"""The calls of the Realtime API that make client secrets: for pages and devices that are not to have a key."""

import asyncio
import secrets
from typing import List, Tuple

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.asked import json_object
from gateway.client_secrets import ClientSecrets, SecretTooLong
from gateway.doors.realtime_items import Event
from gateway.doors.realtime_session import Fields, Settings, asked_by, flat, nested, updated
from gateway.errors import BadRequest, TooLarge, TooSlow
from gateway.services import Services

_LONGEST_BODY_BYTES = 64 * 1024
_BODY_S = 10.0  # for it to come
_SECRET_S = 600  # that a secret is good for
_SECRET_LIMITS_S = (10, 7200)


def calls(services: Services, client_secrets: ClientSecrets, silence_ms: int) -> List[BaseRoute]:
    """Where they are found; `silence_ms`: the server's own."""
    size = services.config.model.size

    async def make_transcription_session(request: Request) -> Response:
        with services.admission():
            services.keys.check(request.headers)
            settings = updated(Settings(), await _body(request), size)
            secret, until_s = _secret(client_secrets, settings, _SECRET_S)
        name = f"sess_{secrets.token_hex(8)}"
        client_secret = {"value": secret, "expires_at": until_s}
        return JSONResponse({**flat(settings, name, silence_ms), "client_secret": client_secret})

    async def make_client_secret(request: Request) -> Response:
        with services.admission():
            services.keys.check(request.headers)
            body = await _body(request)
            settings = updated(Settings(), body.get("session"), size)
            secret, until_s = _secret(client_secrets, settings, _valid_s(body))
        session = nested(settings, f"sess_{secrets.token_hex(8)}", silence_ms)
        return JSONResponse({"value": secret, "expires_at": until_s, "session": session})

    return [
        Route("/v1/realtime/transcription_sessions", make_transcription_session, methods=["POST"]),
        Route("/v1/realtime/client_secrets", make_client_secret, methods=["POST"]),
    ]


async def _body(request: Request) -> Event:
    """A JSON object; an empty body is one without fields. Raises BadRequest."""
    try:
        data = await asyncio.wait_for(_read(request), _BODY_S)
    except asyncio.TimeoutError as error:
        raise TooSlow(f"the request has not come within {_BODY_S:g} s") from error
    return json_object(data.decode("utf-8", errors="replace"), "the request") if data.strip() else {}


async def _read(request: Request) -> bytes:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > _LONGEST_BODY_BYTES:
            raise TooLarge(f"the request is longer than {_LONGEST_BODY_BYTES} bytes")
    return data


def _valid_s(body: Event) -> int:
    asked = Fields(body.get("expires_after"), "expires_after")
    return asked.whole("seconds", _SECRET_S, _SECRET_LIMITS_S)


def _secret(client_secrets: ClientSecrets, settings: Settings, valid_s: int) -> Tuple[str, int]:
    try:
        return client_secrets.make(asked_by(settings), valid_s)
    except SecretTooLong as error:
        raise BadRequest(f"session: {error}", "session") from error
