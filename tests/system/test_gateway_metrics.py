"""Figures and health of the real gateway before real servers: each moves when it should, and is right in its time."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Iterator

import pytest
import websockets

from demo.recording import recording_wav
from gateway.wyoming import Event, encode_event
from service.checks import INTERVAL_S, LIMIT_S
from tests.harness.doors import wait_until_free
from tests.harness.engines import engine_pids, frozen, kill, wait_until
from tests.harness.gateway import GatewayProcess
from tests.harness.http import FORM_TYPE, Reply, form, post_form, request
from tests.harness.metrics import Figures, answered, ask, figures
from tests.harness.server import ServerProcess, free_ports
from tests.harness.wire import Wire
from tests.system.test_gateway_wyoming import Client, chunk

HANG_TIMEOUT_S = 5
LOOK_S = 3.0  # that a server has to say what its engines do
SOON_S = 2.0
ENGLISH = {"language": "en", "hang_timeout": HANG_TIMEOUT_S}
KEY = "secret"
WITH_KEY = {"Authorization": f"Bearer {KEY}"}
PCM_16K = "encoding=linear16&sample_rate=16000"
SESSIONS, ACTIVE = "stt_gateway_sessions_total", "stt_gateway_sessions_active"
REFUSALS, FAILURES = "stt_gateway_refusals_total", "stt_gateway_server_failures_total"


class Watched(GatewayProcess):
    """A gateway with a port for figures and health."""

    def __init__(self, servers: list[int], **gateway: Any) -> None:
        (self.metrics_port,) = free_ports(1)
        super().__init__(servers, {"metrics_port": self.metrics_port, **gateway})

    def figures(self) -> Figures:
        return figures(self.metrics_port)

    def answer(self, path: str, within_s: float = SOON_S) -> tuple[int, str]:
        """Status and content, which must come in time."""
        return answered(self.metrics_port, path, within_s)

    def ready(self, within_s: float = SOON_S) -> tuple[int, dict[str, Any]]:
        status, content = self.answer("/readyz", within_s)
        return status, json.loads(content)

    def active(self, door: str) -> float:
        return self.figures()[f'{ACTIVE}{{door="{door}"}}']

    @contextmanager
    def moving(self, expected: dict[str, float]) -> Iterator[None]:
        """What is done within moves that, and nothing else but times and the figures of the process."""
        before = self.figures()
        yield

        def changes() -> dict[str, float]:
            since = self.figures().since(before)
            passed = ("_process_", "_seconds_sum", "_connections")
            return {name: by for name, by in since.items() if not any(part in name for part in passed)}

        wait_until(lambda: changes().keys() == expected.keys())
        assert changes() == pytest.approx(expected, abs=0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """With one engine, and figures of its own."""
    (port,) = free_ports(1)
    with ServerProcess({"model": ENGLISH, "metrics": {"port": port}}) as process:
        process.metrics_port = port  # type: ignore[attr-defined]
        yield process


@pytest.fixture(scope="module")
def watched(server: ServerProcess) -> Iterator[Watched]:
    with Watched([server.port]) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def _free_engine(server: ServerProcess) -> None:
    wait_until_free(server)


# --- sessions at each door


async def at_websocket(url: str, *messages: str | bytes, **connection: Any) -> list[Any]:
    """Everything that is told until the gateway closes the connection."""
    async with websockets.connect(url, **connection) as websocket:
        for message in messages:
            await websocket.send(message)
        return [json.loads(message) async for message in websocket]


def at_vosk(gateway: GatewayProcess, pcm: bytes) -> str:
    url, config = gateway.url("/", "ws"), json.dumps({"config": {"sample_rate": 16000}})
    return str(asyncio.run(at_websocket(url, config, pcm, '{"eof" : 1}')))


def at_deepgram(gateway: GatewayProcess, pcm: bytes) -> str:
    url = gateway.url(f"/v1/listen?{PCM_16K}", "ws")
    return str(asyncio.run(at_websocket(url, pcm, '{"type": "CloseStream"}')))


def at_realtime(gateway: GatewayProcess, pcm: bytes) -> str:
    form = {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}
    events = [
        {"type": "session.update", "session": form},
        {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()},
        {"type": "input_audio_buffer.done"},
    ]
    return str(asyncio.run(at_websocket(gateway.url("/v1/realtime", "ws"), *map(json.dumps, events))))


def at_wyoming(gateway: GatewayProcess, pcm: bytes) -> str:
    with Client(gateway) as client:
        client.say(chunk(pcm) + encode_event(Event("audio-stop")))
        return client.transcript()


def at_rest(gateway: GatewayProcess, pcm: bytes) -> str:
    del pcm  # it is the second half of this recording
    return post_form(gateway.port, "/v1/audio/transcriptions", recording_wav().read_bytes()).text


SPEAK = {"vosk": at_vosk, "deepgram": at_deepgram, "realtime": at_realtime, "wyoming": at_wyoming, "rest": at_rest}


@pytest.mark.parametrize("door", SPEAK)
def test_a_session_is_counted_at_its_door_with_the_audio_that_was_sent(
    watched: Watched, phrase: bytes, speech: bytes, door: str
) -> None:
    sent_s = len(speech if door == "rest" else phrase) / 32000
    outcome = "left" if door == "wyoming" else "completed"  # its rounds end, its connections do when the client leaves
    expected = {
        f'{SESSIONS}{{door="{door}",outcome="{outcome}"}}': 1.0,
        f'stt_gateway_audio_seconds_total{{door="{door}"}}': sent_s,
        "stt_gateway_open_seconds_count": 1.0,
    }
    with watched.moving(expected):
        assert "better" in SPEAK[door](watched, phrase).lower()
    assert watched.active(door) == 0


def test_a_session_is_active_from_its_first_audio_until_its_client_leaves(watched: Watched, phrase: bytes) -> None:
    async def main() -> None:
        async with websockets.connect(watched.url("/", "ws")) as websocket:
            before = await asyncio.to_thread(watched.figures)
            assert before["stt_gateway_connections"] >= 1
            assert before[f'{ACTIVE}{{door="vosk"}}'] == 0
            await websocket.send(phrase[:3200])
            await websocket.recv()
            assert await asyncio.to_thread(watched.active, "vosk") == 1

    with watched.moving(
        {
            f'{SESSIONS}{{door="vosk",outcome="left"}}': 1.0,
            'stt_gateway_audio_seconds_total{door="vosk"}': 0.2,  # without a configuration, 8 kHz
            "stt_gateway_open_seconds_count": 1.0,
        }
    ):
        asyncio.run(main())
    assert watched.active("vosk") == 0
    wait_until(lambda: watched.figures()["stt_gateway_connections"] == 0)


# --- who is sent away


def refused(door: str, reason: str) -> dict[str, float]:
    return {f'{REFUSALS}{{door="{door}",reason="{reason}"}}': 1.0}


def status_at(url: str, **connection: Any) -> int:
    """Of a WebSocket's handshake that is refused."""
    with pytest.raises(websockets.InvalidStatus) as told:
        asyncio.run(at_websocket(url, **connection))
    return int(told.value.response.status_code)


