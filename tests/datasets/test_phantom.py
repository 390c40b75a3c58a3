import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from contrabench.datasets.phantom import Phantom, PhantomOptions

MILLILITRES = {
    "LV": (40, 260),
    "RV": (50, 330),
    "LA": (30, 190),
    "RA": (30, 220),
    "myocardium": (50, 240),
    "ascending aorta": (25, 150),
    "pulmonary artery": (30, 190),
}
NEIGHBOURS = [
    ("LV", "myocardium"),
    ("LV", "LA"),
    ("LV", "ascending aorta"),
    ("RV", "myocardium"),
    ("RV", "RA"),
    ("RV", "pulmonary artery"),
]


def digest_of(volume):
    return hashlib.sha256(volume.image.tobytes() + volume.label.tobytes()).hexdigest()


@pytest.fixture(autouse=True, scope="module")
def _made_anew():
    """What other tests remember of a heart is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phantom, "load", Phantom.load.__wrapped__)
        yield


@pytest.fixture(scope="module")
def phantom():
    return Phantom()


@pytest.fixture(scope="module")
def volumes(phantom):
    return [phantom.load(case) for case in phantom.cases()[:5]]


@pytest.fixture(scope="module")
def values(phantom):
    return {structure.name: structure.value for structure in phantom.structures}


def test_cases_are_their_own_patients_and_have_no_files(phantom):
    cases = phantom.cases()
    assert [case.id for case in cases[:2]] == ["phantom_001", "phantom_002"]
    assert len({case.id for case in cases}) == 20
    assert all(case.patient == case.id and case.image is None and case.labelled for case in cases)
    assert not phantom.info.needs_path
    assert len(Phantom(options=PhantomOptions(patients=3)).cases()) == 3


def test_structures_are_those_of_mmwhs_in_the_order_of_the_tables(phantom):
    assert [(s.name, s.value) for s in phantom.structures] == [
        ("LV", 500),
        ("RV", 600),
        ("LA", 420),
        ("RA", 550),
        ("myocardium", 205),
        ("ascending aorta", 820),
        ("pulmonary artery", 850),
    ]


def test_geometry_and_types(volumes):
    for volume in volumes:
        assert volume.image.shape == volume.label.shape == (128, 128, 64)
        assert volume.image.dtype == np.float32
        assert np.issubdtype(volume.label.dtype, np.integer)
        np.testing.assert_array_equal(np.diag(volume.affine), [1.75, 1.75, 3.0, 1.0])
        np.testing.assert_array_equal(volume.affine, volume.label_affine)
        assert np.isfinite(volume.image).all()
        assert volume.image.min() < -950
        assert 400 < volume.image.max() < 3072


def test_a_volume_depends_on_neither_order_nor_process_nor_threads(phantom, volumes):
    cases = phantom.cases()
    again = Phantom(options=PhantomOptions(patients=5))
    assert digest_of(again.load(cases[1])) == digest_of(volumes[1])
    assert digest_of(again.load(cases[0])) == digest_of(volumes[0])
    script = (
        "import hashlib; from contrabench.datasets.phantom import Phantom; p = Phantom();"
        "v = p.load(p.cases()[0]);"
        "print(hashlib.sha256(v.image.tobytes() + v.label.tobytes()).hexdigest())"
    )
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **threads, "PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == digest_of(volumes[0])


def test_another_seed_or_patient_is_another_volume(phantom, volumes):
    other = Phantom(options=PhantomOptions(seed=1)).load(phantom.cases()[0])
    assert not np.array_equal(other.label, volumes[0].label)
    assert not np.array_equal(other.image, volumes[0].image)
    assert len({digest_of(volume) for volume in volumes}) == len(volumes)


def test_fingerprint_follows_what_the_volume_depends_on_and_nothing_else(phantom):
    first, second = phantom.cases()[:2]
    base = phantom.fingerprint(first)
    assert phantom.fingerprint(first) == base
    assert Phantom(options=PhantomOptions(patients=7)).fingerprint(first) == base
    assert phantom.fingerprint(second) != base
    assert Phantom(options=PhantomOptions(seed=1)).fingerprint(first) != base

    class Next(Phantom):
        info = Phantom.info.model_copy(update={"version": Phantom.info.version + 1})

    assert Next().fingerprint(first) != base


def test_a_new_version_is_another_volume(phantom, volumes):
    class Next(Phantom):
        info = Phantom.info.model_copy(update={"version": Phantom.info.version + 1})

    assert digest_of(Next().load(phantom.cases()[0])) != digest_of(volumes[0])


def test_every_structure_is_there_once_and_of_a_plausible_size(volumes, values):
    for volume in volumes:
        assert set(np.unique(volume.label)) == {0, *values.values()}
        for name, value in values.items():
            mask = volume.label == value
            parts = np.bincount(ndimage.label(mask)[0].ravel())[1:]
            assert parts.max() > 0.95 * mask.sum(), name
            low, high = MILLILITRES[name]
            assert low < mask.sum() * 1.75 * 1.75 * 3 / 1000 < high, name


def test_patients_differ_in_size_and_in_contrast(volumes, values):
    sizes = np.array([[(v.label == value).sum() for value in values.values()] for v in volumes])
    assert np.all(sizes.std(axis=0) / sizes.mean(axis=0) > 0.1)
    contrast = []
    for volume in volumes:
        left, right, muscle = (
            volume.image[volume.label == values[name]].mean() for name in ("LV", "RV", "myocardium")
        )
        assert left > muscle + 100
        contrast.append((right - muscle) / (left - muscle))
    assert min(contrast) < 0.35
    assert max(contrast) > 0.75


def test_structures_touch_their_anatomical_neighbours(volumes, values):
    for volume, (one, other) in itertools.product(volumes, NEIGHBOURS):
        around = ndimage.binary_dilation(volume.label == values[one], iterations=2)
        assert (around & (volume.label == values[other])).sum() > 50, (one, other)


def test_myocardium_encloses_the_left_ventricle_and_keeps_the_right_away(volumes, values):
    for volume in volumes:
        inside = volume.label == values["LV"]
        rim = volume.label[ndimage.binary_dilation(inside) & ~inside]
        assert np.mean(rim == values["myocardium"]) > 0.6
        assert np.mean(rim == values["RV"]) < 0.01
        # Open towards the base: blood goes in from the left atrium and out to the aorta.
        assert np.mean(np.isin(rim, [values["LA"], values["ascending aorta"]])) > 0.02


def test_the_heart_lies_as_in_a_chest(volumes, values):
    for volume in volumes:
        centre = {
            name: volume.affine[:3, :3] @ np.argwhere(volume.label == value).mean(axis=0)
            for name, value in values.items()
        }
        right, front, up = np.stack([centre[name] - centre["LV"] for name in values], axis=1)
        at = {name: k for k, name in enumerate(values)}
        assert right[at["RA"]] > right[at["RV"]] > 0
        assert front[at["RV"]] > 0 > front[at["LA"]]
        assert min(up[at["ascending aorta"]], up[at["pulmonary artery"]]) > up[at["LA"]] > 0


def test_much_that_is_as_bright_as_the_ventricle_has_no_label(volumes, values):
    for volume in volumes:
        inside = volume.label == values["LV"]
        low, high = np.percentile(volume.image[inside], [10, 90])
        alike = (volume.image > low) & (volume.image < high) & (volume.label == 0)
        assert alike.sum() > 0.5 * inside.sum()


def test_air_surrounds_the_body_and_lungs_the_heart(volumes):
    for volume in volumes:
        lungs = (volume.image > -950) & (volume.image < -700) & (volume.label == 0)
        assert lungs.mean() > 0.15
        assert np.mean(volume.image[:, -1] < -900) > 0.2


def test_options_are_checked():
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        PhantomOptions(patients=0)
