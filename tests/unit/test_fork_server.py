"""What the fork server and its engines are told of the server."""

import subprocess
import sys
from pathlib import Path

import pytest

from forkserver.start import lendable

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


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", ""),
        ("expandable_segments:True", "expandable_segments:False"),
        ("expandable_segments:False", "expandable_segments:False"),
        ("max_split_size_mb:64, expandable_segments : True", "max_split_size_mb:64, expandable_segments : False"),
        ("expandable_segments:true,backend:native", "expandable_segments:False,backend:native"),
    ],
)
def test_memory_that_is_lent_has_no_segments_that_expand(given: str, taken: str) -> None:
    assert lendable(given) == taken


def test_what_engines_are_forked_from_has_no_second_compiler_and_who_asks_for_it_gets_the_real_one() -> None:
    code = (
        "import sys, forkserver.preload\n"
        "print(sorted({'forkserver.template', 'numba', 'llvmlite'} & set(sys.modules)))\n"
        "import numba; print(numba.njit(lambda x: x + 1)(2))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "['forkserver.template']\n3\n"
