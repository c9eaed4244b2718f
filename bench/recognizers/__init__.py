"""Recognisers compared over the same segments.

contenders.py  one recogniser each in a process of its own
process.py     one of them, seen from the benchmark
weights.py     the weights of `base` as the others want them
rows.py        what came out of one contender and language
"""
