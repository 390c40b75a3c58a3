"""The ticks of an axis, against a search over all round numbers."""

import numpy as np
import pytest

from contrabench.report.axis import step_of

ROUND = sorted(each * 10.0**power for each in (1, 2, 5) for power in range(-6, 5))


@pytest.mark.parametrize("most", [1, 3, 5, 8])
@pytest.mark.parametrize("span", [*np.random.default_rng(0).uniform(0.001, 30, 20)])
def test_the_step_is_the_least_round_number_that_makes_so_few_steps(span, most):
    wanted = min(step for step in ROUND if span / step <= most)
    assert step_of(span, most) == pytest.approx(wanted)
