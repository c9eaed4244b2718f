"""The doors at their paths."""

from typing import Callable, Dict, List

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute

from config.sections import Door
from gateway.doors import deepgram, page, realtime, rest, vosk
from gateway.errors import GatewayError
from gateway.services import Services
from gateway.watching import figure_routes, health_routes

_DOORS: Dict[Door, Callable[[Services], List[BaseRoute]]] = {
    "realtime": realtime.routes,
    "rest": rest.routes,
    "deepgram": deepgram.routes,
    "vosk": vosk.routes,
    "page": page.routes,
}


def make_app(services: Services) -> Starlette:
    """The application that uvicorn runs."""
    gateway = services.config.gateway
    doors = [route for door, routes in _DOORS.items() if door in gateway.doors for route in routes(services.at(door))]
    figures = [] if gateway.metrics_port else figure_routes(services, needs_key=True)
    return Starlette(
        routes=[*health_routes(services), *figures, *doors],
        middleware=_other_hosts(gateway.cors_origins),
        exception_handlers={
            GatewayError: rest.refused,
            HTTPException: rest.not_served,
            ClientDisconnect: rest.not_heard,
            Exception: rest.not_served,
        },
    )


def _other_hosts(origins: List[str]) -> List[Middleware]:
    """What lets pages of other hosts ask; WebSockets ask nobody."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    ]
