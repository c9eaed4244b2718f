"""Coverage-guided fuzzing of everything that reads bytes from the network: `make fuzz`.

An input that breaks something is printed by the fuzzer; it becomes an ordinary test beside those it belongs to.
"""
