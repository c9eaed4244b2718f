"""What the gateway costs: processor time of many WebSockets, and how much later than without it text comes.

sessions.py   a session in real time
tap.py        between the gateway and its server: when what passes
rows.py       a row of the table
__main__.py   the measurement: one who speaks, beside sessions that keep the gateway busy
"""
