"""Confidences of words held against what was said.

right.py  which words of a text are right, and whose recordings they were fitted to
rows.py   what came out for words that were said with about the same confidence, for all, and of their times
"""
