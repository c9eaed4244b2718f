"""The clients that docs/clients.md shows, run as they stand there, in the environment of the published clients."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.harness.clients import PYTHON
from tests.harness.doors import wait_until_free
from tests.harness.gateway import GatewayProcess
from tests.harness.markdown import Document
from tests.harness.server import PROJECT, ServerProcess

CLIENTS = Document(PROJECT / "docs" / "clients.md")
CLIENT_S = 120.0
IMPORTS = ["from deepgram import", "from livekit.plugins import deepgram", "import websockets", "from wyoming.client"]


@pytest.mark.parametrize("imports", IMPORTS)
def test_the_documents_client_hears_what_is_said(
    imports: str, server: ServerProcess, gateway: GatewayProcess, speech: bytes, tmp_path: Path
) -> None:
    if not PYTHON.exists():
        pytest.skip("the clients are not installed; make clients installs them")
    (code,) = (one for one in CLIENTS.codes("python") if imports in one)
    for port, real in ((8000, gateway.port), (2700, gateway.port_of("vosk")), (10300, gateway.port_of("wyoming"))):
        code = code.replace(str(port), str(real))
    (tmp_path / "client.py").write_text(code, encoding="utf-8")
    (tmp_path / "test.pcm").write_bytes(speech)
    wait_until_free(server)
    done = subprocess.run(
        [str(PYTHON), "client.py"], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=CLIENT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Fail again. Fail better." in done.stdout
