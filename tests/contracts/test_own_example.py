"""The example's loss and metric, against the formulas that they follow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from contrabench import plugins
from contrabench.contracts import discovery
from contrabench.contracts.chosen import checked_loss, chosen
from contrabench.contracts.registry import losses, metrics
from contrabench.contracts.views import IGNORE

FILE = Path(__file__).parents[2] / "examples" / "focal_and_jaccard.py"


@pytest.fixture(autouse=True, scope="module")
def _listed():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(discovery.VARIABLE, "")
        patch.setattr(plugins, "__path__", list(plugins.__path__))
        for kind in (losses, metrics):
            kind.names()
            patch.setattr(kind, "_registered", dict(kind._registered))
        discovery.add(FILE)
        yield


def test_the_loss_keeps_the_contract_and_is_the_published_formula():
    assert checked_loss("focal[gamma=2]") == "focal"
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 3, 4, 4, generator=random)
    target = torch.randint(0, 3, (2, 4, 4), generator=random)
    target[0, 0] = IGNORE
    chances = logits.softmax(1)
    for gamma in (0.0, 1.5):
        terms = [
            -((1 - (p := float(chances[b, int(target[b, y, x]), y, x]))) ** gamma) * np.log(p)
            for b in range(2)
            for y in range(4)
            for x in range(4)
            if int(target[b, y, x]) != IGNORE
        ]
        loss = chosen(losses, f"focal[gamma={gamma}]").open()
        assert float(loss(logits, target)) == pytest.approx(np.mean(terms), rel=1e-5)
    plain = functional.cross_entropy(logits, target, ignore_index=IGNORE)
    assert float(chosen(losses, "focal[gamma=0]").open()(logits, target)) == pytest.approx(
        float(plain), rel=1e-5
    )


def test_the_metric_follows_from_dice():
    random = np.random.default_rng(0)
    ours, theirs = random.random((2, 5, 5, 5)) < 0.4
    dice = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
    found = chosen(metrics, "jaccard").open().score(ours, theirs, (1.0, 1.0, 1.0))
    assert found == pytest.approx(dice / (2 - dice))