def posted(gateway: GatewayProcess, body: bytes, kind: str, **headers: str) -> Reply:
    return request(
        gateway.port, "POST", "/v1/audio/transcriptions", body, {"Content-Type": kind, **WITH_KEY, **headers}
    )


def test_who_comes_without_a_key_or_with_a_wrong_request_is_counted_at_its_door(server: ServerProcess) -> None:
    with Watched([server.port], api_keys=[KEY], max_upload_mb=1) as gateway:
        for door, path in (("rest", "/v1/models"), ("page", "/page/access")):
            with gateway.moving(refused(door, "wrong_key")):
                assert request(gateway.port, "GET", path).status == 401
        for door, path in (("vosk", "/"), ("realtime", "/v1/realtime"), ("deepgram", f"/v1/listen?{PCM_16K}")):
            with gateway.moving(refused(door, "wrong_key")):
                assert status_at(gateway.url(path, "ws")) == 401
        with gateway.moving(refused("deepgram", "bad_request")):
            url = gateway.url("/v1/listen?encoding=opus", "ws")
            assert status_at(url, additional_headers=WITH_KEY) == 400
        with gateway.moving(refused("wyoming", "bad_request")), Client(gateway) as client:
            client.say(b"no JSON\n")
            assert client.kinds() == ["error"]
        with gateway.moving(refused("vosk", "bad_request")), pytest.raises(websockets.ConnectionClosed, match="1008"):
            asyncio.run(at_websocket(gateway.url("/", "ws"), "no JSON", additional_headers=WITH_KEY))
        with gateway.moving(refused("rest", "wrong_kind")):
            assert posted(gateway, b"{}", "application/json").status == 415
        with gateway.moving(refused("rest", "bad_request")):
            assert post_form_with_key(gateway, b"no recording").status == 400
        with gateway.moving(refused("rest", "too_large")):
            assert post_form_with_key(gateway, bytes(3 * 1024 * 1024)).status == 413
        with gateway.moving(refused("realtime", "too_slow")):
            assert slow_request(gateway, "/v1/realtime/client_secrets").startswith(b"HTTP/1.1 408 ")


