"""Text that is shown while somebody speaks: how soon, how much of it, and whether it stays.

compare.py     how shown text is held against the final one; pure
utterances.py  which packets belong to which utterance, and which of them should not have come; pure
words.py       where each word of a final text lies in the sound
figures.py     sessions that are over → the figures of a row
rows.py        what came out of one language and number of clients
"""
