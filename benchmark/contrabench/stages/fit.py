"""A fit: a network made to be used, trained on everybody; it is recorded, and has no scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from contrabench.files import write_text
from contrabench.stages.kind import Kind, Making, Node
from contrabench.stages.leakage import outside_spec
from contrabench.stages.rows import record_of

if TYPE_CHECKING:
    from contrabench.stages.run import Run

FITS, FIT_RECORD = "fits", "fit.json"
_BYTES = 30_000
"""One record."""


class Fit(Kind):
    """The last stage of a run that tests nobody, in the place of rows."""

    name = FITS
    order = 50
    plural = "fits"
    doing = "record of"
    title = "record"
    device = "none"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One, of everything that the network rests on, unless patients are tested."""
        if run.split.test:
            return ()
        spec = {
            "protocol": run.protocol.model_dump(mode="json"),
            "method": run.method_spec(),
            "run": run.asked,
            "network": before[-1].key,
            **outside_spec(run),
        }
        inputs = tuple(node.key for node in before)
        return (Node(self.name, "", spec, inputs, units=0, cost=self.name),)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Leaves `fit.json`."""
        record = record_of(making, node)
        write_text(folder / FIT_RECORD, json.dumps(record, indent=1) + "\n")

    def disk(self, run: Run, node: Node) -> int:
        """About the same for all."""
        return _BYTES


KIND = Fit()
