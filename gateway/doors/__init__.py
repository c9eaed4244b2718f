"""The doors: each module speaks what one kind of client speaks.

deepgram.py   WebSocket as of Deepgram's live transcription
page.py       the page for browsers
realtime.py   OpenAI's Realtime API, transcription only
rest.py       OpenAI's API for audio files
vosk.py       WebSocket as of vosk-server
wyoming.py    TCP as of Wyoming, for Home Assistant
"""
