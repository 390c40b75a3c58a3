"""No step waits for a device but where it must, and no tensor of the host meets one of the device.

On a device that tensors only pretend to be on, so that no GPU is needed; `inspection` says how.
"""

import re
from concurrent.futures import Future
from dataclasses import replace

import pytest
import torch
from tests.makers.studies import RUNTIME
from tests.methods.conftest import finetune_task
from tests.methods.test_every_method import VARIANTS, build, tasks

from contrabench.contracts.objective import StepResult
from contrabench.contracts.views import Intensity, Occlusion, ViewSpec
from contrabench.data.synthetic import synthetic_bank
from contrabench.inspection.synchronisations import pretended, waits_of, watched
from contrabench.objectives.drawing import sent
from contrabench.protocol import Phase, Seeds
from contrabench.training.optimizer import Group, build_optimizer
from contrabench.training.step import Step, TrainingTask
from contrabench.training.stream import Stream

ALLOWED = {
    # The largest piece of a class is found by SciPy, on the host.
    "bcp": ["aten._to_copy.default bcp.py"],
}
OTHER_WAYS = {
    "dino": [{"frozen": 0.0}],
    "global_local": [{"global_loss": "GR"}, {"global_loss": "GD-", "stages": "global"}],
    "mmgl": [
        {"variant": "U", "stages": "local"},
        {"variant": "SU", "stages": "local", "sampling": "block", "block": 4},
        {"negatives": "same orientation", "stages": "global"},
    ],
    "mona": [{"regions": 4}],
    "self_paced": [{"pace": "hard"}],
    "supcon_pixel": [{"regions": 2, "hardest": 0.25}],
    "swav": [{"frozen": 0.0, "queue": 16, "queue_from": 0.0}],
    "ua_mt": [{"literal": True, "passes": 2}],
}
"""Options beside the defaults that lead through other code."""


def told(waits):
    """The operations and files of waits."""
    return [f"{wait.operation} {re.sub(r':.*', '', wait.place)}" for wait in waits]


@pytest.mark.parametrize("name", VARIANTS)
def test_no_stage_of_a_method_waits(name, cases):
    for options in ({}, *OTHER_WAYS.get(name, ())):
        # Rounds of one kind are tried once, by the last.
        stages = {type(task.objective): task for task in tasks(build(name, options), cases)}
        for task in stages.values():
            waits = waits_of(task, task.batch(0, 0, 1))
            # What may wait does so once at most.
            assert told(waits) in ([], ALLOWED.get(name)), waits


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("average", [False, True])
def test_fine_tuning_does_not_wait(cases, deep, average):
    task = finetune_task(cases, deep=deep)
    if average:
        task.averaged()
    assert waits_of(task, task.batch(0, 0, 1)) == []


def test_inference_does_not_wait(cases):
    model = finetune_task(cases).model.eval()
    with pretended() as brought, watched() as found, torch.no_grad():
        shares = brought(model).predict(brought(torch.rand(2, 1, 32, 32)))
    assert shares.shape == (2, 3, 32, 32)
    assert shares.device.type == "cuda"
    assert found == []


class AtOnce:
    """Draws when it is asked to, in the thread that pretends."""

    def submit(self, work):
        done = Future()
        done.set_result(work())
        return done


@pytest.mark.parametrize("home", ["cuda", "cpu"])
def test_a_batch_arrives_without_a_wait_wherever_the_slices_lie(home):
    """But for its noise, whose generator cannot be made without a device."""
    calm = Intensity(noise_sd=0)
    specs = (
        ViewSpec(intensity=calm),
        ViewSpec(scale=0.5, occlusion=Occlusion(cells=4), intensity=calm),
    )
    bank = synthetic_bank(32, 2, torch.device("cpu"))
    with pretended() as brought, watched() as found:
        there = {name: getattr(bank, name) for name in ("images", "masks")}
        if home == "cuda":
            there = {name: brought(value) for name, value in there.items()}
        bank = replace(bank, device=torch.device("cuda"), **there)
        stream = Stream(bank, specs, 6, 16, Seeds(), "test")
        stream.artist = AtOnce()
        batches = [stream.batch(step, 0, 1) for step in range(3)]
    assert {view.image.device.type for batch in batches for view in batch.views} == {"cuda"}
    assert batches[0].info.patient.device.type == "cuda"
    assert told(found) == []


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd", "lars"])
def test_weights_move_without_a_wait(cases, kind):
    phase = Phase(images=60, batch=6, lr=1e-3, optimizer=kind)
    step = Step(finetune_task(cases), phase, RUNTIME, 10)
    with pretended() as brought, watched() as found:
        brought(step.task)
        step.trained = [p for p in step.task.parameters() if p.requires_grad]
        step.clipped = [step.trained]
        step.optimizer = build_optimizer([Group(step.trained, phase.rate)], phase)
        step.reached, step.not_finite = brought(step.reached), brought(step.not_finite)
        for number in range(2):
            for weight in step.trained:
                weight.grad = torch.empty_like(weight)
            step.update(number, brought(torch.ones(())))
    assert told(found) == []


class Planted(TrainingTask):
    """A loss with a fault."""

    def __init__(self, fault):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4))
        self.fault = fault

    def batch(self, step, part, parts):
        return torch.arange(4.0)

    def forward(self, batch):
        return StepResult(self.fault(self.weight * batch).sum())


FAULTS = {
    "item": lambda x: x * x.max().item(),
    "branch": lambda x: x if x.sum() > 0 else -x,
    "mask": lambda x: x[x > 0],
    "write by a mask": lambda x: x.clone().index_put((x > 0,), x.sum()),
    "nonzero": lambda x: x[torch.nonzero(x).squeeze(1)],
    "list as an index": lambda x: x[[0, 2]],
    "constant": lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device),
    "host to device": lambda x: x + torch.rand(4).to(x.device),
    "device to host": lambda x: x + sent(x.detach().cpu(), x.device),
    "copy into": lambda x: x + torch.empty_like(x).copy_(torch.rand(4)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_wait_is_found(name):
    task = Planted(FAULTS[name])
    found = waits_of(task, task.batch(0, 0, 1))
    assert found
    assert all(wait.place.startswith("test_no_sync.py:") for wait in found)


class ReadsBackwards(torch.autograd.Function):
    """Reads a number in the backward pass alone."""

    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient * gradient.sum().item()


def test_a_wait_in_the_backward_pass_is_found():
    task = Planted(ReadsBackwards.apply)
    assert told(waits_of(task, task.batch(0, 0, 1))) == [
        "aten._local_scalar_dense.default test_no_sync.py"
    ]


REFUSED = {
    "two devices": lambda x: x + torch.rand(4),
    "a length": lambda x: x.repeat_interleave(torch.ones(4, device=x.device).long()),
    "another length": lambda x: x[torch.unique(x.detach()).long()],
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_go_on_is_an_error(name):
    task = Planted(REFUSED[name])
    with pytest.raises(RuntimeError):
        waits_of(task, task.batch(0, 0, 1))


FINE = {
    "sent": lambda x: x + sent(torch.rand(4), x.device),
    "made on the device": lambda x: x * torch.full((4,), 2.0, device=x.device),
    "a number of the host": lambda x: x * torch.tensor(2.0) * float(torch.rand(())),
    "repeat of known length": lambda x: x.repeat_interleave(
        torch.ones(4, device=x.device).long(), output_size=4
    ),
}


@pytest.mark.parametrize("name", FINE)
def test_what_does_not_wait_is_not_counted(name):
    task = Planted(FINE[name])
    assert waits_of(task, task.batch(0, 0, 1)) == []
