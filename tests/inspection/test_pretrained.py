import json
import shutil
import sys

import numpy as np
import pytest
import torch
from tests.makers.studies import make_run, make_spec

from contrabench.data.bank import build_bank
from contrabench.data.prepare import cases_of
from contrabench.errors import RequestError
from contrabench.inspection.embedding_plot import check_projection, draw, flatten
from contrabench.inspection.pretrained import find_run, read_pretrained, training_bank
from contrabench.inspection.representation import CELLS, Viewer, compare
from contrabench.model.weights import build_backbone
from contrabench.progress import Silent
from contrabench.protocol import ORIENTATIONS, BackboneSpec, Seeds

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def finished(prepared, tmp_path_factory):
    """A store with a run of two stages, and one without pre-training."""
    store = tmp_path_factory.mktemp("runs")
    shutil.copytree(prepared[0] / "stages", store / "stages")
    return {
        name: make_run(make_spec(name), prepared[1], store) for name in ("global_local", "scratch")
    }


@pytest.fixture
def viewer(cases):
    patients = {case.patient for case in cases if case.labelled}
    bank = build_bank(cases_of(cases, patients), patients, ORIENTATIONS, CPU)
    return Viewer(bank, ("inner", "outer"), CPU)


def test_a_run_is_found_by_key_by_prefix_and_by_folder(finished):
    folder = finished["global_local"].folder
    store = folder.parents[1]
    assert find_run(folder.name, store) == folder
    assert find_run(folder.name[:6], store) == folder
    assert find_run(str(folder), store / "elsewhere") == folder
    with pytest.raises(RequestError, match=r"more than one run .* begins with ''"):
        find_run("", store)
    with pytest.raises(RequestError, match=f"no run .*{folder.name}"):
        find_run("zz", store)
    with pytest.raises(RequestError, match="there are: none"):
        find_run("zz", store / "elsewhere")


def test_the_last_stage_is_read_with_all_that_was_trained(finished):
    found = read_pretrained(finished["global_local"].folder)
    assert found.stage == "local"
    assert {"enc1", "centre", "dec4"} <= set(found.trained)
    assert found.taps()[0] == "centre"
    assert set(found.taps()) <= set(found.trained)
    first = read_pretrained(finished["global_local"].folder, "global")
    assert (first.stage, first.taps()) == ("global", ("centre",))
    assert first.weights != found.weights


def test_the_random_encoder_is_the_runs_own_start(finished):
    networks = read_pretrained(finished["global_local"].folder).networks()
    start = build_backbone(BackboneSpec(width=4), Seeds().in_fold(0).init).state_dict()
    assert all(torch.equal(v, start[k]) for k, v in networks["random"].state_dict().items())
    moved = networks["pre-trained"].state_dict()
    assert not torch.equal(moved["centre.conv1.weight"], start["centre.conv1.weight"])


def test_scratch_and_unknown_stages_are_refused_in_one_line(finished):
    with pytest.raises(RequestError, match="scratch has no pre-training"):
        read_pretrained(finished["scratch"].folder)
    with pytest.raises(RequestError, match="no stage 'x'; it has global, local"):
        read_pretrained(finished["global_local"].folder, "x")


def test_missing_weights_are_named(finished, tmp_path):
    source = finished["global_local"].folder.parents[1]
    shutil.copytree(source, tmp_path / "copy")
    folder = tmp_path / "copy" / "runs" / finished["global_local"].key
    next((tmp_path / "copy" / "stages" / "pretrain").glob("*/weights.safetensors")).unlink()
    with pytest.raises(RequestError, match=r"weights\.safetensors is missing"):
        read_pretrained(folder)


def test_no_test_patient_enters(finished):
    pretrained = read_pretrained(finished["global_local"].folder)
    bank = training_bank(pretrained, None, Silent())
    patients = finished["global_local"].record["patients"]
    assert bank.patients == bank.labelled == tuple(patients["train"])
    assert not set(bank.patients) & set(patients["test"])
    assert bank.orientation.unique().tolist() == [0, 1, 2]


def test_other_data_are_refused(finished):
    pretrained = read_pretrained(finished["global_local"].folder)
    pretrained.record["protocol"]["data"] = "of another seed"
    with pytest.raises(RequestError, match="not those of this run"):
        training_bank(pretrained, None, Silent())


