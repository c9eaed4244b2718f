"""`python -m bench.gpu`: all that a card has to be measured for, within ten minutes, as tables and a picture.

Each part is a process of its own with so much time (parts.py). One that fails, or is not done in time, says so in one
line; the others go on, what it has found counts, and the exit status is 1. What the parts say beside that is in a log.
"""

import argparse
import re
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Optional, Tuple

import torch

from bench import command
from bench.gpu import part
from bench.gpu.models import MODELS, RANDOM, is_random
from bench.gpu.parts import LIMITS_S, MACHINE, PICTURE_S, TOTAL_S, Settings
from bench.gpu.rows import Row, tables
from bench.report import Report
from recognizer.devices import count_cards_aside

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


def main() -> int:
    """Measure, print tables and faults, draw; the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that parts end with us
    ends_s = time.monotonic() + TOTAL_S
    options = _parse()
    fault = _fault(options.device)
    if fault:
        print(fault, file=sys.stderr)
        return 1
    options.log.write_bytes(b"")
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as folder:
        report, notes, faults = _measure(_settings(options, Path(folder)), options, ends_s)
    faults += _keep(report, options)
    written = "\n\n".join(filter(None, (tables(report.facts["conditions"], report.rows), _listed(notes))))
    print(written)
    if options.markdown:
        options.markdown.write_text(f"{written}\n{_listed(faults)}\n", encoding="utf-8")
    for text in faults:
        print(f"{text} (more in {options.log})", file=sys.stderr)
    return 1 if faults else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="a card, or cpu to try all this without one (default: cuda)")
    parser.add_argument(
        "--models",
        nargs="+",
        default=["base", f"{RANDOM}turbo"],
        help=f"sizes, paths, or random weights: {', '.join(MODELS)}; the first is compared with other recognisers and "
        f"speaks live, the last one's memory is measured too",
    )
    parser.add_argument("--parts", nargs="+", choices=[*LIMITS_S][1:], default=[*LIMITS_S][1:])
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 16, 64], help="of servers that are measured")
    parser.add_argument("--seconds", type=float, default=15.0, help="of live speech that count for each of them")
    parser.add_argument("--utterances", type=int, default=24, help="of each kind, at most")
    parser.add_argument("--repeats", type=int, default=40, help="of each work that is timed")
    parser.add_argument("--markdown", type=Path, help="keep the tables in this file too")
    parser.add_argument("--log", type=Path, default=Path("bench-gpu.log"), help="what the parts say beside the tables")
    options = command.parse(parser, needs_speech=False)
    unknown = [model for model in options.models if is_random(model) and model not in MODELS]
    faults = {
        "--device: cpu, cuda or cuda:N": not _DEVICE.fullmatch(options.device),
        f"--models: {', '.join(MODELS)}, or a size or path": bool(unknown),
        "--engines, --utterances: at least 1": min(*options.engines, options.utterances) < 1,
        "--repeats: at least 4": options.repeats < 4,
        "--seconds: more than 0": options.seconds <= 0,
    }
    for text, wrong in faults.items():
        if wrong:
            parser.error(text)
    return options


def _fault(device: str) -> Optional[str]:
    """Why nothing can be measured on that device."""
    count = 0 if device == "cpu" else count_cards_aside()
    if device == "cpu" or int(device.partition(":")[2] or 0) < count:
        return None
    return (
        f"there is no {device} here: torch {torch.__version__} finds {count} cards; "
        f"`--device cpu --models '{RANDOM}small test'` tries all of this without one"
    )


def _settings(options: argparse.Namespace, folder: Path) -> Settings:
    models = {
        model: str(folder / f"{index}.pt") if is_random(model) else model
        for index, model in enumerate(dict.fromkeys(options.models))
    }
    has_card = options.device != "cpu"
    return Settings(
        device="cuda:0" if options.device == "cuda" else options.device,
        compute="float16" if has_card else "float32",
        models=models,
        speech=str(options.speech or ""),
        engines=sorted(set(options.engines)),
        seconds=options.seconds,
        utterances=options.utterances,
        repeats=options.repeats,
        bench_python=options.bench_python,
    )


def _measure(
    settings: Settings, options: argparse.Namespace, ends_s: float
) -> Tuple[Report[Row], List[str], List[str]]:
    """All parts in turn, each told when it is done; rows, what a reader should know, and what is wrong."""
    report, notes, faults = Report[Row]({"conditions": ""}, []), [], []
    for name in [MACHINE, *options.parts]:
        began_s = time.monotonic()
        found = part.run(name, settings, min(LIMITS_S[name], ends_s - PICTURE_S - began_s), options.log)
        print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr)
        report.rows += found.rows
        faults += [f"{name}: {text}" for text in found.faults]
        if name == MACHINE:
            report.facts["conditions"] = ", ".join(found.notes)
        else:
            notes += [f"{name}: {text}" for text in found.notes]
    return report, notes, faults


def _keep(report: Report[Row], options: argparse.Namespace) -> List[str]:
    """Keep the rows and draw them; what is wrong."""
    try:
        command.keep(report, options, "bench.gpu.rows")
    except (SystemExit, OSError) as error:
        return [f"picture: {'; '.join(list(filter(None, str(error).splitlines()))[-2:])}"]
    return []


def _listed(texts: List[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)


if __name__ == "__main__":
    sys.exit(main())
