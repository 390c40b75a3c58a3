"""A cardiac phantom: chests with a heart, made on the spot, nothing to download.

Each patient is a set of solids placed in millimetres, bent by smooth random fields and
painted back to front. Anatomy follows the mean arrangement of contrast-enhanced cardiac
CT; what varies between patients is chosen to make labels matter: pose and size, chamber
proportions, wall thickness, and above all the contrast phase, from a right heart
brighter than the left, over one as bright, to one that can hardly be told from myocardium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contrabench import Case, Dataset, DatasetInfo, Options, Structure, Volume, register_dataset
from contrabench.protocol import digest, seed_for

from .solids import (
    Grid,
    Points,
    Pose,
    blend,
    coverage,
    curve,
    ellipsoid,
    near_tube,
    rotation,
    smooth_field,
    tube,
)

SHAPE = (128, 128, 64)
SPACING = (1.75, 1.75, 3.0)
VALUE = {
    **{"LV": 500, "RV": 600, "LA": 420, "RA": 550, "myocardium": 205},
    **{"ascending aorta": 820, "pulmonary artery": 850},
}

# Rows: the heart's long axis (base to apex), the way to the right ventricle, and upwards,
# each in right-anterior-superior coordinates.
AXES = np.array([[-0.66, 0.56, -0.50], [0.65, 0.76, 0.0], [-0.38, 0.325, 0.866]])
AXES /= np.linalg.norm(AXES, axis=1, keepdims=True)

# Vessels as joints (right, anterior, up of the LV's centre; radius), in millimetres.
# fmt: off
Knots = Sequence[Sequence[float]]
RV_OUTFLOW: Knots = [(20, 28, 4, 20), (13, 28, 36, 14)]
PA_RIGHT: Knots = [(13, 28, 28, 14), (12, 16, 51, 14), (14, -6, 62, 13.5), (30, -27, 65, 12),
                   (52, -33, 64, 11), (76, -38, 57, 9)]
PA_LEFT: Knots = [(12, 6, 57, 13), (6, -16, 66, 12.5), (-8, -36, 67, 11), (-22, -50, 56, 8)]
ASCENDING: Knots = [(22, -6, 20, 13), (32, -3, 34, 16.5), (43, 0, 50, 15), (50, -3, 74, 14.5),
                    (45, -15, 96, 14)]
ARCH: Knots = [(45, -15, 96, 14), (30, -36, 108, 13), (14, -60, 100, 12.5), (12, -70, 80, 12)]
SVC: Knots = [(64, -6, 25, 9), (67, -8, 60, 9), (64, -10, 140, 9)]
IVC: Knots = [(58, -14, -14, 11), (56, -24, -100, 12.5)]
PULMONARY_VEINS: tuple[Knots, ...] = (
    [(56, -40, 28, 7), (72, -46, 36, 6), (92, -40, 46, 4.5)],
    [(58, -46, 10, 7), (76, -56, 4, 6), (92, -66, -6, 4.5)],
    [(8, -38, 32, 7), (-8, -44, 42, 6), (-26, -40, 54, 4.5)],
    [(10, -48, 12, 7), (-8, -58, 8, 6), (-24, -68, 0, 4.5)],
)
# fmt: on

# Share of the patients scanned early, when the right heart is still the brighter one.
EARLY = 0.15
AIR, LUNG, FAT, MUSCLE, MARROW, BONE = -1000.0, -860.0, -95.0, 60.0, 200.0, 520.0


class PhantomOptions(Options):
    """Options of the phantom."""

    patients: int = Field(20, ge=1, le=999, description="patients; more of them change no other")
    seed: int = Field(0, ge=0, description="another seed gives other patients")


@dataclass(frozen=True)
class Phase:
    """Attenuation of one patient's blood and muscle in Hounsfield units."""

    left: float
    right: float
    lung_artery: float
    muscle: float
    liver: float


