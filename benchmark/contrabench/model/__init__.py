"""The backbone, its named taps, and the hand-off of weights."""