def test_a_comparison_has_every_tap_of_both_encoders(finished):
    pretrained = read_pretrained(finished["global_local"].folder)
    names = finished["global_local"].record["protocol"]["structures"]
    viewer = Viewer(training_bank(pretrained, None, Silent()), names, CPU)
    taps = ("centre", "dec4")
    found = compare(pretrained, viewer, taps, Silent())
    assert [(item.tap, item.encoder) for item in found] == [
        (tap, encoder) for tap in taps for encoder in ("random", "pre-trained")
    ]
    for item in found:
        assert list(item.probe) == names
        assert 0 <= item.alignment <= 4
        assert -8 <= item.uniformity <= 0
        assert 1 <= item.effective_rank <= item.channels
        json.dumps(item.as_dict(), allow_nan=False)
    again = viewer.report(pretrained.networks()["random"], "random", "centre")
    assert again == found[0]


class Oracle(torch.nn.Module):
    """A stand-in for a network whose map is the image, and where it is about 1 and about 2."""

    def __init__(self):
        super().__init__()
        self.channels = {"dec1": 3}

    def features(self, image, taps):
        near = [((image - value).abs() < 0.5).float() for value in (1, 2)]
        return {"dec1": torch.cat((image, *near), 1)}


def test_the_probe_reads_the_cells_it_should(viewer):
    """Grey values are classes plus noise, so that the last two channels are the answer."""
    found = viewer.report(Oracle(), "oracle", "dec1")
    assert min(found.probe.values()) > 0.99
    assert found.channels == 3


def test_features_and_shares_belong_to_the_same_cells(viewer):
    rows = viewer.axial[:3]
    features, shares = viewer._cells(Oracle(), "dec1", rows)
    assert features.shape == (3 * CELLS, 3)
    assert shares.shape == (3 * CELLS, 2)
    for n, row in enumerate(rows):
        image, mask = viewer.bank.images[row, 0], viewer.bank.masks[row]
        for k in range(CELLS):
            y, x = (image == features[n * CELLS + k, 0].item()).nonzero()[0]
            assert shares[n * CELLS + k].tolist() == [mask[y, x] == 1, mask[y, x] == 2]


def test_two_patients_are_needed(cases):
    one = {cases[0].patient}
    bank = build_bank(cases_of(cases, one), one, ORIENTATIONS, CPU)
    with pytest.raises(RequestError, match="two labelled training patients"):
        Viewer(bank, ("inner", "outer"), CPU)


def test_points_of_slices_and_of_cells(viewer):
    network = build_backbone(BackboneSpec(width=4), 0)
    slices, cells = viewer.points(network, "centre"), viewer.points(network, "dec1")
    assert (slices.unit, cells.unit) == ("slice", "cell")
    assert slices.features.shape == (len(viewer.mixed), 64)
    assert np.bincount(slices.orientation).tolist() == [len(viewer.mixed) // 3] * 3
    masks = viewer.bank.masks[viewer.mixed]
    for mask, structure in zip(masks, slices.structure, strict=True):
        counts = torch.bincount(mask.flatten().long(), minlength=3)[1:]
        assert structure == (counts.argmax() + 1 if counts.any() else 0)
    assert set(cells.structure.tolist()) == {0, 1, 2}
    assert len(cells.features) == len(cells.patient) == len(cells.orientation)


def test_umap_is_asked_for_by_name_and_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(RequestError, match="umap.*leave out"):
        check_projection("umap")
    check_projection("tsne")


def test_umap_lays_out_two_groups_apart():
    pytest.importorskip("umap", reason="umap-learn is an extra")
    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5)) + 20 * (np.arange(60) % 2)[:, None]
    plane = flatten(features, "umap")
    assert np.array_equal(plane, flatten(features, "umap"))
    even, odd = plane[::2], plane[1::2]
    gap = np.linalg.norm(even.mean(axis=0) - odd.mean(axis=0))
    assert gap > 2 * max(even.std(), odd.std())


def test_the_picture(viewer, tmp_path):
    network = build_backbone(BackboneSpec(width=4), 0)
    points = viewer.points(network, "centre")
    assert np.array_equal(flatten(points.features), flatten(points.features))
    file = tmp_path / "a.png"
    draw(file, "a title", {"random": points}, viewer.structures, viewer.bank.patients)
    assert file.read_bytes().startswith(b"\x89PNG")
