"""What the fork server and its engines are told of the server."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

MAIN = """
import multiprocessing.spawn
from config.sections import ModelConfig
from forkserver.start import ForkServer

if __name__ == "__main__":
    ForkServer(ModelConfig())
    print(sorted(key for key in multiprocessing.spawn.get_preparation_data("engine-0") if "main" in key))
"""


def test_engines_do_not_run_the_servers_main_module_again(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    for arguments in (["main.py"], ["-m", "main"]):
        command = [sys.executable, *arguments]
        ended = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        )
        assert ended.stdout == "[]\n"
