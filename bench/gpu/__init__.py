"""Everything that a card has to be measured for, in one command of ten minutes.

part.py        a part of it in a process of its own, which has so much time
parts.py       which parts there are, their time, and what each is told
models.py      the models, real and with random weights; what they hear
machine.py     the card, and the files of random weights
parity.py      whether the texts are those of `whisper.decode`
timing.py      encoder, decoder and utterances, by the device's own clock
others.py      the same utterances by other recognisers
contenders.py  one of these in a process of its own
live.py        a server with clients that ask for live text
memory.py      what an engine takes, on the card and on the host
rows.py        what one row of each table is, and the picture
"""
