"""What is kept for the backward pass, counted in closed form."""

import torch

from contrabench.training.memory import saved_for_backward

FLOAT = 4


def test_a_product_keeps_its_factors_and_an_exponential_its_result():
    x, w = torch.randn(10, 3, requires_grad=True), torch.randn(3, requires_grad=True)
    with saved_for_backward() as saved:
        y = (x * w).exp()
    assert saved.bytes == FLOAT * (30 + 3 + 30)
    y.sum().backward()
    assert torch.allclose(x.grad, y * w)


def test_a_storage_counts_once_and_in_whole():
    x = torch.randn(8, 5, requires_grad=True)
    with saved_for_backward() as saved:
        loss = (x[:2] * x[1:3]).sum() + (x * x).sum()
    assert saved.bytes == FLOAT * 40
    assert loss.requires_grad


def test_tensors_apart_do_not_count_nor_do_views_of_them():
    x, w = torch.randn(10, 3, requires_grad=True), torch.randn(3, 2, requires_grad=True)
    with saved_for_backward([w]) as saved:
        y = x @ w.T.mT
    assert saved.bytes == FLOAT * 30
    with saved_for_backward([w, x]) as saved:
        y = x @ w
    assert saved.bytes == 0
    assert y.requires_grad


def test_nothing_is_watched_afterwards_or_without_a_graph():
    x = torch.randn(4, requires_grad=True)
    with saved_for_backward() as saved, torch.no_grad():
        x.exp()
    x.exp()
    assert saved.bytes == 0
