"""U2PL: pixels that are not trusted are still known not to be of most classes.

Wang et al., CVPR 2022, arXiv 2203.03884; as in the authors' code for VOC, repaired. An averaged
teacher labels a slice; a box of half of it shows another slice. With H the entropy of the teacher
on the mixed slice and a = a_0 (1 - t) the share of pixels that are not trusted, added are

    U = (N / kept) mean over N pixels of [H below its (1 - a)-quantile] CE(f(u), label)
    Q = sum over classes i of the mean over anchors of l(q) / number of classes present

with l of `objectives.regions`. Anchors of i are pixels to which the teacher gives i with more than
0.3, labelled or with an entropy below its a-quantile; m is their teacher's mean. The negatives n
come from a queue of i, which gets pixels with an entropy above its (1 - a)-quantile whose label is
not i and that the teacher ranks i second or lower, and labelled ones that it takes for i.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from contrabench import (
    JointBatch,
    JointMethod,
    JointObjective,
    JointStage,
    MethodInfo,
    Network,
    Options,
    StepResult,
    Stream,
    Supervised,
    register_method,
)
from contrabench.contracts.views import FINETUNE_VIEW
from contrabench.objectives.consistency import Average, Teacher, boxes, entropy, pasted
from contrabench.objectives.regions import Known, QueueContrast, QueueRule


class U2PLOptions(Options):
    """Options of U2PL; defaults of the authors' code for VOC, if nothing else is said."""

    weight: float = Field(1.0, ge=0, description="of U, beside the supervised loss")
    contrast: float = Field(1.0, ge=0, description="of Q (0.1 in the paper)")
    alone: float = Field(0.0125, ge=0, lt=1, description="share of the steps without U and Q")
    untrusted: float = Field(0.2, ge=0, le=1, description="a_0, share of pixels at the beginning")
    cutmix: float = Field(0.5, ge=0, le=1, description="share of the slices with a box of another")
    certain: float = Field(0.3, ge=0, le=1, description="probability that makes an anchor")
    temperature: float = Field(0.5, gt=0, description="of the contrast")
    anchors: int = Field(256, ge=1, description="of each class in a batch")
    negatives: int = Field(50, ge=1, description="of each anchor")
    low: int = Field(1, ge=0, description="classes that are likelier than the one queued (3)")
    high: int = Field(8, ge=1, description="classes that are likelier, fewer than this (20)")
    queue: int = Field(2048, ge=1, description="pixels kept of each class (30 000)")
    dim: int = Field(64, ge=2, description="of an embedding (256 on the authors' wider networks)")
    keep: float = Field(0.99, ge=0, le=1, description="share that the teacher keeps of itself")


