"""What the system tells of connections, and does with those that take nothing."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import suppress

from gateway.transports import has_left, limit_silence


def test_who_takes_nothing_of_what_it_is_sent_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        limit_silence(listener, patience_s=0.2)
        with socket.create_connection(listener.getsockname()[:2]):
            served, _ = listener.accept()
            with served:
                served.setblocking(False)
                with suppress(BlockingIOError):
                    while True:
                        served.send(bytes(65536))
                poll = select.poll()
                poll.register(served, 0)
                assert poll.poll(30_000) == [(served.fileno(), select.POLLERR | select.POLLHUP)]


def test_who_has_left_is_seen_behind_what_it_has_sent() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname()[:2])
            served, _ = listener.accept()
            _, writer = await asyncio.open_connection(sock=served)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.sendall(bytes(1000))
            assert not has_left(writer.transport)
            client.close()
            while not has_left(writer.transport):
                await asyncio.sleep(0.01)
            writer.close()
            assert has_left(writer.transport)

    asyncio.run(asyncio.wait_for(main(), 30))
