import pytest
import torch

from contrabench.objectives.contrast import nt_xent, supervised_contrast
from contrabench.objectives.pixels import on_grid, points, same_position, supervised_pixels


def test_grid_keeps_every_fourth_pixel_of_160():
    maps = torch.arange(160.0).expand(1, 1, 160, 160)
    assert on_grid(maps, 40)[0, 0, 0].tolist() == list(range(0, 160, 4))
    assert on_grid(maps, 500).shape == maps.shape


def test_points_are_listed_slice_by_slice():
    maps = torch.randn(2, 3, 4, 5)
    listed = points(maps)
    for b in range(2):
        for y in range(4):
            for x in range(5):
                assert torch.equal(listed[b * 20 + y * 5 + x], maps[b, :, y, x])


def test_groups_are_contrasted_by_themselves():
    torch.manual_seed(0)
    first, second = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    labels = torch.randint(0, 3, (4, 2, 2))
    labels[0, 0, 0] = 255
    expected = []
    for rows in ((0, 1), (2, 3)):
        z, marks = [], []
        for maps in (first, second):
            for b in rows:
                for y in range(2):
                    for x in range(2):
                        if labels[b, y, x] != 255:
                            z.append(maps[b, :, y, x])
                            marks.append(int(labels[b, y, x]))
        marks = torch.tensor(marks)
        expected.append(float(supervised_contrast(torch.stack(z), marks, marks > 0, 0.1)))
    found = supervised_pixels(first, second, labels, 0.1, group=2)
    assert float(found) == pytest.approx(sum(expected) / 2, rel=1e-5)


def test_slices_without_foreground_give_zero_with_a_gradient():
    first = torch.randn(2, 3, 2, 2, requires_grad=True)
    loss = supervised_pixels(first, first * 2, torch.zeros(2, 2, 2).long(), 0.1, 2)
    loss.backward()
    assert float(loss) == 0
    assert first.grad is not None


def test_same_position_is_nt_xent_over_pixels():
    torch.manual_seed(0)
    first, second = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    expected = (
        nt_xent(points(first[:2]), points(second[:2]), 0.2)
        + nt_xent(points(first[2:]), points(second[2:]), 0.2)
    ) / 2
    assert float(same_position(first, second, 0.2, 2)) == pytest.approx(float(expected), rel=1e-6)
