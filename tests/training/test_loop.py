"""The loop on a small problem: resume, finiteness, gradients, and what stays frozen."""

from pathlib import Path

import pytest
import torch
from torch import nn

from contrabench.contracts.objective import StepResult
from contrabench.errors import AuditError, RunError
from contrabench.progress import Silent
from contrabench.protocol import Phase
from contrabench.training import loop
from contrabench.training.checkpoint import FILE
from contrabench.training.loop import fit
from contrabench.training.runtime import Runtime
from contrabench.training.step import Step, TrainingTask

PHASE = Phase(images=320, batch=8, lr=1e-2)


def runtime(**changes):
    return Runtime(**{"device": "cpu", "precision": "float32", "threads": 1, **changes})


class Toy(TrainingTask):
    """Fits a line; has a momentum copy, dropout, and a frozen layer."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.line = nn.Linear(4, 2)
            self.still = nn.Linear(2, 2)
        self.still.requires_grad_(False)
        self.register_buffer("slow", torch.zeros(2, 4))
        self.drop = nn.Dropout(0.3)
        self.progress = []

    def batch(self, step, part, parts):
        generator = torch.Generator().manual_seed(step)
        return torch.randn(8, 4, generator=generator)[part * 8 // parts : (part + 1) * 8 // parts]

    def forward(self, batch):
        wanted = batch[:, :2] * 3
        loss = (self.still(self.drop(self.line(batch))) - wanted).square().mean()
        return StepResult(loss, {"twice": 2 * loss.detach()})

    def after_step(self, progress):
        self.progress.append(progress)
        self.slow.mul_(0.9).add_(self.line.weight.detach(), alpha=0.1)


def train(folder, task=None, steps=40, phase=PHASE, **changes):
    task = task or Toy()
    step = Step(task, phase, runtime(**changes), steps)
    record = fit(step, folder, Silent(), "toy")
    return task, record


def same(a, b):
    return all(torch.equal(v, b.state_dict()[n]) for n, v in a.state_dict().items())


def test_the_loss_falls_and_is_recorded(tmp_path):
    task, record = train(tmp_path)
    assert record.last["loss"] < 0.8 * record.first["loss"]
    assert record.last["twice"] == pytest.approx(2 * record.last["loss"], rel=1e-5)
    assert (record.steps, record.images) == (40, 320)
    assert record.trained == 10
    assert task.progress == pytest.approx([(k + 1) / 40 for k in range(40)])


def test_two_fits_are_equal_whatever_the_global_generator(tmp_path):
    torch.manual_seed(1)
    first, _ = train(tmp_path / "a")
    torch.manual_seed(2)
    second, _ = train(tmp_path / "b")
    assert same(first, second)


@pytest.mark.parametrize("stop", [1, 20, 39])
def test_a_resumed_fit_equals_one_that_was_left_alone(tmp_path, monkeypatch, stop):
    straight, _ = train(tmp_path / "straight")
    folder = tmp_path / "stopped"
    folder.mkdir()

    class Power(Exception):
        pass

    class Cut(Toy):
        def batch(self, step, part, parts):
            if step == stop:
                raise Power
            return super().batch(step, part, parts)

    monkeypatch.setattr(loop, "_LOOK_EVERY", 1)
    with pytest.raises(Power):
        train(folder, Cut(), checkpoint_seconds=0.0)
    assert (folder / FILE).is_file()
    again, record = train(folder)
    assert record.resumed_at == (stop,)
    assert same(straight, again)


def test_accumulated_halves_give_the_gradient_of_the_whole(tmp_path):
    class Plain(Toy):
        def __init__(self):
            super().__init__()
            self.drop = nn.Identity()

    whole, _ = train(tmp_path / "a", Plain())
    halves, _ = train(tmp_path / "b", Plain(), phase=PHASE.model_copy(update={"accumulate": 2}))
    torch.testing.assert_close(whole.line.weight, halves.line.weight, rtol=1e-4, atol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path):
    class Spoilt(Toy):
        def batch(self, step, part, parts):
            return super().batch(step, part, parts) * (float("nan") if step == 13 else 1.0)

    with pytest.raises(RunError, match="not finite at step 13 of 40"):
        train(tmp_path, Spoilt(), checkpoint_seconds=0.0)
    assert not (tmp_path / FILE).exists()


def test_planted_parameter_without_a_gradient_is_caught(tmp_path):
    class Idle(Toy):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(3, 3)

    with pytest.raises(AuditError, match="rule 4.*unused"):
        train(tmp_path, Idle())


def test_planted_change_of_a_frozen_part_is_caught(tmp_path):
    class Leaky(Toy):
        def after_step(self, progress):
            with torch.no_grad():
                self.still.bias.add_(1e-9 if progress < 1 else 1.0)

    with pytest.raises(AuditError, match=r"rule 4.*still\.bias"):
        train(tmp_path, Leaky())


def test_a_stage_that_trains_nothing_is_refused(tmp_path):
    task = Toy()
    task.requires_grad_(False)
    with pytest.raises(RunError, match="no parameter"):
        train(tmp_path, task)


def test_bf16_trains_in_float32_weights(tmp_path):
    task, record = train(tmp_path, precision="bf16")
    assert task.line.weight.dtype == torch.float32
    assert record.last["loss"] < record.first["loss"]


def test_a_term_that_sets_in_late_is_logged_as_the_mean_of_its_own_steps(tmp_path):
    class Late(Toy):
        def forward(self, batch):
            result = super().forward(batch)
            number = len(self.progress)
            logs = {"late": torch.tensor(float(number))} if number >= 36 else {}
            return StepResult(result.loss, {**result.logs, **logs})

    _, record = train(tmp_path, Late())
    assert record.last["late"] == (36 + 37 + 38 + 39) / 4
    assert record.last["twice"] == pytest.approx(2 * record.last["loss"], rel=1e-6)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="not on this system")
def test_the_peak_is_that_of_the_fit(tmp_path):
    block = torch.ones(2**20 * 400, dtype=torch.uint8)
    reached = runtime().peak_memory_mb()
    del block
    _, record = train(tmp_path)
    assert 0 < record.peak_memory_mb < reached - 300
