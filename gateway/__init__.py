"""The gateway process: speaks what existing clients speak, and the TCP protocol to the servers. It recognises nothing.

__main__.py      the command: configuration, log, start, stop
app.py           the doors at their paths
doors/           one module for each: its protocol, as a pure Translator, and where it is found
page/            the page for browsers
conversation.py  one client at one door: Translator ↔ Line
line.py          one client's speech, over as many sessions as it takes
upstream.py      sessions with the servers
openai.py        what OpenAI's API for files says: requests, answers, errors
upload.py        requests with a file, taken while they come
form.py          multipart forms, parsed while they come
decoding.py      media files → PCM, as fast as it is taken
threads.py       for what would hold up the loop
keys.py          who may
services.py      what every door is given
metrics.py       what is measured, for Prometheus
health.py        whether clients are served, and speech is recognised
watching.py      where those who watch are told both
asked.py         what clients of any door ask for, in the protocol's words
audio.py         sound of any width, of several channels
wyoming.py       Wyoming's events
web.py           WebSockets as streams of messages
tcp.py           TCP connections as streams of messages, and their listener
trickle.py       how many small messages a client may send
transports.py    what the system knows of connections: who has left
errors.py        why a client is not served
"""
