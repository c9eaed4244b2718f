"""What a model computes in int8, in C, where a C compiler has been: torch loses time at each operation.

    source/      entrance.c, encoder.c, decoder.c, alignment.c; matrices.h, attention.h, numbers.h, which these share;
                 tiles.h, tiled_attention.h, tiles.c for AMX; team.c, whose threads share the work
    build.py     compiles it, once for each set of instructions
    library.py   what is compiled, called with tensors
    matrices.py  int8 matrices by it
    pages.py     where their weights lie
    sound.py     the encoder by it
    step.py      the decoder by it
    __main__.py  `python -m recognizer.compiled`: compile it beforehand

Without a compiler torch computes the same (encoder.py, decoder.py, int8.py, search.py, alignment.py).
"""
