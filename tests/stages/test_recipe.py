"""The two recipes: how a budget is shared out, and what a paper's optimisation becomes."""

import pytest
from tests.makers.studies import TINY, make_spec, specs_of

from contrabench.budgets import BUDGETS
from contrabench.contracts import registry
from contrabench.contracts.method import (
    JointMethod,
    JointStage,
    Method,
    MethodInfo,
    Optimisation,
    Predicted,
    Published,
    Stage,
    Stream,
)
from contrabench.errors import RequestError
from contrabench.protocol import digest
from contrabench.stages.recipe import share_out, tuning_stages, unlabelled_batches
from contrabench.store.results import read_rows

PAPER = Optimisation(
    optimizer="lars", lr=0.3, lr_batch=256, batch=4096, weight_decay=1e-6, warmup=0.1, source="x"
)


class Staged(Method):
    """Three stages, one of them twice as long, one without a source."""

    info = MethodInfo(title="Staged", family="x", paper="x", fidelity="reconstruction")
    published = Published(
        stages={"a": PAPER, "b": PAPER.model_copy(update={"batch": 4, "lr_batch": None})}
    )
    longer, partitions = 2.0, 0

    def stages(self):
        return (
            Stage(name="a", share=self.longer, partitions=self.partitions),
            Stage(name="b"),
            Stage(name="c"),
        )

    def objective(self, stage, backbone):
        raise RuntimeError


class Unpublished(Staged):
    published = None


@pytest.mark.parametrize("longer", [1.0, 2.0, 0.3, 7.7])
def test_shares_lose_no_step(longer):
    method = Staged()
    method.longer = longer
    steps = [work.steps for work in share_out(method, TINY, "common")]
    assert sum(steps) == TINY.pretrain.steps
    assert steps[0] == pytest.approx(longer / (longer + 2) * 24, abs=1)


def test_under_the_common_recipe_every_stage_has_the_budgets_phase():
    works = share_out(Staged(), TINY, "common")
    assert all(work.phase == TINY.pretrain and not work.note for work in works)


def test_a_papers_optimisation_within_the_budgets_images():
    budget = TINY.model_copy(
        update={"pretrain": TINY.pretrain.model_copy(update={"images": 16 * 800})}
    )
    a, b, c = share_out(Staged(), budget, "published")
    # 6400 images make 100 steps of 64; the rate follows the batch from 0.3 at 256.
    assert (a.phase.batch, a.steps) == (64, 100)
    assert a.phase.lr == pytest.approx(0.3 * 64 / 256)
    assert (a.phase.optimizer, a.phase.weight_decay, a.phase.warmup) == ("lars", 1e-6, 0.1)
    assert "batch 64 instead of 4096" in a.note
    assert (a.phase.clip, budget.pretrain.clip) == (None, 5.0)
    assert "gradients not clipped" in a.note
    assert (b.phase.batch, b.steps, b.phase.lr) == (4, 800, 0.3)
    assert c.phase == budget.pretrain
    assert "no source" in c.note
    assert [work.steps * work.phase.batch for work in (a, b, c)] == [6400, 3200, 3200]


PAPERS_THAT_CLIP = {"dino": 3}


def test_gradients_are_clipped_where_the_paper_clips_them():
    methods = {name: registry.methods.get(name)() for name in registry.methods.names()}
    for name, method in methods.items():
        assert {work.phase.clip for work in share_out(method, TINY, "common")} <= {5.0}
        for stage in method.published.stages if method.published else ():
            wanted = PAPERS_THAT_CLIP.get(name)
            (work,) = (w for w in share_out(method, TINY, "published") if w.stage.name == stage)
            assert work.phase.clip == wanted
            assert (f"gradients clipped at {wanted}" if wanted else "not clipped") in work.note


def test_a_short_budget_keeps_its_own_batch():
    a, _, _ = share_out(Staged(), TINY, "published")
    assert a.phase.batch == TINY.pretrain.batch


@pytest.mark.parametrize("accumulate", [1, 3])
def test_the_batch_fits_partitions_and_micro_batches(accumulate):
    method = Staged()
    method.partitions = 4
    phase = TINY.pretrain.model_copy(update={"images": 16 * 650, "accumulate": accumulate})
    a, _, _ = share_out(method, TINY.model_copy(update={"pretrain": phase}), "published")
    assert a.phase.batch % (4 * accumulate) == 0
    assert 100 <= a.steps <= 120


def test_without_a_source_the_request_is_refused():
    with pytest.raises(RequestError, match="no published recipe"):
        share_out(Unpublished(), TINY, "published")
    assert share_out(Unpublished(), TINY, "common")


def test_options_of_the_paper_yield_to_those_asked_for(monkeypatch):
    cls = type(make_spec("simclr").open_method())
    monkeypatch.setattr(
        cls, "published", Published(stages={"global": PAPER}, options={"temperature": 0.5})
    )

    def asked(word, recipe="published"):
        (spec,) = specs_of(methods=[word], recipe=recipe)
        return spec.open_method().options.temperature, spec.variant()

    assert asked("simclr") == (0.5, "simclr")
    assert asked("simclr[temperature=0.2]") == (0.2, "simclr[temperature=0.2]")
    # Asking for the default is asking.
    assert asked("simclr[temperature=0.1]")[0] == 0.1
    assert asked("simclr", recipe="common")[0] == 0.1


