"""Times the backbone beside MONAI's BasicUNet and DynUNet of the same widths.

    python docs/scripts/backbone_speed.py --width 16 --pixels 64 --threads 2 [--compile]

Prints the median of a forward pass, loss and backward pass, interleaved so that a noisy
machine is noisy to all of them, and the ratio to the first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from monai.networks.nets import BasicUNet, DynUNet
from torch import nn

from contrabench.model.segmentation import SegmentationLoss, build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec

CLASSES = 8


def candidates(width: int, compiled: bool) -> dict[str, nn.Module]:
    """The networks; each maps (B, 1, H, W) to logits."""
    widths = [width * 2**level for level in range(5)]
    backbone = build_backbone(BackboneSpec(width=width), 0)
    if compiled:
        backbone.compile()
    networks: dict[str, nn.Module] = {
        "contrabench Backbone": build_segmenter(backbone, CLASSES, deep=False, init_seed=0),
        "MONAI DynUNet": DynUNet(2, 1, CLASSES, [3] * 5, [1, 2, 2, 2, 2], [2] * 4, filters=widths),
        "MONAI BasicUNet": BasicUNet(2, 1, CLASSES, features=(*widths, width)),
    }
    return networks


def step(network: nn.Module, image: torch.Tensor, target: torch.Tensor) -> Callable[[], None]:
    """One training step without the optimiser."""
    loss = SegmentationLoss()

    def run() -> None:
        network.zero_grad(set_to_none=True)
        logits = network(image)
        loss(logits if isinstance(logits, dict) else {"dec1": logits}, target).backward()

    return run


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--compile", action="store_true")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    image = torch.randn(wanted.batch, 1, wanted.pixels, wanted.pixels)
    target = torch.randint(0, CLASSES, (wanted.batch, wanted.pixels, wanted.pixels))
    networks = candidates(wanted.width, wanted.compile)
    steps = {name: step(network, image, target) for name, network in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for name, run in steps.items():
        began = time.perf_counter()
        run()
        run()
        sys.stdout.write(f"{name}: first two steps {time.perf_counter() - began:.1f} s\n")
    for _ in range(wanted.repeats):
        for name, run in steps.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    first = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        median = statistics.median(values)
        size = sum(p.numel() for p in networks[name].parameters()) / 1e6
        sys.stdout.write(
            f"{name:18} {size:6.2f} M  {1e3 * median:8.1f} ms  {median / first:5.2f} x\n"
        )


if __name__ == "__main__":
    main()
