"""How many engines and cores are needed for how many clients: a simulation, and Erlang's formula beside it.

erlang.py    how often every engine is in use, and how many it takes for that to be rare; pure
calls.py     the same by simulation: sessions that come and go, over many servers, with a queue; pure
server.py    one server's cores under clients that speak: how late results are; pure
traffic.py   what those clients say, out of the load test's own streams
rows.py      what came out
"""
