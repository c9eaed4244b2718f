"""Below the two sides of the protocol (`util.py`): nothing but the standard library, as clients use it too.

packets.py  framing, texts, the parser
data.py     what the packets of options, live text, events and detailed results say
"""
