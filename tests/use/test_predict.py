"""Masks come back on the file's own grid and axes, and are those that the run has stored."""

import itertools
import json

import nibabel as nib
import numpy as np
import pytest
from tests.makers.studies import RUNTIME, make_run, make_spec

from contrabench.errors import RequestError
from contrabench.progress import Silent
from contrabench.stages.kind import Making, nodes_of
from contrabench.stages.run import Run
from contrabench.store.stages import StageStore, home_of
from contrabench.use.predict import Predictor, inputs_of, own_axes
from contrabench.use.trained import find_trained


@pytest.fixture(scope="module")
def store(prepared, tmp_path_factory):
    """Both folds of a run."""
    folder = tmp_path_factory.mktemp("store")
    for fold in (0, 1):
        make_run(make_spec("scratch", fold=fold), prepared[1], folder)
    return folder


@pytest.fixture(scope="module")
def trained(store):
    found = [find_trained(str(path.parent), store) for path in store.glob("runs/*/run.json")]
    return next(one for one in found if one.spec.fold == 0)


def scan(trained, name):
    """A case of the phantom as its dataset gives it."""
    dataset = trained.spec.open_dataset(None)
    (case,) = [case for case in dataset.cases() if case.id == name]
    return dataset.load(case)


def write(path, volume, turn=((0, 1), (1, 1), (2, 1))):
    """A file with its axes in another order and direction."""
    image = nib.Nifti1Image(volume.image, volume.affine)
    nib.save(image.as_reoriented(np.array(turn)), path)


def ask(trained, *paths, out, shares=False):
    out.mkdir(exist_ok=True)
    cases = inputs_of(paths, len(trained.channels))
    return Predictor([trained], RUNTIME, shares).work_off(cases, out, Silent())


def stored(trained, name):
    """What the run has kept of a test case, on the canonical grid."""
    folder = home_of(trained.store, "evaluate") / trained.record["stages"]["evaluate"]
    rows = json.loads((folder / "scores.json").read_text())
    (file,) = {row["file"] for row in rows if row["case"] == name}
    with np.load(folder / file) as content:
        return content["prediction"], content["affine"]


def test_a_test_case_gets_the_mask_that_the_run_stored_whatever_its_axes(trained, tmp_path):
    name = trained.record["patients"]["test"][0]
    volume = scan(trained, name)
    kept, affine = stored(trained, name)
    values = np.array([0, *(one.value for one in trained.structures)])
    for number, turn in enumerate([((0, 1), (1, 1), (2, 1)), ((2, -1), (0, 1), (1, -1))]):
        path = tmp_path / f"scan{number}.nii.gz"
        write(path, volume, turn)
        (done,) = ask(trained, path, out=tmp_path / "masks")
        assert done.state == "done", done.reason
        mask = nib.load(done.file)
        own = nib.load(path)
        assert mask.shape == own.shape
        np.testing.assert_allclose(mask.affine, own.affine)
        # Voxel by voxel at the same place in the world.
        back = nib.as_closest_canonical(mask)
        np.testing.assert_allclose(back.affine, affine, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(back.dataobj), values[kept])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_axes_come_back_in_every_order(order):
    signs = np.array([1, -1, -1])
    own = np.eye(4)
    own[:3, :3] = (np.eye(3) * [1.0, 2.0, 3.0])[:, list(order)] * signs
    values = np.arange(24).reshape(2, 3, 4)
    native = np.eye(4)
    native[:3, :3] = np.diag([1.0, 2.0, 3.0])
    found = own_axes(values, native, own)
    for place in np.ndindex(found.shape):
        there = [0, 0, 0]
        for axis, sign, index in zip(order, signs, place, strict=True):
            there[axis] = index if sign > 0 else values.shape[axis] - 1 - index
        assert found[place] == values[tuple(there)]


