"""One method whose pre-training goes wrong in whatever way its option says."""

from __future__ import annotations

import errno
import os
import signal
from typing import Literal

import torch
from pydantic import Field

from contrabench import (
    Method,
    MethodInfo,
    Objective,
    Options,
    Stage,
    StepResult,
    ViewSpec,
    register_method,
)


class TroublesOptions(Options):
    kind: Literal["nan", "error", "memory", "disk", "killed", "none"] = Field(
        "none", description="what goes wrong"
    )


class TroublesLoss(Objective):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, backbone, batch):
        loss = backbone.features(batch.views[0].image, ("centre",))["centre"].square().mean()
        if self.kind == "nan":
            loss = loss * torch.tensor(float("nan"))
        elif self.kind == "error":
            raise ValueError("a shape that nobody expected")
        elif self.kind == "memory":
            raise torch.OutOfMemoryError("no room for 3 GiB")
        elif self.kind == "disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return StepResult(loss)


@register_method("troubles")
class Troubles(Method):
    info = MethodInfo(
        title="Troubles",
        family="test",
        paper="none",
        fidelity="official",
        against_collapse="nothing",
    )
    Options = TroublesOptions

    def stages(self):
        return (Stage(name="only", views=(ViewSpec(),)),)

    def objective(self, stage, backbone):
        return TroublesLoss(self.options.kind)
