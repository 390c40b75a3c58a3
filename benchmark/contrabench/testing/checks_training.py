"""Checks of each stage: its loss as it stands, and after a short training on one batch."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor, nn

from contrabench.contracts import registry
from contrabench.contracts.objective import StepResult
from contrabench.errors import AuditError, RequestError
from contrabench.protocol import seed_for
from contrabench.testing.phantoms import (
    exchange,
    exchange_masks,
    repeat_first_view,
    take,
    with_images_of,
)
from contrabench.testing.trial import RUNTIME, FaultError, StageTrial, Trial
from contrabench.text import one_line, size_words
from contrabench.training.step import Step, TrainingTask, saved_for_backward

YARDSTICK = "simclr"
_SAME, _ZERO = 1e-6, 1e-8
_ROUNDING = 1e-5
_NEAR_RELATIVE, _NEAR_ABSOLUTE = 0.2, 0.1
_NUDGE, _FLOOR = 0.5, 0.1
_REPEATS = 3
_BATCHES = 8
_PRICE = 0.02
_GAP = 0.005


def _step(task: TrainingTask, batch: Any, stream: int = 0) -> StepResult:
    """What a task computes for a batch, with torch's random numbers those of a stream."""
    torch.manual_seed(seed_for("check step", stream))
    result: StepResult = task(batch)
    return result


def _loss(task: TrainingTask, *batches: Any, stream: int = 0) -> float:
    """The mean loss of some batches, without a graph."""
    with torch.no_grad():
        return statistics.mean(float(_step(task, batch, stream).loss) for batch in batches)


def _same(first: float, second: float) -> bool:
    """Whether two losses are equal up to what rounding may change."""
    return math.isclose(first, second, rel_tol=_SAME, abs_tol=_ZERO)


def _state(task: TrainingTask) -> dict[str, Tensor]:
    """All weights and buffers, those that no checkpoint holds among them."""
    return {**dict(task.named_parameters()), **dict(task.named_buffers())}


