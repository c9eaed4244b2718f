"""Measurements. Nothing here is imported by the server.

speech.py           recordings with transcripts, cut into segments as the server cuts them; error rates
contenders.py       one recogniser each in a process of its own
openvino_export.py  the weights as OpenVINO GenAI wants them
recognizers.py      the comparison: every contender in turns over the same segments
report.py           what came out, as a table and as JSON
chart.py            the same as a picture
"""