def post_form_with_key(gateway: GatewayProcess, content: bytes) -> Reply:
    return posted(gateway, form(content), FORM_TYPE)


def slow_request(gateway: GatewayProcess, path: str) -> bytes:
    """The answer to a request whose body does not come."""
    with socket.create_connection(("127.0.0.1", gateway.port), 60) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 10\r\n\r\n"
        connection.sendall(head.encode())
        return connection.recv(65536)


def test_who_finds_no_engine_is_counted_and_so_is_who_finds_no_server(
    server: ServerProcess, watched: Watched, phrase: bytes
) -> None:
    with Wire(server.port) as holder:
        holder.start("holder")
        with watched.moving(refused("rest", "busy")):
            assert post_form(watched.port, "/v1/audio/transcriptions", recording_wav().read_bytes()).status == 503
        with watched.moving(refused("vosk", "busy")), pytest.raises(websockets.ConnectionClosed, match="1013"):
            asyncio.run(at_websocket(watched.url("/", "ws"), phrase))
    (dead,) = free_ports(1)
    with Watched([dead]) as gateway:
        unreachable = {f'{FAILURES}{{reason="unreachable",server="127.0.0.1:{dead}"}}': 1.0}
        with gateway.moving({**refused("deepgram", "no_server"), **unreachable}):
            at_deepgram_closed(gateway, phrase)


def at_deepgram_closed(gateway: GatewayProcess, pcm: bytes) -> None:
    with pytest.raises(websockets.ConnectionClosed, match="1013"):
        asyncio.run(at_websocket(gateway.url(f"/v1/listen?{PCM_16K}", "ws"), pcm))


def test_who_finds_the_gateway_full_is_told_so_at_every_door_and_health_goes_on(server: ServerProcess) -> None:
    with Watched([server.port], max_connections=2) as gateway, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(Client(gateway)).say(encode_event(Event("describe")))
        wait_until(lambda: gateway.figures()["stt_gateway_connections"] == 2)
        for door, path in (("vosk", "/"), ("realtime", "/v1/realtime"), ("deepgram", f"/v1/listen?{PCM_16K}")):
            with gateway.moving(refused(door, "full")):
                assert status_at(gateway.url(path, "ws")) == 503
        with gateway.moving(refused("rest", "full")):
            reply = post_form(gateway.port, "/v1/audio/transcriptions", recording_wav().read_bytes())
            assert (reply.status, "retry-after" in reply.headers) == (503, True)
        with gateway.moving(refused("wyoming", "full")), Client(gateway) as client:
            assert client.kinds() == ["error"]
        assert request(gateway.port, "GET", "/healthz").status == 200
        wait_until(lambda: gateway.figures()["stt_gateway_connections"] == 2)
        assert gateway.ready() == (503, {"state": "full", "engines": 1, "free": 1})


# --- servers that fail


