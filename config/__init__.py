"""The configuration: `sections.py` says what the file may hold, `reading.py` reads it."""
