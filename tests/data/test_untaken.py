"""What lies below a data folder and is not taken is counted and named."""

import gzip

import pytest

from contrabench.data.untaken import untaken_line


def line_of(volumes, **options):
    dataset = volumes.dataset(**options)
    return "".join(untaken_line(dataset, dataset.cases()))


@pytest.fixture
def sound(volumes):
    volumes.add("a")
    volumes.add("b", seed=1)
    return volumes


def test_nothing_is_said_where_all_is_taken(sound):
    (sound.root / "readme.txt").write_text("hello")
    (sound.root / "images" / "._a.nii.gz").write_bytes(b"")
    (sound.root / ".git").mkdir()
    (sound.root / ".git" / "a.nii.gz").write_bytes(b"")
    assert line_of(sound) == ""


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("c.nii.gz", "1 at its top (c.nii.gz)"),
        ("C.NII.GZ", "1 at its top (C.NII.GZ)"),
        ("old/d.nii", "1 in old (d.nii)"),
        ("old/deep/d.nrrd", "1 in old (deep/d.nrrd)"),
        ("labelsTs/e.nii.gz.part", "1 in labelsTs (e.nii.gz.part)"),
        ("labelsTs/e.nii.bz2", "1 in labelsTs (e.nii.bz2)"),
    ],
)
def test_what_is_not_taken(name, where, sound):
    path = sound.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    line = line_of(sound)
    assert line.startswith("1 file below")
    assert where in line


def test_links_are_followed_once_and_told_where_they_lead_nowhere(sound, tmp_path):
    (sound.root / "old").mkdir()
    (sound.root / "old" / "round").symlink_to(sound.root)
    (sound.root / "old" / "c.nii.gz").symlink_to(tmp_path / "annex")
    line = line_of(sound)
    assert line.startswith("1 file below")
    assert "1 in old, leading nowhere (c.nii.gz)" in line


def test_an_option_may_leave_out_a_folder(sound):
    pool = sound.root / "unlabelled"
    pool.mkdir()
    image = gzip.decompress((sound.root / "images" / "a.nii.gz").read_bytes())
    (pool / "c.nii.gz").write_bytes(gzip.compress(image))
    assert line_of(sound) == ""
    assert "1 in unlabelled (c.nii.gz)" in line_of(sound, pool=False)
