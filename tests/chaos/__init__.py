"""Everything that goes wrong, all at once, and what comes of it: `python -m tests.chaos`.

crowd.py      clients: some speak, some vanish, some send rubbish
rubbish.py    what some of them send
monkey.py     kills and freezes engines
chaos.py      both for a while against one server
flood.py      hostile connections, as many as the machine can make
footprint.py  what a server holds, before and after
"""
