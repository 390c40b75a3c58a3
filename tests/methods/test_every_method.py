"""What every built-in method must do, whatever it computes; none is left out."""

from pathlib import Path

import pytest
import torch

from contrabench import catalogue
from contrabench.data.bank import build_bank
from contrabench.method import PARTS
from contrabench.model.unet import build_unet
from contrabench.protocol import ORIENTATIONS, Backbone, Phase, Seeds
from contrabench.training.tasks import PretrainTask

CONTENT = Path(__file__).parents[2] / "methods"
VARIANTS = {
    "scratch": [{}],
    "scratch_long": [{}],
    "simclr": [{}],
    "hu": [{}],
    "global_local": [
        {},
        {"global_loss": "GR"},
        {"global_loss": "GD-"},
        {"stages": "global"},
        {"stages": "local", "decoder_blocks": 1},
    ],
    "mmgl": [
        {},
        {"variant": "U"},
        {"variant": "SU"},
        {"stages": "global"},
        {"stages": "local"},
        {"global_taps": ["pool3"], "local_taps": ["dec3"]},
        {"negatives": "same orientation"},
        {"freeze_encoder": True, "linear_heads": True},
    ],
}
ALL = [(name, options) for name, sets in VARIANTS.items() for options in sets]
PHASE = Phase(images=64, batch=16, lr=1e-3)


def build(name, options):
    cls = catalogue.methods.get(name)
    return cls(cls.Options.model_validate(options))


def tasks(method, cases):
    """One task for each stage, as the engine makes them."""
    pool = [f"patient_{i:02d}" for i in range(6)]
    for stage in method.stages():
        seen = pool[:2] if stage.labelled_slices_only else pool
        bank = build_bank(
            cases, seen, pool[:2] if stage.labels else None, ORIENTATIONS, torch.device("cpu")
        )
        net = build_unet(Backbone(width=4), 0)
        torch.manual_seed(0)
        objective = method.objective(stage, net)
        yield PretrainTask(net, objective, stage, bank, PHASE, Seeds())


def test_none_is_left_out():
    assert set(VARIANTS) == {path.stem for path in CONTENT.glob("*.py")}


@pytest.mark.parametrize(("name", "options"), ALL)
def test_stages_are_well_formed(name, options):
    method = build(name, options)
    names = [stage.name for stage in method.stages()]
    assert len(set(names)) == len(names)
    for stage in method.stages():
        assert set(stage.trains) <= set(PARTS)
        assert len(stage.views) >= 2
        assert stage.labels or not stage.labelled_slices_only
    assert set(method.transfers()) <= set(PARTS)
    assert method.info.paper
    if method.info.fidelity == "reconstruction":
        assert method.info.inferred


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_says_what_it_is(name):
    for field, info in catalogue.methods.get(name).Options.model_fields.items():
        assert info.description, field


@pytest.mark.parametrize(("name", "options"), ALL)
def test_gradients_reach_what_is_trained_and_nothing_else(name, options, cases):
    for task in tasks(build(name, options), cases):
        grown: set[str] = set()
        for step in range(3):
            result = task(task.batch(step, 0, 1))
            assert result.loss.shape == ()
            assert torch.isfinite(result.loss)
            result.loss.backward()
            grown |= {n for n, p in task.named_parameters() if p.grad is not None and p.grad.any()}
        wanted = {n for n, p in task.named_parameters() if p.requires_grad}
        assert grown == wanted


@pytest.mark.parametrize(("name", "options"), ALL)
def test_the_loss_depends_on_the_weights_and_falls(name, options, cases):
    for task in tasks(build(name, options), cases):
        optimizer = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=2e-3)
        batch, losses = task.batch(0, 0, 1), []
        for _ in range(12):
            loss = task(batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]


@pytest.mark.parametrize(("name", "options"), ALL)
def test_bf16_gives_nearly_the_same_loss(name, options, cases):
    for task in tasks(build(name, options), cases):
        batch = task.batch(0, 0, 1)
        exact = task(batch).loss.item()
        with torch.autocast("cpu", torch.bfloat16):
            rough = task(batch).loss
        assert rough.dtype == torch.float32
        assert rough.item() == pytest.approx(exact, rel=0.1, abs=0.05)


def test_mmgl_s_asks_for_labels_and_mmgl_u_does_not():
    assert build("mmgl", {}).label_dependent()
    assert build("mmgl", {"variant": "SU"}).label_dependent()
    assert not build("mmgl", {"variant": "U"}).label_dependent()
    assert build("hu", {}).label_dependent()


def test_mmgl_pools_three_orientations_and_supervises_deeply():
    deviations = catalogue.methods.get("mmgl").deviations
    assert (deviations.views, deviations.deep_supervision) == ("all", True)
    for name in set(VARIANTS) - {"mmgl"}:
        assert catalogue.methods.get(name).deviations.labels() == ()
