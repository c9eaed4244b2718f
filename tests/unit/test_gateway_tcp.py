"""Connections of doors without HTTP: what is said last arrives, and who is told to wait."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from gateway.tcp import Serve, TcpDoor, TcpStream

MEBIBYTE = 1024 * 1024


async def refuse(stream: TcpStream) -> None:
    await stream.send("full")
    await stream.close(1013, "")


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def heard_by_a_client_that_goes_on_sending(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(bytes(MEBIBYTE))
        heard = b""
        while data := client.recv(65536):
            heard += data
        return heard


def visited(serve: Serve, has_room: bool = True) -> bytes:
    """What a client hears that sends a lot before it listens."""

    async def main() -> bytes:
        door = TcpDoor(serve, lambda: has_room, refuse)
        with listening() as listener:
            await door.start(listener)
            loop = asyncio.get_running_loop()
            heard = await loop.run_in_executor(None, heard_by_a_client_that_goes_on_sending, listener.getsockname()[1])
            await door.close()
            assert door.connections == 0
            return heard

    return asyncio.run(main())


def test_what_is_said_last_arrives_although_the_client_is_not_read_to_its_end() -> None:
    async def serve(stream: TcpStream) -> None:
        listening = asyncio.ensure_future(stream.receive())
        await asyncio.sleep(0)  # somebody waits for the client when the connection is closed
        await stream.send(b"goodbye")
        await stream.close(1000, "")
        listening.cancel()

    assert visited(serve) == b"goodbye"


def test_a_client_that_finds_no_room_is_told_so() -> None:
    async def serve(stream: TcpStream) -> None:
        raise AssertionError("there is no room")

    assert visited(serve, has_room=False) == b"full"


def test_a_fault_of_the_program_ends_that_connection_alone() -> None:
    async def serve(stream: TcpStream) -> None:
        await stream.receive()
        raise ZeroDivisionError("a fault of the program")

    async def main() -> None:
        door = TcpDoor(serve, lambda: True, refuse)
        with listening() as listener:
            await door.start(listener)
            for _ in range(2):
                reader, writer = await asyncio.open_connection(*listener.getsockname())
                writer.write(b"hello")
                with suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            await door.close()

    asyncio.run(asyncio.wait_for(main(), 60))


def test_who_is_still_there_at_the_end_is_left() -> None:
    async def serve(stream: TcpStream) -> None:
        while await stream.receive() is not None:
            pass

    async def main() -> None:
        door = TcpDoor(serve, lambda: True, refuse)
        with listening() as listener:
            await door.start(listener)
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            while not door.connections:
                await asyncio.sleep(0)
            await door.close()
            assert await reader.read() == b""
            writer.close()

    asyncio.run(asyncio.wait_for(main(), 60))
