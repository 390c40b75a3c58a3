"""Pre-training that hands nothing over: the network of its rows is the one from scratch.

The encoder learns by NT-Xent of two views,

    L = (1 / 2B) sum_i -log( exp(s(z_i, z_i+) / tau) / sum_{a != i} exp(s(z_i, z_a) / tau) ),

and all of it is thrown away, with the head. The rows must then be those of fine-tuning
without pre-training, to the last bit; where they are not, something other than weights
travels from pre-training to fine-tuning, and no gain in the table is what it seems.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench import (
    Method,
    MethodInfo,
    Objective,
    Published,
    Stage,
    register_method,
)
from contrabench.objectives.instance import InstanceContrast

if TYPE_CHECKING:
    from contrabench import Backbone

_TEMPERATURE = 0.1
_DIM = 128


@register_method("heads_only")
class HeadsOnly(Method):
    """Instance contrast whose weights are not handed over."""

    info = MethodInfo(
        title="Transfer of nothing",
        family="control",
        paper="none: a control, pre-trained like SimCLR and fine-tuned from the initial weights",
        fidelity="official",
    )

    # Whatever its optimisation, nothing of it reaches fine-tuning.
    published = Published(stages={})

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder, in vain."""
        return (Stage(name="global"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """NT-Xent with its head."""
        return InstanceContrast(backbone, _TEMPERATURE, _DIM)

    def transfers(self) -> tuple[str, ...]:
        """Nothing."""
        return ()
