"""What the fork server imports. What cannot be imported, the first engine tries again, and tells."""

import contextlib

from forkserver.lean import without_numba

with contextlib.suppress(Exception), without_numba():
    import whisper  # noqa: F401
with contextlib.suppress(Exception):
    import forkserver.template  # noqa: F401
