"""What a step of a method costs, beside a step of SimCLR; it is told, never judged."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import lru_cache, partial

from contrabench.contracts import registry
from contrabench.errors import RequestError
from contrabench.testing.report import NotApplicableError
from contrabench.testing.trial import RUNTIME, StageTrial, Trial, step_of
from contrabench.text import size_words
from contrabench.training.step import Step, saved_for_backward

YARDSTICK = "simclr"
_STEPS = 5


@dataclass(frozen=True)
class Cost:
    """Of one step on one core.

    Attributes:
        seconds: median time of an optimiser step on one batch.
        saved_bytes: memory of the tensors that the forward pass keeps for the backward pass.
    """

    seconds: float
    saved_bytes: int


def check_cost(trial: StageTrial) -> str:
    """Time and memory of a step in multiples of SimCLR's.

    Raises:
        NotApplicableError: if there is no SimCLR to compare with.
    """
    own, other = _measure(trial), _yardstick()
    return (
        f"{own.seconds / other.seconds:.1f} x the time and "
        f"{own.saved_bytes / other.saved_bytes:.1f} x the memory of a step of SimCLR "
        f"({own.seconds * 1000:.0f} ms, {size_words(own.saved_bytes)} kept for backward)"
    )


@lru_cache(maxsize=1)
def _yardstick() -> Cost:
    try:
        method = registry.methods.get(YARDSTICK)
    except RequestError as error:
        raise NotApplicableError("there is no SimCLR to compare with") from error
    return _measure(Trial(method).stages[0])


def _measure(trial: StageTrial) -> Cost:
    task = trial.fresh()
    batch = task.batch(0, 0, 1)
    with saved_for_backward() as saved:
        step_of(task, batch)
    step = Step(task, trial.phase, RUNTIME, _STEPS)
    seconds = [step.timed(partial(step.take, number)) for number in range(_STEPS)]
    return Cost(statistics.median(seconds), sum(saved.values()))
