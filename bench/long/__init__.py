"""Speech that goes on without a pause for minutes, through a server and by recognisers that get the whole file.

joined.py  such recordings, made of shorter ones
rows.py    what came out of one way to recognise them
"""
