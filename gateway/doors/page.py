"""The page for browsers: GET `/` and the files below `/page/`, and GET `/page/access`.

There the page asks why a WebSocket was refused, which a browser does not tell it: 401 without a right key, with one the
doors that are open.
"""

import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.services import Services

_FOLDER = Path(__file__).resolve().parents[1] / "page"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "media-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for each time, answered with 304: a new gateway has a new page
}


class _File(NamedTuple):
    """A file of the page, as it is sent."""

    content: bytes
    media_type: str
    etag: str


def routes(services: Services) -> List[BaseRoute]:
    """Where it is found."""
    files = _files()

    async def index(request: Request) -> Response:
        return _response(request, files[_INDEX])

    async def file(request: Request) -> Response:
        found = files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(404)
        return _response(request, found)

    async def access(request: Request) -> Response:
        with services.admission():
            services.keys.check(request.headers)
        return JSONResponse({"doors": services.config.gateway.doors}, headers={"Cache-Control": "no-store"})

    return [Route("/", index), Route("/page/access", access), Route("/page/{name}", file)]


def _files() -> Dict[str, _File]:
    """All of them, by name: they are few and small."""
    files = {}
    for path in _FOLDER.iterdir():
        if path.suffix in _TYPES:
            content = path.read_bytes()
            files[path.name] = _File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return files


def _response(request: Request, file: _File) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    if request.headers.get("if-none-match") == file.etag:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
