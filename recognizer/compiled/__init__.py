"""The decoder's steps in C, where a C compiler has been: they are bound by what torch's own matrices lose.

    decoder.c    a step, its matrices, and the choice of the best tokens
    build.py     compiles it, once for each set of instructions
    library.py   what is compiled, called with tensors
    matrices.py  int8 matrices by it
    pages.py     where their weights lie
    step.py      a decoder's step by it
    __main__.py  `python -m recognizer.compiled`: compile it beforehand

Without a compiler torch computes the same (decoder.py, int8.py, search.py).
"""
