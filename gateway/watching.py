"""What those who watch the gateway are told: figures for Prometheus, and health.

Both stand at `gateway.port`, where `/metrics` asks for a key if there are any. With `gateway.metrics_port`, figures
stand at that port alone, beside health, and whoever reaches it may read them.
"""

from typing import List

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.health import State
from gateway.services import Services

_HEADERS = {"Cache-Control": "no-store"}


def health_routes(services: Services) -> List[BaseRoute]:
    """Where health is told."""

    async def is_alive(request: Request) -> Response:
        if request.query_params.get("deep", "0") in ("0", "false"):
            return PlainTextResponse("ok\n", headers=_HEADERS)
        is_good, line = await services.health.deep()
        return PlainTextResponse(f"{line}\n", 200 if is_good else 503, _HEADERS)

    async def is_ready(_: Request) -> Response:
        ready = await services.health.ready(services.has_room())
        fields = {"state": ready.state.value, "engines": ready.engines, "free": ready.free}
        return JSONResponse(fields, 200 if ready.state is State.READY else 503, _HEADERS)

    return [Route("/healthz", is_alive), Route("/readyz", is_ready)]


def figure_routes(services: Services, needs_key: bool) -> List[BaseRoute]:
    """Where figures are told."""

    async def figures(request: Request) -> Response:
        if needs_key:
            services.keys.check(request.headers)
        content, content_type = services.metrics.told(request.headers.get("accept"))
        return Response(content, headers={**_HEADERS, "Content-Type": content_type})

    return [Route("/metrics", figures)]


def make_watching_app(services: Services) -> Starlette:
    """What stands at `gateway.metrics_port`."""
    return Starlette(routes=[*figure_routes(services, needs_key=False), *health_routes(services)])
