"""The same heart under two names is found, different hearts are not."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from contrabench import Case, DataError, Volume
from contrabench.data.facts import check_cases
from contrabench.data.likeness import (
    SAME_HEART,
    likeness_of,
    pattern_of,
    shared_hearts,
    similarity,
)
from contrabench.progress import Silent

AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def resampled(image, factors):
    return ndimage.zoom(image, factors, order=1, grid_mode=True, mode="nearest")


def noisy(image, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.2 * image.std(), image.shape)
    return (image + noise).astype(np.float32)


DISGUISES = {
    "copy": lambda image: image.copy(),
    "noise": noisy,
    "left and right": lambda image: image[::-1],
    "upside down and back to front": lambda image: image[:, ::-1, ::-1],
    "another contrast": lambda image: 40 + 3 * image,
    "fewer voxels": lambda image: resampled(image, (0.75, 0.75, 1)),
    "more slices": lambda image: resampled(image, (1, 1, 2)),
    "all at once": lambda image: noisy(3 * resampled(image, (1.5, 1.5, 2))[::-1]),
}


@pytest.fixture
def hearts(volumes):
    """Images of eight patients."""
    return [volumes.add(f"p{number}", seed=number)[0] for number in range(8)]


def test_similarity_is_the_largest_correlation_over_all_mirrorings(hearts):
    patterns = np.stack([pattern_of(image) for image in hearts[:3]])
    mirrorings = [axes for count in range(4) for axes in itertools.combinations((0, 1, 2), count)]
    expected = [
        [
            max(float((np.flip(one, axes) * other).sum()) for axes in mirrorings)
            for other in patterns
        ]
        for one in patterns
    ]
    np.testing.assert_allclose(similarity(patterns, patterns), expected, atol=1e-5)
    np.testing.assert_allclose(similarity(patterns[:1], patterns[1:]), [expected[0][1:]], atol=1e-5)


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
def test_a_heart_in_disguise_is_one_fault_that_names_both(disguise, volumes, hearts):
    changed = np.ascontiguousarray(disguise(hearts[2]), dtype=np.float32)
    # The header of the copy has another spacing.
    volumes.write("unlabelled", "stranger", changed, np.diag([1.0, 1.0, 1.0, 1.0]))
    with pytest.raises(DataError) as caught:
        check_cases(volumes.dataset(), Silent())
    (fault,) = caught.value.faults
    assert fault.startswith("p2 (patient p2) and stranger (patient stranger): ")
    assert "leave one out or give both one patient" in fault


def test_different_hearts_are_no_fault_even_in_the_same_padding(volumes, hearts):
    check_cases(volumes.dataset(), Silent())
    x, y = np.meshgrid(np.linspace(-1, 1, 24), np.linspace(-1, 1, 20), indexing="ij")
    for number, image in enumerate(hearts):
        # As a CT scanner leaves what is outside of its circle.
        framed = np.where((np.hypot(x, y) > 1)[..., None], np.float32(-3024), image)
        volumes.write("images", f"p{number}", framed)
    check_cases(volumes.dataset(), Silent())


def seen(image, name, patient, labelled):
    volume = Volume(image, None, AFFINE)
    return Case(name, patient, labelled=labelled), likeness_of(volume)


@pytest.mark.parametrize(
    ("patients", "labelled", "faults"),
    [
        (("p", "p"), (True, True), 0),
        (("p", "p"), (True, False), 0),
        (("p", "q"), (False, False), 0),
        (("p", "q"), (True, False), 1),
        (("p", "q"), (True, True), 1),
    ],
)
def test_who_is_never_tested_and_who_is_the_same_patient_may_be_alike(
    patients, labelled, faults, hearts
):
    copies = [hearts[0], noisy(hearts[0])]
    found = [seen(*one) for one in zip(copies, ("one", "other"), patients, labelled, strict=True)]
    assert len(shared_hearts(found)) == faults


def test_an_image_of_a_tested_patient_may_not_be_anothers_though_it_has_no_label_itself(hearts):
    found = [
        seen(hearts[0], "ed", "p", True),
        seen(hearts[1], "other frame", "p", False),
        seen(noisy(hearts[1]), "copy", "q", False),
    ]
    (fault,) = shared_hearts(found)
    assert fault.startswith("other frame (patient p) and copy (patient q): show the same heart")


def test_two_patients_are_named_once_with_their_most_similar_volumes(hearts):
    found = [
        seen(hearts[0], "ed", "p", True),
        seen(noisy(hearts[0], 1), "es", "p", True),
        seen(hearts[0], "copy", "q", True),
    ]
    (fault,) = shared_hearts(found)
    assert fault.startswith("ed (patient p) and copy (patient q): are the same image, voxel by")


def test_a_volume_without_structure_is_like_no_other():
    flat = np.ones((8, 8, 2), np.float32)
    assert not pattern_of(flat).any()
    pattern = pattern_of(np.random.default_rng(0).normal(size=(8, 8, 2)).astype(np.float32))
    assert np.linalg.norm(pattern) == pytest.approx(1, abs=1e-5)
    assert similarity(pattern[None], pattern_of(flat)[None]).item() < SAME_HEART
