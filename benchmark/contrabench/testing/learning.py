"""Checks of what a stage has learnt in a short training on one batch of phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

import torch
from torch import Tensor, nn

from contrabench.contracts.views import Batch
from contrabench.testing.batches import exchange, repeat_first_view
from contrabench.testing.report import FaultError, NotApplicableError
from contrabench.testing.trial import StageTrial, loss_of
from contrabench.training.tasks import PretrainTask

_BATCHES = 8
_PRICE = 0.02
_GAP = 0.005


def check_gradients(trial: StageTrial) -> None:
    """Every trained parameter gets a gradient, and nothing else changes.

    Raises:
        FaultError: naming the first parameter that breaks the rule.
    """
    trained = trial.trained
    if trained.error is not None:
        raise trained.error
    if trained.fault:
        raise FaultError(
            trained.fault.removeprefix("audit rule 4: "),
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


def check_negatives(trial: StageTrial) -> None:
    """Collapsed features cost more than the features that were learnt.

    Raises:
        FaultError: if one map for all slices is as good as theirs.
        NotApplicableError: if something else than the loss keeps the embeddings apart.
    """
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


def check_collapse(trial: StageTrial) -> str:
    """The loss still rests on what tells the slices apart.

    How far pooled features spread tells less: a sound method may leave little of it, and
    one that collapses in its head may leave much.

    Returns:
        How much the loss rests on it.

    Raises:
        FaultError: if the slices have become one to it.
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
    learnt, collapsed = trial.after_training(), _collapsed(trial.after_training())
    return (_loss(collapsed, batch) - _loss(learnt, batch)) / _gain(trial)


def _collapsed(task: PretrainTask) -> PretrainTask:
    """The task on a backbone whose maps are the same for all slices and pixels."""

    def flatten(module: nn.Module, inputs: object, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: values.mean((0, 2, 3), keepdim=True).expand_as(values).contiguous()
            for name, values in maps.items()
        }

    task.backbone.register_forward_hook(flatten)
    return task


def check_positives(trial: StageTrial) -> None:
    """Perfect pairs cost less than pairs whose views, or masks, are of different slices.

    Perfect, one view beside itself: two augmented views of new slices may still look too
    different to a network that has seen one batch.

    Raises:
        FaultError: if they do not.
        NotApplicableError: for a stage with neither a second view nor masks.
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
    return mean(loss_of(task, batch) for batch in batches)
