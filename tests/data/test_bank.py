import pytest
import torch

from contrabench.data.bank import UNLABELLED, build_bank
from contrabench.data.slices import to_slices
from contrabench.errors import AuditError, RunError

CPU = torch.device("cpu")


def test_axial_rows_are_the_slices_of_the_volumes(cases):
    bank = build_bank(cases, ["patient_00", "patient_03"], None, ("axial",), CPU)
    expected = torch.cat([to_slices(torch.from_numpy(cases[i].image), "axial") for i in (0, 3)])
    assert torch.equal(bank.images[:, 0], expected)
    assert bank.masks is None
    assert bank.patients == ("patient_00", "patient_03")
    assert bank.position[:6].tolist() == pytest.approx([i / 6 for i in range(1, 7)])


def test_only_named_patients_enter(cases):
    bank = build_bank(cases, ["patient_01"], None, ("axial",), CPU)
    assert len(bank) == cases[1].image.shape[2]


def test_masks_of_unlabelled_patients_are_hidden(cases):
    patients = ["patient_00", "patient_01", "patient_10"]
    bank = build_bank(cases, patients, ["patient_01"], ("axial",), CPU)
    shown = {bank.patients[int(p)] for p in bank.patient[(bank.masks != UNLABELLED).any(2).any(1)]}
    assert shown == {"patient_01"}
    rows = bank.patient == bank.patients.index("patient_01")
    assert torch.equal(bank.masks[rows], to_slices(torch.from_numpy(cases[1].label), "axial"))


def test_masks_outside_the_pool_are_refused(cases):
    with pytest.raises(AuditError, match="rule 2.*patient_05"):
        build_bank(cases, ["patient_00"], ["patient_05"], ("axial",), CPU)


def test_three_orientations_are_square_and_counted(cases):
    bank = build_bank(cases, ["patient_00"], ["patient_00"], ("axial", "coronal", "sagittal"), CPU)
    assert bank.images.shape == (6 + 32 + 32, 1, 32, 32)
    assert bank.orientation.bincount().tolist() == [6, 32, 32]
    assert bank.volume.unique().tolist() == [0, 1, 2]
    # A coronal slice has 6 thick slices of two pixels each, padded with the lowest value.
    middle = bank.images[6 + 16, 0]
    assert torch.equal(middle[10], middle[11])
    assert float(middle[0].max()) == pytest.approx(float(cases[0].image.min()))


def test_batches_are_copies(cases):
    bank = build_bank(cases, ["patient_00"], ["patient_00"], ("axial",), CPU)
    before = bank.images.clone()
    images, masks = bank.take(torch.tensor([0, 3]))
    images += 1
    masks += 1
    assert torch.equal(bank.images, before)


def test_an_empty_bank_is_an_error(cases):
    with pytest.raises(RunError):
        build_bank(cases, ["nobody"], None, ("axial",), CPU)
