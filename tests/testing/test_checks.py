"""Every broken method is caught by the check meant for it, and by no other."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from contrabench.testing import CHECKS, check_method

spec = importlib.util.spec_from_file_location("broken_methods", Path(__file__).parent / "broken.py")
broken = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = broken
spec.loader.exec_module(broken)


@pytest.mark.parametrize(
    ("check", "method"),
    broken.BROKEN,
    ids=lambda item: item if isinstance(item, str) else item.__name__,
)
def test_a_fault_is_caught_by_its_own_check_alone(check, method):
    report = check_method(method)
    assert {result.check for result in report.failures} == {check}, report.failures_text()
    assert all(result.reason and result.hint for result in report.failures)


def test_every_check_that_judges_catches_something():
    assert {check for check, _ in broken.BROKEN} == set(CHECKS) - {"cost"}


def test_the_method_that_the_faults_are_put_into_is_sound():
    report = check_method(broken.Sound)
    assert report.passed, report.failures_text()
    assert {result.status for result in report.results} == {"passed"}


def test_the_order_of_slices_is_not_asked_of_what_draws_for_each_of_them():
    class Dropped(broken.SoundLoss):
        def loss(self, first, second, batch):
            drawn = torch.rand(len(first), generator=batch.generator("weights"))
            distance = 2 - 2 * functional.cosine_similarity(first, second)
            return super().loss(first, second, batch) + (drawn * distance).mean()

    report = check_method(broken.with_loss(Dropped))
    assert report.passed, report.failures_text()
    assert [r.check for r in report.results if r.status == "skipped"] == ["order"]


@pytest.mark.parametrize("name", ["scratch", "scratch_long"])
def test_without_a_stage_only_what_is_declared_is_checked(name):
    report = check_method(name)
    assert {r.check for r in report.results if r.status == "passed"} == {
        "options",
        "declaration",
        "stages",
        "hand_off",
    }
    assert {r.status for r in report.results} == {"passed", "skipped"}
