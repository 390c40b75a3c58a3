"""What the tests of the losses share: the comparison with a definition."""

import pytest
import torch


def agree(ours, literal, *inputs):
    """Value and gradient of two functions agree in float64."""
    leaves = [item.double().requires_grad_() for item in inputs]
    expected, value = literal(*leaves), ours(*leaves)
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    wanted, found = (torch.autograd.grad(loss, leaves) for loss in (expected, value))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-9)
