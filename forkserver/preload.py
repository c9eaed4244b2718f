"""What the fork server imports. What cannot be imported, the first engine tries again, and tells."""

import contextlib

with contextlib.suppress(Exception):
    from forkserver.lean import without_numba

    with without_numba():
        import whisper  # noqa: F401
    import forkserver.template  # noqa: F401
