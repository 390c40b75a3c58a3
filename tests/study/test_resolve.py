"""Requests in words and what they become."""

from pathlib import Path

import pytest
from tests.makers.studies import RUNTIME

from contrabench.errors import RequestError
from contrabench.protocol import digest
from contrabench.study.resolve import Request, resolve


def spec(**changes):
    words = {"method": "mmgl", "labels": "10%", "dataset": "phantom", **changes}
    return resolve(Request(**words), RUNTIME).spec


def test_defaults_are_the_methods_own():
    plain, mmgl = spec(method="simclr"), spec()
    assert (plain.deviations.views, plain.deviations.deep_supervision) == ("axial", False)
    assert (mmgl.deviations.views, mmgl.deviations.deep_supervision) == ("all", True)
    assert mmgl.budget.name == "quick"


def test_deviations_can_be_switched_either_way():
    assert spec(method="simclr", views="all").deviations.views == "all"
    assert not spec(deep_supervision=False).deviations.deep_supervision


@pytest.mark.parametrize("labels", ["0.1", "10.0%", "10%"])
def test_equal_fractions_are_one_run(labels):
    assert digest(spec(labels=labels)) == digest(spec())


def test_options_reach_the_plug_ins():
    plan = resolve(
        Request("mmgl", "10%", "phantom", options=["variant=U"], dataset_options=["patients=7"]),
        RUNTIME,
    )
    assert plan.method.options.variant == "U"
    assert len(plan.dataset.cases()) == 7


def test_accumulation_is_part_of_the_budget():
    budget = spec(accumulate=4).budget
    assert (budget.pretrain.accumulate, budget.finetune.accumulate) == (4, 4)
    assert spec(accumulate=1).budget == spec().budget


def test_a_dataset_without_its_folder_is_refused():
    with pytest.raises(RequestError, match="--data"):
        spec(dataset="acdc")
    assert spec(dataset="acdc", root=Path("anywhere")).dataset == "acdc"
