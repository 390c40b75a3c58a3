"""A network that somebody else has trained, fine-tuned here under the common protocol.

Nothing is pre-trained: the encoder begins with the weights of a file. What they were trained on, by
whom and under what terms is not for this program to know; whoever asks for them says it, and it
stands beside the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from contrabench import (
    Checkpoint,
    Method,
    MethodInfo,
    Objective,
    Options,
    RequestError,
    Stage,
    register_method,
)
from contrabench.protocol import ENCODER

if TYPE_CHECKING:
    from contrabench import Backbone


class ExternalOptions(Options):
    """Options of outside weights."""

    weights: str = Field("", description="file of safetensors, or a state_dict saved by torch")
    source: str = Field("", description="who trained them on what: stands beside the row")
    licence: str = Field("", description="of the weights: stands beside the row")
    seen: Literal["no", "yes", "unknown"] = Field(
        "unknown", description="whether test patients of this dataset were in their training"
    )
    keys: tuple[str, ...] = Field(
        (), description="beginnings of names in the file and in the backbone, FROM=TO each"
    )
    parts: tuple[str, ...] = Field(ENCODER, description="parts of the backbone that they are for")

    @field_validator("keys")
    @classmethod
    def _pairs(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        if stray := [pair for pair in pairs if pair.count("=") != 1]:
            raise ValueError(f"'{stray[0]}' is no FROM=TO")
        return pairs


@register_method("external")
class External(Method):
    """A checkpoint in the place of a pre-training."""

    info = MethodInfo(
        title="Outside weights",
        family="outside weights",
        paper="none: weights that the user brings",
        fidelity="official",
    )
    Options = ExternalOptions
    options: ExternalOptions

    def stages(self) -> tuple[Stage, ...]:
        """None."""
        return ()

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Never asked for."""
        raise RequestError(f"outside weights are not trained, so there is no '{stage.name}'")

    def transfers(self) -> tuple[str, ...]:
        """The parts that the file is for."""
        return self.options.parts if self.options.weights else ()

    def checkpoint(self) -> Checkpoint | None:
        """The file, with what was said of it."""
        options = self.options
        if not options.weights:
            return None
        pairs = tuple((old, new) for old, _, new in (pair.partition("=") for pair in options.keys))
        return Checkpoint(
            file=options.weights,
            keys=pairs,
            source=options.source,
            licence=options.licence,
            seen=options.seen,
        )
