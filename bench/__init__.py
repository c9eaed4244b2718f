"""Measurements. Nothing here is imported by the server.

speech.py           recordings with transcripts, cut into segments as the server cuts them; error rates
contenders.py       one recogniser each in a process of its own
openvino_export.py  the weights as OpenVINO GenAI wants them
recognizers.py      the comparison: every contender in turns over the same segments
report.py           what came out, as a table and as JSON
chart.py            the same as a picture
load.py             the latency of a server under clients that speak in real time
load_plan.py        what these clients send and when, and what their results are held against; pure
load_clients.py     the clients: one loop over all their sockets
load_server.py      what the server's processes use
load_report.py      what came out, as a table and as JSON
load_chart.py       the same as a picture
kept.py             both tables as JSON
environment.py      the project's modules in another environment
"""
