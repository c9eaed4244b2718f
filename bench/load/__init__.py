"""A server under clients that speak in real time.

plan.py     what they send and when, and what their results are held against; pure
clients.py  the clients: one loop over all their sockets
usage.py    what the server's processes use
rows.py     what came out of one number of clients
"""
