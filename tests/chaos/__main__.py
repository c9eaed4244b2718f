"""`python -m tests.chaos`: the long run. Its figures are in docs/reliability.md."""

import argparse
import sys
import time

from demo.recording import recording_pcm
from tests.chaos.chaos import run
from tests.chaos.flood import flood


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0, help="of chaos (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=100_000, help="hostile ones, then (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the order of events (default: the time)")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    report = run(60 * options.minutes, options.seed, recording_pcm())
    print(report, flush=True)
    flooded = flood(options.connections, options.seed, recording_pcm())
    print(flooded)
    return 1 if report.wrongs or report.faults or flooded.faults or not flooded.still_right else 0


if __name__ == "__main__":
    sys.exit(main())
