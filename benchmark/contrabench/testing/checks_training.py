"""Checks of what a short training on one batch of phantoms does, hands over and costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor, nn

from contrabench.contracts import registry
from contrabench.contracts.views import Batch
from contrabench.errors import AuditError, RequestError
from contrabench.model.weights import build_backbone, hand_off
from contrabench.references import REFERENCE_FAMILY
from contrabench.testing.checks_losses import identical, nudged, same
from contrabench.testing.conformity import CheckList, FaultError, NotApplicableError
from contrabench.testing.phantoms import exchange, repeat_first_view, reverse
from contrabench.testing.trial import BACKBONE, RUNTIME, StageTrial, Trial, loss_of, step_of
from contrabench.text import one_line, size_words
from contrabench.training.step import Step, saved_for_backward
from contrabench.training.tasks import PretrainTask

CHECKS = CheckList()
YARDSTICK = "simclr"
_TIMED_STEPS = 5
_BATCHES = 8
_PRICE = 0.02
_GAP = 0.005
_ROUNDING = 1e-5


@CHECKS.enter("inputs")
def check_gradients(trial: StageTrial) -> None:
    """A short training reaches all that is trained and changes nothing else."""
    if isinstance(trial.trained, Exception):
        raise trial.trained
    if trial.trained.fault:
        raise FaultError(
            trial.trained.fault.removeprefix("audit rule 4: "),
            "a momentum copy is a MomentumCopy, whose weights are buffers; a head that is not "
            "used is left out",
        )
    for name, value in trial.start.items():
        changed = not torch.equal(value, trial.end[name])
        if changed and name.split(".")[0] not in trial.stage.trains:
            raise FaultError(
                f"'backbone.{name}' has changed, but the stage does not train its part",
                "name the part in Stage.trains, or leave requires_grad of its weights alone",
            )


@CHECKS.enter("inputs", "deterministic")
def check_resume(trial: StageTrial) -> None:
    """A training taken up again from its last checkpoint ends in the same bits."""
    trained = trial.training()
    hint = (
        "keep everything that a step leaves to the next in persistent buffers, made in "
        "__init__: no lists, no counters in Python, no register_buffer(..., persistent=False)"
    )
    if isinstance(trained.resumed, Exception):
        raise FaultError(
            f"a training that was stopped cannot go on: {one_line(trained.resumed)}", hint
        )
    for name, value in trained.everything.items():
        if not identical(value, trained.resumed[name]):
            raise FaultError(
                f"a training that was stopped and taken up again ends otherwise, first in '{name}'",
                hint,
            )


@CHECKS.enter("resume")
def check_order(trial: StageTrial) -> None:
    """The loss does not depend on the order of the slices in the batch."""
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


@CHECKS.enter("resume")
def check_negatives(trial: StageTrial) -> None:
    """Slices that all look alike cost more than slices that differ."""
    guard = trial.method.info.against_collapse
    if guard in ("asymmetry", "nothing"):
        raise NotApplicableError(f"`info.against_collapse` is '{guard}': no loss has to repel")
    price = _price_of_collapse(trial)
    if price < _PRICE:
        raise FaultError(
            f"one feature map for all slices costs no more than their own ({price:+.2g} of what "
            "training gained): nothing keeps the embeddings apart",
            "look at the sign and the set of the negatives, or say in `info.against_collapse` "
            "what does it instead",
        )


@CHECKS.enter("negatives")
def check_collapse(trial: StageTrial) -> str:
    """After a short training the loss still rests on what tells the slices apart.

    How far pooled features spread tells less: a sound method may leave little of it, and
    one that collapses in its head may leave much.
    """
    price = _price_of_collapse(trial)
    if price < _PRICE:
        raise FaultError(
            "the embeddings have collapsed: after training, one feature map for all slices is as "
            f"good as their own ({price:+.2g} of what training gained)",
            "a loss without negatives needs a stopped gradient on the target, and a predictor or "
            "a momentum copy",
        )
    return f"collapsed features would cost {price:.2g} x what training gained"


def _price_of_collapse(trial: StageTrial) -> float:
    """How much more collapsed features cost than the learnt ones, in units of `_gain`."""
    batch = trial.batches(1)
    learnt, collapsed = trial.after_training(), trial.after_training()

    def flatten(module: nn.Module, inputs: object, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """Maps that are the same for all slices and pixels."""
        return {
            name: values.mean((0, 2, 3), keepdim=True).expand_as(values).contiguous()
            for name, values in maps.items()
        }

    collapsed.backbone.register_forward_hook(flatten)
    return (_loss(collapsed, batch) - _loss(learnt, batch)) / _gain(trial)


@CHECKS.enter("collapse")
def check_positives(trial: StageTrial) -> None:
    """After a short training true pairs cost less than those whose views or masks are strangers.

    True, one view beside itself: two augmented views of new slices may still look too
    different to a network that has seen one batch.
    """
    if len(trial.stage.views) < 2 and not trial.stage.labels:
        raise NotApplicableError("the stage has one view and no labels, so that nothing is paired")
    pairs = [repeat_first_view(batch) for batch in trial.batches(1 + _BATCHES)[1:]]
    task = trial.after_training()
    perfect, wrong = _loss(task, pairs), _loss(task, [exchange(batch) for batch in pairs])
    if wrong - perfect < _GAP * _gain(trial):
        raise FaultError(
            f"views of one slice, even if they are the same, cost {perfect:.4g}, and views or "
            f"masks of different slices {wrong:.4g}",
            "look at the sign of the similarity and at which embeddings are the positives; a "
            "stage that pairs nothing declares one view",
        )


def _gain(trial: StageTrial) -> float:
    """By how much the loss of the training's batch has changed: the unit of other differences.

    A change, and not a fall: a loss may be defined to rise as training goes on.
    """
    batch = trial.batches(1)
    return abs(_loss(trial.fresh(), batch) - _loss(trial.after_training(), batch)) or 1.0


def _loss(task: PretrainTask, batches: Sequence[Batch]) -> float:
    """The mean loss of some batches."""
    return statistics.mean(loss_of(task, batch) for batch in batches)


@CHECKS.enter("stages", whole=True)
def check_hand_off(trial: Trial) -> None:
    """What is handed over was trained, and its tensors fit a fresh backbone."""
    method, known = trial.method, trial.backbone.parts
    parts = method.transfers()
    trained = {part for stage in method.stages() for part in stage.trains}
    if unknown := [part for part in parts if part not in known]:
        raise FaultError(
            f"transfers() names '{unknown[0]}', which is no part of the backbone",
            f"the parts are {', '.join(known)}",
        )
    if untrained := [part for part in parts if part not in trained]:
        raise FaultError(
            f"'{untrained[0]}' is handed over, but no stage trains it",
            "leave it out of transfers(), or train it: its initial weights are there anyway",
        )
    if trained and not parts and method.info.family != REFERENCE_FAMILY:
        raise FaultError(
            "nothing is handed over, so that the pre-training is in vain",
            "name parts in transfers(), or declare the family 'reference' for a control",
        )
    if not parts:
        return
    receiver, weights = build_backbone(BACKBONE, 1), trial.stages[-1].end
    try:
        hand_off(weights, receiver, parts)
    except AuditError as error:
        raise FaultError(str(error), "keep the backbone's layers as they are") from error
    for name, value in receiver.state_dict().items():
        if name.split(".")[0] in parts and not torch.equal(value, weights[name]):
            raise FaultError(f"'{name}' was not handed over", "keep the backbone's layers")


@CHECKS.enter("inputs")
def check_cost(trial: StageTrial) -> str:
    """Time and memory of a step in multiples of SimCLR's; told, never judged."""
    (seconds, saved), (usual_seconds, usual_saved) = _cost(trial), _yardstick()
    return (
        f"{seconds / usual_seconds:.1f} x the time and "
        f"{saved / usual_saved:.1f} x the memory of a step of SimCLR "
        f"({seconds * 1000:.0f} ms, {size_words(saved)} kept for backward)"
    )


@lru_cache(maxsize=1)
def _yardstick() -> tuple[float, int]:
    try:
        method = registry.methods.get(YARDSTICK)
    except RequestError as error:
        raise NotApplicableError("there is no SimCLR to compare with") from error
    return _cost(Trial(method).stages[0])


def _cost(trial: StageTrial) -> tuple[float, int]:
    """Median seconds of a step on one batch, and bytes kept for its backward pass."""
    task = trial.fresh()
    batch = task.batch(0, 0, 1)
    with saved_for_backward() as saved:
        step_of(task, batch)
    step = Step(task, trial.phase, RUNTIME, _TIMED_STEPS)
    seconds = [step.timed(partial(step.take, number)) for number in range(_TIMED_STEPS)]
    return statistics.median(seconds), sum(saved.values())
