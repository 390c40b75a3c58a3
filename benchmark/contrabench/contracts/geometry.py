"""Where each pixel of a view lies in its slice, and where it lies in another view.

Coordinates are normalised as in `grid_sample` with `align_corners=False`: x to the right, y down,
-1 and 1 at the outer borders of the outermost pixels, so that view and slice may differ in size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_ITERATIONS = 50
_TOLERANCE = 1e-6


def pixel_centres(length: int, device: torch.device | None = None) -> Tensor:
    """Normalised coordinates of the pixel centres along one axis, shape (length,)."""
    return (2 * torch.arange(length, device=device, dtype=torch.float32) + 1) / length - 1


@dataclass(frozen=True, eq=False)
class Geometry:
    """The map from the coordinates u of a view to those of its slice.

    A view coordinate is displaced, then taken to the slice: `affine @ (u + d(u), 1)`.
    The displacement is applied first so that it is a share of the view's side at every
    zoom, and so that whether the map can be inverted does not depend on the affine part.

    Attributes:
        affine: (B, 2, 3) float32, invertible.
        displacement: (B, 2, h, w) float32, x and y at the centres of an h x w lattice over the
            view, bilinear between them and constant beyond the outermost; None if affine alone.
        size: height and width of the view in pixels.
    """

    affine: Tensor
    displacement: Tensor | None
    size: tuple[int, int]

    @staticmethod
    def identity(batch: int, size: tuple[int, int], device: torch.device | None = None) -> Geometry:
        """The geometry of views that show their whole slice unchanged."""
        return Geometry(torch.eye(2, 3, device=device).repeat(batch, 1, 1), None, size)

    def grid(self) -> Tensor:
        """Slice coordinates (B, H, W, 2) of every pixel centre, as `grid_sample` takes them."""
        height, width = self.size
        x = pixel_centres(width, self.affine.device).expand(1, height, width)
        y = pixel_centres(height, self.affine.device)[:, None].expand_as(x)
        if self.displacement is None:
            return self._to_slice(x, y)
        moved = F.interpolate(
            self.displacement, size=self.size, mode="bilinear", align_corners=False
        )
        return self._to_slice(moved[:, 0].add_(x), moved[:, 1].add_(y))

    def source(self, u: Tensor) -> Tensor:
        """Slice coordinates, in float32, of any coordinates (B, N, 2) of the view."""
        u = u.float()
        x, y = (u + self._displace(u)).unbind(-1)
        return self._to_slice(x[:, None], y[:, None])[:, 0]

    def locate(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """View coordinates of any coordinates (B, N, 2) of the slice: the inverse of `source`.

        Solves u = v - d(u) by fixed-point iteration, v being the inverse of the affine part; it
        converges where the displacement is a contraction, as all of `draw_geometry` are. With them
        comes (B, N) bool: whether the point lies inside the view and the iteration converged there.
        """
        offset = source.float() - self.affine[:, None, :, 2]
        (a, b), (c, d) = (row.unbind(-1) for row in self.affine[:, None, :, :2].unbind(-2))
        x, y = offset.unbind(-1)
        start = torch.stack((d * x - b * y, a * y - c * x), -1) / (a * d - b * c)[..., None]
        u = start
        valid = torch.ones_like(u[..., 0], dtype=torch.bool)
        for _ in range(_ITERATIONS if self.displacement is not None else 0):
            update = start - self._displace(u)
            step = (update - u).abs()
            u = update
            valid = (step <= _TOLERANCE).all(-1)
            # A device isn't asked: it would wait longer than for all that is left.
            if valid.device.type == "cpu" and bool(valid.all()):
                break
        return u, valid & (u.abs() <= 1).all(-1)

    def _displace(self, u: Tensor) -> Tensor:
        """Displacement (B, N, 2) at view coordinates (B, N, 2)."""
        if self.displacement is None:
            return torch.zeros_like(u)
        sampled = F.grid_sample(
            self.displacement, u[:, None], padding_mode="border", align_corners=False
        )
        return sampled[:, :, 0].transpose(1, 2)

    def _to_slice(self, x: Tensor, y: Tensor) -> Tensor:
        """Affine part on x and y of shape (B or 1, H, W); returns (B, H, W, 2)."""
        # Elementwise rather than a matrix product, which TF32 or autocast would round; and
        # as planes of x and of y, which are read faster than pairs.
        a, b, offset = self.affine[..., None, None].unbind(2)
        planes = torch.addcmul(offset, a, x[:, None]).addcmul_(b, y[:, None])
        return planes.movedim(1, -1)


def correspond(a: Geometry, b: Geometry) -> tuple[Tensor, Tensor]:
    """Where each pixel of view `a` lies in view `b` of the same slices, (B, Ha, Wa, 2) float32.

    With it (B, Ha, Wa) bool: whether the pixel shows a part of the slice, which lies inside `b`.
    """
    grid = a.grid()
    u, valid = b.locate(grid.flatten(1, 2))
    inside = (grid.abs() <= 1).all(-1)
    return u.reshape(grid.shape), valid.reshape(inside.shape) & inside
