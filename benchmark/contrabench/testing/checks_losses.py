"""Checks of the loss as it stands before any training."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from contrabench.contracts.objective import StepResult
from contrabench.testing.conformity import CheckList, FaultError
from contrabench.testing.phantoms import exchange_masks, first_two, with_images_of
from contrabench.testing.trial import RUNTIME, StageTrial, loss_of, state_of, step_of
from contrabench.training.step import Step
from contrabench.training.tasks import PretrainTask

CHECKS = CheckList()
_SAME, _ZERO = 1e-6, 1e-8
_NEAR_RELATIVE, _NEAR_ABSOLUTE = 0.2, 0.1
_NUDGE, _FLOOR = 0.5, 0.1
_REPEATS = 3


def same(first: float, second: float, relative: float = _SAME, absolute: float = _ZERO) -> bool:
    """Whether two losses are equal up to what rounding may change."""
    return math.isclose(first, second, rel_tol=relative, abs_tol=absolute)


def identical(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal in every bit; NaN is like NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    return torch.equal(first.nan_to_num(), second.nan_to_num())


def nudged(task: PretrainTask) -> PretrainTask:
    """The task with every trained weight moved: an untrained network maps all slices alike."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in task.parameters():
            if weight.requires_grad:
                weight.add_(_NUDGE * torch.randn_like(weight) * (weight.std(correction=0) + _FLOOR))
    return task


@CHECKS.enter("stages")
def check_labels(trial: StageTrial) -> None:
    """Masks are used where they are declared, and nowhere else."""
    (batch,) = trial.batches(1)
    try:
        loss = loss_of(trial.fresh(), batch)
    # A stranger's code runs here, and may raise anything; what, another check tells.
    except Exception:
        if trial.stage.labels or not _runs_with_masks(trial):
            return
        raise FaultError(
            "the stage declares labels=False, but its loss cannot be computed without masks",
            "leave view.label alone, or declare labels=True in the Stage",
        ) from None
    if trial.stage.labels and same(loss, loss_of(trial.fresh(), exchange_masks(batch))):
        raise FaultError(
            "the stage declares labels=True, but other masks give the same loss",
            "use the masks, or declare labels=False and be comparable to methods without",
        )


def _runs_with_masks(trial: StageTrial) -> bool:
    """Whether the loss can be computed once masks are given against the declaration."""
    try:
        task = trial.fresh(trial.bank(labels=True))
        loss_of(task, task.batch(0, 0, 1))
    except Exception:
        return False
    return True


@CHECKS.enter("labels")
def check_finite(trial: StageTrial) -> None:
    """The loss is a finite scalar of float32, and nearly the same under bfloat16 autocast."""
    for batch in trial.batches(2):
        exact = _finite(step_of(trial.fresh(), batch), "in float32")
        with torch.autocast("cpu", torch.bfloat16):
            rough = _finite(step_of(trial.fresh(), batch), "under bfloat16 autocast")
        near = math.isclose(exact, rough, rel_tol=_NEAR_RELATIVE, abs_tol=_NEAR_ABSOLUTE)
        # A loss that differs from itself has another fault, which another check tells.
        if not near and same(exact, loss_of(trial.fresh(), batch)):
            raise FaultError(
                f"the loss is {exact:.4g} in float32 and {rough:.4g} under bfloat16 autocast",
                "compute the loss in float32: cast with contrabench.objectives.contrast.exact, "
                "inside torch.autocast(device_type, enabled=False)",
            )


def _finite(result: object, where: str) -> float:
    """The loss, if it is what a loss must be."""
    if not isinstance(result, StepResult) or not isinstance(result.loss, Tensor):
        raise FaultError("forward() returns no StepResult with a tensor as its loss", "return one")
    loss = result.loss
    if loss.shape != () or loss.dtype != torch.float32:
        raise FaultError(
            f"the loss {where} is a tensor of shape {tuple(loss.shape)} and type {loss.dtype}",
            "return a scalar of float32: take the mean, and cast embeddings before the loss",
        )
    if not bool(torch.isfinite(loss)):
        raise FaultError(
            f"the loss {where} is {float(loss.detach())}",
            "look for a logarithm or a division of zero, an overflow of half precision, or a "
            "mean over nothing",
        )
    return float(loss.detach())


@CHECKS.enter("finite")
def check_inputs(trial: StageTrial) -> None:
    """Other images give another loss, and so do other weights."""
    first, second = trial.batches(2)
    other = with_images_of(first, second)
    tasks = trial.fresh(), nudged(trial.fresh())
    losses = [loss_of(task, first) for task in tasks]
    if all(same(loss, loss_of(task, other)) for loss, task in zip(losses, tasks, strict=True)):
        raise FaultError(
            f"the loss is {losses[0]:.6g} whatever the images show",
            "let the loss depend on features of the views' images",
        )
    if same(*losses):
        raise FaultError(
            f"the loss is {losses[0]:.6g} whatever the weights are",
            "compute the features with the backbone that forward() is given",
        )


@CHECKS.enter("finite")
def check_batch_of_two(trial: StageTrial) -> None:
    """Two slices are enough for a finite loss and a finite gradient."""
    (batch,) = trial.batches(1)
    task = trial.fresh()
    loss = step_of(task, first_two(batch)).loss
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in task.parameters() if weight.grad is not None]
    if bool(torch.isfinite(loss)) and all(bool(torch.isfinite(grad).all()) for grad in grads):
        return
    raise FaultError(
        f"with two slices the loss is {float(loss.detach()):.4g}, or its gradient not finite",
        "guard the case of no positive and of no negative: such a slice has no term",
    )


@CHECKS.enter("finite")
def check_deterministic(trial: StageTrial) -> None:
    """One seed gives the same loss and the same weights, bit for bit."""
    with _keeping_global_randomness():
        runs = []
        for repeat in range(_REPEATS):
            # What is drawn from these generators shows, because they begin elsewhere.
            random.seed(repeat)
            np.random.seed(repeat)
            runs.append(_two_steps(trial))
    for other in runs[1:]:
        for name, value in runs[0].items():
            if not identical(value, other[name]):
                raise FaultError(
                    f"two runs from one seed differ, first in {name}",
                    "draw random numbers from torch alone, whose generator the loop seeds at "
                    "every step, and never from `random` or NumPy",
                )


def _two_steps(trial: StageTrial) -> dict[str, Tensor]:
    """The losses of two steps and the state after them."""
    task = trial.fresh()
    step = Step(task, trial.phase, RUNTIME, 2)
    losses = {f"the loss of step {number}": step.take(number)["loss"] for number in range(2)}
    return losses | {f"'{name}'": value for name, value in state_of(task).items()}


@contextmanager
def _keeping_global_randomness() -> Iterator[None]:
    """Leaves the generators of Python and NumPy as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
