"""Everything that goes wrong, all at once, and what comes of it: `python -m tests.chaos`.

crowd.py      clients: some speak, some vanish, some send rubbish
rubbish.py    what some of them send
monkey.py     kills and freezes engines
chaos.py      both for a while against one server
flood.py      hostile connections, as many as the machine can make
footprint.py  what a server holds, before and after

The same for HAProxy, gateways and servers: `python -m tests.chaos.fleet`.

callers.py       one call at each door
fleet_monkey.py  kills and restarts also servers, gateways and HAProxy
fleet.py         both for a while, and what each call brought
"""
