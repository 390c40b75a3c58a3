"""From scratch, with the images of pre-training spent on longer fine-tuning.

A pre-training that does not beat this row has bought nothing that the same computation on
the labelled slices would not have bought.
"""

from __future__ import annotations

from contrabench import Method, MethodInfo, Objective, RequestError, Stage, register_method


@register_method("scratch_long")
class ScratchLong(Method):
    """Fine-tuning alone, for the images of both phases."""

    info = MethodInfo(
        title="From scratch, longer",
        family="reference",
        paper="none: the pre-training images are spent on fine-tuning",
        fidelity="official",
    )
    finetune_extra = 1.0

    def stages(self) -> tuple[Stage, ...]:
        """No pre-training stage."""
        return ()

    def objective(self, stage: Stage, backbone: object) -> Objective:
        """Never called.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"'scratch_long' has no stage '{stage.name}'")
