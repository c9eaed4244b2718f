"""The server that is measured: one that runs already, or one of its own that ends with the measurement."""

import argparse
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import psutil

from tcp_client import StreamingClient
from tests.harness.server import ServerProcess

Address = Tuple[str, int]
Recognise = Callable[[bytes], str]  # 16-bit mono PCM at 16 kHz → text

_ENGINE_WAIT_S = 10


def add_options(parser: argparse.ArgumentParser) -> None:
    """What says where it is."""
    parser.add_argument("--host", help="a server that runs already; else one is started with an engine for each client")
    parser.add_argument("--port", type=int)
    parser.add_argument("--pid", type=int, help="its process id, where it runs here: what it uses is measured too")


def faults(options: argparse.Namespace) -> Dict[str, bool]:
    """What may be wrong with these options, and whether it is."""
    return {
        "--host and --port go together": (options.host is None) != (options.port is None),
        "--pid is that of a server at --host that runs here": options.pid is not None
        and (options.host is None or not psutil.pid_exists(options.pid)),
    }


def place(options: argparse.Namespace) -> str:
    """Where it runs, for the line of conditions; nothing where it is one of its own."""
    return "" if options.host is None else f", server at {options.host} port {options.port}"


@contextmanager
def serving(engines: int, options: argparse.Namespace, **model: Any) -> Iterator[Tuple[Address, Optional[int]]]:
    """Where the server is, and its process where that is known; `model`: settings of one of its own."""
    if options.host is not None:
        yield (options.host, options.port), options.pid
        return
    with own(engines, **model) as server:
        yield ("127.0.0.1", server.port), server.process.pid


@contextmanager
def own(engines: int, **model: Any) -> Iterator[ServerProcess]:
    """A server with so many engines that ends with the context; raises SystemExit where it does not start."""
    # A client may come when the engine of the one before it has just said its last word.
    network = {"max_connections": max(256, 2 * engines), "engine_wait": _ENGINE_WAIT_S}
    settings = {"model": {"channel": engines, **model}, "network": network}
    with ExitStack() as stack:
        try:
            server = stack.enter_context(ServerProcess(settings))
        except RuntimeError as error:
            raise SystemExit(f"the server does not start: {str(error).splitlines()[-1]}") from error
        yield server


def through(host: str, port: int) -> Recognise:
    """Recognise in a session of its own, as fast as the server takes it."""

    def recognise(pcm: bytes) -> str:
        with StreamingClient(host, port, "bench") as client:
            client.send(pcm)
            client.finish()
            return " ".join(result.text for result in client.results())

    return recognise