def test_what_is_wrong_with_one_input_costs_no_other(trained, tmp_path):
    good = tmp_path / "good.nii.gz"
    write(good, scan(trained, "phantom_002"))
    (tmp_path / "bad.nii.gz").write_bytes(b"no volume")
    bad, done = ask(trained, tmp_path / "bad.nii.gz", good, out=tmp_path / "masks")
    assert (bad.case, bad.state, done.case, done.state) == ("bad", "failed", "good", "done")
    assert "\n" not in bad.reason
    assert "bad.nii.gz" in bad.reason
    before = done.file.stat().st_mtime_ns
    (again,) = ask(trained, good, out=tmp_path / "masks")
    assert again.state == "there already"
    assert done.file.stat().st_mtime_ns == before
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["good.nii.gz"]
    # A mask by another network, or of somebody else, is neither taken for ours nor written over.
    other = next(one for one in trained.siblings() if one.key != trained.key)
    kept = done.file.read_bytes()
    (refused,) = ask(other, good, out=tmp_path / "masks")
    assert (refused.state, done.file.read_bytes()) == ("failed", kept)
    assert "not by this network" in refused.reason
    done.file.write_bytes(b"somebody's")
    (refused,) = ask(trained, good, out=tmp_path / "masks")
    assert (refused.state, done.file.read_bytes()) == ("failed", b"somebody's")


def test_probabilities_decide_the_mask(trained, tmp_path):
    write(tmp_path / "scan.nii.gz", scan(trained, "phantom_002"))
    (done,) = ask(trained, tmp_path / "scan.nii.gz", out=tmp_path / "masks", shares=True)
    shares = np.asarray(nib.load(tmp_path / "masks" / "scan_probabilities.nii.gz").dataobj)
    assert shares.shape[3] == 1 + len(trained.structures)
    np.testing.assert_allclose(shares.sum(axis=3), 1, atol=1e-5)
    values = np.array([0, *(one.value for one in trained.structures)])
    mask = np.asarray(nib.load(done.file).dataobj)
    np.testing.assert_array_equal(values[shares.argmax(axis=3)], mask)


def test_an_ensemble_decides_by_the_mean(trained, tmp_path):
    first, second = trained.siblings()
    assert (first.spec.fold, second.spec.fold) == (0, 1)
    write(tmp_path / "scan.nii.gz", scan(trained, "phantom_002"))
    found = []
    for number, networks in enumerate(([first], [second], [first, second])):
        out = tmp_path / str(number)
        out.mkdir()
        cases = inputs_of([tmp_path / "scan.nii.gz"], 1)
        Predictor(networks, RUNTIME, True).work_off(cases, out, Silent())
        found.append(np.asarray(nib.load(out / "scan_probabilities.nii.gz").dataobj))
    np.testing.assert_allclose(found[2], (found[0] + found[1]) / 2, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_a_mask_never_takes_the_place_of_its_input(trained, tmp_path):
    path = tmp_path / "scan.nii.gz"
    write(path, scan(trained, "phantom_002"))
    before = path.read_bytes()
    with pytest.raises(RequestError, match="written over it"):
        ask(trained, path, out=tmp_path)
    assert path.read_bytes() == before


def test_inputs_are_volumes_by_name_and_channel(tmp_path):
    names = ["b_0000.nii.gz", "b_0001.nii.gz", "a_0000.nii.gz", "a_0001.nii.gz", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    one, two = inputs_of([tmp_path], 2)
    assert [one.id, one.image.name, [path.name for path in one.further]] == [
        "a",
        *names[2:3],
        names[3:4],
    ]
    assert two.id == "b"
    with pytest.raises(RequestError, match="counted from _0000"):
        inputs_of([tmp_path / "a_0001.nii.gz", tmp_path / "a_0000.nii.gz"], 3)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a_0000.nii.gz").touch()
    with pytest.raises(RequestError, match="would both be written as a.nii.gz"):
        inputs_of([tmp_path, tmp_path / "deep"], 2)
    for wrong in ("none", "notes.txt"):
        with pytest.raises(RequestError):
            inputs_of([tmp_path / wrong], 1)


def test_a_fit_has_seen_everybody_and_predicts(prepared, tmp_path):
    run = Run(make_spec("scratch", folds=0, labels="100%"), prepared[1])
    making = Making(run, StageStore(tmp_path, Silent()), RUNTIME)
    *_, folder = [making.make(node) for node in nodes_of(run)]
    fitted = find_trained(folder.name[:6], tmp_path)
    everybody = sorted({case.patient for case in prepared[1]})
    patients = fitted.record["patients"]
    assert (patients["train"], patients["labelled"], patients["test"]) == (everybody, everybody, [])
    assert fitted.is_fit
    assert not (tmp_path / "runs").exists()
    write(tmp_path / "scan.nii.gz", scan(fitted, "phantom_002"))
    (done,) = ask(fitted, tmp_path / "scan.nii.gz", out=tmp_path / "masks")
    mask = np.asarray(nib.load(done.file).dataobj)
    assert set(np.unique(mask)) <= {0, *(one.value for one in fitted.structures)}
