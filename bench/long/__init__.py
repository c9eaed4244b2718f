"""Speech that goes on for minutes: what is lost where it is cut.

joined.py       long recordings, made of short ones
differences.py  what a text has that was not said, or not; pure
rows.py         what came out of one recogniser and language
"""
