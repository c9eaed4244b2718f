"""An engine's process: audio in, recognised segments out.

listener.py    commands → utterances
segmenter.py   audio → frames → VAD → endpointer → utterances
endpointer.py  voiced and unvoiced frames → segments (pure)
worker.py      utterances → text; also before they have ended
turns.py       which engine may use a core
cores.py       how many cores there are for this process
"""
