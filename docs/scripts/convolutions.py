"""How much of a fine-tuning step is convolution: the step beside its convolutions alone.

    python docs/scripts/convolutions.py --pixels 48 --width 8

Every convolution of the network is timed by itself, forward and backward, in both memory layouts;
the faster one counts. Beside their sum stand a pass of the network, forward and backward with its
loss, and a whole step of the loop. All are measured in turns, so that a noisy machine is noisy to
all of them; medians, in CPU seconds of this process.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from contrabench.data.synthetic import synthetic_bank
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec, Phase, Seeds
from contrabench.training.runtime import make_runtime
from contrabench.training.step import Step
from contrabench.training.tasks import FinetuneTask

STRUCTURES = 2
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def convolutions(network: nn.Module, image: torch.Tensor) -> list[list[Callable[[], None]]]:
    """For each convolution of a pass one piece of work in each layout."""
    found: list[list[Callable[[], None]]] = []

    def note(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        def alone(layout: torch.memory_format) -> Callable[[], None]:
            given = inputs[0].detach().contiguous(memory_format=layout)
            given.requires_grad_(inputs[0].requires_grad)
            weight = layer.weight.detach().contiguous(memory_format=layout).requires_grad_()
            up = torch.ones_like(output).contiguous(memory_format=layout)
            stride, padding = layer.stride, layer.padding

            def work() -> None:
                if isinstance(layer, nn.ConvTranspose2d):
                    made = nn.functional.conv_transpose2d(given, weight, stride=stride)
                else:
                    made = nn.functional.conv2d(given, weight, stride=stride, padding=padding)
                made.backward(up)

            return work

        found.append([alone(layout) for layout in LAYOUTS])

    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, kinds)]
    network(image)
    for hook in hooks:
        hook.remove()
    return found


def main() -> None:
    """Prints the three times and their ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pixels", type=int, default=48)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    runtime = make_runtime("cpu", threads=1)
    backbone = build_backbone(BackboneSpec(width=asked.width), 0)
    model = build_segmenter(backbone, 1 + STRUCTURES, False, 0)
    bank = synthetic_bank(asked.pixels, STRUCTURES, torch.device("cpu"))
    phase = Phase(images=3000 * asked.batch, batch=asked.batch, lr=3e-3)
    task = FinetuneTask(model, bank, phase, Seeds())
    step = Step(task, phase, runtime, phase.steps)
    batch = task.batch(0, 0, 1)

    def network() -> None:
        task(batch).loss.backward()
        model.zero_grad(set_to_none=True)

    step.take(0)
    step.look({})  # from here on gradients are not noted, as after the first looks of a training
    parts = convolutions(model, batch.views[0].image)
    works = [work for layouts in parts for work in layouts]
    works += [network, lambda: step.take(0)]
    taken: list[list[float]] = [[] for _ in works]
    for number in range(asked.rounds):
        for times, work in zip(taken, works, strict=True):
            began = time.process_time()
            work()
            if number >= 3:
                times.append(time.process_time() - began)
    *alone, whole, stepped = (statistics.median(times) for times in taken)
    pairs = list(zip(alone[::2], alone[1::2], strict=True))
    best = sum(min(pair) for pair in pairs)
    lines = [("convolutions, each in its better layout", best)]
    lines += [
        (f"convolutions, all {name}", sum(pair[i] for pair in pairs))
        for i, name in enumerate(("contiguous", "channels last"))
    ]
    lines += [("network and loss, forward and backward", whole), ("a step of the loop", stepped)]
    for name, seconds in lines:
        sys.stdout.write(f"| {name} | {1e3 * seconds:.1f} ms | {seconds / best:.2f} |\n")


if __name__ == "__main__":
    main()
