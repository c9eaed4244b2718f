"""A server to try: `python -m demo` streams a real recording to it and shows what comes back.

serve.py       the server and the gateway together, for `make serve`
recording.py   real speech out of an installed package; `python -m demo.recording` writes it as test.pcm
english.yaml   the server's configuration for it
"""
