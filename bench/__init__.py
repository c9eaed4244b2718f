"""Measurements. Nothing here is imported by the server.

recordings.py  recordings with transcripts
speech.py      a recording cut as the server cuts it; how wrong a text is
serving.py     the server that is measured
command.py     what every benchmark's command has: options, another environment
report.py      what came out, as a table and as JSON
chart.py       the same as a picture
recognizers/   `python -m bench.recognizers`: recognisers in turns over the same segments
load/          `python -m bench.load`: a server under clients that speak in real time
live/          `python -m bench.live`: text that is shown while somebody speaks
gateway/       `python -m bench.gateway`: what the gateway costs, and how much later text comes through it
archive/       `python -m bench.archive`: recordings one after the other through a server
long/          `python -m bench.long`: speech without pauses, through a server and by the whole file
capacity/      `python -m bench.capacity`: how many engines and cores it takes, simulated
gpu/           `python -m bench.gpu`: all that a card has to be measured for, within ten minutes
silence/       `python -m bench.silence`: what is sent where nobody speaks, and short answers that are lost
telephone/     `python -m bench.telephone`: what of the errors of a telephone line is the server's
paths/         `python -m bench.paths`: error rates of the ways that different processors take
confidence/    `python -m bench.confidence`: how many of the words said with a confidence are right

A benchmark is a folder: `__main__.py` measures, `rows.py` says what one row is, its columns and,
where there is one, its picture.
"""
