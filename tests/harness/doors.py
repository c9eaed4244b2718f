"""What the tests of all doors compare with: the same speech over the TCP protocol."""

from pathlib import Path

from client.session import StreamingClient
from protocol.data import SessionOptions
from tests.harness.engines import wait_until
from tests.harness.server import ServerProcess

_PCM_16K = SessionOptions(sample_rate=16000)


def tcp_text(server: ServerProcess, pcm: bytes, options: SessionOptions = _PCM_16K) -> str:
    """The whole text that the TCP protocol gives; a turn is ended as doors end it, a few samples before the sound."""
    with StreamingClient("127.0.0.1", server.port, options=options) as client:
        client.send(pcm)
        if options.turn == "manual":
            client.end_utterance()
        client.finish()
        return " ".join(result.text for result in client.results())


def saved(folder: Path, pcm: bytes) -> str:
    """The path of a file with that sound, for a client that is a program."""
    path = folder / "speech.pcm"
    path.write_bytes(pcm)
    return str(path)


def wait_until_free(server: ServerProcess) -> None:
    """Wait until the session of a client that has left has given its engine back."""
    wait_until(lambda: "sleeping" in " ".join(StreamingClient("127.0.0.1", server.port).status()))
