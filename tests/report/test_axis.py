"""The ends of an axis, by hand, and its ticks, against a search over all round numbers."""

import math

import numpy as np
import pandas as pd
import pytest

from contrabench.report.axis import reach, step_of

ROUND = sorted(each * 10.0**power for each in (1, 2, 5) for power in range(-6, 5))


@pytest.mark.parametrize("most", [1, 3, 5, 8])
@pytest.mark.parametrize("span", [*np.random.default_rng(0).uniform(0.001, 30, 20)])
def test_the_step_is_the_least_round_number_that_makes_so_few_steps(span, most):
    wanted = min(step for step in ROUND if span / step <= most)
    assert step_of(span, most) == pytest.approx(wanted)


def ends(*rows, margin=0.01):
    """Of an axis over rows of a family with a mean and both ends of its interval."""
    return reach(pd.DataFrame(rows, columns=["Family", "d", "l", "h"]), ["d", "l", "h"], margin)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([("contrast", 0.02, -0.01, 0.05)], (-0.01, 0.05)),
        # The margin and zero are always shown.
        ([("contrast", 0.003, 0.002, 0.004)], (-0.01, 0.01)),
        ([("contrast", 0.02, math.nan, math.nan)], (-0.01, 0.02)),
        # A reference that is as far away again as the rivals are wide is shown, one beyond is not,
        # nor is any part of it.
        ([("contrast", 0.05, 0.0, 0.09), ("reference", 0.15, 0.1, 0.19)], (-0.01, 0.19)),
        ([("contrast", 0.05, 0.0, 0.09), ("reference", 0.15, 0.05, 0.2)], (-0.01, 0.09)),
        ([("contrast", 0.05, 0.0, 0.09), ("control", -0.3, -0.4, 0.0)], (-0.01, 0.09)),
        # Without a rival the others are what there is.
        ([("reference", 0.3, 0.2, 0.4)], (-0.01, 0.4)),
    ],
)
def test_an_axis_shows_every_rival_and_what_does_not_make_it_small(rows, wanted):
    assert ends(*rows) == pytest.approx(wanted)
