import math

import pytest

from contrabench.protocol import Phase
from contrabench.training.schedule import rate

PHASE = Phase(images=1600, batch=16, lr=2e-3, warmup=0.1)


def test_rate_rises_to_the_peak_and_falls_to_nothing():
    rates = [rate(step, 100, PHASE) for step in range(100)]
    assert rates[:10] == pytest.approx([2e-3 * (k + 1) / 10 for k in range(10)])
    assert rates[10] == pytest.approx(2e-3)
    assert rates[55] == pytest.approx(1e-3)
    assert 0 < rates[-1] < 1e-5
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_no_warm_up_and_one_step():
    phase = PHASE.model_copy(update={"warmup": 0.0})
    assert rate(0, 1, phase) == pytest.approx(2e-3)
    assert rate(3, 4, phase) == pytest.approx(2e-3 * (1 + math.cos(0.75 * math.pi)) / 2)


def test_a_constant_rate_only_warms_up():
    phase = PHASE.model_copy(update={"schedule": "constant"})
    rates = [rate(step, 100, phase) for step in range(100)]
    assert rates[:10] == [rate(step, 100, PHASE) for step in range(10)]
    assert set(rates[10:]) == {2e-3}
