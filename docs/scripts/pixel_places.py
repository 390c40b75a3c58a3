"""What a contrast of pixels teaches a decoder at each place of its grid.

    python docs/scripts/pixel_places.py acdc=../data/acdc --method hu --steps 750

The stages of a method are trained on fold 0 with 2 labelled patients, once with a grid that begins
anywhere, as the method has it, and once with one that always begins at the first pixel. A linear
head is then fitted to the finest maps of the labelled patients at the first pixel of every four by
four; its Dice is told at that place and at others, and that of a head of all pixels, for patients
labelled and tested. The mean is over volumes and structures, on the prepared grid.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional

from contrabench.budgets import BUDGETS
from contrabench.contracts.registry import datasets, methods
from contrabench.data.bank import SliceBank, build_bank
from contrabench.data.splits import draw_labels, make_split
from contrabench.model.weights import build_backbone
from contrabench.objectives.pixels import Reach
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Seeds
from contrabench.stages.prepare import prepare
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step
from contrabench.training.tasks import PretrainTask, build_objective

PLACES = ((0, 0), (2, 2), (1, 1), (3, 3))
STRIDE = 4
CPU = torch.device("cpu")


def dice(predicted: Tensor, bank: SliceBank, where: tuple[slice, slice]) -> float:
    """Over volumes and their structures, at some places of the slices."""
    truth, found = bank.masks[:, *where], []
    for volume in bank.volume.unique():
        ours, theirs = (labels[bank.volume == volume] for labels in (predicted[:, *where], truth))
        for structure in theirs.unique()[1:]:
            one, other = ours == structure, theirs == structure
            found.append(2 * float((one & other).sum()) / float(one.sum() + other.sum()))
    return sum(found) / len(found)


def fitted(maps: Tensor, labels: Tensor) -> nn.Module:
    """A linear head by cross-entropy and Dice."""
    torch.manual_seed(0)
    classes = int(labels.max()) + 1
    head = nn.Conv2d(maps.shape[1], classes, 1)
    optimiser = torch.optim.Adam(head.parameters(), 0.05)
    hot = functional.one_hot(labels.long(), classes).movedim(-1, 1).float()
    for _ in range(150):
        shares = torch.softmax(logits := head(maps), 1)
        both, size = ((shares * hot).sum((0, 2, 3)), (shares + hot).sum((0, 2, 3)))
        overlap = 2 * both / size
        loss = functional.cross_entropy(logits, labels.long()) + 1 - overlap[1:].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return head


def main() -> None:
    """Trains twice and prints a line of each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", help="NAME=FOLDER, or NAME")
    parser.add_argument("--method", default="hu")
    parser.add_argument("--steps", type=int, default=750, help="of each stage")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    name, _, folder = asked.dataset.partition("=")
    kind, phase = datasets.get(name), BUDGETS["quick"].pretrain
    with TemporaryDirectory() as store:
        data = kind(Path(folder) if folder else None, kind.Options())
        cases = prepare(data, name, BUDGETS["quick"].pixels, Path(store), Silent())
        split = make_split(sorted({case.patient for case in cases}), [], 5, 0, 0)
        known = draw_labels(split, "2", 0, 0, ()).patients
        train = [case for case in cases if case.patient in split.train]
        ways = methods.get(asked.method)().deviations.orientations
        every = build_bank(train, None, ways, CPU)
        few = [case for case in train if case.patient in known]
        masked = build_bank(few, known, ways, CPU)
        banks = [
            build_bank(few, known, ("axial",), CPU),
            build_bank(
                [one for one in cases if one.patient in split.test], split.test, ("axial",), CPU
            ),
        ]
    anywhere, classes = Reach.begin, 1 + len(data.structures)
    whole = (slice(None), slice(None))
    first = (slice(0, None, STRIDE), slice(0, None, STRIDE))
    heads = [f"{y}, {x}" for y, x in PLACES]
    sys.stdout.write(
        f"{'grid':10}" + "".join(f"{word:>9}" for word in [*heads, "labelled", "tested"]) + "\n"
    )
    for grid, begin in (("anywhere", anywhere), ("at 0, 0", lambda *_: (0, 0))):
        Reach.begin = begin
        method = methods.get(asked.method)()
        backbone = build_backbone(BackboneSpec(width=BUDGETS["quick"].width), 0)
        for stage in method.stages():
            bank = masked if stage.labels else every
            names = (asked.method, stage.name, 0)
            objective = build_objective(method, stage, backbone, classes, *names)
            task = PretrainTask(backbone, objective, stage, bank, phase, Seeds())
            step = Step(task, phase, Runtime("cpu", "float32", 1), asked.steps, 0)
            for number in range(asked.steps):
                step.take(number)
        backbone.eval().requires_grad_(False)
        maps = [
            backbone.features(bank.images, (backbone.finest,))[backbone.finest] for bank in banks
        ]
        mean, deviation = (
            f(maps[0].transpose(0, 1).flatten(1), 1)[:, None, None] for f in (torch.mean, torch.std)
        )
        maps = [(each - mean) / (deviation + 1e-5) for each in maps]
        labelled = banks[0]
        at_first = fitted(maps[0][:, :, *first], labelled.masks[:, *first])
        found = at_first(maps[0]).argmax(1)
        figures = [
            dice(found, labelled, (slice(y, None, STRIDE), slice(x, None, STRIDE)))
            for y, x in PLACES
        ]
        of_all = fitted(maps[0], labelled.masks)
        figures += [
            dice(of_all(each).argmax(1), bank, whole)
            for each, bank in zip(maps, banks, strict=True)
        ]
        sys.stdout.write(f"{grid:10}" + "".join(f"{one:9.3f}" for one in figures) + "\n")


if __name__ == "__main__":
    main()