def test_a_server_that_dies_is_counted_and_so_is_the_session_that_it_takes_with_it(phrase: bytes) -> None:
    async def main(gateway: GatewayProcess, first: ServerProcess) -> None:
        async with websockets.connect(gateway.url("/", "ws")) as websocket:
            await websocket.send(phrase[:3200])
            await websocket.recv()
            first.process.kill()
            with pytest.raises(websockets.ConnectionClosed, match="1011"):
                await websocket.recv()

    with ServerProcess({"model": ENGLISH}) as first, ServerProcess({"model": ENGLISH}) as second, Watched(
        [first.port, second.port]
    ) as gateway:
        dead = f"127.0.0.1:{first.port}"
        lost = {
            f'{SESSIONS}{{door="vosk",outcome="lost"}}': 1.0,
            f'{FAILURES}{{reason="lost",server="{dead}"}}': 1.0,
            'stt_gateway_audio_seconds_total{door="vosk"}': 0.2,
            "stt_gateway_open_seconds_count": 1.0,
        }
        with gateway.moving(lost):
            asyncio.run(main(gateway, first))
        before = gateway.figures()
        for _ in range(2):  # one of them has the dead one's turn
            assert "better" in at_vosk(gateway, phrase).lower()
        moved = gateway.figures().since(before)
        assert moved[f'{SESSIONS}{{door="vosk",outcome="completed"}}'] == 2
        assert f'{FAILURES}{{reason="unreachable",server="127.0.0.1:{second.port}"}}' not in moved
        assert gateway.ready() == (200, {"state": "ready", "engines": 1, "free": 1})
        second.process.kill()
        second.wait()
        assert gateway.ready() == (503, {"state": "unreachable", "engines": 0, "free": 0})
        assert gateway.answer("/healthz") == (200, "ok\n")
        status, line = gateway.answer("/healthz?deep=1")
        assert (status, line.partition(":")[0]) == (503, "no speech is recognised")


def test_an_engine_that_dies_is_a_session_that_its_server_ended(server: ServerProcess, watched: Watched) -> None:
    async def main() -> None:
        async with websockets.connect(watched.url("/", "ws")) as websocket:
            await websocket.send(bytes(3200))
            await websocket.recv()
            for pid in engine_pids(server):
                kill(pid)
            with pytest.raises(websockets.ConnectionClosed, match="1011"):
                await websocket.recv()

    expected = {
        f'{SESSIONS}{{door="vosk",outcome="lost"}}': 1.0,
        f'{FAILURES}{{reason="ended",server="127.0.0.1:{server.port}"}}': 1.0,
        'stt_gateway_audio_seconds_total{door="vosk"}': 0.2,
        "stt_gateway_open_seconds_count": 1.0,
    }
    with watched.moving(expected):
        asyncio.run(main())


# --- health


def served(server: ServerProcess) -> float:
    """Sessions that the server has had."""
    told = figures(server.metrics_port).values  # type: ignore[attr-defined]
    return sum(value for name, value in told.items() if name.startswith("stt_sessions_total"))


def pause(seconds: float) -> None:
    """Until so much time has passed in which nothing is asked."""
    began_s = time.monotonic()
    wait_until(lambda: time.monotonic() - began_s > seconds)


def test_a_flood_of_deep_checks_is_one_recognition_of_the_real_server(server: ServerProcess, watched: Watched) -> None:
    pause(INTERVAL_S)
    before, told = served(server), []
    with ThreadPoolExecutor(50) as threads:
        for port in (watched.metrics_port, watched.port):
            told += [threads.submit(ask, port, "/healthz?deep=1") for _ in range(25)]
        answers = [one.result() for one in told]
    assert {status for status, _ in answers} == {200}
    (line,) = {content.split(";")[0] for _, content in answers}
    assert line.startswith(f"the server at 127.0.0.1 port {server.port} recognised 1.0 s of built-in sound in ")
    wait_until(lambda: served(server) == before + 1)


def test_a_gateway_is_alive_and_busy_while_every_engine_is_in_use(server: ServerProcess, watched: Watched) -> None:
    assert watched.ready() == (200, {"state": "ready", "engines": 1, "free": 1})
    pause(INTERVAL_S)
    with Wire(server.port) as holder:
        holder.start("holder")
        assert watched.ready() == (503, {"state": "busy", "engines": 1, "free": 0})
        assert watched.answer("/healthz") == (200, "ok\n")
        status, line = watched.answer("/healthz?deep=1")
        assert (status, line) == (200, "nothing was checked: no engine is free; 0.0 s ago\n")
    wait_until_free(server)
    assert watched.ready()[0] == 200


