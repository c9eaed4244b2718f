"""An engine's process: audio in, recognised segments out.

listener.py    commands → utterances
intake.py      audio as it is sent → PCM that VAD takes
segmenter.py   audio → frames → VAD → endpointer → utterances
endpointer.py  voiced and unvoiced frames → segments (pure)
continuity.py  what one utterance is to the next (pure)
live.py        when an open utterance is looked at, and what was shown of it (pure)
worker.py      utterances → text; also before they have ended
turns.py       which engine may use a core, or a card
scarcity.py    what is done where there is no memory
cores.py       how many cores there are for this process
"""
