"""The process that engines are forked from: it loads torch and the model once. And who lends the weights.

start.py      starting and stopping it, seen from the server
tether.py     what ties it to the server
preload.py    what it imports
lean.py       what openai-whisper would bring with it, left out
template.py   what an engine is forked with: the model
weights.py    the process that owns the weights on cards, and lends them
heap.py       how the C library's heap is used, so that pages stay shared
"""
