"""One client of the server, from accept to close.

config.py       what the configuration says about clients, and the whole configuration
connection.py   the reader: bytes in, the session's life, results out
writer.py       everything that a client is sent, from a thread of its own
waiting.py      deadlines, and waiting for sockets and for the engine
recording.py    what a client sent, kept in a file
admission.py    who may connect, and how many at once
pace.py         how fast a client may send
tls.py          TLS between a client and the server
activation.py   a listening socket that the service manager handed over
"""
