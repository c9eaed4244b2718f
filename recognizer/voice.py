"""Where the straight line of doubt.py lies, between what was said and what was not.

Fitted to one half of the speakers by `python -m bench.silence --fit`, checked with the others (docs/benchmarks.md,
"Silence"). The weights belong to the network of silero-vad 6.2.
"""

HEARD, OFFSET = 0.62, -3.64

_VOICE = """
    0.32 0.25 -0.04 0.09 0.87 0.15 -1.27 1.22 1.01 0.30 -0.11 -2.79 0.92 0.23 4.27 -1.28 -0.65 -0.28 -1.88 1.19
    0.31 0.37 1.11 0.04 2.49 0.11 0.91 1.40 0.18 -0.52 0.04 0.69 1.38 -0.22 1.34 2.36 0.89 -0.86 -0.06 -1.43
    1.68 0.63 -0.13 0.06 0.48 0.63 -0.14 -0.87 -0.43 -0.26 -0.01 -1.84 1.35 -0.14 -0.66 0.59 -0.50 2.78 0.23
    0.33 -1.74 0.18 -0.87 -0.32 -1.75 1.04 -1.05 1.14 0.19 0.04 0.35 -0.01 0.74 0.33 1.13 0.40 -0.93 0.93 0.19
    0.58 0.69 -0.46 0.68 -0.51 -0.01 0.06 0.62 -1.19 0.41 0.66 0.10 2.81 -0.97 0.66 0.02 -1.32 -0.91 -0.34 0.00
    4.89 0.06 3.62 -4.39 0.45 0.47 0.43 -0.06 0.05 -0.94 0.74 0.31 0.50 1.99 2.40 0.05 0.10 0.61 0.27 1.00 -0.57
    -8.34 -0.59 0.98 -0.60 -0.10 -0.62 1.72 0.31
"""
VOICE = tuple(map(float, _VOICE.split()))  # of each number that Silero VAD remembers
