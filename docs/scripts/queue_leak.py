"""What the keys of MoCo's queue tell by the statistics of the batch that they are computed in.

    python docs/scripts/queue_leak.py --norm batch --steps 300

Trains `moco` on slices of the phantom. Then asks for how many queries the key of the same slice is
nearer than every key of the queue: once with the keys of a batch computed together, as in training,
and once each among keys of other batches, which is what shuffled batches are for. If the first is
the larger share, query and key know each other by the company that both were in, and not by the
slice alone. Prints both shares, the mean similarity of query and key, and the difference of the
shares with its standard error over the batches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.data.bank import SliceBank, build_bank
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Phase, Seeds
from contrabench.stages.prepare import prepare
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step
from contrabench.training.tasks import PretrainTask


def phantom(pixels: int, seed: int) -> SliceBank:
    """The axial slices of all patients of the phantom."""
    kind = registry.datasets.get("phantom")
    dataset = kind(None, kind.Options(seed=seed))
    with TemporaryDirectory() as cache:
        cases = prepare(dataset, "phantom", pixels, Path(cache), Silent())
        return build_bank(cases, None, ("axial",), torch.device("cpu"))


def trained(wanted: argparse.Namespace) -> PretrainTask:
    """The task after its steps, with the last keys in the queue."""
    spec = BackboneSpec(name="unet", width=wanted.width, options={"norm": wanted.norm})
    backbone = build_backbone(spec, wanted.seed)
    method = registry.methods.get("moco")
    moco = method(method.Options(queue=wanted.queue))
    (stage,) = moco.stages()
    phase = Phase(images=wanted.steps * wanted.batch, batch=wanted.batch, lr=wanted.lr)
    torch.manual_seed(wanted.seed)
    bank = phantom(wanted.pixels, wanted.seed)
    task = PretrainTask(backbone, moco.objective(stage, backbone), stage, bank, phase, Seeds())
    step = Step(task, phase, Runtime("cpu", "float32", wanted.threads), wanted.steps)
    for number in range(wanted.steps):
        step.take(number)
    return task


@torch.no_grad()
def embedded(backbone: torch.nn.Module, head: torch.nn.Module, images: Tensor) -> Tensor:
    """Unit embeddings (B, D) of images (B, C, H, W), in the statistics of this batch."""
    return functional.normalize(head(backbone.features(images, ("centre",))["centre"]), dim=1)


def compare(task: PretrainTask, wanted: argparse.Namespace) -> list[tuple[Tensor, Tensor]]:
    """Similarity of queries and keys, and the share that is found, of both ways; by batch."""
    objective, first = task.objective, wanted.steps
    batches = [task.batch(first + n, 0, 1) for n in range(wanted.batch)]
    queries = torch.stack(
        [embedded(task.backbone, objective.head, b.views[0].image) for b in batches]
    )
    images = torch.stack([b.views[1].image for b in batches])
    key = objective.key_backbone.copied, objective.key_head.copied
    together = torch.stack([embedded(*key, images[n]) for n in range(len(images))])
    # The k-th company has the k-th slice of every batch.
    apart = torch.stack([embedded(*key, images[:, k]) for k in range(images.shape[1])], dim=1)
    others = (queries @ objective.queue.memory.T).amax(dim=2)
    found = []
    for keys in (together, apart):
        alike = (queries * keys).sum(dim=2)
        found.append((alike.mean(), (alike > others).float().mean(dim=1)))
    return found


def main() -> None:
    """Trains, measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--norm", default="batch", help="of the U-Net: batch or instance")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16, help="slices of a step, and batches asked")
    parser.add_argument("--queue", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--pixels", type=int, default=48)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0, help="of phantom and initial weights")
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    task = trained(wanted)
    torch.set_num_threads(wanted.threads)
    (alike, with_it), (alike_apart, without) = compare(task, wanted)
    apart = (with_it - without).tolist()
    error = statistics.stdev(apart) / len(apart) ** 0.5
    sys.stdout.write(
        f"norm {wanted.norm}, {wanted.steps} steps, seed {wanted.seed}\n"
        f"keys of a batch together  found {with_it.mean():.3f}  similarity {alike:.3f}\n"
        f"keys in other company     found {without.mean():.3f}  similarity {alike_apart:.3f}\n"
        f"difference                {statistics.mean(apart):+.3f} +- {error:.3f}\n"
    )


if __name__ == "__main__":
    main()
