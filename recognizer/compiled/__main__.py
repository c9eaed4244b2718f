"""`python -m recognizer.compiled`: compile what is written in C, for this processor and for older ones."""

import sys

from recognizer.compiled.build import SETS, BuildError, build


def main() -> int:
    """Compile all; 1 where one cannot be: its processors then have older instructions, or torch."""
    status = 0
    for name in SETS:
        try:
            print(f"matrices in int8 are compiled for {name}: {build(name)}")
        except BuildError as error:
            print(f"matrices in int8 cannot be compiled for {name}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
