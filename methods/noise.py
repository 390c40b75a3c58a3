"""Pre-training on noise: its rows must be those from scratch, within their interval.

The encoder learns by NT-Xent of two views to tell apart images of white noise, of which there are
as many as slices. What such weights bring to fine-tuning, no image of a heart has brought: a gain
here is one of initialisation or of optimisation, and every method has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench import Method, MethodInfo, Objective, Published, Stage, register_method
from contrabench.objectives.instance import InstanceContrast

if TYPE_CHECKING:
    from contrabench import Backbone

_TEMPERATURE = 0.1
_DIM = 128


@register_method("noise")
class Noise(Method):
    """Instance contrast of images that show nothing."""

    info = MethodInfo(
        title="Noise",
        family="control",
        paper="none: a control, pre-trained like SimCLR on white noise",
        fidelity="official",
    )
    # A control is there under any recipe.
    published = Published(stages={})

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the encoder."""
        return (Stage(name="global", spoilt="images"),)

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """NT-Xent with its head."""
        return InstanceContrast(backbone, _TEMPERATURE, _DIM)
