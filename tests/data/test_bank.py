import numpy as np
import pytest
import torch

from contrabench.contracts.views import IGNORE
from contrabench.data.bank import (
    build_bank,
    fit_square,
    from_axial,
    isotropic,
    spoil,
    to_slices,
)
from contrabench.data.prepare import cases_of
from contrabench.errors import AuditError, RunError

CPU = torch.device("cpu")


def test_axial_rows_are_the_slices_of_the_volumes(cases):
    bank = build_bank(cases_of(cases, ["patient_00", "patient_03"]), None, ("axial",), CPU)
    expected = torch.cat([to_slices(torch.from_numpy(cases[i].image), "axial") for i in (0, 3)])
    assert torch.equal(bank.images[:, 0], expected)
    assert bank.masks is None
    assert bank.patients == ("patient_00", "patient_03")
    assert bank.position[:6].tolist() == pytest.approx([i / 6 for i in range(1, 7)])


def test_only_named_patients_enter(cases):
    bank = build_bank(cases_of(cases, ["patient_01"]), None, ("axial",), CPU)
    assert len(bank) == cases[1].image.shape[2]


def test_masks_of_unlabelled_patients_are_hidden(cases):
    patients = ["patient_00", "patient_01", "patient_10"]
    bank = build_bank(cases_of(cases, patients), ["patient_01"], ("axial",), CPU)
    shown = {bank.patients[int(p)] for p in bank.patient[(bank.masks != IGNORE).any(2).any(1)]}
    assert shown == {"patient_01"}
    rows = bank.patient == bank.patients.index("patient_01")
    assert torch.equal(bank.masks[rows], to_slices(torch.from_numpy(cases[1].label), "axial"))


def test_masks_outside_the_pool_are_refused(cases):
    with pytest.raises(AuditError, match="rule 2.*patient_05"):
        build_bank(cases_of(cases, ["patient_00"]), ["patient_05"], ("axial",), CPU)


def test_three_orientations_are_square_and_counted(cases):
    bank = build_bank(
        cases_of(cases, ["patient_00"]), ["patient_00"], ("axial", "coronal", "sagittal"), CPU
    )
    assert bank.images.shape == (6 + 32 + 32, 1, 32, 32)
    assert bank.orientation.bincount().tolist() == [6, 32, 32]
    assert bank.volume.unique().tolist() == [0, 1, 2]
    # A coronal slice has 6 thick slices of two pixels each, padded with the lowest value.
    middle = bank.images[6 + 16, 0]
    assert torch.equal(middle[10], middle[11])
    assert float(middle[0].max()) == pytest.approx(float(cases[0].image.min()))


def test_batches_are_copies(cases):
    bank = build_bank(cases_of(cases, ["patient_00"]), ["patient_00"], ("axial",), CPU)
    before = bank.images.clone()
    images, masks = bank.take(torch.tensor([0, 3]))
    images += 1
    masks += 1
    assert torch.equal(bank.images, before)


def test_an_empty_bank_is_an_error(cases):
    with pytest.raises(RunError):
        build_bank(cases_of(cases, ["nobody"]), None, ("axial",), CPU)


def test_axial_slices_stack_back_to_the_volume():
    volume = torch.randn(5, 7, 3)
    assert torch.equal(from_axial(to_slices(volume, "axial")), volume)


def test_from_axial_keeps_leading_axes():
    volume = torch.randn(5, 7, 3)
    stacked = torch.stack([to_slices(volume + c, "axial") for c in range(4)])
    assert torch.equal(from_axial(stacked)[3], volume + 3)


@pytest.mark.parametrize(
    ("orientation", "pixel"),
    [
        # A voxel far right, anterior and superior; its row and column on a radiological slice.
        ("axial", (1, 0, 0)),
        ("coronal", (2, 0, 0)),
        ("sagittal", (3, 0, 0)),
    ],
)
def test_slices_are_shown_as_radiologists_do(orientation, pixel):
    volume = torch.zeros(4, 3, 2)
    volume[3, 2, 1] = 1
    slices = to_slices(volume, orientation)
    assert np.argwhere(slices.numpy() == 1).tolist() == [list(pixel)]


def test_isotropic_repeats_thick_slices():
    volume = torch.arange(3.0).reshape(1, 1, 3)
    assert isotropic(volume, (1.0, 1.0, 2.0)).flatten().tolist() == [0, 0, 1, 1, 2, 2]
    assert isotropic(volume, (1.0, 1.0, 1.0)) is volume


@pytest.mark.parametrize("size", [3, 4, 7, 8, 9, 12])
def test_fit_square_keeps_the_centre(size):
    slices = torch.full((1, size, size), 5.0)
    fitted = fit_square(slices, 8, fill=-1.0)
    assert fitted.shape == (1, 8, 8)
    assert int((fitted == 5).sum()) == min(size, 8) ** 2
    assert fitted[0, 4, 4] == 5


def labelled_bank(cases, labelled):
    patients = ["patient_00", "patient_01", "patient_02"]
    return build_bank(cases_of(cases, patients), labelled, ("axial",), CPU)


def test_noise_in_place_of_images_shows_nothing_of_them(cases):
    bank = labelled_bank(cases, ["patient_01"])
    found = spoil(bank, "images", 1)
    pairs = torch.stack((found.images.flatten(), bank.images.flatten()))
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.02
    assert float(found.images.std()) == pytest.approx(1, abs=0.02)
    assert torch.equal(found.masks, bank.masks)
    assert torch.equal(found.images, spoil(bank, "images", 1).images)
    assert not torch.equal(found.images, spoil(bank, "images", 2).images)


def test_shuffled_masks_are_those_of_other_patients(cases):
    bank = labelled_bank(cases, ["patient_00", "patient_02"])
    found = spoil(bank, "masks", 1)
    assert torch.equal(found.images, bank.images)
    owners = dict[bytes, set[int]]()
    for mask, patient in zip(bank.masks, bank.patient.tolist(), strict=True):
        owners.setdefault(mask.numpy().tobytes(), set()).add(patient)
    for mask, before, patient in zip(found.masks, bank.masks, bank.patient.tolist(), strict=True):
        if bank.patients[patient] == "patient_01":
            assert torch.equal(mask, before)
        else:
            # Two patients may well have a mask in common.
            assert owners[mask.numpy().tobytes()] - {patient}
    # A patient alone gets masks of other slices.
    alone = labelled_bank(cases, ["patient_00"])
    assert not torch.equal(spoil(alone, "masks", 1).masks, alone.masks)
    assert spoil(alone, "nothing", 1) is alone
