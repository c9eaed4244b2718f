"""The gateway's start and stop, its servers that come and go, and its health."""

import asyncio
import json
import signal
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List

import httpx
import psutil
import pytest
import trustme
import websockets

from tcp_client import StreamingClient
from tests.harness.engines import wait_until
from tests.harness.gateway import GatewayProcess
from tests.harness.server import ServerProcess
from tests.system.test_gateway_vosk import calls

PCM_16K = {"config": {"sample_rate": 16000}}
EOF = '{"eof" : 1}'


def test_without_a_server_it_is_alive_and_not_ready_and_clients_are_told_to_try_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with GatewayProcess([port]) as gateway:
        assert httpx.get(gateway.url("/healthz")).status_code == 200
        assert httpx.get(gateway.url("/readyz")).status_code == 503
        with pytest.raises(websockets.ConnectionClosed) as closed:
            asyncio.run(calls(gateway.url("/", "ws"), bytes(3200), {}))
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        assert f"no server answers at 127.0.0.1 port {port}" in closed.value.rcvd.reason


def test_it_is_ready_while_an_engine_is_free_and_a_second_client_is_told_that_none_is(
    gateway: GatewayProcess, phrase: bytes
) -> None:
    async def main() -> None:
        async with httpx.AsyncClient() as http, websockets.connect(gateway.url("/", "ws")) as first:
            assert (await http.get(gateway.url("/readyz"))).status_code == 200
            await first.send(phrase[:3200])
            await first.recv()
            while (await http.get(gateway.url("/readyz"))).status_code != 503:
                pass
            with pytest.raises(websockets.ConnectionClosed, match="1013"):
                await calls(gateway.url("/", "ws"), phrase, {})

    asyncio.run(main())


def test_a_server_that_dies_in_mid_session_is_told_and_the_next_session_goes_to_another(phrase: bytes) -> None:
    async def main(first: ServerProcess, url: str) -> List[Dict[str, Any]]:
        async with websockets.connect(url) as websocket:
            await websocket.send(bytes(3200))
            await websocket.recv()
            first.process.kill()
            with pytest.raises(websockets.ConnectionClosed, match="1011"):
                await websocket.recv()
        return await calls(url, phrase, {"sample_rate": 16000})

    english = {"model": {"language": "en"}}
    with ServerProcess(english) as first, ServerProcess(english) as second, GatewayProcess(
        [first.port, second.port]
    ) as gateway:
        texts = [reply.get("text", "") for reply in asyncio.run(main(first, gateway.url("/", "ws")))]
    assert "Fail again. Fail better." in texts


def test_after_the_signal_nobody_new_is_taken_in_and_who_is_served_finishes(
    server: ServerProcess, phrase: bytes
) -> None:
    with GatewayProcess([server.port]) as gateway:

        async def main() -> str:
            async with websockets.connect(gateway.url("/", "ws")) as websocket:
                await websocket.send(json.dumps(PCM_16K))
                await websocket.send(phrase)
                await websocket.recv()
                gateway.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(gateway.wait_for_line, "stopping")
                with pytest.raises(OSError, match="onnect"):
                    await websockets.connect(gateway.url("/", "ws"))
                await websocket.send(EOF)
                return str(json.loads(await websocket.recv())["text"])

        assert asyncio.run(main()) == "Fail again. Fail better."
        assert gateway.wait() == 0


@pytest.mark.parametrize("how", ["a second signal", "the end of the time to finish"])
def test_who_does_not_finish_is_told_goodbye(server: ServerProcess, how: str) -> None:
    with GatewayProcess([server.port], {"drain_timeout": 0.5 if "time" in how else 60}) as gateway:

        async def main() -> int:
            async with websockets.connect(gateway.url("/", "ws")) as websocket:
                gateway.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(gateway.wait_for_line, "stopping")
                if "signal" in how:
                    gateway.process.send_signal(signal.SIGTERM)
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await websocket.recv()
                assert closed.value.rcvd is not None
                return closed.value.rcvd.code

        assert asyncio.run(main()) == 1012
        assert gateway.wait() == 0
    wait_until(lambda: "sleeping" in _state(server))


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=rf"gateway\.port: cannot listen on 127\.0\.0\.1 port {port}: "):
            GatewayProcess([5000], {"port": port}).__enter__()


def test_with_certificates_both_sides_are_encrypted(tmp_path: Path, phrase: bytes) -> None:
    authority = trustme.CA()
    ca, pem = tmp_path / "ca.pem", tmp_path / "server.pem"
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.create_default_context(cafile=str(ca))
    with ServerProcess({"model": {"language": "en"}, "network": {"tls_cert": str(pem)}}) as server:
        settings = {"server_tls": True, "server_ca": str(ca), "tls_cert": str(pem)}
        with GatewayProcess([server.port], settings) as gateway:
            assert httpx.get(gateway.url("/readyz", "https"), verify=context).status_code == 200
            url = gateway.url("/", "wss")
            replies = asyncio.run(calls(url, phrase, {"sample_rate": 16000}, ssl=context))
    assert "Fail again. Fail better." in [reply.get("text") for reply in replies]


def _state(server: ServerProcess) -> str:
    return " ".join(StreamingClient("127.0.0.1", server.port).status())


def test_who_leaves_while_it_waits_its_turn_is_not_waited_for() -> None:
    waiting = {"network": {"engine_wait": 600}}
    with ServerProcess(waiting) as server, GatewayProcess([server.port], settings=waiting) as gateway:

        def asks() -> bool:
            connections = psutil.Process(gateway.process.pid).net_connections("tcp")
            return any(connection.raddr and connection.raddr.port == server.port for connection in connections)

        async def main() -> None:
            async with websockets.connect(gateway.url("/", "ws")) as websocket:
                sending = asyncio.ensure_future(_send_without_end(websocket))
                await asyncio.to_thread(wait_until, asks)
                websocket.transport.abort()  # behind all that nobody has read yet
                with suppress(websockets.ConnectionClosed):
                    await sending

        with StreamingClient("127.0.0.1", server.port):  # has the engine
            asyncio.run(main())
            wait_until(lambda: not asks())


async def _send_without_end(websocket: websockets.ClientConnection) -> None:
    while True:
        await websocket.send(bytes(64_000))