def _differing(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> list[str]:
    """Names of tensors that are not equal in type, shape and every bit; NaN is like NaN."""
    return [
        name
        for name, value in first.items()
        if value.dtype != second[name].dtype
        or not torch.equal(value.nan_to_num(), second[name].nan_to_num())
    ]


def _nudged(task: TrainingTask) -> TrainingTask:
    """The task with every trained weight moved: an untrained network maps all slices alike."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in task.parameters():
            if weight.requires_grad:
                weight.add_(_NUDGE * torch.randn_like(weight) * (weight.std(correction=0) + _FLOOR))
    return task


def check_labels(trial: StageTrial[Any]) -> None:
    """Masks are used where they are declared, and nowhere else."""
    (batch,) = trial.batches(1)
    try:
        loss = _loss(trial.fresh(), batch)
    # A stranger's code runs here, and may raise anything; what, another check tells.
    except Exception:
        try:
            task = trial.fresh(labels=True)
            _loss(task, task.batch(0, 0, 1))
        except Exception:
            return
        raise FaultError(
            "the stage declares labels=False, but its loss cannot be computed without masks",
            "leave view.label alone, or declare labels=True in the Stage",
        ) from None
    if trial.stage.labels and _same(loss, _loss(trial.fresh(), exchange_masks(batch))):
        raise FaultError(
            "the stage declares labels=True, but other masks give the same loss",
            "use the masks, or declare labels=False and be comparable to methods without",
        )


def check_finite(trial: StageTrial[Any]) -> None:
    """The loss is a finite scalar of float32, and nearly the same under bfloat16 autocast."""
    for batch in trial.batches(2):
        losses = []
        for where, half in (("in float32", False), ("under bfloat16 autocast", True)):
            task = trial.fresh()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                result: object = _step(task, batch)
            if not isinstance(result, StepResult) or not isinstance(result.loss, Tensor):
                raise FaultError(
                    "forward() returns no StepResult with a tensor as its loss", "return one"
                )
            loss = result.loss.detach()
            if loss.shape != () or loss.dtype != torch.float32:
                raise FaultError(
                    f"the loss {where} is a tensor of shape {tuple(loss.shape)} and type "
                    f"{loss.dtype}",
                    "return a scalar of float32: take the mean, and cast embeddings before the "
                    "loss",
                )
            if not bool(torch.isfinite(loss)):
                raise FaultError(
                    f"the loss {where} is {float(loss)}",
                    "look for a logarithm or a division of zero, an overflow of half precision, "
                    "or a mean over nothing",
                )
            losses.append(float(loss))
        exact, rough = losses
        near = math.isclose(exact, rough, rel_tol=_NEAR_RELATIVE, abs_tol=_NEAR_ABSOLUTE)
        # A loss that differs from itself has another fault, which another check tells.
        if not near and _same(exact, _loss(trial.fresh(), batch)):
            raise FaultError(
                f"the loss is {exact:.4g} in float32 and {rough:.4g} under bfloat16 autocast",
                "compute the loss in float32: cast with contrabench.objectives.contrast.exact, "
                "inside torch.autocast(device_type, enabled=False)",
            )


def check_channels(trial: StageTrial[Any]) -> None:
    """Images of two channels give a finite loss, too."""
    several = trial.of_channels(2)
    (batch,) = several.batches(1)
    try:
        loss = _loss(several.fresh(), batch)
        fault = "" if math.isfinite(loss) else f"the loss is {loss}"
    # A stranger's code runs here, and may raise anything.
    except Exception as error:
        fault = one_line(error)
    if fault:
        raise FaultError(
            f"with images of two channels: {fault}",
            "take the number of channels from backbone.in_channels, or from the images",
        )


def check_inputs(trial: StageTrial[Any]) -> None:
    """Other images give another loss, and so do other weights."""
    first, second = trial.batches(2)
    other = with_images_of(first, second)
    tasks = trial.fresh(), _nudged(trial.fresh())
    losses = [_loss(task, first) for task in tasks]
    if all(_same(loss, _loss(task, other)) for loss, task in zip(losses, tasks, strict=True)):
        raise FaultError(
            f"the loss is {losses[0]:.6g} whatever the images show",
            "let the loss depend on features of the views' images",
        )
    if _same(*losses):
        raise FaultError(
            f"the loss is {losses[0]:.6g} whatever the weights are",
            "compute the features with the backbone that forward() is given",
        )


def check_batch_of_two(trial: StageTrial[Any]) -> None:
    """Two slices are enough for a finite loss and a finite gradient."""
    (batch,) = trial.batches(1)
    task = trial.fresh()
    loss = _step(task, take(batch, torch.arange(2))).loss
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in task.parameters() if weight.grad is not None]
    if not all(bool(torch.isfinite(value).all()) for value in (loss, *grads)):
        raise FaultError(
            f"with two slices the loss is {float(loss.detach()):.4g}, or its gradient not finite",
            "guard the case of no positive and of no negative: such a slice has no term",
        )


def check_deterministic(trial: StageTrial[Any]) -> None:
    """One seed gives the same loss and the same weights, bit for bit."""
    runs: list[dict[str, Tensor]] = []
    for repeat in range(_REPEATS):
        # What is drawn from these generators shows, because they begin elsewhere.
        random.seed(repeat)
        np.random.seed(repeat)
        task = trial.fresh()
        step = Step(task, trial.phase, RUNTIME, 2)
        losses = {f"the loss of step {number}": step.take(number)["loss"] for number in range(2)}
        runs.append(losses | {f"'{name}'": value for name, value in _state(task).items()})
        if names := _differing(runs[0], runs[repeat]):
            raise FaultError(
                f"two runs from one seed differ, first in {names[0]}",
                "draw random numbers from torch alone, whose generator the loop seeds at "
                "every step, and never from `random` or NumPy",
            )


def check_gradients(trial: StageTrial[Any]) -> None:
    """A short training reaches all that is trained and changes nothing else."""
    trained = trial.trainings[0]
    if isinstance(trained, AuditError):
        raise FaultError(
            str(trained).removeprefix("audit rule 4: "),
            "a momentum copy is a MomentumCopy, whose weights are buffers; a head that is not "
            "used is left out",
        )
    if isinstance(trained, Exception):
        raise trained
    for name in _differing(trial.start, trial.end):
        if name.split(".")[0] not in trial.trained:
            raise FaultError(
                f"'backbone.{name}' has changed, but the stage does not train its part",
                "name the part in Stage.trains, or leave requires_grad of its weights alone",
            )


def check_resume(trial: StageTrial[Any]) -> None:
    """A training taken up again from its last checkpoint ends in the same bits."""
    hint = (
        "keep everything that a step leaves to the next in persistent buffers, made in "
        "__init__: no lists, no counters in Python, no register_buffer(..., persistent=False)"
    )
    states = []
    for end in trial.trainings:
        if isinstance(end, Exception):
            raise FaultError(f"a training that was stopped cannot go on: {one_line(end)}", hint)
        states.append(_state(end))
    if names := _differing(*states):
        raise FaultError(
            f"a training that was stopped and taken up again ends otherwise, first in '{names[0]}'",
            hint,
        )


def check_order(trial: StageTrial[Any]) -> None:
    """The loss does not depend on the order of the slices in the batch."""
    for batch in trial.batches(2):
        # Nudged, because slices that all have the same loss could change places unnoticed.
        task = _nudged(trial.after_training())
        loss = _loss(task, batch)
        if _loss(task, replace(batch, seed=batch.seed + 1), stream=1) != loss:
            raise SkipTest("the objective draws random numbers, other ones each time")
        turned = _loss(task, take(batch, torch.arange(batch.size).flip(0)))
        if not math.isclose(loss, turned, rel_tol=_ROUNDING, abs_tol=_ROUNDING / 10):
            raise FaultError(
                f"the loss is {loss:.6g}, and {turned:.6g} for the same slices from last to first",
                "let no term depend on a slice's place in the batch; what a slice is stands in "
                "batch.info",
            )


def _gain(trial: StageTrial[Any]) -> float:
    """By how much the loss of the training's batch has changed: the unit of other differences.

    A change, and not a fall: a loss may be defined to rise as training goes on.
    """
    (batch,) = trial.batches(1)
    return abs(_loss(trial.fresh(), batch) - _loss(trial.after_training(), batch)) or 1.0


def _price_of_collapse(trial: StageTrial[Any], fault: str, hint: str) -> float:
    """How much more collapsed features cost than the learnt ones, in units of `_gain`.

    A fault if it is too little.
    """
    (batch,) = trial.batches(1)
    learnt, collapsed = trial.after_training(), trial.after_training()

    def flatten(module: nn.Module, inputs: object, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps that are the same for all slices and pixels."""
        return {
            name: values.mean((0, 2, 3), keepdim=True).expand_as(values).contiguous()
            for name, values in maps.items()
        }

    trial.backbone_of(collapsed).register_forward_hook(flatten)
    price = (_loss(collapsed, batch) - _loss(learnt, batch)) / _gain(trial)
    if price < _PRICE:
        raise FaultError(f"{fault} ({price:+.2g} of what training gained)", hint)
    return price


def check_negatives(trial: StageTrial[Any]) -> None:
    """Slices that all look alike cost more than slices that differ."""
    guard = trial.method.info.against_collapse
    if guard in ("asymmetry", "nothing"):
        raise SkipTest(f"`info.against_collapse` is '{guard}': no loss has to repel")
    _price_of_collapse(
        trial,
        "nothing keeps the embeddings apart: one feature map for all slices costs no more than "
        "their own",
        "look at the sign and the set of the negatives, or say in `info.against_collapse` what "
        "does it instead",
    )


def check_collapse(trial: StageTrial[Any]) -> str:
    """After a short training the loss still rests on what tells the slices apart.

    How far pooled features spread tells less: a sound method may leave little of it, and
    one that collapses in its head may leave much.
    """
    price = _price_of_collapse(
        trial,
        "the embeddings have collapsed: after training, one feature map for all slices is as "
        "good as their own",
        "a loss without negatives needs a stopped gradient on the target, and a predictor or a "
        "momentum copy",
    )
    return f"collapsed features would cost {price:.2g} x what training gained"


def check_positives(trial: StageTrial[Any]) -> None:
    """After a short training true pairs cost less than those whose views or masks are strangers.

    True, one view beside itself: two augmented views of new slices may still look too
    different to a network that has seen one batch.
    """
    if len(trial.stage.views) < 2 and not trial.stage.labels:
        raise SkipTest("the stage has one view and no labels, so that nothing is paired")
    pairs = [repeat_first_view(batch) for batch in trial.batches(1 + _BATCHES)[1:]]
    task = trial.after_training()
    perfect, wrong = _loss(task, *pairs), _loss(task, *map(exchange, pairs))
    if wrong - perfect < _GAP * _gain(trial):
        raise FaultError(
            f"views of one slice, even if they are the same, cost {perfect:.4g}, and views or "
            f"masks of different slices {wrong:.4g}",
            "look at the sign of the similarity and at which embeddings are the positives; a "
            "stage that pairs nothing declares one view",
        )


def _cost(trial: StageTrial[Any]) -> tuple[float, int]:
    """Median seconds of a step on one batch, and bytes kept for its backward pass."""
    task = trial.fresh()
    batch = task.batch(0, 0, 1)
    with saved_for_backward() as saved:
        _step(task, batch)
    return Step(task, trial.phase, RUNTIME, trial.phase.steps).seconds(), sum(saved.values())


@lru_cache(maxsize=1)
def _usual_cost() -> tuple[float, int]:
    try:
        return _cost(Trial(registry.methods.get(YARDSTICK)).stages[0])
    except RequestError as error:
        raise SkipTest("there is no SimCLR to compare with") from error


def check_cost(trial: StageTrial[Any]) -> str:
    """Time and memory of a step in multiples of SimCLR's; told, never judged."""
    (seconds, saved), (usual_seconds, usual_saved) = _cost(trial), _usual_cost()
    return (
        f"{seconds / usual_seconds:.1f} x the time and "
        f"{saved / usual_saved:.1f} x the memory of a step of SimCLR "
        f"({seconds * 1000:.0f} ms, {size_words(saved)} kept for backward)"
    )
