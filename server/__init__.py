"""The server's process: clients, their sessions, and which engine each of them has.

acceptor.py     who connects gets a connection and a thread
listening.py    the socket to listen on: of our own, or handed over by the service manager
admission.py    who may connect, and how many at once (pure)
connection.py   one client from accept to close: socket, clock and thread of its session
session.py      one session as a state machine (pure)
mailbox.py      what other threads want a connection's thread to know
outbox.py       what a client is sent and has not taken (pure)
stream.py       a client's socket in the clear
tls.py          the same under TLS
recording.py    what a client sent, kept in a file
pace.py         how fast a client may send, how often a quiet one is looked at (pure)
supervision.py  which engine runs, which session has which (pure; `asr_process.py` acts for it)
process.py      a process that was forked, and its queues
weights.py      the process that lends the weights to engines on cards
load.py         how busy the engines are, for the log (pure)
latencies.py    median and worst of a session's latencies (pure)
metrics.py      what is measured, for Prometheus
memory.py       how much memory an engine takes
health.py       whether clients are served
deep.py         whether an engine recognises: lets one hear `clip.py`
clip.py         a sound that is built in (pure)
monitor.py      the doors for those who ask: HTTP, and the agent of a balancer
"""

VERSION = "unreleased"
