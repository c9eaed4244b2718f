"""What crosses between the server and its engines: `messages.py`, and `settings.py` that an engine is started with."""
