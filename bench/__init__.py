"""Measurements. Nothing here is imported by the server.

speech.py        recordings with transcripts, cut into segments as the server cuts them; error rates
contenders.py    one recogniser each in a process of its own: ours, openai-whisper, faster-whisper
recognizers.py   the comparison: every contender in turns over the same segments, one table
"""
