"""Checks that the same work gives the same bits: again, in another order, after a stop."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from contrabench.testing.batches import reverse
from contrabench.testing.losses import nudged, same
from contrabench.testing.report import FaultError, NotApplicableError
from contrabench.testing.trial import StageTrial, loss_of, state_of, step_of
from contrabench.text import one_line

_REPEATS = 3
_ROUNDING = 1e-5


def check_deterministic(trial: StageTrial) -> None:
    """The same seed gives the same loss, gradients and state, bit for bit.

    Raises:
        FaultError: naming the first tensor that differs.
    """
    with _keeping_global_randomness():
        runs = []
        for repeat in range(_REPEATS):
            # What is drawn from these generators shows, because they begin elsewhere.
            random.seed(repeat)
            np.random.seed(repeat)
            runs.append(_two_steps(trial))
    for other in runs[1:]:
        for name, value in runs[0].items():
            if not _identical(value, other[name]):
                raise FaultError(
                    f"two runs from one seed differ, first in {name}",
                    "draw random numbers from torch alone, whose generator the loop seeds at "
                    "every step, and never from `random` or NumPy",
                )


def _two_steps(trial: StageTrial) -> dict[str, Tensor]:
    """Losses and gradients of two steps and the state after them, without an optimiser."""
    task = trial.fresh()
    found: dict[str, Tensor] = {}
    for number in range(2):
        batch = task.batch(number, 0, 1)
        loss = step_of(task, batch, number).loss
        found[f"the loss of step {number}"] = loss.detach()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        task.after_step((number + 1) / 2)
    for name, weight in task.named_parameters():
        if weight.grad is not None:
            found[f"the gradient of '{name}'"] = weight.grad
    return found | {f"'{name}'": value for name, value in state_of(task).items()}


@contextmanager
def _keeping_global_randomness() -> Iterator[None]:
    """Leaves the generators of Python and NumPy as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _identical(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal in every bit; NaN is like NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(first.nan_to_num(), second.nan_to_num())


def check_order(trial: StageTrial) -> None:
    """A batch read from its last slice to its first has the same loss.

    Raises:
        FaultError: if it has another.
        NotApplicableError: if the objective draws random numbers.
    """
    for batch in trial.batches(2):
        # Nudged, because slices that all have the same loss could change places unnoticed.
        task = nudged(trial.after_training())
        loss = loss_of(task, batch)
        if loss_of(task, batch, stream=1) != loss:
            raise NotApplicableError("the objective draws random numbers, other ones each time")
        turned = loss_of(task, reverse(batch))
        if not same(loss, turned, _ROUNDING, _ROUNDING / 10):
            raise FaultError(
                f"the loss is {loss:.6g}, and {turned:.6g} for the same slices from last to first",
                "let no term depend on a slice's place in the batch; what a slice is stands in "
                "batch.info",
            )


def check_resume(trial: StageTrial) -> None:
    """A training taken up again from its last checkpoint ends in the same bits.

    Raises:
        FaultError: naming the first tensor that differs.
    """
    trained = trial.trained
    if trained.error is not None:
        raise NotApplicableError("the short training did not come to its end")
    hint = (
        "keep everything that a step leaves to the next in persistent buffers, made in "
        "__init__: no lists, no counters in Python, no register_buffer(..., persistent=False)"
    )
    if isinstance(trained.resumed, Exception):
        raise FaultError(
            f"a training that was stopped cannot go on: {one_line(trained.resumed)}", hint
        )
    for name, value in trained.everything.items():
        if not _identical(value, trained.resumed[name]):
            raise FaultError(
                f"a training that was stopped and taken up again ends otherwise, first in '{name}'",
                hint,
            )
