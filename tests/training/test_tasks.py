import pytest
import torch

from contrabench.contracts.method import Stage
from contrabench.contracts.objective import Objective, StepResult
from contrabench.contracts.views import Batch, View, ViewSpec
from contrabench.data.bank import build_bank
from contrabench.data.prepare import cases_of
from contrabench.errors import AuditError, RunError
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import ENCODER, BackboneSpec, Phase, Seeds
from contrabench.training.tasks import FinetuneTask, PretrainTask, check_views, set_trainable

PHASE = Phase(images=64, batch=8, lr=1e-3)
CPU = torch.device("cpu")


class Peek(Objective):
    """Asks for labels."""

    def forward(self, backbone, batch):
        return StepResult(batch.views[0].label.float().mean())


def pretrain(cases, stage, labelled=None):
    bank = build_bank(cases_of(cases, ["patient_00", "patient_01"]), labelled, ("axial",), CPU)
    net = build_backbone(BackboneSpec(width=8), 0)
    return PretrainTask(net, Peek(), stage, bank, PHASE, Seeds())


def test_a_batch_has_the_views_and_origins_of_its_slices(cases):
    task = pretrain(cases, Stage(name="s", partitions=4))
    batch = task.batch(3, 0, 1)
    assert [tuple(view.image.shape) for view in batch.views] == [(8, 1, 32, 32)] * 2
    assert batch.info.partition.tolist() == [0, 1, 2, 3] * 2
    rows = batch.info.index
    assert torch.equal(batch.info.position, task.stream.bank.position[rows])
    assert torch.equal(batch.info.patient, task.stream.bank.patient[rows])


def test_batches_are_functions_of_the_step(cases):
    first = pretrain(cases, Stage(name="s")).batch(5, 0, 1)
    second = pretrain(cases, Stage(name="s")).batch(5, 0, 1)
    assert torch.equal(first.views[1].image, second.views[1].image)
    other = pretrain(cases, Stage(name="t")).batch(5, 0, 1)
    assert not torch.equal(first.views[1].image, other.views[1].image)


def test_what_an_objective_draws_is_a_function_of_seed_step_part_and_purpose(cases):
    def drawn(step=5, part=0, name="s", purpose="boxes"):
        batch = pretrain(cases, Stage(name=name)).batch(step, part, 2)
        return torch.rand(4, generator=batch.generator(purpose)).tolist()

    state = torch.get_rng_state()
    assert drawn() == drawn()
    others = [drawn(step=6), drawn(part=1), drawn(name="t"), drawn(purpose="noise")]
    assert len({tuple(values) for values in (drawn(), *others)}) == 5
    assert torch.equal(torch.get_rng_state(), state)


def test_labels_are_out_of_reach_unless_declared(cases):
    with pytest.raises(RunError, match="labels=False"):
        task = pretrain(cases, Stage(name="s"))
        task(task.batch(0, 0, 1))
    task = pretrain(cases, Stage(name="s", labels=True), labelled=["patient_01"])
    assert torch.isfinite(task(task.batch(0, 0, 1)).loss)


def test_only_the_declared_parts_train(cases):
    task = pretrain(cases, Stage(name="s", trains=ENCODER))
    training = {n.split(".")[0] for n, p in task.backbone.named_parameters() if p.requires_grad}
    assert training == set(ENCODER)
    set_trainable(task.backbone, ("dec1",))
    training = {n.split(".")[0] for n, p in task.backbone.named_parameters() if p.requires_grad}
    assert training == {"dec1"}


def test_planted_equal_views_are_caught(cases):
    same = ViewSpec(spatial=None, intensity=None)
    with pytest.raises(AuditError, match="rule 5.*identical"):
        pretrain(cases, Stage(name="s", views=(same, same))).batch(0, 0, 1)


def test_planted_shared_memory_is_caught(cases):
    batch = pretrain(cases, Stage(name="s")).batch(0, 0, 1)
    image = batch.views[0].image
    shared = Batch((batch.views[0], View(image[:], batch.views[1].geometry)), batch.info)
    with pytest.raises(AuditError, match="rule 5.*share memory"):
        check_views(shared)


def test_fine_tuning_reaches_every_parameter(cases):
    bank = build_bank(cases_of(cases, ["patient_00"]), ["patient_00"], ("axial",), CPU)
    model = build_segmenter(build_backbone(BackboneSpec(width=8), 0), 3, deep=True, init_seed=0)
    task = FinetuneTask(model, bank, PHASE, Seeds())
    task(task.batch(0, 0, 1)).loss.backward()
    assert all(p.grad is not None for p in task.parameters())
