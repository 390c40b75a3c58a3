"""The check of what a method hands over to fine-tuning."""

from __future__ import annotations

import torch

from contrabench.errors import AuditError
from contrabench.model.weights import build_backbone, hand_off
from contrabench.protocol import PARTS, BackboneSpec
from contrabench.testing.report import FaultError
from contrabench.testing.trial import WIDTH, Trial

_REFERENCE = "reference"


def check_hand_off(trial: Trial) -> None:
    """What is handed over was trained, and its tensors fit a fresh backbone.

    Raises:
        FaultError: naming the part.
    """
    method = trial.method
    parts = method.transfers()
    trained = {part for stage in method.stages() for part in stage.trains}
    if unknown := [part for part in parts if part not in PARTS]:
        raise FaultError(
            f"transfers() names '{unknown[0]}', which is no part of the backbone",
            f"the parts are {', '.join(PARTS)}",
        )
    if untrained := [part for part in parts if part not in trained]:
        raise FaultError(
            f"'{untrained[0]}' is handed over, but no stage trains it",
            "leave it out of transfers(), or train it: its initial weights are there anyway",
        )
    if trained and not parts and method.info.family != _REFERENCE:
        raise FaultError(
            "nothing is handed over, so that the pre-training is in vain",
            "name parts in transfers(), or declare the family 'reference' for a control",
        )
    if not parts:
        return
    receiver = build_backbone(BackboneSpec(width=WIDTH), 1)
    weights = trial.stages[-1].end
    try:
        hand_off(weights, receiver, parts)
    except AuditError as error:
        raise FaultError(str(error), "keep the backbone's layers as they are") from error
    for name, value in receiver.state_dict().items():
        if name.split(".")[0] in parts and not torch.equal(value, weights[name]):
            raise FaultError(f"'{name}' was not handed over", "keep the backbone's layers")
