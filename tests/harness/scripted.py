"""A server for one connection that answers what a test says: for clients, without an engine."""

import socket
import threading
from contextlib import contextmanager, suppress
from typing import Callable, Iterator

from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    EngineRequested,
    ServerProtocol,
    StatusRequested,
    status_packet,
    welcome_packet,
)

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """The port of 127.0.0.1 at which `serve` gets the first connection; leaving waits until it has returned."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):  # the client may leave when it likes
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)
        assert not thread.is_alive()


def session(at_finish: bytes = b"", at_audio: bytes = b"", at_welcome: bytes = b"") -> Serve:
    """One that grants an engine, and sends these packets with the welcome, when audio comes, and at its end."""

    def serve(connection: socket.socket) -> None:
        protocol = ServerProtocol()
        while data := connection.recv(65536):
            protocol.receive(data)
            while events := protocol.events():
                for event in events:
                    if isinstance(event, EngineRequested):
                        protocol.grant_engine()
                        connection.sendall(welcome_packet("engine 0 is yours") + at_welcome)
                    elif isinstance(event, StatusRequested):
                        connection.sendall(status_packet(0, "sleeping") + END_PACKET)
                    elif isinstance(event, AudioReceived):
                        connection.sendall(at_audio)
                    elif isinstance(event, AudioFinished):
                        connection.sendall(at_finish)

    return serve


def says(answer: bytes) -> Serve:
    """One that reads a little, says this, and leaves."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(answer)

    return serve


def until_it_leaves(connection: socket.socket) -> None:
    """Serve as one that says nothing."""
    while connection.recv(65536):
        pass
