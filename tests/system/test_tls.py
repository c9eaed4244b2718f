"""TLS: what is said stays between client and server, and only whom the server wants gets in."""

import contextlib
import re
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

import pytest
import trustme

from demo.recording import recording_wav
from protocol.packets import MAGIC
from tcp_client import ClientError, ConnectError, StreamingClient
from tests.harness.server import PROJECT, ServerProcess
from tests.harness.wire import BEGIN, Wire, audio_packets, session_bytes, user_packet

TIMEOUT_S = 3.0


class Relay:
    """Passes bytes between a client and the server; with `drip` set, to the server one byte in a while."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_connection(("127.0.0.1", port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.drip = threading.Event()
        self._client: Optional[socket.socket] = None
        self._threads = [
            threading.Thread(target=self._up, daemon=True),
            threading.Thread(target=self._down, daemon=True),
        ]

    def __enter__(self) -> "Relay":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (self._listener, self._server, self._client):
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
                sock.close()
        for thread in self._threads:
            thread.join()

    def _up(self) -> None:
        self._client, _ = self._listener.accept()
        self._threads[1].start()
        with contextlib.suppress(OSError):
            while data := self._client.recv(65536):
                if not self.drip.is_set():
                    self._server.sendall(data)
                    continue
                for index in range(len(data)):
                    self._server.sendall(data[index : index + 1])
                    time.sleep(TIMEOUT_S / 10)

    def _down(self) -> None:
        assert self._client is not None
        with contextlib.suppress(OSError):
            while data := self._server.recv(65536):
                self._client.sendall(data)
            self._client.shutdown(socket.SHUT_WR)


class Site(NamedTuple):
    """A server that asks for certificates, and what its clients have."""

    server: ServerProcess
    authority: trustme.CA
    folder: Path

    def issue(self, name: str, file: str) -> Path:
        """A certificate with its key for `name`, in one file."""
        path = self.folder / file
        path.unlink(missing_ok=True)
        for blob in (issued := self.authority.issue_cert(name)).cert_chain_pems:
            blob.write_to_path(str(path), append=True)
        issued.private_key_pem.write_to_path(str(path), append=True)
        return path

    def context(self) -> ssl.SSLContext:
        """Of a client that is known here."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.issue("kiosk@example.org", "client.pem"))
        return context

    def client(self) -> StreamingClient:
        return StreamingClient("localhost", self.server.port, tls=self.context())

    def assert_serves(self, phrase: bytes) -> None:
        with self.client() as client:
            client.send(phrase)
            client.finish()
            assert "better" in " ".join(result.text.lower() for result in client.results())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = Site(None, authority, folder).issue("localhost", "server.pem")  # type: ignore[arg-type]
    network = {
        "tls_cert": str(certificate),
        "tls_client_ca": str(folder / "ca.pem"),
        "socket_timeout": TIMEOUT_S,
        "engine_wait": 20,
    }
    with ServerProcess({"network": network, "model": {"language": "en"}}) as server:
        yield Site(server, authority, folder)


def test_a_session_over_tls_gives_what_was_said(site: Site, phrase: bytes) -> None:
    site.server.wait_for_line("listening on .* with TLS")
    site.assert_serves(phrase)


