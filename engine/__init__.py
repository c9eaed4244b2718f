"""Engines: audio in, recognised segments out. What the server keeps of them, and what runs in their processes.

config.py       the configuration and how it is read
endpointer.py   voiced and unvoiced frames → segments (pure)
segmenter.py    audio → frames → VAD → endpointer → utterances
messages.py     the commands and answers that cross the process boundary

in the server:
leasing.py      which session has which engine
load.py         how busy the engines are (pure)
fork_server.py  the process that engines are forked from

in an engine:
tether.py       what ties the process that it was forked from to the server
preload.py      what that process imports
template.py     what an engine was forked with: the model
heap.py         how it uses the C library's heap, so that pages stay shared
board.py        what the other engines do
listener.py     commands → utterances
worker.py       utterances → text; also before they have ended
"""
