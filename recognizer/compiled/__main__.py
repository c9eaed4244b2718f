"""`python -m recognizer.compiled`: compile what is written in C, for this processor and for older ones."""

import sys

from recognizer.compiled.build import SETS, BuildError, build


def main() -> int:
    """Compile all; 1 where none can be. An old compiler may not know the best: their processors then have the next."""
    n_made = 0
    for name in SETS:
        try:
            print(f"matrices in int8 are compiled for {name}: {build(name)}")
            n_made += 1
        except BuildError as error:
            print(f"matrices in int8 cannot be compiled for {name}: {error}", file=sys.stderr)
    return 0 if n_made else 1


if __name__ == "__main__":
    sys.exit(main())
