"""Weights from outside: taken into the store under the backbone's own names, or refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from contrabench.model.checkpoints import content_of, fitted, read_checkpoint
from contrabench.protocol import digest
from contrabench.stages.kind import WEIGHTS, Kind, Making, Node, write_record

if TYPE_CHECKING:
    from contrabench.contracts.method import Checkpoint
    from contrabench.stages.run import Run

EXTERNAL = "outside"


class External(Kind):
    """A checkpoint that somebody else has trained, in the place of a pre-training."""

    name = EXTERNAL
    order = 5
    plural = "outside weights"
    doing = "take in the weights of"
    title = "outside weights"
    device = "none"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One, if the method begins with a checkpoint; RequestError if the file is not there."""
        asked = run.method.checkpoint()
        if asked is None:
            return ()
        spec = {
            "backbone": run.training_spec()["backbone"],
            "content": content_of(asked.file),
            "keys": [list(pair) for pair in asked.keys],
            "parts": list(run.method.transfers()),
        }
        return (Node(self.name, "", spec, (), units=0, cost=self.name),)

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Leaves the weights of the parts; RequestError if they are not all in the file."""
        from contrabench.training.checkpoint import save_weights

        run, asked = making.run, cast("Checkpoint", making.run.method.checkpoint())
        own = run.backbone()
        prefixes = tuple(f"{part}." for part in node.spec["parts"])
        wanted = {n: v for n, v in own.state_dict().items() if n.startswith(prefixes)}
        found = fitted(read_checkpoint(Path(asked.file)), wanted, asked, own.aliases)
        save_weights(folder / WEIGHTS, found, {"recipe": digest(run.dataset.recipe)})
        write_record(folder, {"seconds": 0.0, "tensors": len(found)})

    def disk(self, run: Run, node: Node) -> int:
        """The backbone as float32, at most."""
        from contrabench.training.tasks import count_parameters

        return 4 * count_parameters(run.backbone())


KIND = External()
