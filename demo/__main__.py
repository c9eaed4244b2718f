"""Stream a real recording, at the pace of a microphone, to a server of one's own, and show what comes back."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from demo.recording import CLIP_TRANSCRIPT, clip_pcm

_PROJECT = Path(__file__).resolve().parents[1]
_RECORDING = Path("test.pcm")


def main() -> int:
    """Run the demonstration; returns the client's exit status, or the server's."""
    _RECORDING.write_bytes(clip_pcm())
    print(f"{_RECORDING} is made: seven seconds of English. The server starts and loads its model …", flush=True)
    with tempfile.TemporaryDirectory(prefix="stt-demo-") as folder:
        server = _start_server(Path(folder))
        try:
            status = _stream(_wait_for_port(server))
        finally:
            server.terminate()
            server.communicate()
    print(f'What was read: "{CLIP_TRANSCRIPT}"')
    return status or server.returncode


def _start_server(folder: Path) -> "subprocess.Popen[str]":
    """For English, on any free port, with its log in `folder`."""
    config = folder / "config.yaml"
    config.write_text((_PROJECT / "demo/english.yaml").read_text(encoding="utf-8") + "network: {port: 0}\n")
    command = [sys.executable, str(_PROJECT / "tcp_server.py"), "--config", str(config)]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, encoding="utf-8")


def _wait_for_port(server: "subprocess.Popen[str]") -> str:
    """Where the server listens; when it ends instead, so does the demonstration, with what it said."""
    assert server.stderr is not None
    lines = []
    for line in server.stderr:
        match = re.search(r"listening on \S+ port (\d+)", line)
        if match is not None:
            return match[1]
        lines.append(line)
    raise SystemExit("the server has not started:\n" + "".join(lines))


def _stream(port: str) -> int:
    command = [sys.executable, str(_PROJECT / "tcp_client.py"), "--ip", "localhost", "--port", port]
    command += ["--ifn", str(_RECORDING), "--realtime"]
    print("$", *command, flush=True)
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