def test_the_command_speaks_tls(site: Site) -> None:
    site.context()
    command = [sys.executable, str(PROJECT / "tcp_client.py"), "--port", str(site.server.port), "--tls"]
    command += ["--ca", str(site.folder / "ca.pem"), "--cert", str(site.folder / "client.pem")]
    ended = subprocess.run(
        [*command, "--ifn", str(recording_wav())], capture_output=True, encoding="utf-8", check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "fail better" in ended.stdout.lower()
    wrong = subprocess.run([*command, "--ip", "127.0.0.1", "--status"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 1
    assert "no TLS with 127.0.0.1" in wrong.stderr
    assert wrong.stderr.count("\n") == 1


def test_a_client_without_a_certificate_of_the_authority_gets_nothing(site: Site) -> None:
    stranger = ssl.create_default_context(cafile=str(site.folder / "ca.pem"))
    with pytest.raises(ClientError, match=r"certificate required|lost"):
        StreamingClient("localhost", site.server.port, tls=stranger).connect()
    site.server.wait_for_line("turned away: no TLS with it: peer did not return a certificate")
    other = trustme.CA()
    other.issue_cert("kiosk@example.org").configure_cert(stranger)
    with pytest.raises(ClientError, match=r"unknown ca|lost"):
        StreamingClient("localhost", site.server.port, tls=stranger).connect()


def test_a_client_that_does_not_trust_the_server_says_so(site: Site) -> None:
    with pytest.raises(ConnectError, match=r"no TLS with localhost .*self-signed"):
        StreamingClient("localhost", site.server.port, tls=ssl.create_default_context()).connect()


def test_a_client_in_the_clear_gets_nothing(site: Site) -> None:
    with Wire(site.server.port) as wire:
        wire.send(session_bytes(b""))
        try:
            answer = wire.socket.recv(65536)
        except ConnectionResetError:
            answer = b""
    assert not answer or answer[0] == 0x15  # an alert of TLS, RFC 8446, 5.1
    site.server.wait_for_line("turned away: no TLS with it: ")


def test_handshakes_that_stall_hold_up_nobody_and_are_given_up(site: Site, phrase: bytes) -> None:
    """The acceptor hands a connection over before the first byte of TLS."""
    stalled: List[socket.socket] = [socket.create_connection(("127.0.0.1", site.server.port)) for _ in range(30)]
    for sock in stalled[::2]:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
    site.assert_serves(phrase)
    for sock in stalled:
        sock.settimeout(10 * TIMEOUT_S)
        assert sock.recv(1) == b""
        sock.close()


def test_a_handshake_that_stalls_does_not_hold_up_a_stop(site: Site) -> None:
    """Defends: nothing is sent before there are keys, and the thread that waits for them is woken."""
    network = {"tls_cert": str(site.folder / "server.pem"), "socket_timeout": 600}
    with ServerProcess({"network": network}) as server, socket.create_connection(
        ("127.0.0.1", server.port)
    ) as stalled, socket.create_connection(("127.0.0.1", server.port)) as other:
        other.sendall(b"no TLS at all")
        with contextlib.suppress(ConnectionResetError):  # when this is thrown out, the first is accepted
            while other.recv(65536):
                pass
        server.process.terminate()
        stalled.settimeout(60)
        assert stalled.recv(1) == b""
        assert server.wait() == 0


def test_half_a_record_now_and_then_keeps_no_session_alive(site: Site) -> None:
    """Defends: silence counts from the last byte that could be decrypted."""
    with Relay(site.server.port) as relay:
        client = StreamingClient("localhost", relay.port, user="dripping", tls=site.context())
        client.connect()
        relay.drip.set()
        client.send(bytes(3200))
        site.server.wait_for_line("user dripping.*: TIMEOUT")
        with contextlib.suppress(ClientError):
            list(client.results())
        client.close()


@pytest.mark.parametrize("goodbye", [True, False], ids=["goodbye", "rubbish"])
def test_a_stream_that_ends_right_behind_audio_frees_its_engine_at_once(
    site: Site, phrase: bytes, goodbye: bool
) -> None:
    """Defends: the end is remembered, although no byte is left for poll to tell of."""
    user = f"leaver {goodbye}"
    with socket.create_connection(("localhost", site.server.port)) as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = site.context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65536))
        secured.write(MAGIC + user_packet(user) + BEGIN)
        raw.sendall(outgoing.read())
        site.server.wait_for_line(f"starts: engine 0, user {user}")
        secured.write(audio_packets(phrase[:3200]))
        if goodbye:
            with pytest.raises(ssl.SSLWantReadError):
                secured.unwrap()
            raw.sendall(outgoing.read())
        else:
            raw.sendall(outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
        site.server.wait_for_line(f"user {user}.*: the client went away", TIMEOUT_S)


def test_a_client_that_floods_a_session_can_still_read_why_it_ended(site: Site) -> None:
    """A reset would throw the error away."""
    with site.client() as client:
        flood = b"%x0000" + bytes(3_000_000)
        assert client._socket is not None
        with pytest.raises(ClientError, match="ILLEGAL_PACKET"):  # noqa: PT012 - it may reach either
            client._send(flood)
            list(client.results())


def test_a_stream_sent_at_once_gives_the_same_as_one_sent_in_small_pieces(site: Site, speech: bytes) -> None:
    """Records of TLS have limits of their own: none of them is left unread."""
    texts = []
    for size in (len(speech), 16384 - 6, 333):
        with site.client() as client:
            for offset in range(0, len(speech), size):
                client.send(speech[offset : offset + size])
            client.finish()
            texts.append(list(client.results()))
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0]) == 2


def test_a_new_certificate_is_shown_without_a_restart(site: Site, phrase: bytes) -> None:
    def serial() -> int:
        context = site.context()
        with socket.create_connection(("localhost", site.server.port)) as sock, context.wrap_socket(
            sock, server_hostname="localhost"
        ) as secured:
            certificate = secured.getpeercert()
            assert certificate is not None
            return int(str(certificate["serialNumber"]), 16)

    before = serial()
    good = (site.folder / "server.pem").read_bytes()
    (site.folder / "server.pem").write_text("no certificate")
    assert serial() == before
    site.server.wait_for_line("the certificate from before stays in use")
    (site.folder / "server.pem").write_bytes(good)
    site.issue("localhost", "server.pem")
    assert serial() != before
    site.server.wait_for_line("the new certificate is in use")
    site.assert_serves(phrase)


def test_a_client_of_tls_that_never_reads_is_cut_off(site: Site, phrase: bytes) -> None:
    with site.client() as client:
        stream = client._socket
        assert stream is not None
        secured: ssl.SSLSocket = stream._secured  # type: ignore[union-attr]
        with stream._moved, pytest.raises(OSError, match=r"timed out|reset|Broken pipe|EOF"):  # type: ignore[union-attr] # noqa: PT012
            while True:  # holding the lock, nothing is read
                try:
                    secured.send(b"%c0000" * 1000)
                except ssl.SSLWantWriteError:
                    assert select.select([], [secured], [], 10 * TIMEOUT_S)[1]
    site.assert_serves(phrase)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"tls_cert": "no certificate"}, "network.tls_cert: .* expected PEM"),
        ({"tls_cert": "CERT", "tls_client_ca": "nothing"}, "network.tls_client_ca: .* expected PEM"),
        ({"tls_cert": "CERT", "tls_key": "OTHER"}, "network.tls_cert: .* with network.tls_key: .*key values mismatch"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_the_start(
    tmp_path: Path, files: "dict[str, str]", expected: str
) -> None:
    authority = trustme.CA()
    mine, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    contents = {"CERT": mine.private_key_and_cert_chain_pem.bytes(), "OTHER": other.private_key_pem.bytes()}
    network = {}
    for key, content in files.items():
        (tmp_path / key).write_bytes(contents.get(content, content.encode()))
        network[key] = str(tmp_path / key)
    server = ServerProcess({"network": network})
    try:
        assert server.wait() == 1
        (line,) = [line for line in server.lines if "CRITICAL" in line]
        assert re.search(expected, line), line
        assert not any("Traceback" in line for line in server.lines)
    finally:
        server.close()
