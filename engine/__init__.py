"""What runs in an engine process: audio in, recognised segments out.

config.py       the configuration and how it is read
endpointer.py   voiced and unvoiced frames → segments (pure)
segmenter.py    audio → frames → VAD → endpointer → utterances
messages.py     the commands and answers that cross the process boundary
worker.py       the process itself: obeys commands, recognises utterances
"""
