"""Stream a real recording, at the pace of a microphone, to a server of one's own, and show what comes back."""

import subprocess
import sys
from pathlib import Path

from demo.recording import TRANSCRIPT, recording_pcm
from tests.harness.server import PROJECT, ServerProcess

_RECORDING = Path("test.pcm")


def main() -> int:
    """Run the demonstration; returns the client's exit status."""
    _RECORDING.write_bytes(recording_pcm())
    print(f"{_RECORDING} is made: ten seconds of English. The server starts and loads its model …", flush=True)
    with ServerProcess({"model": {"language": "en"}}) as server:
        command = [sys.executable, str(PROJECT / "tcp_client.py"), "--ip", "localhost", "--port", str(server.port)]
        command += ["--ifn", str(_RECORDING), "--realtime"]
        print("$", *command, flush=True)
        status = subprocess.run(command, check=False).returncode
        server_status = server.stop()
    print(f'What was read: "{TRANSCRIPT}"')
    return status or server_status


if __name__ == "__main__":
    sys.exit(main())