def test_rows_of_the_two_recipes_lie_under_two_protocols(execute, tmp_path):
    results = [execute(make_spec("simclr", recipe=name)) for name in ("common", "published")]
    hashes = {result.record["protocol"]["hash"] for result in results}
    assert len(hashes) == 2
    assert results[0].record["recipe"] == []
    assert "stage global" in results[1].record["recipe"][0]
    rows, _ = read_rows(tmp_path)
    assert set(zip(rows.recipe, rows.protocol, strict=True)) == {
        (result.record["spec"]["recipe"], result.record["protocol"]["hash"]) for result in results
    }
    assert digest(results[0].record["spec"]) != digest(results[1].record["spec"])


# -- stages of fine-tuning ------------------------------------------------------------


class Rounds(JointMethod):
    """Joint stages of some shares, the first of which may want pseudo-labels."""

    info = MethodInfo(title="Rounds", family="x", paper="x", fidelity="reconstruction")
    shares, masks = (1.0, 2.0, 0.5), "none"

    def joint_stages(self):
        stream = Stream(masks=self.masks)
        return tuple(
            JointStage(name=f"stage {number}", share=share, streams=(stream,))
            for number, share in enumerate(self.shares)
        )

    def joint_objective(self, stage, network):
        raise RuntimeError


def test_joint_stages_share_the_steps_of_fine_tuning_to_the_last():
    for steps in (24, 25, 1000, 1001):
        tuned = tuning_stages(Rounds(), steps)
        assert sum(number for _, number in tuned) == steps
        for (_, number), share in zip(tuned, Rounds.shares, strict=True):
            assert number == pytest.approx(steps * share / 3.5, abs=1)
    assert tuning_stages(Staged(), 24) == [(None, 24)]


@pytest.mark.parametrize("plan", [lambda m: share_out(m, TINY, "common"), Staged.transfers])
def test_a_stage_alone_is_told_to_be_a_tuple(plan):
    class Bare(Staged):
        def stages(self):
            return Stage(name="a")

    with pytest.raises(RequestError, match=r"'a' is given where a tuple .* write \(stage,\)"):
        plan(Bare())


def test_a_joint_stage_alone_too(monkeypatch):
    monkeypatch.setattr(Rounds, "joint_stages", lambda self: JointStage(name="b"))
    with pytest.raises(RequestError, match="'b' is given where a tuple of stages is due"):
        tuning_stages(Rounds(), 24)


def test_pseudo_labels_need_a_stage_before():
    method = Rounds()
    method.masks = Predicted()
    with pytest.raises(RequestError, match="'stage 0' wants labels that a stage before predicts"):
        tuning_stages(method, 24)


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=lambda budget: budget.name)
@pytest.mark.parametrize("shares", [(1.0,), (1.0, 1.0), (3.0, 1.0)])
def test_streams_see_as_many_slices_as_pre_training_would(budget, shares):
    steps, wanted = budget.finetune.steps, budget.pretrain.images
    streams = tuple(Stream(share=share) for share in shares)
    sizes = unlabelled_batches(budget, streams, [(JointStage(name="s", streams=streams), steps)])
    if wanted >= len(shares) * steps * sum(shares) / min(shares):
        # No stream loses more than a slice a step to rounding.
        assert wanted - len(shares) * steps < sum(sizes) * steps <= wanted
        for size, share in zip(sizes, shares, strict=True):
            assert size == pytest.approx(wanted / steps * share / sum(shares), abs=1)
    else:
        # A budget of fewer slices than steps: one a step.
        assert sizes == [1] * len(shares)


@pytest.mark.parametrize("accumulate", [2, 3])
def test_streams_divide_evenly_among_micro_batches(accumulate):
    phase = TINY.finetune.model_copy(update={"accumulate": accumulate})
    budget = TINY.model_copy(update={"finetune": phase})
    for shares in ((1.0,), (1.0, 0.2)):
        stage = JointStage(name="s", streams=tuple(Stream(share=share) for share in shares))
        sizes = unlabelled_batches(budget, stage.streams, [(stage, 24)])
        assert all(size % accumulate == 0 for size in sizes)
        assert sum(sizes) <= 16
    # One a micro-batch is the least.
    few = budget.model_copy(update={"pretrain": TINY.pretrain.model_copy(update={"images": 24})})
    one = JointStage(name="s")
    assert unlabelled_batches(few, one.streams, [(one, 24)]) == [accumulate]


@pytest.mark.parametrize("name", ["mean_teacher", "unimatch", "cps", "reco", "bcp"])
@pytest.mark.parametrize("budget", [TINY, BUDGETS["quick"]], ids=["tiny", "quick"])
def test_joint_methods_see_what_a_pre_training_sees(name, budget):
    """To less than a slice a step, stages that see no others counted out."""
    tuning = tuning_stages(registry.methods.get(name)(), budget.finetune.steps)
    pretrained = sum(
        work.steps * work.phase.batch for work in share_out(Staged(), budget, "common")
    )
    seen = sum(sum(unlabelled_batches(budget, one.streams, tuning)) * n for one, n in tuning)
    assert pretrained - budget.finetune.steps < seen <= pretrained
