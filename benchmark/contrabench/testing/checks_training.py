"""Checks of each stage after a short training on one batch: repeated, resumed, and learnt from."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from unittest import SkipTest

import numpy as np
import torch
from torch import Tensor, nn

from contrabench.errors import AuditError
from contrabench.testing.checks_loss import loss_of, nudged
from contrabench.testing.phantoms import exchange, repeat_first_view, take
from contrabench.testing.report import FaultError
from contrabench.testing.trial import RUNTIME, StageTrial
from contrabench.text import one_line
from contrabench.training.step import Step, TrainingTask

_ROUNDING = 1e-5
_REPEATS = 3
_BATCHES = 8
_PRICE = 0.02
_GAP = 0.005


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
        task = nudged(trial.after_training())
        loss = loss_of(task, batch)
        if loss_of(task, replace(batch, seed=batch.seed + 1), stream=1) != loss:
            raise SkipTest("the objective draws random numbers, other ones each time")
        turned = loss_of(task, take(batch, torch.arange(batch.size).flip(0)))
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
    return abs(loss_of(trial.fresh(), batch) - loss_of(trial.after_training(), batch)) or 1.0


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
    price = (loss_of(collapsed, batch) - loss_of(learnt, batch)) / _gain(trial)
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
    trained, *others = trial.batches(1 + _BATCHES)
    # With the random numbers of training, such as a grid of pixels: it has learnt by these alone.
    pairs = [replace(repeat_first_view(batch), seed=trained.seed) for batch in others]
    task = trial.after_training()
    perfect, wrong = loss_of(task, *pairs), loss_of(task, *map(exchange, pairs))
    if wrong - perfect < _GAP * _gain(trial):
        raise FaultError(
            f"views of one slice, even if they are the same, cost {perfect:.4g}, and views or "
            f"masks of different slices {wrong:.4g}",
            "look at the sign of the similarity and at which embeddings are the positives; a "
            "stage that pairs nothing declares one view",
        )
