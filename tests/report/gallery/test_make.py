"""Galleries from a store, whole and with parts of it gone."""

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from matplotlib.path import Path as Polygon
from PIL import Image

from contrabench.files import seal_folder
from contrabench.report.entries import LabelBudget
from contrabench.report.gallery.make import make_gallery


def test_the_same_patients_for_all_methods(store, budget, runs):
    gallery = make_gallery(store, budget, runs)
    assert (gallery.structures, gallery.notes) == (("box", "rim"), ())
    assert [(one.word, one.patient, one.case) for one in gallery.exhibits] == [
        ("worst patient", "q", "q_ed"),
        ("median patient", "r", "r_ed"),
        ("best patient", "p", "p_ed"),
    ]
    worst = gallery.exhibits[0]
    assert worst.dice == pytest.approx(0.4)
    assert [plane.name for plane in worst.planes] == ["axial", "coronal", "sagittal"]
    assert [(d.method, d.run, d.family) for d in worst.drawings] == [
        ("ours", "aa", "made up"), ("scratch", "bb", "made up"),
    ]  # fmt: skip
    assert [d.dice for d in worst.drawings] == pytest.approx([0.5, 0.3])
    assert make_gallery(store, budget, runs) == gallery


def test_contours_are_those_of_the_predictions(store, budget, runs, rings):
    """The perfect run traces the reference; three voxels to the right are 4.5 mm to the left."""
    exhibit = make_gallery(store, budget, runs).exhibits[0]
    perfect, shifted = exhibit.drawings
    for plane, contours in zip(exhibit.planes, perfect.contours, strict=True):
        assert contours == plane.reference
    for number in (0, 1):
        (ours,) = rings(shifted.contours[number][1])
        (true,) = rings(exhibit.planes[number].reference[1])
        assert np.allclose(ours - true, [-4.5, 0], atol=0.06)


def test_image_and_contours_lie_on_each_other(store, budget, runs, rings):
    """Working and native grid differ; the bright box still lies in its contour, off the centre."""
    for plane in make_gallery(store, budget, runs).exhibits[0].planes:
        picture = np.asarray(Image.open(io.BytesIO(plane.png)))
        rows, columns = np.nonzero(picture > 127)
        height, width = picture.shape
        assert plane.width / width == pytest.approx(plane.height / height, rel=0.05)
        bright = np.stack(
            [(columns + 0.5) * plane.width / width, (rows + 0.5) * plane.height / height], -1
        )
        found = [ring for path in plane.reference for ring in rings(path)]
        inside = np.any(
            [
                Polygon(ring).contains_points(bright, radius=1.4)
                | Polygon(ring).contains_points(bright, radius=-1.4)
                for ring in found
            ],
            0,
        )
        assert len(bright) > 20
        assert inside.all()
        around = np.concatenate(found)
        middle = (around.min(axis=0) + around.max(axis=0)) / 2
        assert np.abs(bright.mean(axis=0) - middle).max() < 1.0
        assert np.abs(middle - [plane.width / 2, plane.height / 2]).max() > 5


def test_extents_and_slices(store, budget, runs, volume):
    """The centres of 38 of 40 and of 28 of 30 voxels lie in the field of view of 56 mm."""
    _, label, _ = volume
    axial, coronal, sagittal = make_gallery(store, budget, runs).exhibits[0].planes
    assert (axial.width, axial.height) == pytest.approx((57, 56))
    assert (coronal.height, sagittal.height) == pytest.approx((60, 60))
    assert (axial.left, coronal.left, sagittal.left) == ("R", "R", "A")
    for plane, axis in ((axial, 2), (coronal, 1), (sagittal, 0)):
        assert plane.count == label.shape[axis]
        areas = [(label.take(i, axis=axis) > 0).sum() for i in range(plane.count)]
        assert areas[plane.number - 1] == max(areas)


def test_unknown_spacing_is_drawn_in_voxels(store, budget, runs):
    voxels = LabelBudget(budget.labels, budget.fraction, budget.rows, budget.entries, "asd_voxel")
    gallery = make_gallery(store, voxels, runs)
    assert gallery.exhibits[0].planes[1].height == 24
    (note,) = gallery.notes
    assert "spacing of this dataset is unknown" in note