class Patient:
    """One patient: the random draws, the volume being painted, and its coordinates."""

    def __init__(self, *stream: object) -> None:
        self.rng = np.random.default_rng(seed_for("phantom", *stream))
        normal = self.rng.normal
        # The volume is centred near the whole heart's middle: right of the LV's and above.
        centre = np.array([-30.0, 17.0, -18.0]) + normal(0, (10, 6, 8))
        self.body = self._bent(centre, 7.0, (3, 3, 3))
        turn = rotation(normal(0, (12, 12, 14)))
        pose = Pose(centre + normal(0, (4, 3, 4)), turn, scale=self._between(0.88, 1.22))
        self.heart = pose.local(self._bent(np.zeros(3), 4.5, (4, 4, 4)))
        self.phase = self._phase()
        self.image: Grid = np.full(SHAPE, AIR, np.float32)
        self.label = np.zeros(SHAPE, np.int16)

    def _between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def _bent(self, centre: NDArray[np.float64], size: float, cells: Sequence[int]) -> Points:
        """Millimetres about `centre`, each coordinate shifted smoothly by about `size`."""
        axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(SHAPE, SPACING, strict=True)]
        grid = np.meshgrid(*axes, indexing="ij", sparse=True)
        x, y, z = (
            (axis - c).astype(np.float32) + np.float32(size) * smooth_field(self.rng, SHAPE, cells)
            for axis, c in zip(grid, centre, strict=True)
        )
        return x, y, z

    def _phase(self) -> Phase:
        left = self._between(240, 500)
        muscle = self._between(80, 110) + 0.08 * (left - 240)
        if self._between(0, 1) < EARLY:
            left = muscle + self._between(50, 160)
            right = left + self._between(20, 140)
            return Phase(left, right, right * self._between(0.9, 1.1), muscle, muscle - 10)
        # Most right hearts are washed out; about a third stay well opacified.
        right = muscle + self._between(-5, 25) + 0.9 * self._between(0, 1) ** 2.5 * (left - muscle)
        artery = right + self._between(0, 0.35) * (left - right)
        return Phase(left, right, artery, muscle, self._between(55, 125))

    def _texture(self, waves: int, size: float) -> Grid:
        return np.float32(size) * smooth_field(self.rng, SHAPE, (waves, waves, waves))

    def paint(
        self,
        distance: NDArray[np.floating],
        value: float | NDArray[np.floating],
        label: str | None = None,
    ) -> None:
        """Covers the inside of a solid, in part where its surface cuts a voxel.

        Args:
            distance: signed distance in millimetres.
            value: attenuation inside.
            label: structure inside, None for tissue without a label.
        """
        share = coverage(distance, 2.4)
        self.image += share * (value - self.image)
        self.label[distance < 0] = 0 if label is None else VALUE[label]

    def paint_chest(self) -> None:
        """Body wall, lungs, abdomen, and the middle of the chest up to the heart's place."""
        between, y = self._between, self.body[1]
        wall = between(8, 18)
        front = between(64, 74)
        inside = ellipsoid(self.body, (38, front - 97, -60), (between(128, 150), 97, 280))
        self.paint(inside - 12 - wall, FAT + self._texture(12, 8))
        self.paint(inside - 12, MUSCLE + self._texture(24, 25))
        # Lungs are denser where they lie: towards the back.
        self.paint(inside, LUNG + between(0, 60) - 0.35 * y + self._texture(24, 25))
        self._paint_lung_vessels(coverage(inside, 2.4))
        spine = between(34, 56)
        column = ellipsoid(self.body, (spine - 6, -84, 0), (34, 34, 900))
        wedge = ellipsoid(self.body, (34, front - 25, 60), (between(14, 26), 50, 110))
        self.paint(np.maximum(blend(column, wedge, 30), inside), FAT + self._texture(12, 15))
        self._paint_abdomen(inside)
        self._paint_ribs(inside, front)
        self._paint_spine(spine)

    def _paint_lung_vessels(self, inside: Grid) -> None:
        for side, hilum in ((1.0, (76, -42, 40)), (-1.0, (-14, -46, 44))):
            for _ in range(18):
                root = hilum + self.rng.normal(0, (4, 12, 20))
                way = self.rng.normal(0, 1, 3) * (0.7, 1, 1) + (side, 0.1, 0)
                way *= self._between(35, 80) / np.linalg.norm(way)
                middle = root + 0.5 * way + self.rng.normal(0, 7, 3)
                knots = [(*root, self._between(2.5, 4.5)), (*middle, 2.2), (*(root + way), 0.9)]
                blood = self.phase.left if self.rng.random() < 0.5 else self.phase.lung_artery
                self._paint_lung_vessel(curve(knots, 3), blood, inside.reshape(-1))

    def _paint_lung_vessel(self, path: NDArray[np.float64], blood: float, inside: Grid) -> None:
        """As `paint`, but near the vessel alone and as far as a voxel lies in the lung."""
        index, distance = near_tube(self.body, path, 4)
        image, label = self.image.reshape(-1), self.label.reshape(-1)
        image[index] += coverage(distance, 2.4) * inside[index] * (blood - image[index])
        label[index[distance < 0]] = 0

    def _paint_abdomen(self, inside: Grid) -> None:
        between, (_, _, z) = self._between, self.body
        top = between(-8, 8)
        liver = ellipsoid(self.body, (98, -20, top - 106), (112, 95, 86))
        belly = blend(liver - 3, z + 72 - top, 25)
        self.paint(np.maximum(belly, inside), FAT + self._texture(12, 15))
        self.paint(np.maximum(liver, inside + 2), self.phase.liver + self._texture(12, 6))
        stomach = ellipsoid(self.body, (-40, -40, top - 105), (50, 45, 48))
        self.paint(np.maximum(stomach, inside + 2), between(20, 60) + self._texture(12, 10))
        gas = np.maximum(stomach + 5, -30 - self.body[1] + between(-10, 15))
        self.paint(np.maximum(gas, inside), -950.0)

    def _paint_ribs(self, inside: Grid, front: float) -> None:
        x, y, z = self.body
        turns = (z + 0.5 * y + self._between(0, 27)) / 27
        across = (np.abs(turns - np.round(turns)) * 27 * 0.9).astype(np.float32)
        rib = np.hypot(np.maximum(across - 3, 0), inside - 6) - 3.5
        bone = MARROW + (BONE - MARROW) * coverage(np.abs(rib + 0.5) - 2, 2)
        # Towards the breastbone ribs are cartilage.
        bone = np.where((np.abs(x - 38) < 42) & (y > 0), np.float32(110), bone)
        self.paint(rib, bone)
        sternum = ellipsoid(self.body, (38, front + 7, 60), (19, 7, 120))
        self.paint(sternum, MARROW - 20 + BONE * 0.8 * coverage(np.abs(sternum) - 1, 2))

    def _paint_spine(self, spine: float) -> None:
        between, z = self._between, self.body[2]
        body = ellipsoid(self.body, (spine, -92, 0), (between(15, 20), between(14, 17), 900))
        arch = np.minimum(
            np.abs(ellipsoid(self.body, (spine, -115, 0), (12, 11, 900))) - 3,
            ellipsoid(self.body, (spine, -116, 0), (34, 5, 900)),
        )
        turns = (z + between(0, 26)) / 26
        gap = (np.abs(turns - np.round(turns)) * 26).astype(np.float32)
        self.paint(ellipsoid(self.body, (spine, -118, 0), (46, 22, 900)), MUSCLE)
        rough = MARROW + self._texture(24, 45)
        self.paint(np.maximum(arch, 3 - gap), BONE + self._texture(24, 60))
        bone = rough + 300 * coverage(-body - 1.5, 2)
        self.paint(body, np.where(gap < 2.5, np.float32(95), bone))
        self.paint(ellipsoid(self.body, (spine, -115, 0), (9, 8, 900)), 25.0)
        descending = [(-22, -72, 120, 12), (-20, -74, 20, 11.5), (-14, -74, -130, 10.5)]
        aorta = tube(self.body, curve(np.add(descending, (spine, 0, 0, 0))), 8)
        self.paint(aorta - 1.5, MUSCLE)
        self.paint(aorta, self.phase.left * between(0.97, 1.08))
        gullet = tube(self.body, curve([(spine - 4, -66, 120, 6), (spine - 8, -60, -110, 7)]), 6)
        self.paint(gullet, MUSCLE - 10)

    def paint_heart(self) -> None:
        """Fat about the heart, then right heart, left atrium, aorta, myocardium and LV."""
        phase, points = self.phase, self.heart
        axes = self._along_axes()
        ventricle, myocardium, papillary = self._left_ventricle(axes)
        jitter = self.rng.normal(0, 2.5, (3, 3))
        grow = self.rng.uniform(0.86, 1.14, (3, 1))
        girth = self._between(0.88, 1.14)
        ra_centre, ra_radii = np.array([57, -3, 3]) + jitter[0], np.array([26, 30, 35]) * grow[0]
        la_centre, la_radii = np.array([34, -36, 20]) + jitter[1], np.array([36, 21, 29]) * grow[1]
        rv_centre, rv_radii = np.array([-2, 27, -3]) + jitter[2], np.array([46, 33, 40]) * grow[2]

        la, ra = ellipsoid(points, la_centre, la_radii), ellipsoid(points, ra_centre, ra_radii)
        # The funnel of the mitral valve keeps atrium and ventricle together in every patient.
        la = blend(la, tube(points, np.array([(*la_centre, 15.0), (14, -18, 12, 13.0)])), 10)
        inflow = np.maximum(ellipsoid(axes, rv_centre, rv_radii), -28 - axes[0])
        rv = blend(inflow, self._vessel(RV_OUTFLOW, girth), 12)
        pa = np.minimum(*(self._vessel(path, girth) for path in (PA_RIGHT, PA_LEFT)))
        valve = 35 - points[2]
        rv, pa = np.maximum(rv, -valve), np.maximum(pa, valve)
        ascending, arch = self._vessel(ASCENDING, girth), self._vessel(ARCH, girth)
        cavae = np.minimum(self._vessel(SVC), self._vessel(IVC))
        veins = np.minimum.reduce([self._vessel(path) for path in PULMONARY_VEINS])

        right, left = np.minimum.reduce([ra, rv, pa, cavae]), np.minimum(ascending, arch)
        heart = np.minimum.reduce([right, left, la, myocardium, ventricle])
        cushion = heart - 5 - self._texture(10, 2)
        self.paint(cushion - 0.9, MUSCLE)
        self.paint(cushion, FAT + self._texture(12, 15))

        mixing = 1 + self._texture(6, 0.04)
        dim = phase.right * mixing + self._texture(10, 0.08 * (phase.right - 40))
        self.paint(right - 2, phase.muscle)
        self.paint(cavae, phase.right + 250 * self._between(0, 1) ** 2)
        self.paint(ra, dim, "RA")
        self.paint(pa, phase.lung_artery * mixing, "pulmonary artery")
        self.paint(rv, dim - 0.3 * (dim - phase.muscle) * coverage(-rv - 3, 4), "RV")
        # The septum's membranous part: no right chamber may reach the LV round the wall's edge.
        self.paint(ventricle - 3, phase.muscle)
        self.paint(veins, phase.left * self._between(0.95, 1.1))
        self.paint(la - 1.8, phase.muscle)
        self.paint(la, phase.left * self._between(0.95, 1.1) * mixing, "LA")
        self.paint(left - 1.5, phase.muscle)
        bright = phase.left * self._between(1, 1.12)
        self.paint(arch, bright)
        self.paint(ascending, bright, "ascending aorta")
        self.paint(myocardium, phase.muscle + self._texture(16, 8), "myocardium")
        rough = coverage(-ventricle - 3 - self._texture(24, 1.5), 3)
        self.paint(ventricle, phase.left - 0.45 * (phase.left - phase.muscle) * rough, "LV")
        # Papillary muscles look like muscle and are labelled as cavity, as experts do.
        self.paint(np.maximum(papillary, ventricle), phase.muscle, "LV")

    def _along_axes(self) -> Points:
        x, y, z = self.heart
        u, v, t = (x * a + y * b + z * c for a, b, c in AXES.astype(np.float32))
        return u, v, t

    def _vessel(self, knots: Knots, girth: float = 1.0) -> Grid:
        """A tube of the heart's; its joints shift a little from patient to patient."""
        path = np.array(knots, dtype=np.float64) * (1, 1, 1, girth)
        path[1:, :3] += self.rng.normal(0, 1.5, path[1:, :3].shape)
        return tube(self.heart, curve(path))

    def _left_ventricle(self, axes: Points) -> tuple[Grid, Grid, Grid]:
        """Cavity, wall about it (thinner at the apex, open at the base) and papillary muscles."""
        between = self._between
        contraction = between(0, 1)
        long = 44 - 4 * contraction + between(-3, 3)
        short = 29 - 6 * contraction + between(-2, 2)
        wall = 7.5 + 3.5 * contraction + between(-1.5, 1.5)
        radii = np.array([long, short * between(0.93, 1.04), short])
        base = -0.6 * long - axes[0]
        cavity = ellipsoid(axes, (0, 0, 0), radii)
        outer = ellipsoid(axes, (0, 0, 0), radii + wall * np.array([0.65, 1, 1]))
        ends = np.array([(0.6 * long, -0.4, 0.5, 4.5), (0.0, -0.4, 0.45, 3.5)])
        ends[:, 1:3] *= short
        muscles = [tube(axes, ends * (1, 1, side, 1)) for side in (-1, 1)]
        return np.maximum(cavity, base), np.maximum(outer, base), np.minimum(*muscles)

    def finish(self) -> Volume:
        """Adds beam hardening, streaks and noise, and rounds to whole Hounsfield units."""
        from scipy.ndimage import gaussian_filter

        rng = self.rng
        # Streaks fan out from the dense contrast of the superior vena cava.
        x, y = self.heart[0] - 64, self.heart[1] + 10
        angle = np.arctan2(y, x)
        rays = sum(np.sin(k * angle + rng.uniform(0, 6.28)) for k in rng.integers(6, 24, 4))
        streaks = self._between(0, 14) * rays * np.exp(-np.hypot(x, y) / 35)
        grain = rng.standard_normal(SHAPE, dtype=np.float32)
        coarse = gaussian_filter(rng.standard_normal(SHAPE, dtype=np.float32), 1.0, truncate=2.0)
        noise = self._between(0.6, 1.6) * (10 * grain + 90 * coarse)
        image = np.rint(self.image + self._texture(3, 6) + streaks + noise).clip(-1024, 3071)
        affine = np.diag([*SPACING, 1.0])
        affine[:3, 3] = [-(n - 1) / 2 * s for n, s in zip(SHAPE, SPACING, strict=True)]
        return Volume(image.astype(np.float32), self.label, affine, affine.copy())


