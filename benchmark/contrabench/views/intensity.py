"""Appearance of a view: blur, contrast, gamma, brightness, noise; hidden blocks.

Functions take (B, C, H, W) images and one parameter for each channel of each, (B, C, 1, 1), and
return new memory. Statistics are those of each image and channel, too: how bright one sequence of a
scan is says nothing of another.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from contrabench.contracts.views import Intensity, Occlusion
from contrabench.errors import RequestError
from contrabench.protocol import seed_for

_PARTS = 5
_PIXELS = (2, 3)


def deviation(images: Tensor) -> Tensor:
    """Standard deviation of each image over its pixels, (B, C, 1, 1); 0 for a flat one."""
    # Written out: `torch.std` is ten times slower on a CPU.
    return (images - images.mean(_PIXELS, keepdim=True)).square().mean(_PIXELS, keepdim=True).sqrt()


def draw_intensity(spec: Intensity, batch: int, channels: int, seed: int) -> Tensor:
    """Draws what happens to each channel of each image, (B, C, 5) on the CPU.

    Deviation of the blur in pixels, contrast, gamma, brightness and noise, neutral where left out.
    """
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(batch, channels * 2 * _PARTS, generator=generator)
    return _parameters(spec, table.view(batch, channels, -1))


def alter_intensity(
    images: Tensor, spec: Intensity, parameters: Tensor, unit: Tensor, seed: int
) -> Tensor:
    """Alters the grey values of a batch; noise comes last, so that nothing smooths it.

    A flat image stays as it is, without deviation and range. `parameters` are those of
    `draw_intensity` on the images' device, `unit` (B, C, 1, 1) is what one deviation is; the seed
    settles the noise, for one kind of device.
    """
    sigma, factor, exponent, shift, noise_sd = parameters[..., None, None].unbind(2)
    if spec.blur_px > 0:
        images = gaussian_blur(images, sigma, spec.blur_px)
    images = scale_contrast(images, factor)
    images = apply_gamma(images, exponent)
    images = torch.addcmul(images, shift, unit)
    if spec.noise_sd > 0:
        generator = torch.Generator(images.device).manual_seed(seed_for("noise", seed))
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        images.addcmul_(noise, noise_sd * unit)
    return images


def _parameters(spec: Intensity, uniform: Tensor) -> Tensor:
    """Turns (..., 10) uniform numbers into the (..., 5) parameters, neutral where left out."""
    gate, where = uniform[..., :_PARTS] < spec.probability, uniform[..., _PARTS:]
    neutral = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0])
    low = torch.tensor([0.0, spec.contrast[0], math.log(spec.gamma[0]), -spec.brightness_sd, 0.0])
    highest = (spec.blur_px, spec.contrast[1], math.log(spec.gamma[1]))
    high = torch.tensor([*highest, spec.brightness_sd, spec.noise_sd])
    drawn = low + (high - low) * where
    # The exponent is drawn on a logarithmic scale: halving is as likely as doubling.
    drawn[..., 2] = drawn[..., 2].exp()
    return torch.where(gate, drawn, neutral)


def scale_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Multiplies each image's distance from its own mean by a factor."""
    return torch.lerp(images.mean(_PIXELS, keepdim=True), images, factor)


def apply_gamma(images: Tensor, exponent: Tensor) -> Tensor:
    """Raises each image, taken as a share of its own range, to a power; its range stays."""
    low, high = images.amin(_PIXELS, keepdim=True), images.amax(_PIXELS, keepdim=True)
    # A flat image has range zero: any positive divisor leaves its share at zero.
    extent = (high - low).clamp_min(torch.finfo(images.dtype).tiny)
    return ((images - low) / extent).pow_(exponent).mul_(high - low).add_(low)


def gaussian_blur(images: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Convolves each image with a Gaussian of its own deviation in pixels, edges repeated.

    The kernel ends at three times the largest deviation; one of 0 leaves an image as it is.
    """
    radius = math.ceil(3 * largest)
    offsets = torch.arange(radius + 1, device=images.device, dtype=images.dtype)
    exponent = -0.5 * (offsets / sigma.clamp_min(1e-3)).square()
    weights = torch.exp(exponent)
    weights = weights / (2 * weights.sum(-1, keepdim=True) - 1)
    for dim, pad in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        side = images.shape[dim]
        padded = F.pad(images, pad, mode="replicate")
        # Tap by tap: three times as fast as a grouped convolution on a CPU, and free of
        # the rounding and the choice of algorithm that cuDNN would bring.
        images = padded.narrow(dim, radius, side) * weights[..., :1]
        for offset in range(1, radius + 1):
            pair = padded.narrow(dim, radius - offset, side) + padded.narrow(
                dim, radius + offset, side
            )
            images.addcmul_(pair, weights[..., offset : offset + 1])
    return images


def draw_hidden(spec: Occlusion, batch: int, size: tuple[int, int], seed: int) -> Tensor:
    """Draws a fixed number of blocks of a grid to be hidden in each image: (B, cells, cells) bool.

    Every image asks for the same amount of reconstruction. Image i has the same blocks hidden
    whatever the batch's size and the view's, on every device. RequestError if a view of this `size`
    cannot be divided into equal blocks.
    """
    if any(length % spec.cells for length in size):
        raise RequestError(
            f"a view of {size[0]} x {size[1]} pixels has no {spec.cells} equal blocks per axis; "
            "give `cells` a divisor of both sides, such as 8"
        )
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(batch, spec.cells**2, generator=generator)
    chosen = chance.argsort(dim=1, stable=True)[:, : spec.hidden]
    blocks = torch.zeros_like(chance, dtype=torch.bool).scatter_(1, chosen, True)
    return blocks.view(batch, spec.cells, spec.cells)


def spread(blocks: Tensor, size: tuple[int, int]) -> Tensor:
    """Brings blocks (B, cells, cells) to the pixels of a view, (B, H, W)."""
    height, width = (length // blocks.shape[-1] for length in size)
    return blocks.repeat_interleave(height, dim=1).repeat_interleave(width, dim=2)


def hide(images: Tensor, hidden: Tensor) -> Tensor:
    """Replaces the pixels of each image that are hidden, (B, H, W), by its mean."""
    return torch.where(hidden[:, None], images.mean(_PIXELS, keepdim=True), images)
