"""What is written in C → a library for this processor, compiled once and kept beside it."""

import hashlib
import os
import platform
import shlex
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Sequence, Tuple

_FOLDER = Path(__file__).resolve().parent
SOURCES = _FOLDER / "source"
BUILT = _FOLDER / "built"
_TIMEOUT_S = 60.0  # all of them within the 300 s that a service manager waits (deploy/)
_MACHINES = ("x86_64", "amd64")

# Sums may be taken in any order, but infinities stay what they are. Not -ffast-math: linking with it changes how the
# whole process treats very small numbers (GCC's manual, "Options That Control Optimization").
_FLAGS = (
    *("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread", "-fopenmp-simd"),
    *("-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno", "-ffp-contract=fast"),
)
_AVX2 = ("-mavx2", "-mfma")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mprefer-vector-width=512")
_AMX = ("-mamx-tile", "-mamx-int8", "-mamx-bf16", "-mavx512bf16")
_HAS_AVX2 = ("avx2", "fma")
_HAS_AVX512 = ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni")
# For x86-64. What is compiled, best first: flags of the compiler, and what /proc/cpuinfo must name.
SETS: Dict[str, Tuple[Tuple[str, ...], Tuple[str, ...]]] = {
    "amx": (
        (*_AVX2, *_AVX512, *_AMX),
        (*_HAS_AVX2, *_HAS_AVX512, "amx_tile", "amx_int8", "amx_bf16", "avx512_bf16"),
    ),
    "avx512_vnni": ((*_AVX2, *_AVX512), (*_HAS_AVX2, *_HAS_AVX512)),
    "avx2": (_AVX2, _HAS_AVX2),
}


class BuildError(Exception):
    """There is no library that may be used, and none can be made; the text says why."""


def build(name: str) -> Path:
    """Compile it, where that has not been done; returns where it is; raises BuildError."""
    if platform.machine().lower() not in _MACHINES:
        raise BuildError(f"it is written for x86-64, and this is {platform.machine()}")
    try:
        found = [path for path in BUILT.glob(f"{_stem(name)}-*.so") if _is_whole(path)]
        return found[0] if found else _made(name)
    except (OSError, ValueError) as error:  # whatever there is instead of a folder, a source, a compiler
        advice = "run python -m recognizer.compiled as who may write there"
        raise BuildError(f"{BUILT} is of no use ({error}): {advice}") from error


def _stem(name: str) -> str:
    """What a file's name begins with that is made of this source with these flags."""
    sources = (path.read_bytes() for path in sorted(SOURCES.glob("*.[ch]")))
    made_of = (*sources, repr((_FLAGS, SETS[name][0])).encode(), platform.machine().encode())
    return f"whisper-{name}-{_digest(*made_of)}"


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]


def _is_whole(path: Path) -> bool:
    """Its name ends with what its bytes add up to: a torn library would end the process that loads it."""
    return path.stem.endswith("-" + _digest(path.read_bytes()))


def _made(name: str) -> Path:
    BUILT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT, prefix="building-") as folder:
        made = Path(folder) / "made.so"
        compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
        _run([*compiler, *_FLAGS, *SETS[name][0], *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(made), "-lm"])
        path = BUILT / f"{_stem(name)}-{_digest(made.read_bytes())}.so"
        os.replace(made, path)  # at once, as another process may be doing the same
    for older in set(BUILT.glob(f"*-{name}-*.so")) - {path}:
        older.unlink()
    return path


def _run(command: Sequence[str]) -> None:
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                _, errors = process.communicate(timeout=_TIMEOUT_S)
            except subprocess.TimeoutExpired as error:
                os.killpg(process.pid, signal.SIGKILL)  # also what it has started
                raise BuildError(f"the C compiler {command[0]} takes more than {_TIMEOUT_S:.0f} s") from error
    except OSError as error:
        advice = "apt install gcc libc6-dev, or another"
        raise BuildError(f"there is no C compiler {command[0]} ({error.strerror}; {advice})") from error
    if process.returncode:
        said = next((line for line in errors.splitlines() if line.strip()), f"status {process.returncode}")
        raise BuildError(f"the C compiler {command[0]} fails: {said}")