@register_dataset("phantom")
class Phantom(Dataset):
    """Generated hearts: the dataset of first runs, tests and examples."""

    info = DatasetInfo(
        title="Cardiac phantom",
        modality="CT (generated)",
        source="generated from solids with random shape, pose and contrast phase",
        terms="none: made on the spot",
        layout="no files; leave --data out",
        needs_path=False,
    )
    Options = PhantomOptions
    options: PhantomOptions

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The seven structures of MM-WHS, with its label values."""
        return tuple(Structure(name=name, value=value) for name, value in VALUE.items())

    def cases(self) -> list[Case]:
        """One case per patient."""
        names = [f"phantom_{number:03d}" for number in range(1, self.options.patients + 1)]
        return [Case(id=name, patient=name) for name in names]

    def load(self, case: Case) -> Volume:
        """Makes the volume: 128 x 128 x 64 voxels of 1.75 x 1.75 x 3 mm."""
        patient = Patient(self.info.version, self.options.seed, case.id)
        patient.paint_chest()
        patient.paint_heart()
        return patient.finish()

    def fingerprint(self, case: Case) -> str:
        """Hash of everything `load` depends on; the number of patients is no part of it."""
        made_from = {"seed": self.options.seed, "case": case.id, "version": self.info.version}
        return digest(made_from, 64)
