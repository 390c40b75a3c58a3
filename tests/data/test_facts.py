"""What is told of volumes before anything is trained."""

import numpy as np
import pytest

from contrabench import Structure
from contrabench.contracts.dataset import Note
from contrabench.data.facts import check_cases, grouped, outside_line, unseen_line
from contrabench.progress import Silent

LV, RV = Structure(name="LV", value=1), Structure(name="RV", value=2)


def test_notes_of_one_kind_are_one_line():
    notes = [(name, Note("odd", f"{name} mm")) for name in "abcd"]
    assert list(grouped([*notes, ("b", Note("other"))])) == [
        "4 cases (a, b, c and 1 more): odd (a mm in a)",
        "1 case (b): other",
    ]
    same = [(name, Note("odd", "1 mm")) for name in "ab"]
    assert list(grouped(same)) == ["2 cases (a, b): odd (1 mm)"]


def test_a_heart_outside_the_field_of_view():
    assert not list(outside_line({"a": 0.0, "b": 0.005}, 224))
    (line,) = outside_line({"a": 0.2, "b": 1.0, "c": 0.0}, 224)
    assert line.startswith("2 cases (a, b): ")
    assert "100% in b" in line


def test_structures_that_nobody_shows():
    assert not list(unseen_line((LV, RV), [1, 2]))
    (line,) = unseen_line((LV, RV), [2])
    assert line.startswith("no labelled patient shows LV;")


def test_what_is_measured_of_a_case(volumes):
    label = np.zeros((40, 30, 6), np.uint8)
    label[10:20, 10:20, 2:4] = 2
    label[0, 15, 3] = 1
    image = np.random.default_rng(0).normal(size=label.shape).astype(np.float32)
    affine = np.diag([-2.0, 2.0, 5.0, 1.0])
    volumes.write("images", "a", image, affine)
    volumes.write("labels", "a", label, affine)
    (facts,) = check_cases(volumes.dataset(), Silent())
    assert (facts.codes, facts.shape, facts.sides) == ("LAS", (40, 30, 6), (2, 2, 5))
    # A voxel is 20 cubic millimetres.
    assert facts.millilitres == pytest.approx((0.02, 4.0))
    # The field of view is 56 mm of 80: the one voxel at the border is outside.
    assert facts.outside == pytest.approx(1 / 201)


def test_a_structure_that_the_working_grid_is_too_coarse_for(volumes, monkeypatch):
    label = np.zeros((60, 60, 6), np.uint8)
    label[10:50, 10:50] = 2
    label[30, 30, 3] = 1
    image = np.random.default_rng(0).normal(size=label.shape).astype(np.float32)
    affine = np.diag([0.5, 0.5, 5.0, 1.0])
    volumes.write("images", "a", image, affine)
    volumes.write("labels", "a", label, affine)
    (facts,) = check_cases(volumes.dataset(field_of_view_mm=600.0), Silent())
    assert facts.gone == ("core",)
