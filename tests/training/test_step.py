"""The one step: equal in every bit to what torch alone computes, on the device and timed."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from contrabench.contracts import registry
from contrabench.contracts.backbone import Backbone
from contrabench.contracts.objective import StepResult
from contrabench.data.synthetic import synthetic_bank
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Phase, Seeds, seed_for
from contrabench.training.loop import fit
from contrabench.training.optimizer import Group, build_optimizer
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step, TrainingTask, saved_for_backward
from contrabench.training.tasks import PretrainTask

RUNTIME = Runtime(device="cpu", precision="float32", threads=1)
PHASE = Phase(images=6 * 4, batch=4, lr=0.1, clip=0.5, warmup=0.0, schedule="constant")


class Line(TrainingTask):
    """A line through random points, with a hook that counts."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line = nn.Linear(3, 1)
            self.fixed = nn.Linear(1, 1)
        self.fixed.requires_grad_(False)
        self.drop = nn.Dropout(0.2)
        self.shares, self.types, self.modes = [], [], []

    def batch(self, step, part, parts):
        generator = torch.Generator().manual_seed(step)
        return torch.randn(4, 3, generator=generator)

    def forward(self, batch):
        out = self.line(self.drop(batch))
        self.types.append(out.dtype)
        self.modes.append(self.training)
        return StepResult((out.float() - 100.0).square().mean(), {})

    def after_step(self, progress):
        self.shares.append(progress)


def by_hand(task, phase, steps, precision):
    """The same steps in plain torch: its autocast, its clipping, its optimisers."""
    trained = [p for p in task.parameters() if p.requires_grad]
    optimizer = build_optimizer([Group(trained, phase.rate)], phase)
    for number in range(steps):
        torch.manual_seed(seed_for("step", 0, number))
        for group in optimizer.param_groups:
            group["lr"] = phase.rate(number, steps)
        for part in range(phase.accumulate):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = task(task.batch(number, part, phase.accumulate)).loss
            (loss / phase.accumulate).backward()
        torch.nn.utils.clip_grad_norm_(trained, phase.clip)
        optimizer.step()
        optimizer.zero_grad()
        task.after_step((number + 1) / steps)


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", ["adamw", "sgd", "lars"])
def test_its_steps_are_those_of_plain_torch_and_of_the_loop(tmp_path, kind, precision):
    update = {"optimizer": kind, "warmup": 0.4, "schedule": "cosine", "accumulate": 2}
    phase = PHASE.model_copy(update=update)
    runtime = replace(RUNTIME, precision=precision)
    looped, stepped, plain = Line(), Line(), Line()
    fit(Step(looped, phase, runtime, 6), tmp_path, Silent(), "line")
    step = Step(stepped, phase, runtime, 6)
    for number in range(6):
        step.take(number)
    by_hand(plain, phase, 6, precision)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, stepped.state_dict()[name])
        assert torch.equal(value, looped.state_dict()[name])
    assert plain.shares == stepped.shares == looped.shares == [(n + 1) / 6 for n in range(6)]
    assert not torch.equal(Line().line.weight, plain.line.weight)


def test_the_first_loss_that_is_not_finite_is_noted_and_what_has_had_a_gradient():
    step = Step(Line(), PHASE, RUNTIME, 6)
    step.take(0)
    assert (int(step.not_finite), step.reached.tolist()) == (-1, [True, True])
    with torch.no_grad():
        step.task.line.bias.fill_(torch.nan)
    for number in (1, 2):
        assert not torch.isfinite(step.take(number)["loss"])
    assert int(step.not_finite) == 1


