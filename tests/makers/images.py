import pytest
import torch


def _smooth(batch, height, width, seed=0):
    """Images of a few slow waves, each its own, as a scan is smooth between pixels."""
    generator = torch.Generator().manual_seed(seed)
    x = (2 * torch.arange(width) + 1) / width - 1
    y = ((2 * torch.arange(height) + 1) / height - 1)[:, None]
    image = torch.zeros(batch, 1, height, width)
    for _ in range(4):
        a, b, phase = torch.randn(3, batch, 1, 1, 1, generator=generator)
        image += torch.sin(2 * a * x + 2 * b * y + 3 * phase)
    return image


@pytest.fixture
def smooth_images():
    return _smooth
