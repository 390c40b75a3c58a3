"""The contract of a method, one test for each check of the conformance kit."""

import pytest
from contrabench_slice_order import SliceOrder

from contrabench.testing import CHECKS, assert_conforms


@pytest.mark.parametrize("check", CHECKS)
def test_the_contract_is_kept(check: str) -> None:
    """Fails with what was found and what to do; is skipped where a check does not apply."""
    assert_conforms(SliceOrder, check)
