"""Steps of joint stages made by hand: any number of classes, slices and masks."""

from dataclasses import dataclass
from types import ModuleType

import torch

from contrabench.contracts import registry
from contrabench.contracts.geometry import Geometry
from contrabench.contracts.objective import JointBatch, JointObjective, Network
from contrabench.contracts.views import Batch, SliceInfo, View
from contrabench.model.segmentation import SegmentationLoss, build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec
from contrabench.training.tasks import build_joint

SIDE = 32


@dataclass
class Step:
    """A network, what a stage adds to its loss, and a batch."""

    network: Network
    objective: JointObjective
    batch: JointBatch

    def take(self, rounds=1):
        """What is added, after the hook of some rounds before it."""
        for _ in range(rounds - 1):
            self.objective(self.network, self.batch, SegmentationLoss())
            with torch.no_grad():
                self.objective.after_step(self.network, 0.5)
        return self.objective(self.network, self.batch, SegmentationLoss())


def module_of(name: str) -> ModuleType:
    """The file of a built-in method."""
    return __import__(registry.methods.get(name).__module__, fromlist=["x"])


def pictures(count, seed=0):
    """Smooth images (count, 1, 32, 32)."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.randn(count, 1, SIDE // 4, SIDE // 4, generator=generator)
    return torch.nn.functional.interpolate(rough, SIDE, mode="bilinear")


def masks_of(images, classes, blank):
    """Classes by grey value, or nothing but background."""
    if blank:
        return torch.zeros(len(images), SIDE, SIDE, dtype=torch.long)
    return ((images[:, 0].clamp(-1, 1) + 1) / 2 * classes).long().clamp(max=classes - 1)


def slices(count, views, classes, masked, blank, seed):
    """A batch of some views, each of images of its own grey values."""
    zero = torch.zeros(count, dtype=torch.long)
    info = SliceInfo(zero, zero, zero, zero.float(), zero, zero)
    geometry = Geometry.identity(count, (SIDE, SIDE), torch.device("cpu"))
    image = pictures(count, seed)
    masks = masks_of(image, classes, blank) if masked else None
    made = [View(image + 0.1 * number, geometry, masks) for number in range(views)]
    return Batch(tuple(made), info)


def handmade(
    name, stage=0, classes=3, labelled=2, others=2, blank=False, progress=0.5, deep=False, **options
):
    """A step of a joint stage of a method, by the stage's number."""
    cls = registry.methods.get(name)
    method = cls(cls.Options(**options))
    declared = method.joint_stages()[stage]
    # Each image by itself, so that a literal loss may look at one after another.
    spec = BackboneSpec(width=4, options={"norm": "instance"})
    network = build_segmenter(build_backbone(spec, 0), classes, deep, 0)
    objective = build_joint(method, declared, network, "test")
    streams = tuple(
        slices(others, len(stream.views), classes, stream.masks != "none", blank, 10 + number)
        for number, stream in enumerate(declared.streams)
    )
    batch = JointBatch(slices(labelled, 1, classes, True, blank, 1), streams, progress, seed=7)
    return Step(network.train(), objective.train(), batch)
