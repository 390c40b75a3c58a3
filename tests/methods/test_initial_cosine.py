"""An untrained network tells slices apart where methods pool its maps, as the papers' do."""

import pytest
import torch
from torch.nn import functional

from contrabench.contracts import registry
from contrabench.contracts.views import ViewSpec
from contrabench.data.bank import build_bank
from contrabench.data.sampler import UniformSampler
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import BackboneSpec, Phase, Seeds
from contrabench.stages.prepare import prepare
from contrabench.training.tasks import PretrainTask, build_objective
from contrabench.views.maker import make_views

MARGIN = 0.005
"""What the encoders of the papers begin with; instance normalisation leaves 0.0001 (ACDC)."""
POOLED = ("pool3", "pool4", "centre", "centre_up")
GLOBAL = {
    *("simclr", "moco", "byol", "simsiam", "barlow_twins", "vicreg", "vicregl", "swav", "dino"),
    *("lejepa", "pcl", "gcl", "macl", "self_paced", "global_local", "hu", "mmgl", "densecl"),
    *("pixpro", "voco", "heads_only", "noise"),
}
"""Every method with a head on a pooled map; those that pool nothing are told apart below."""


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    """Slices of the phantom of another seed than any result in the documentation."""
    kind = registry.datasets.get("phantom")
    data = kind(None, kind.Options(seed=7, patients=6))
    cases = prepare(data, "phantom", 48, tmp_path_factory.mktemp("store"), Silent())
    return build_bank(cases, None, ("axial",), torch.device("cpu"))


@pytest.fixture(scope="module")
def margins(bank):
    """By normalisation and tap: cosine of two views of a slice less that of different slices."""
    sampler, found = UniformSampler(bank.orientation, 32, 0), {}
    for norm in ("batch", "instance"):
        net = build_backbone(BackboneSpec(width=8, options={"norm": norm}), 0)
        sums = dict.fromkeys(POOLED, 0.0)
        for number in range(8):
            images, _ = bank.take(sampler.draw(number))
            views = make_views(images, None, (ViewSpec(), ViewSpec()), number, 16)
            with torch.no_grad():
                maps = [net.features(view.image, POOLED) for view in views]
            for tap in POOLED:
                first, second = (functional.normalize(m[tap].mean((2, 3)), dim=1) for m in maps)
                table = first @ second.T
                others = table[~torch.eye(32, dtype=torch.bool)]
                sums[tap] += float(table.diagonal().mean() - others.mean()) / 8
        found[norm] = sums
    return found


def taps_of(name, bank):
    """What the objectives of a method's label-free stages ask an encoder for."""
    method, asked = registry.methods.get(name)(), set()
    for stage in method.stages():
        if stage.labels:
            continue
        net = build_backbone(BackboneSpec(width=4), 0)
        objective = build_objective(method, stage, net, 3, "test", stage.name)
        task = PretrainTask(
            net, objective, stage, bank, Phase(images=64, batch=16, lr=1e-3), Seeds()
        )
        seen = net.features

        def spy(image, wanted, given=None, seen=seen):
            asked.update(wanted)
            return seen(image, wanted, given)

        net.features = spy
        task(task.batch(0, 0, 1))
    return asked & set(POOLED)


@pytest.mark.parametrize("name", sorted(GLOBAL))
def test_what_a_method_pools_differs_from_slice_to_slice(name, bank, margins):
    taps = taps_of(name, bank)
    assert taps
    for tap in taps:
        assert margins["batch"][tap] >= MARGIN, tap
        # The measure sees the fault that it was made for.
        assert margins["instance"][tap] < MARGIN / 4, tap
