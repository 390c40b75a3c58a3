"""The largest numbers that a request may hold: beyond them a row or a process could not hold them.

They are told where a number comes in, on the command line or in a file.
"""

FOLDS = 1_000
COUNT = 1_000
"""Draws or seeds, where it is said how many."""
NARROW = 2**31 - 1
"""What has 32 bits in a row: the number of a draw, the version of a method."""
SEED = 2**63 - 1
"""A seed, 64 bits in a row; also what any other whole number has room for."""
MACHINE = 1_024
"""Threads, processes, devices or parts of a step."""
STEPS = 100_000
RUNS = 200_000
"""Of a study; to plan ten thousand takes seconds."""
PIXELS, WIDTH, BATCH = 2_048, 1_024, 65_536
IMAGES = 10**12
FIELD_MM = 1_000
"""Side of the square that is kept of a slice; no heart needs half of it."""
