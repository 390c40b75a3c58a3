"""The floor of every table: no pre-training, fine-tuning from the seed's initial weights.

With `--labels 100%` the same method is the ceiling, full supervision.
"""

from __future__ import annotations

from contrabench import Method, MethodInfo, Objective, RequestError, Stage, register_method


@register_method("scratch")
class Scratch(Method):
    """Fine-tuning alone."""

    info = MethodInfo(
        title="From scratch",
        family="reference",
        paper="none: the floor of the comparison, the same fine-tuning without pre-training",
        fidelity="official",
    )

    def stages(self) -> tuple[Stage, ...]:
        """No pre-training stage."""
        return ()

    def objective(self, stage: Stage, backbone: object) -> Objective:
        """Never called.

        Raises:
            RequestError: always.
        """
        raise RequestError(f"'scratch' has no stage '{stage.name}'")
