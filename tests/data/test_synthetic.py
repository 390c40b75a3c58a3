import pytest
import torch

from contrabench.data.synthetic import make_case, synthetic_bank


@pytest.mark.parametrize("structures", [1, 2, 7])
def test_a_bank_holds_no_more_structures_than_were_asked_for(structures):
    bank = synthetic_bank(32, structures, torch.device("cpu"))
    assert bank.images.shape == (len(bank), 1, 32, 32)
    assert bank.masks.unique().tolist() == list(range(1 + min(structures, 2)))
    for volume in range(4):
        here = bank.volume == volume
        assert bank.patient[here].unique().tolist() == [volume]
        assert bank.position[here].tolist() == pytest.approx([(i + 1) / 48 for i in range(48)])
    assert torch.equal(bank.images, synthetic_bank(32, 2, torch.device("cpu")).images)


def test_a_bank_without_structures_has_no_masks():
    assert synthetic_bank(32, 0, torch.device("cpu")).masks is None


def test_cases_vary_if_asked_to_and_are_the_same_by_their_number():
    assert (make_case(1).label == make_case(2).label).all()
    assert (make_case(1, variety=1.0).label != make_case(2, variety=1.0).label).any()
    assert (make_case(1, variety=1.0).image == make_case(1, variety=1.0).image).all()
