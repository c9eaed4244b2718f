"""What the fork server imports. What cannot be imported, the first engine tries again, and tells."""

import contextlib

with contextlib.suppress(Exception):
    import forkserver.template  # noqa: F401
