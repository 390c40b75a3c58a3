"""A method of two joint stages, the second of which learns from what the first predicts."""

import pytest
import torch

from contrabench.contracts import registry
from contrabench.contracts.method import (
    Deviations,
    JointMethod,
    JointStage,
    MethodInfo,
    Predicted,
    Stream,
)
from contrabench.contracts.objective import JointObjective, StepResult
from contrabench.contracts.views import IGNORE
from contrabench.objectives.consistency import Teacher, masked_entropy
from contrabench.protocol import Options


class RoundsOptions(Options):
    threshold: float = 0.0
    largest: bool = False
    restarts: bool = False
    draws: str = "unlabelled"
    second: float = 1.0


class OnLabels(JointObjective):
    """Cross-entropy on the labels that travel, with an idle teacher."""

    def __init__(self, network):
        super().__init__()
        self.average = Teacher(network, 0.5)

    def forward(self, network, batch, supervised):
        losses = [torch.zeros(())]
        for stream in batch.streams:
            label = stream.views[0].label.long()
            logits = network.logits(stream.views[0].image)
            losses.append(masked_entropy(logits, label, label != IGNORE))
        return StepResult(torch.stack(losses).sum())

    def after_step(self, network, progress):
        self.average.update(network)

    def teacher(self):
        return self.average.copied


class Rounds(JointMethod):
    info = MethodInfo(
        title="Rounds",
        family="test",
        paper="none",
        fidelity="reconstruction",
        inferred=("all of it",),
        against_collapse="nothing",
    )
    deviations = Deviations()
    Options = RoundsOptions

    def joint_stages(self):
        options = self.options
        masks = Predicted(threshold=options.threshold, largest=options.largest)
        stream = Stream(draws=options.draws, masks=masks)
        return (
            JointStage(name="first", streams=()),
            JointStage(
                name="second", streams=(stream,), share=options.second, restarts=options.restarts
            ),
        )

    def joint_objective(self, stage, network):
        return OnLabels(network)


@pytest.fixture
def rounds(monkeypatch):
    """Registers the method as `rounds`, for one test."""
    # Built-ins register when they are first imported, which must not be forgotten.
    registry.methods.entries()
    for name in ("_registered", "_collisions", "_failed"):
        monkeypatch.setattr(registry.methods, name, dict(getattr(registry.methods, name)))
    registry.methods.register("rounds")(Rounds)
