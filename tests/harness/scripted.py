"""A server for one connection that answers what a test says: for clients, without an engine."""

import socket
import threading
from contextlib import contextmanager, suppress
from typing import Callable, Iterator, List

from util import (
    END_PACKET,
    AudioFinished,
    AudioReceived,
    EngineRequested,
    Event,
    ServerProtocol,
    StatusRequested,
    status_packet,
    welcome_packet,
)

Serve = Callable[[socket.socket], None]


@contextmanager
def serving(*serves: Serve) -> Iterator[int]:
    """The port of 127.0.0.1 at which each gets one connection, in order; leaving waits until the last has returned."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            for serve in serves:
                connection, _ = listener.accept()
                with connection, suppress(ConnectionError):  # the client may leave when it likes
                    serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(60)
        assert not thread.is_alive()


def session(
    at_finish: bytes = b"", at_audio: bytes = b"", at_welcome: bytes = b"", hear: Callable[[List[Event]], object] = list
) -> Serve:
    """One that grants an engine, and sends these packets with the welcome, when audio comes, and at its end.

    `hear` gets what the client has said.
    """

    def serve(connection: socket.socket) -> None:
        protocol = ServerProtocol()
        while data := connection.recv(65536):
            protocol.receive(data)
            while events := protocol.events():
                hear(events)
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
