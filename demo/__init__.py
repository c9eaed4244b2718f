"""A server to try: `python -m demo` streams a real recording to it and shows what comes back.

recording.py   real speech out of an installed package
server.py      a server process of one's own: start, wait until it is ready, stop
"""
