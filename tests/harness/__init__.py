"""What tests and benchmarks need to deal with a real server from outside.

server.py    a server process of one's own: start, wait until it is ready, stop
scripted.py  a server for one connection, without an engine, that answers what a test says
wire.py      a client that can do what no decent client does
engines.py   the server's other processes
leaving.py   how clients go away
markdown.py  the project's documents
random_models.py  models whose weights were drawn
"""