def test_gradients_are_clipped_and_nothing_is_left_of_them():
    task = Line()
    phase = PHASE.model_copy(update={"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0})
    before = torch.cat([task.line.weight.flatten(), task.line.bias]).detach().clone()
    Step(task, phase, RUNTIME, 6).take(0)
    after = torch.cat([task.line.weight.flatten(), task.line.bias]).detach()
    # Plain descent moves by rate x clipped norm.
    assert (after - before).norm().item() == pytest.approx(0.1 * 0.5, rel=1e-4)
    assert task.line.weight.grad is None


def test_without_a_largest_norm_the_whole_gradient_moves_the_weights():
    task, copy = Line(), Line()
    update = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "clip": None}
    Step(task, PHASE.model_copy(update=update), RUNTIME, 6).take(0)
    torch.manual_seed(seed_for("step", 0, 0))
    copy(copy.batch(0, 0, 1)).loss.backward()
    gradient = copy.line.weight.grad
    assert gradient.norm() > 50
    expected = copy.line.weight.detach() - 0.1 * gradient
    torch.testing.assert_close(task.line.weight.detach(), expected)


def test_what_does_not_train_is_left_alone():
    task = Line()
    step = Step(task, PHASE, RUNTIME, 6)
    fixed = task.fixed.weight.clone()
    step.take(0)
    assert torch.equal(task.fixed.weight, fixed)
    assert {id(p) for p in step.trained} == {id(p) for p in task.line.parameters()}
    assert task.modes == [True]


@pytest.mark.parametrize(
    ("precision", "wanted"), [("float32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_arithmetic_is_that_of_the_runtime(precision, wanted):
    task = Line()
    Step(task, PHASE, Runtime(device="cpu", precision=precision, threads=1), 6).take(0)
    assert task.types == [wanted]


def test_time_is_that_of_the_work(monkeypatch):
    clock = iter([10.0, 12.5])
    step = Step(Line(), PHASE, RUNTIME, 6)
    monkeypatch.setattr("contrabench.training.step.time.perf_counter", lambda: next(clock))
    done = []
    assert step.timed(lambda: done.append(1)) == 2.5
    assert done == [1]


# -- what is kept for the backward pass, counted in closed form -----------------------

FLOAT = 4


def test_a_product_keeps_its_factors_and_an_exponential_its_result():
    x, w = torch.randn(10, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    with saved_for_backward() as saved:
        y = (x * w).exp()
    assert sum(saved.values()) == FLOAT * (30 + 3 + 30)
    y.sum().backward()
    assert torch.allclose(x.grad, y * w)


def test_a_storage_counts_once_and_in_whole():
    x = torch.randn(8, 5, requires_grad=True)
    with saved_for_backward() as saved:
        loss = (x[:2] * x[1:3]).sum() + (x * x).sum()
    assert sum(saved.values()) == FLOAT * 40
    assert loss.requires_grad


def test_tensors_apart_do_not_count_nor_do_views_of_them():
    x, w = torch.randn(10, 3, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    with saved_for_backward([w]) as saved:
        y = x @ w.T.mT
    assert sum(saved.values()) == FLOAT * 30
    with saved_for_backward([w, x]) as saved:
        y = x @ w
    assert sum(saved.values()) == 0
    assert y.requires_grad


def test_nothing_is_watched_afterwards_or_without_a_graph():
    x = torch.randn(4, requires_grad=True)
    with saved_for_backward() as saved, torch.no_grad():
        x.exp()
    x.exp()
    assert sum(saved.values()) == 0


def test_every_network_of_a_task_is_compiled_the_momentum_copy_too(monkeypatch):
    compiled = []

    def note(network):
        compiled.append(network)

    monkeypatch.setattr(Backbone, "compile", note)
    method, net = registry.methods.get("moco")(), build_backbone(BackboneSpec(width=4), 0)
    stage, bank = method.stages()[0], synthetic_bank(32, 0, torch.device("cpu"))
    task = PretrainTask(net, method.objective(stage, net), stage, bank, PHASE, Seeds())
    for wanted in (False, True):
        Step(task, PHASE, replace(RUNTIME, compile=wanted), 6).compile()
        assert compiled == ([task.backbone, task.objective.key_backbone.copied] if wanted else [])
