"""One recogniser on a device, in a process of its own: `python -m bench.gpu.contenders NAME SETTINGS MODEL F`.

SETTINGS are `bench.gpu.parts.Settings` in JSON; F has the weights of `base` as CTranslate2 wants them. Lines as of
`bench.recognizers.contenders`.
"""

import ctypes
import importlib.util
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict

from bench.gpu.parts import Settings
from bench.recognizers.contenders import Recognise, answer, faster_whisper, openai_whisper, ours
from engine.cores import usable_cores

BEAM_SIZE = 5
OURS, OPENAI, FASTER = "ours", "openai-whisper", "faster-whisper"
Make = Callable[[int, Path], Recognise]


def _made(name: str, settings: Settings, model: str) -> Make:
    if name == OURS:
        asked: Dict[str, Any] = {**settings.ours(model)}
        return partial(ours, beam_size=BEAM_SIZE, **asked)
    if name == OPENAI:
        return partial(openai_whisper, beam_size=BEAM_SIZE, device=settings.device, size=settings.models[model])
    kind, _, index = settings.device.partition(":")
    if kind == "cuda":
        _load_cublas()
    place: Dict[str, Any] = {"device": kind, "device_index": int(index or 0)}
    return partial(faster_whisper, beam_size=BEAM_SIZE, compute_type=settings.compute, **place)


def _load_cublas() -> None:
    """CTranslate2 looks for CUDA 12's cuBLAS by name, and finds what is loaded; of the package where that is there."""
    try:
        spec = importlib.util.find_spec("nvidia.cublas")
    except ModuleNotFoundError:
        return
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in Path(folder).glob("lib/libcublas.so.12"):
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def main() -> None:
    """Answer until there is nothing more to recognise."""
    name, written, model, folder = sys.argv[1:]
    answer(_made(name, Settings(**json.loads(written)), model)(usable_cores(), Path(folder)))


if __name__ == "__main__":
    main()