def test_a_recogniser_that_hangs_fails_the_deep_check_until_it_has_been_replaced(
    server: ServerProcess, watched: Watched
) -> None:
    pause(INTERVAL_S)
    with frozen(*engine_pids(server)):
        status, line = watched.answer("/healthz?deep=1", LIMIT_S + SOON_S)
        assert (status, line.partition(":")[0]) == (503, "no speech is recognised")
        assert watched.answer("/healthz") == (200, "ok\n")
    wait_until_free(server)
    pause(INTERVAL_S)
    assert watched.answer("/healthz?deep=1", LIMIT_S)[0] == 200


def test_a_frozen_server_counts_as_none_and_the_other_one_serves(server: ServerProcess, phrase: bytes) -> None:
    with ServerProcess({"model": ENGLISH}) as other, Watched([other.port, server.port]) as gateway:
        assert gateway.ready() == (200, {"state": "ready", "engines": 2, "free": 2})
        with frozen(other.process.pid):
            assert gateway.ready(LOOK_S + SOON_S) == (200, {"state": "ready", "engines": 1, "free": 1})
            assert "better" in at_vosk(gateway, phrase).lower()  # it was found silent, and is asked last
            with Wire(server.port) as holder:
                wait_until_free(server)
                holder.start("holder")
                assert gateway.ready(LOOK_S + SOON_S) == (503, {"state": "busy", "engines": 1, "free": 0})
            with frozen(server.process.pid):
                assert gateway.ready(LOOK_S + SOON_S)[1]["state"] == "unreachable"
                status, _ = gateway.answer("/healthz?deep=1", LOOK_S + LIMIT_S + SOON_S)
                assert status == 503
                assert gateway.answer("/healthz") == (200, "ok\n")


def test_while_it_drains_a_gateway_says_so_where_it_is_watched_and_there_until_its_end(
    server: ServerProcess, phrase: bytes
) -> None:
    with Watched([server.port]) as gateway:

        async def main() -> str:
            async with websockets.connect(gateway.url("/", "ws")) as websocket:
                await websocket.send(json.dumps({"config": {"sample_rate": 16000}}))
                await websocket.send(phrase)
                await websocket.recv()
                gateway.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(gateway.wait_for_line, "stopping")
                status, told = await asyncio.to_thread(gateway.ready)
                assert (status, told["state"]) == (503, "draining")
                assert await asyncio.to_thread(gateway.answer, "/healthz") == (200, "ok\n")
                assert await asyncio.to_thread(gateway.active, "vosk") == 1
                await websocket.send('{"eof" : 1}')
                return str(json.loads(await websocket.recv())["text"])

        assert asyncio.run(main()) == "Fail again. Fail better."
        assert gateway.wait() == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", gateway.metrics_port)) != 0


# --- where it is told


def test_figures_of_a_gateway_without_a_port_for_them_are_at_its_own_behind_its_keys(server: ServerProcess) -> None:
    with GatewayProcess([server.port], {"api_keys": [KEY]}) as gateway:
        assert request(gateway.port, "GET", "/metrics").status == 401
        reply = request(gateway.port, "GET", "/metrics", headers=WITH_KEY)
        assert "stt_gateway_connections 1.0" in reply.text
        assert "stt_gateway_process_resident_memory_bytes" in reply.text


def test_figures_of_a_gateway_with_one_are_not_where_its_clients_are(watched: Watched) -> None:
    assert request(watched.port, "GET", "/metrics").status == 404
    assert request(watched.port, "GET", "/readyz").status == 200


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=rf"gateway\.metrics_port: cannot listen on 127\.0\.0\.1 port {port}: "):
            GatewayProcess([5000], {"metrics_port": port}).__enter__()


def test_whoever_opens_a_gateway_without_keys_to_others_is_told_that_its_figures_are_open_too() -> None:
    with GatewayProcess([9], {"ip": "0.0.0.0", "doors": ["page"]}) as gateway:
        gateway.wait_for_line(rf"whoever reaches port {gateway.port} may read /metrics there")
