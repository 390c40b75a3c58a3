"""Checks of each stage's loss as it stands: what it looks at, what it gives and what it costs."""

from __future__ import annotations

import math
import re
import statistics
from functools import lru_cache
from typing import Any
from unittest import SkipTest

import torch
from torch import Tensor

from contrabench.contracts import intact, registry
from contrabench.contracts.objective import StepResult
from contrabench.contracts.reads import told
from contrabench.errors import AuditError, RequestError, RunError
from contrabench.protocol import BackboneSpec, seed_for
from contrabench.testing.phantoms import exchange_masks, take, with_images_of
from contrabench.testing.report import FaultError
from contrabench.testing.trial import RUNTIME, StageTrial, Trial
from contrabench.text import one_line, size_words
from contrabench.training.meter import Meter
from contrabench.training.step import Step, TrainingTask, saved_for_backward

YARDSTICK = "simclr"
_SAME, _ZERO = 1e-6, 1e-8
_NEAR_RELATIVE, _NEAR_ABSOLUTE = 0.2, 0.1
_NUDGE, _FLOOR = 0.5, 0.1
_NOISE = 0.05


def step_of(task: TrainingTask, batch: Any, stream: int = 0) -> StepResult:
    """What a task computes for a batch, with torch's random numbers those of a stream."""
    torch.manual_seed(seed_for("check step", stream))
    result: StepResult = task(batch)
    return result


def loss_of(task: TrainingTask, *batches: Any, stream: int = 0) -> float:
    """The mean loss of some batches, without a graph."""
    with torch.no_grad():
        return statistics.mean(float(step_of(task, batch, stream).loss) for batch in batches)


def alike(first: float, second: float) -> bool:
    """Whether two losses are equal up to what rounding may change."""
    return math.isclose(first, second, rel_tol=_SAME, abs_tol=_ZERO)


def nudged(task: TrainingTask) -> TrainingTask:
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
        loss = loss_of(trial.fresh(), batch)
    # A stranger's code runs here, and may raise anything; what, another check tells.
    except Exception:
        try:
            task = trial.fresh(labels=True)
            loss_of(task, task.batch(0, 0, 1))
        except Exception:
            return
        raise FaultError(
            "the stage declares labels=False, but its loss cannot be computed without masks",
            "leave view.label alone, or declare labels=True in the Stage",
        ) from None
    if trial.stage.labels and alike(loss, loss_of(trial.fresh(), exchange_masks(batch))):
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
                result: object = step_of(task, batch)
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
        if not near and alike(exact, loss_of(trial.fresh(), batch)):
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
        loss = loss_of(several.fresh(), batch)
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
    tasks = trial.fresh(), nudged(trial.fresh())
    losses = [loss_of(task, first) for task in tasks]
    if all(alike(loss, loss_of(task, other)) for loss, task in zip(losses, tasks, strict=True)):
        raise FaultError(
            f"the loss is {losses[0]:.6g} whatever the images show",
            "let the loss depend on features of the views' images",
        )
    if alike(*losses):
        raise FaultError(
            f"the loss is {losses[0]:.6g} whatever the weights are",
            "compute the features with the backbone that forward() is given",
        )


def check_counts(trial: StageTrial[Any]) -> None:
    """A step moves weights by the engine's optimiser alone, and sees the images that are declared.

    The same as in every run; here before all that would call a slow loss many times.
    """
    who, watch = f"'{trial.method.info.title}'", None
    try:
        intact.check({type(trial.method).__module__: who}, RUNTIME.settings())
        with intact.working(who) as watch:
            task = trial.fresh()
            meter = Meter(Step(task, trial.phase, RUNTIME, trial.phase.steps))
            with meter.watching():
                meter.take(0)
    except AuditError as error:
        raise FaultError(
            re.sub(r"^audit rule \d+: ", "", str(error)),
            "compute a loss of the views with what is trained, and nothing else",
        ) from error
    except RunError as error:
        if not isinstance(error, intact.ChangedError):
            return
        raise FaultError(
            str(error),
            "leave the engine and torch's settings as they are: others train in the same process",
        ) from error
    # A stranger's code runs here, and may raise anything; what, another check tells.
    except Exception:
        return
    if watch is not None and (found := told(watch)):
        raise FaultError(
            f"it reads {', '.join(found)} while it runs",
            "take images from the batch alone; read what is constant at the top of the file, and "
            "it belongs to the fingerprint",
        )


def check_slopes(trial: StageTrial[Any]) -> None:
    """The gradient depends on the images, too, and on them more than on what is drawn."""
    first, second = trial.batches(2)
    task = nudged(trial.fresh())
    slopes = [
        _slope(task, batch, stream)
        for batch, stream in ((first, 0), (with_images_of(first, second), 0), (first, 1))
    ]
    size = max(float(slopes[0].norm()), _ZERO)
    shown, drawn = (float((slopes[0] - other).norm()) / size for other in slopes[1:])
    if shown < _NOISE * max(1.0, drawn):
        raise FaultError(
            "the gradient of the network is the same whatever the images show",
            "let what is differentiated depend on features of the views' images, not on numbers "
            "that are drawn or on the weights alone",
        )


def _slope(task: TrainingTask, batch: Any, stream: int) -> Tensor:
    """The gradient of a loss to all weights of the network that train, as one vector."""
    weights = [weight for weight in task.network.parameters() if weight.requires_grad]
    loss = step_of(task, batch, stream).loss
    if not loss.requires_grad:
        return torch.zeros(1)
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    pairs = zip(found, weights, strict=True)
    return torch.cat([(torch.zeros_like(w) if one is None else one).flatten() for one, w in pairs])


def check_batch_of_two(trial: StageTrial[Any]) -> None:
    """Two slices are enough for a finite loss and a finite gradient."""
    (batch,) = trial.batches(1)
    task = trial.fresh()
    loss = step_of(task, take(batch, torch.arange(2))).loss
    if loss.requires_grad:
        loss.backward()  # type: ignore[no-untyped-call]
    grads = [weight.grad for weight in task.parameters() if weight.grad is not None]
    if not all(bool(torch.isfinite(value).all()) for value in (loss, *grads)):
        raise FaultError(
            f"with two slices the loss is {float(loss.detach()):.4g}, or its gradient not finite",
            "guard the case of no positive and of no negative: such a slice has no term",
        )


def _cost(trial: StageTrial[Any]) -> tuple[float, int]:
    """Median seconds of a step on one batch, and bytes kept for its backward pass."""
    task = trial.fresh()
    batch = task.batch(0, 0, 1)
    with saved_for_backward() as saved:
        step_of(task, batch)
    return Step(task, trial.phase, RUNTIME, trial.phase.steps).seconds(), sum(saved.values())


@lru_cache(maxsize=1)
def _usual_cost(backbone: str) -> tuple[float, int]:
    spec = BackboneSpec.model_validate_json(backbone)
    try:
        return _cost(Trial(registry.methods.get(YARDSTICK), spec=spec).stages[0])
    except RequestError as error:
        raise SkipTest("there is no SimCLR to compare with") from error


def check_cost(trial: StageTrial[Any]) -> str:
    """Time and memory of a step in multiples of SimCLR's; told, never judged."""
    usual_seconds, usual_saved = _usual_cost(trial.spec.model_dump_json())
    seconds, saved = _cost(trial)
    return (
        f"{seconds / usual_seconds:.1f} x the time and "
        f"{saved / usual_saved:.1f} x the memory of a step of SimCLR "
        f"({seconds * 1000:.0f} ms, {size_words(saved)} kept for backward)"
    )
