"""Everything that goes wrong, all at once, and what comes of it: `python -m tests.chaos --minutes 20`.

crowd.py    clients: some speak, some vanish, some send rubbish
monkey.py   kills and freezes engines
chaos.py    both for a while against one server, and what is left afterwards
"""
