"""What a person does first: start the server, send it a recording with the client command, stop it.

tests/pythons.py runs this on other Pythons too.
"""

import subprocess
import sys

import psutil

from demo.recording import recording_wav
from tests.harness.engines import relatives
from tests.harness.server import PROJECT, ServerProcess

_GONE_S = 30.0


def test_a_recording_becomes_text_and_nothing_is_left_behind() -> None:
    with ServerProcess({"model": {"language": "en"}}) as server:
        command = [sys.executable, str(PROJECT / "tcp_client.py"), "--port", str(server.port)]
        client = subprocess.run(
            [*command, "--ifn", str(recording_wav())], capture_output=True, encoding="utf-8", check=False, timeout=120
        )
        assert (client.returncode, client.stderr) == (0, "")
        first, second = client.stdout.splitlines()
        assert "ever tried" in first.lower()
        assert "fail better" in second.lower()
        others = relatives(server.process.pid)
        assert others
        assert server.stop() == 0
        _, left = psutil.wait_procs(others, _GONE_S)
        assert left == []
        assert sorted(path.name for path in server.folder.iterdir()) == ["config.yaml", "log"]
        assert [line for line in server.lines if " WARNING " in line or " ERROR " in line] == []
