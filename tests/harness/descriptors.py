"""What a process has open."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Iterator


def nameless_files(pid: int) -> Iterator[str]:
    """Where files without a name are that it has open."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it has closed it meanwhile
            target = os.readlink(descriptor)
            if target.endswith("(deleted)"):
                yield target