class UnreliableContrast(JointObjective):
    """The two terms, the head of the second on the map at half resolution, and their averages."""

    def __init__(self, network: Network, options: U2PLOptions) -> None:
        super().__init__()
        self.options = options
        self.tap = network.backbone.deep_taps[1]
        width, dim = network.backbone.channels[self.tap], options.dim
        layers: list[nn.Module] = []
        for inputs in (width, dim):
            layers += [
                nn.Conv2d(inputs, dim, 3, padding=1, bias=False),
                nn.BatchNorm2d(dim),
                nn.ReLU(inplace=True),
            ]
        self.head = nn.Sequential(*layers, nn.Conv2d(dim, dim, 1))
        self.average = Teacher(network, options.keep)
        self.average_head = Average(self.head, options.keep)
        rule = QueueRule(
            anchors=options.anchors,
            negatives=options.negatives,
            temperature=options.temperature,
            certain=options.certain,
            ranks=(options.low, options.high),
            size=options.queue,
        )
        self.contrast = QueueContrast(network.classes, dim, rule)

    def forward(self, network: Network, batch: JointBatch, supervised: Supervised) -> StepResult:
        """The weighted terms of one batch."""
        options, backbone = self.options, network.backbone
        view, image = batch.labelled.views[0], batch.streams[0].views[0].image
        guessed = self.average.logits(image).argmax(1)
        size, generator = (image.shape[2], image.shape[3]), batch.generator("cutmix")
        box = boxes(len(image), size, generator, options.cutmix, (0.5, 0.5), (0.5, 2.0))
        image, guessed = pasted(image, box), pasted(guessed, box)
        taps = (self.tap, backbone.finest)
        with torch.no_grad():
            taught = self.average.maps(torch.cat((view.image, image)), taps)
            shares = torch.softmax(self.average.copied.decide(taught), dim=1)
            averaged = self.average_head.copied.eval()(taught[self.tap])
            uncertain = entropy(shares[len(view.image) :])
        own, others = (backbone.features(each, taps) for each in (view.image, image))
        part = options.untrusted * (1 - batch.progress)
        unsupervised = trusted_entropy(network.decide(others), guessed, uncertain, 1 - part)
        embedded = self.head(torch.cat((own[self.tap], others[self.tap])))
        known = Known.by_entropy(view.label.long(), guessed, shares, uncertain, part)
        contrast = self.contrast(embedded, averaged, known, batch.generator("pixels"))
        loss = options.weight * unsupervised + options.contrast * contrast
        return StepResult(loss, {"contrast": contrast.detach()})

    def weight_at(self, progress: float) -> float:
        """The terms are weighed each by itself; 0 before they begin, or if none counts."""
        options = self.options
        counts = options.weight or options.contrast
        return 1.0 if counts and progress >= options.alone else 0.0

    def after_step(self, network: Network, progress: float) -> None:
        """The teacher follows, and what was queued can be met."""
        self.average.update(network)
        self.average_head.update(self.head)
        self.contrast.push()

    def teacher(self) -> Network:
        """The average."""
        return self.average.copied


def trusted_entropy(logits: Tensor, labels: Tensor, uncertain: Tensor, part: float) -> Tensor:
    """Cross-entropy of the pixels up to a quantile of the teacher's entropy, as U has it.

    Of logits (B, C, H, W), labels and entropies (B, H, W): the mean over the kept pixels, times all
    pixels for each that is kept.
    """
    kept = uncertain <= torch.quantile(uncertain.flatten(), part)
    each = functional.cross_entropy(logits, labels, reduction="none")
    return (each * kept).sum() * kept.numel() / kept.sum().square()


@register_method("u2pl")
class U2PL(JointMethod):
    """Contrast with queues of pixels that are surely not of a class."""

    info = MethodInfo(
        title="U2PL",
        family="contrast during",
        kind="pixel contrast",
        paper="Wang et al., CVPR 2022, arXiv 2203.03884; code for VOC",
        fidelity="re-implementation",
        inferred=(
            "repaired: a pixel enters the queues of classes that are not its label (in the code "
            "only those of its label could fill), by the classes' own numbers",
            "repaired: ranks begin at the second guess, because 3 to 20 are empty for few classes",
            "repaired: the teacher averages from the first step on and never shares the student's "
            "weights",
            "a step's pixels are met from the next step on, at most 256 of a class, drawn evenly, "
            "so that a short queue holds more than one slice",
            "the head has no dropout and reads the decoder's map at half resolution",
            "the teacher predicts by averaged statistics, for features too",
            "the student is tested; the authors test the teacher (score=teacher)",
        ),
        against_collapse="negatives",
        version=2,
    )
    Options = U2PLOptions
    options: U2PLOptions

    def joint_stages(self) -> tuple[JointStage, ...]:
        """One, with one view of each slice without a label, which is mixed here."""
        return (JointStage(name="unreliable", streams=(Stream(views=(FINETUNE_VIEW,)),)),)

    def joint_objective(self, stage: JointStage, network: Network) -> JointObjective:
        """Pseudo-labels and contrast."""
        return UnreliableContrast(network, self.options)