def test_what_is_gone_is_left_out_and_counted(store, budget, runs):
    shutil.rmtree(store / "stages" / "prepare" / "11111111")
    folder = store / "stages" / "evaluate" / "b0"
    (folder / "001.npz").write_bytes(b"other")
    gallery = make_gallery(store, budget, runs)
    assert [[d.method for d in one.drawings] for one in gallery.exhibits] == [["ours"], ["ours"]]
    assert gallery.notes == (
        "4 of 6 pictures could not be drawn: its folder is damaged (3); "
        "the store does not hold the prepared image (1). Merging leaves images behind: copy the "
        "folder `stages/prepare` of each store in which the runs were made into this one.",
    )


@pytest.mark.parametrize(
    ("gone", "thing", "advice"),
    [
        ("evaluate", "prediction", "report on that one"),
        ("prepare", "prepared image", "copy the folder `stages/prepare` of each store"),
    ],
)
def test_a_note_says_what_is_not_there_and_what_to_do(store, budget, runs, gone, thing, advice):
    shutil.rmtree(store / "stages" / gone)
    gallery = make_gallery(store, budget, runs)
    assert gallery.exhibits == ()
    (note,) = gallery.notes
    start = f"None of the 6 pictures could be drawn: the store does not hold the {thing}. "
    assert note.startswith(start)
    assert advice in note


def test_what_the_note_tells_to_do_helps(store, budget, runs, tmp_path):
    """As after a merge, which takes the predictions alone."""
    before = make_gallery(store, budget, runs)
    merged = tmp_path / "merged"
    shutil.copytree(store / "stages" / "evaluate", merged / "stages" / "evaluate")
    assert make_gallery(merged, budget, runs).exhibits == ()
    shutil.copytree(store / "stages" / "prepare", merged / "stages" / "prepare")
    assert make_gallery(merged, budget, runs) == before


def test_a_note_on_a_single_picture(store, runs, entry):
    one = entry("ours", {"p": 0.9})
    shutil.rmtree(store / "stages" / "prepare")
    (note,) = make_gallery(store, LabelBudget("10%", 0.1, one.rows, (one,), "asd_mm"), runs).notes
    assert note.startswith("The only picture could not be drawn: ")


def test_unknown_runs(store, budget):
    """Records that came without a key, or with one that leads out of the store."""
    outside = store.parent / "outside"
    shutil.copytree(store / "stages" / "evaluate" / "a0", outside)
    keys = pd.DataFrame({"evaluate": ["", "../../../outside"]}, index=["aa", "bb"])
    assert make_gallery(store, budget, keys).exhibits == ()
    assert make_gallery(store, budget, keys.iloc[:0]).exhibits == ()


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("spec.json", "[]", "damaged"),
        ("spec.json", '{"data": {"p_ed": "11111111"}, "structures": [3]}', "damaged"),
        ("spec.json", "{", "damaged"),
        ("scores.json", '[{"case": "p_ed", "file": "../a0/999.npz"}]', "damaged"),
        ("scores.json", "[]", "does not hold the prediction"),
    ],
)
def test_a_sealed_folder_of_another_form(store, budget, runs, file, content, reason):
    folder = store / "stages" / "evaluate" / "a0"
    (folder / file).write_text(content)
    seal_folder(folder)
    gallery = make_gallery(store, budget, runs)
    assert {d.method for one in gallery.exhibits for d in one.drawings} == {"scratch"}
    assert reason in gallery.notes[0]


def test_predictions_of_other_images_are_not_drawn_over_this_one(store, budget, runs):
    folder = store / "stages" / "evaluate" / "b0"
    spec = json.loads((folder / "spec.json").read_text())
    spec["data"]["p_ed"] = "22222222"
    (folder / "spec.json").write_text(json.dumps(spec))
    np.savez(folder / "002.npz", prediction=np.zeros((2, 2, 2), np.uint8))
    seal_folder(folder)
    gallery = make_gallery(store, budget, runs)
    assert [len(one.drawings) for one in gallery.exhibits] == [1, 2, 1]
    assert gallery.notes == (
        "2 of 6 pictures could not be drawn: its folder is damaged (1); "
        "the prediction was made from another image (1).",
    )


def test_no_method_on_every_patient(store, runs, entry):
    part = (entry("one", {"p": 0.5}), entry("two", {"q": 0.5}))
    budget = LabelBudget("10%", 0.1, pd.concat([one.rows for one in part]), part, "asd_mm")
    gallery = make_gallery(store, budget, runs)
    assert gallery.exhibits == ()
    assert gallery.notes == ("There is no gallery: no method was tested on every patient.",)
