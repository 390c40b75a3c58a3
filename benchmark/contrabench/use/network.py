"""A trained network as a torch module that knows how a volume gets to it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from torch import Tensor, nn

from contrabench.errors import RequestError
from contrabench.training.runtime import Device, make_runtime
from contrabench.use.predict import Mask, inputs_of, mask_of
from contrabench.use.trained import Trained


class Loaded(nn.Module):
    """The network of a run or a fit.

    Attributes:
        trained: what its record says of it; `trained.structures` are the classes 1 and on.
        network: the segmenter; its `backbone` gives feature maps by name.
    """

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.trained, self.network = trained, trained.network()
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Slices (B, C, H, W), prepared as in training, to probabilities (B, classes, H, W)."""
        return self.network.predict(image)

    def predict(self, *paths: str | Path, shares: bool = False) -> Mask:
        """The mask of one volume, from a file or from one for each channel, on its own grid.

        Runs where the network's weights are. DataError if a file cannot be read.
        """
        cases = inputs_of([Path(path) for path in paths], len(self.trained.channels))
        if len(cases) != 1:
            raise RequestError(f"one volume at a time, and these are {len(cases)}")
        where = cast("Device", next(self.parameters()).device.type)
        runtime = make_runtime(where, "auto", None)
        return mask_of(self.trained, [self.network], cases[0], runtime, shares)
