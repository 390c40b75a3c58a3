"""What the processes of several devices train here; spawned ones import it by its name."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.contracts.method import Stage
from contrabench.contracts.objective import Objective, StepResult
from contrabench.data.bank import build_bank
from contrabench.errors import AuditError
from contrabench.model.weights import build_backbone
from contrabench.objectives.contrast import nt_xent
from contrabench.objectives.heads import GlobalHead
from contrabench.protocol import BackboneSpec, Phase, Seeds
from contrabench.testing import make_case
from contrabench.training import sharding
from contrabench.training.checkpoint import save_weights
from contrabench.training.loop import fit
from contrabench.training.sharding import is_first_process, process_count, process_number
from contrabench.training.step import Step
from contrabench.training.stop import Interrupted, request_stop
from contrabench.training.tasks import PretrainTask

STEPS = 4


class DoubleTask(PretrainTask):
    """A stage in float64, where what is equal by algebra is equal to ten digits.

    The last process asks for a stop at the step `stop`.
    """

    stop = -1

    def batch(self, step, part, parts):
        if step == self.stop and process_number() == process_count() - 1:
            request_stop()
        batch = super().batch(step, part, parts)
        kind = self.backbone.centre.conv1.weight.dtype
        views = tuple(replace(view, image=view.image.to(kind)) for view in batch.views)
        return replace(batch, views=views)


def phase_of(batch=8, accumulate=1):
    return Phase(images=64, batch=batch, lr=1e-3, accumulate=accumulate)


class Adversarial(Objective):
    """What no built-in method does: it trains in front of the backbone, asks for the gradient
    of its input, and reaches past `features` to a part of it."""

    def __init__(self, backbone):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))
        self.head = GlobalHead(backbone.channels["centre"], 8)

    def forward(self, backbone, batch):
        image = self.gain * batch.views[0].image
        probe = image.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.embed(backbone, probe).square().sum(), probe)
        moved = self.embed(backbone, image + functional.normalize(slope, dim=(1, 2, 3)))
        near = nt_xent(self.embed(backbone, image), moved, 0.5)
        return StepResult(near + backbone.part("enc1")(image).square().mean())

    def embed(self, backbone, image):
        return self.head(backbone(image=image, taps=("centre",), given={})["centre"].mean((2, 3)))


class AdversarialMethod:
    """Stands in for a method with this objective."""

    def stages(self):
        return (Stage(name="global"),)

    def objective(self, stage, backbone):
        return Adversarial(backbone)


def make_task(method, stage=0, options=None, phase=None):
    """A stage of a method on three small volumes; the same in every process."""
    if method == "adversarial":
        maker = AdversarialMethod()
    else:
        cls = registry.methods.get(method)
        maker = cls(cls.Options(**(options or {})))
    stage = maker.stages()[stage]
    cases = [make_case(number, variety=1.0) for number in range(3)]
    patients = [case.patient for case in cases]
    labelled = patients if stage.labels else None
    bank = build_bank(cases, labelled, ("axial",), torch.device("cpu"))
    backbone = build_backbone(BackboneSpec(width=4), 0)
    torch.manual_seed(1)
    objective = maker.objective(stage, backbone)
    return DoubleTask(backbone, objective, stage, bank, phase, Seeds()).double()


def train(reporter, runtime, folder, job, stop=-1):
    """Trains a stage; a stop is raised, with the checkpoint in the folder."""
    phase = phase_of(**job.get("phase", {}))
    task = make_task(job["method"], job.get("stage", 0), job.get("options"), phase)
    if job.get("half"):
        task, runtime = task.float(), replace(runtime, precision="bf16")
    task.stop = stop
    folder.mkdir(parents=True, exist_ok=True)
    record = fit(Step(task, phase, runtime, STEPS), folder, reporter, "toy")
    if is_first_process():
        save_weights(folder / "weights", task.state_dict(), {})
    return task, record


def train_all(reporter, runtime, folder, jobs, faults, stopped):
    """Trains everything in the same processes.

    Returns:
        By name, whether all processes end alike, with the loss of the first step; and the numbers
        of axes of what they exchanged.

    Args:
        jobs: by name.
        faults: names of the planted ones, each trained with the job of its value.
        stopped: name to job, stopped in the middle; `..._on` is continued.
    """
    alike = {}
    gathered, axes = sharding._gathered, set()

    def noted(share):
        axes.add(share.ndim)
        return gathered(share)

    for name, job in jobs.items():
        sharding._gathered = noted
        task, record = train(reporter, runtime, Path(folder) / name, job)
        sharding._gathered = gathered
        alike[name] = everywhere(task), record.first["loss"]
        alike[f"{name}: axes"] = sorted(axes)
        axes.clear()
    for name, job in stopped.items():
        try:
            train(reporter, runtime, Path(folder) / name, job, stop=1)
        except Interrupted as error:
            alike[name] = str(error)
        distributed.barrier()
        if name.endswith("_on"):
            _, record = train(reporter, runtime, Path(folder) / name, job)
            alike[name] = record.resumed_at
    whole = sharding._Gather.backward
    for name, job in faults.items():
        sharding._Gather.backward = staticmethod(FAULTS[name])
        try:
            train(reporter, runtime, Path(folder) / name, job)
        except AuditError as error:
            alike[name] = str(error)
        sharding._Gather.backward = whole
    return alike


def everywhere(task):
    """Whether weights and buffers are the same in all processes."""
    theirs = [None] * process_count()
    own = {name: value.clone() for name, value in task.state_dict().items()}
    distributed.all_gather_object(theirs, own)
    return all(torch.equal(own[name], other[name]) for other in theirs for name in own)


def _no_factor(ctx, gradient):
    return sharding._own(gradient), None


def _no_gradient(ctx, gradient):
    return torch.zeros_like(sharding._own(gradient)), None


def _other_share(ctx, gradient):
    return sharding._own(gradient.flip(0)) * process_count(), None


FAULTS = {"no_factor": _no_factor, "no_gradient": _no_gradient, "other_share": _other_share}
