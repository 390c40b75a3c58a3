"""Pre-training with masks that belong to other patients: its rows must be those from scratch.

The network learns by supervised pixel contrast, as in `supcon_pixel`, but each labelled slice comes
with the mask of a slice of another patient. Nothing is left in the masks that the image shows; a
gain here is one that labels have not brought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contrabench import Method, MethodInfo, Objective, Published, Stage, ViewSpec, register_method
from contrabench.objectives.pixels import PixelContrast, Reach
from contrabench.protocol import PARTS

if TYPE_CHECKING:
    from contrabench import Backbone

_TEMPERATURE = 0.1
_REACH = Reach("stride", 40, 16, 4)


@register_method("shuffled")
class Shuffled(Method):
    """Supervised local contrast by masks that tell nothing."""

    info = MethodInfo(
        title="Shuffled masks",
        family="control",
        paper="none: a control, supervised pixel contrast with the masks of other patients",
        fidelity="official",
        needs=("masks of the labelled patients in pre-training",),
        version=2,
    )
    # A control is there under any recipe.
    published = Published(stages={})

    def stages(self) -> tuple[Stage, ...]:
        """One stage on the labelled slices; one mask serves both views."""
        look = ViewSpec(spatial=None)
        return (
            Stage(
                name="local",
                views=(look, look),
                trains=PARTS,
                labels=True,
                labelled_slices_only=True,
                spoilt="masks",
            ),
        )

    def objective(self, stage: Stage, backbone: Backbone) -> Objective:
        """Pixel contrast with its head."""
        return PixelContrast(backbone, _TEMPERATURE, _REACH)
