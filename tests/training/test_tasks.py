import pytest
import torch

from contrabench.contracts.method import JointStage, Stage, Stream
from contrabench.contracts.objective import JointObjective, Objective, StepResult
from contrabench.contracts.views import IGNORE, Batch, View, ViewSpec
from contrabench.data.bank import build_bank
from contrabench.data.prepare import cases_of
from contrabench.errors import AuditError, RunError
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import ENCODER, BackboneSpec, Pace, Phase, Seeds
from contrabench.testing.trial import RUNTIME
from contrabench.training.loop import fit
from contrabench.training.step import Step
from contrabench.training.tasks import (
    FinetuneTask,
    JointTask,
    PretrainTask,
    check_views,
    set_trainable,
)

PHASE = Phase(images=64, batch=8, lr=1e-3)
CPU = torch.device("cpu")


class Peek(Objective):
    """Asks for labels."""

    def forward(self, backbone, batch):
        return StepResult(batch.views[0].label.float().mean())


class Deepest(Objective):
    """Wants a small map."""

    def forward(self, backbone, batch):
        return StepResult(backbone.features(batch.views[0].image, ("centre",))["centre"].mean())


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


def test_what_was_handed_over_moves_a_tenth_as_far_in_the_gentle_level(cases):
    """AdamW's first step is the rate times the sign of the gradient, where weights do not decay."""
    phase = PHASE.model_copy(update={"weight_decay": 0.0, "warmup": 0.0, "clip": 1e9})
    bank = build_bank(cases_of(cases, ["patient_00"]), ["patient_00"], ("axial",), CPU)
    model = build_segmenter(build_backbone(BackboneSpec(width=8), 0), 3, deep=False, init_seed=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    pace = Pace(rates="gentle")
    task = FinetuneTask(model, bank, phase, Seeds(), handed=("enc1", "dec1"), pace=pace)
    Step(task, phase, RUNTIME, 8).take(0)
    for name, parameter in model.named_parameters():
        moved = (parameter.detach() - before[name]).abs().max().item()
        held = name.startswith(("backbone.enc1.", "backbone.dec1."))
        assert moved == pytest.approx(1e-4 if held else 1e-3, rel=0.02), name


# -- joint stages ---------------------------------------------------------------------


class Beside(JointObjective):
    """A term of known value that looks at its streams, with a weight that is told."""

    def __init__(self, weight=1.0, supervises=False):
        super().__init__()
        self.told, self.calls = weight, 0
        self.supervises = supervises

    def forward(self, network, batch, supervised):
        self.calls += 1
        streams = [network.logits(view.image) for one in batch.streams for view in one.views]
        return StepResult(
            3.0 + 0.0 * sum(logits.sum() for logits in streams), {"x": torch.ones(())}
        )

    def weight_at(self, progress):
        return self.told


TWO = JointStage(
    name="two",
    streams=(Stream(views=(ViewSpec(), ViewSpec())), Stream(draws="any", masks="labels")),
)


def joint(cases, stage=TWO, objective=None, seeds=None, phase=PHASE):
    banks = [
        build_bank(cases_of(cases, ["patient_01", "patient_02"]), None, ("axial",), CPU),
        build_bank(cases_of(cases, ["patient_00", "patient_01"]), ["patient_00"], ("axial",), CPU),
    ]
    return JointTask(
        supervised(cases, seeds, phase),
        objective or Beside(),
        stage,
        banks[: len(stage.streams)],
        [6, 4][: len(stage.streams)],
        seeds or Seeds(),
        steps=8,
    )


def supervised(cases, seeds=None, phase=PHASE):
    bank = build_bank(cases_of(cases, ["patient_00"]), ["patient_00"], ("axial",), CPU)
    model = build_segmenter(build_backbone(BackboneSpec(width=4), 0), 3, deep=False, init_seed=0)
    return FinetuneTask(model, bank, phase, seeds or Seeds())


def test_a_joint_batch_holds_the_common_one_and_each_stream_with_its_views_and_masks(cases):
    task = joint(cases)
    batch = task.batch(3, 0, 1)
    common = supervised(cases).batch(3, 0, 1)
    assert torch.equal(batch.labelled.views[0].image, common.views[0].image)
    assert torch.equal(batch.labelled.views[0].label, common.views[0].label)
    first, second = batch.streams
    assert [view.image.shape[0] for view in (*first.views, *second.views)] == [6, 6, 4]
    assert first.views[0].masks is None
    known = second.info.patient == 0
    masks = second.views[0].label
    assert (masks[~known] == IGNORE).all()
    assert (masks[known] != IGNORE).any()
    assert batch.progress == 3 / 8


def test_streams_of_one_stage_and_of_another_draw_for_themselves(cases):
    same = (Stream(), Stream())
    bank = build_bank(cases_of(cases, ["patient_01"]), None, ("axial",), CPU)

    def drawn(name):
        stage = JointStage(name=name, streams=same)
        task = JointTask(supervised(cases), Beside(), stage, [bank, bank], [6, 6], Seeds(), steps=8)
        return [each.views[0].image for each in task.batch(0, 0, 1).streams]

    first, second = drawn("a")
    assert not torch.equal(first, second)
    assert torch.equal(first, drawn("a")[0])
    assert not torch.equal(first, drawn("b")[0])


def test_the_supervised_loss_is_the_common_one_and_the_rest_is_added_by_its_weight(cases):
    common = supervised(cases)
    expected = common(common.batch(2, 0, 1)).loss
    task = joint(cases, objective=Beside(0.25))
    result = task(task.batch(2, 0, 1))
    assert torch.equal(result.logs["supervised"], expected.detach())
    assert result.loss.item() == pytest.approx(expected.item() + 0.75)
    assert (result.logs["added"].item(), result.logs["x"].item()) == (0.75, 1.0)


def test_what_weighs_nothing_is_not_computed(cases):
    objective = Beside(0.0)
    task = joint(cases, objective=objective)
    common = supervised(cases)
    result = task(task.batch(2, 0, 1))
    assert objective.calls == 0
    assert torch.equal(result.loss, common(common.batch(2, 0, 1)).loss)


def test_an_objective_that_supervises_is_all_there_is(cases):
    task = joint(cases, objective=Beside(0.0, supervises=True))
    result = task(task.batch(0, 0, 1))
    assert (result.loss.item(), list(result.logs)) == (3.0, ["x"])


def test_random_numbers_are_a_function_of_seed_step_part_stage_and_purpose(cases):
    def number(purpose="a", step=0, part=0, name="two", seed=0):
        task = joint(cases, TWO.model_copy(update={"name": name}), seeds=Seeds(views=seed))
        return torch.rand(1, generator=task.batch(step, part, 2).generator(purpose)).item()

    usual = number()
    assert number() == usual
    others = [
        number("b"), number(step=1), number(part=1), number(name="other"), number(seed=1)
    ]  # fmt: skip
    assert len({usual, *others}) == 6
    torch.manual_seed(9)
    assert number() == usual


def test_planted_equal_views_of_a_stream_are_caught(cases):
    same = ViewSpec(spatial=None, intensity=None)
    stage = JointStage(name="s", streams=(Stream(views=(same, same)),))
    with pytest.raises(AuditError, match="rule 5.*identical"):
        joint(cases, stage).batch(0, 0, 1)


def test_the_network_is_clipped_as_if_it_were_alone(cases):
    """A gradient of the method's own that is a thousand times larger changes nothing of it."""

    class Loud(Beside):
        def __init__(self):
            super().__init__()
            self.own = torch.nn.Parameter(torch.ones(3))

        def forward(self, network, batch, supervised):
            return StepResult(1e3 * self.own.sum())

    changes = {"clip": 0.1, "optimizer": "sgd", "lr": 1.0, "weight_decay": 0.0}
    phase = PHASE.model_copy(update=changes)
    task, alone = joint(cases, objective=Loud(), phase=phase), supervised(cases, phase=phase)
    for each in (task, alone):
        Step(each, phase, RUNTIME, 8).take(0)
    pairs = zip(task.common.parameters(), alone.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    moved = (task.objective.own.detach() - 1).norm().item()
    assert moved == pytest.approx(0.1 * phase.rate(0, 8), rel=1e-3)


def test_an_average_of_the_network_follows_it(cases):
    bank = build_bank(cases_of(cases, ["patient_00"]), ["patient_00"], ("axial",), CPU)
    model = build_segmenter(build_backbone(BackboneSpec(width=4), 0), 3, False, 0)
    task = FinetuneTask(model, bank, PHASE, Seeds())
    average = task.averaged()
    expected = [weight.detach().clone() for weight in model.parameters()]
    for number in range(120):
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(0.01 * (number % 7 - 2))
        task.after_step((number + 1) / 120)
        keep = min(1 - 1 / (number + 1), 0.99)
        own = [weight.detach() for weight in model.parameters()]
        expected = [keep * old + (1 - keep) * new for old, new in zip(expected, own, strict=True)]
    for name, wanted in zip(dict(model.named_parameters()), expected, strict=True):
        torch.testing.assert_close(average.get_buffer(name), wanted, rtol=1e-4, atol=1e-5)
    assert not list(average.parameters())


def test_parts_that_are_not_trained_keep_their_running_statistics(cases, tmp_path):
    """What a frozen part sees moves nothing, and the loop would see it if it did (rule 4)."""
    bank = build_bank(cases_of(cases, ["patient_00", "patient_01"]), None, ("axial",), CPU)
    net = build_backbone(BackboneSpec(width=8), 0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    task = PretrainTask(net, Deepest(), Stage(name="s", trains=("centre",)), bank, PHASE, Seeds())
    Step(task, PHASE, RUNTIME, 2).take(0)
    moved = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert {name.split(".")[0] for name in moved} == {"centre"}
    assert "centre.norm1.running_mean" in moved
    # Planted: the whole network normalises by its batches.
    task.still = []
    with pytest.raises(AuditError, match=r"rule 4.*enc1.norm1.running_mean"):
        fit(Step(task, PHASE, RUNTIME, 2), tmp_path, Silent(), "toy")
