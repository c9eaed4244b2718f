"""`python -m tests.chaos --minutes 20`: the long run. Its figures are in docs/reliability.md."""

import argparse
import sys
import time

from demo.recording import recording_pcm
from tests.chaos.chaos import run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of events (default: the time)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    report = run(60 * options.minutes, options.seed, recording_pcm())
    print(report)
    return 1 if report.wrongs or report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
