"""The layouts of the datasets that read files: what is listed, and what is told."""

import json
import unicodedata

import nibabel as nib
import numpy as np
import pytest

from contrabench import DataError
from contrabench.contracts.registry import datasets


def write(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    volume = np.full((4, 4, 4), value, np.int16)
    volume[0] = 0
    nib.save(nib.Nifti1Image(volume, np.eye(4)), path)


def make(name, root, **options):
    cls = datasets.get(name)
    return cls(root, cls.Options(**options))


def listed(dataset):
    return [(case.id, case.patient) for case in dataset.cases()]


def only_fault(dataset):
    with pytest.raises(DataError) as caught:
        dataset.cases()
    assert len(caught.value.faults) == 1, caught.value.faults
    return caught.value.faults[0]


@pytest.fixture
def mmwhs(tmp_path):
    for modality in ("ct", "mr"):
        for number in (1002, 1001):
            stem = tmp_path / f"{modality}_train" / f"{modality}_train_{number}"
            write(stem.with_name(f"{stem.name}_image.nii.gz"))
            write(stem.with_name(f"{stem.name}_label.nii.gz"), 500)
    return tmp_path


@pytest.mark.parametrize("modality", ["ct", "mr"])
@pytest.mark.parametrize("below", [True, False])
def test_mmwhs(mmwhs, modality, below):
    root = mmwhs / f"{modality}_train" if below else mmwhs
    dataset = make("mmwhs", root, modality=modality)
    assert listed(dataset) == [
        (f"{modality}_train_1001", "1001"),
        (f"{modality}_train_1002", "1002"),
    ]
    case = dataset.cases()[0]
    assert case.image.name == f"{modality}_train_1001_image.nii.gz"
    assert case.label.name == f"{modality}_train_1001_label.nii.gz"


def test_mmwhs_two_phases_of_one_scan_are_one_patient(mmwhs):
    for modality in ("ct", "mr"):
        for kind, value in (("image", 1), ("label", 500)):
            write(mmwhs / f"{modality}_train" / f"{modality}_train_1020_{kind}.nii.gz", value)
    assert listed(make("mmwhs", mmwhs))[-1] == ("ct_train_1020", "1001")
    assert listed(make("mmwhs", mmwhs, modality="mr"))[-1] == ("mr_train_1020", "1020")


@pytest.mark.parametrize("below", [True, False])
def test_mmwhs_test_images_have_no_labels(mmwhs, below):
    home = mmwhs / "ct_test"
    write(home / "ct_test_2001_image.nii.gz")
    write(home / "ct_test_2001_label.nii.gz", 500)
    write(home / "ct_test_2002_image.nii.gz")
    if not below:
        for path in (mmwhs / "ct_train").iterdir():
            path.rename(home / path.name)
    dataset = make("mmwhs", mmwhs if below else home)
    *_, one, two = dataset.cases()
    assert [(c.id, c.patient, c.label, c.labelled) for c in (one, two)] == [
        ("ct_test_2001", "2001", None, False),
        ("ct_test_2002", "2002", None, False),
    ]
    assert len(make("mmwhs", mmwhs if below else home, pool=False).cases()) == 2
    assert dataset.load(one).label is None


def test_mmwhs_structures():
    values = {s.name: s.value for s in make("mmwhs", None).structures}
    assert list(values.items()) == [
        ("LV", 500),
        ("RV", 600),
        ("LA", 420),
        ("RA", 550),
        ("myocardium", 205),
        ("ascending aorta", 820),
        ("pulmonary artery", 850),
    ]


def test_mmwhs_mistaken_value_is_left_atrium(mmwhs):
    dataset = make("mmwhs", mmwhs, modality="mr")
    case = dataset.cases()[0]
    write(case.label, 421)
    label = dataset.load(case).label
    assert np.unique(label).tolist() == [0, 420]
    write(case.label, 422)
    assert np.unique(dataset.load(case).label).tolist() == [0, 422]


@pytest.mark.parametrize("kind", ["image", "label"])
def test_mmwhs_missing_file(mmwhs, kind):
    (mmwhs / "ct_train" / f"ct_train_1002_{kind}.nii.gz").unlink()
    assert only_fault(make("mmwhs", mmwhs)).startswith(f"ct_train_1002: its {kind} is missing")


@pytest.mark.parametrize("kind", ["image", "label"])
def test_mmwhs_two_files_for_one_place(mmwhs, kind):
    first = mmwhs / "ct_train" / f"ct_train_1002_{kind}.nii.gz"
    second = first.with_suffix("")
    write(second)
    fault = only_fault(make("mmwhs", mmwhs))
    assert fault.startswith("ct_train_1002: both ")
    assert str(first) in fault
    assert str(second) in fault


@pytest.fixture
def acdc(tmp_path):
    for subset, patients in (("training", ("001", "002")), ("testing", ("101",))):
        for patient in patients:
            folder = tmp_path / subset / f"patient{patient}"
            for frame in ("12", "01"):
                write(folder / f"patient{patient}_frame{frame}.nii.gz")
                write(folder / f"patient{patient}_frame{frame}_gt.nii.gz", 3)
            (folder / "Info.cfg").write_text("ED: 1\nES: 12\n")
    (tmp_path / "training" / "MANDATORY_CITATION.md").write_text("cite")
    return tmp_path


def test_acdc_brings_the_split_that_ssl4mis_publishes():
    split = datasets.get("acdc").splits["ssl4mis"]
    (fold,) = split.folds
    parts = [set(fold.train), set(fold.val), set(fold.test)]
    assert [len(part) for part in parts] == [70, 10, 20]
    assert set().union(*parts) == {f"patient{number:03d}" for number in range(1, 101)}
    assert sorted(split.labelled) == list(fold.train)
    # Of its train_slices.list the first 68 slices are of three patients, the first 136 of seven.
    seven = [99, 38, 50, 100, 58, 21, 49]
    assert split.labelled[:7] == tuple(f"patient{number:03d}" for number in seven)


TRAINING = [
    (f"patient{patient}_frame{frame}", f"patient{patient}")
    for patient in ("001", "002")
    for frame in ("01", "12")
]
TESTING = [("patient101_frame01", "patient101"), ("patient101_frame12", "patient101")]


def test_acdc(acdc):
    assert listed(make("acdc", acdc)) == TRAINING
    assert listed(make("acdc", acdc / "training")) == TRAINING
    assert sorted(listed(make("acdc", acdc, subset="all"))) == TRAINING + TESTING
    assert listed(make("acdc", acdc, subset="testing")) == TESTING
    case = make("acdc", acdc).cases()[1]
    assert case.image.name == "patient001_frame12.nii.gz"
    assert case.label.name == "patient001_frame12_gt.nii.gz"


def write_series(path, frames):
    volume = np.arange(4**3 * frames, dtype=np.int16).reshape(4, 4, 4, frames)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), path)


def test_acdc_series(acdc):
    write_series(acdc / "training" / "patient002" / "patient002_4d.nii.gz", 14)
    assert listed(make("acdc", acdc, every=0)) == TRAINING
    cases = make("acdc", acdc).cases()
    assert [(case.id, case.patient) for case in cases[:4]] == TRAINING
    # Others than 1 and 12 are 2, 3, ..., 11, 13, 14.
    assert [(case.id, case.patient, case.labelled, case.frame) for case in cases[4:]] == [
        ("patient002_frame02", "patient002", False, 1),
        ("patient002_frame07", "patient002", False, 6),
        ("patient002_frame13", "patient002", False, 12),
    ]
    assert len(make("acdc", acdc, every=1).cases()) == 4 + 12


@pytest.mark.parametrize("content", [b"", b"no volume"])
def test_acdc_series_that_cannot_be_read(acdc, content):
    (acdc / "training" / "patient002" / "patient002_4d.nii.gz").write_bytes(content)
    assert only_fault(make("acdc", acdc)).startswith("patient002: the series ")
    assert listed(make("acdc", acdc, every=0)) == TRAINING


def test_acdc_structures():
    values = [(s.name, s.value) for s in make("acdc", None).structures]
    assert values == [("RV", 1), ("myocardium", 2), ("LV", 3)]


@pytest.mark.parametrize(("ending", "kind"), [("", "image"), ("_gt", "label")])
def test_acdc_missing_file(acdc, ending, kind):
    (acdc / "training" / "patient002" / f"patient002_frame12{ending}.nii.gz").unlink()
    assert only_fault(make("acdc", acdc)).startswith(f"patient002_frame12: its {kind} is missing")


@pytest.mark.parametrize("ending", ["", "_gt"])
def test_acdc_two_files_for_one_place(acdc, ending):
    write(acdc / "training" / "patient002" / f"patient002_frame12{ending}.nii", 3)
    fault = only_fault(make("acdc", acdc))
    assert fault.startswith("patient002: both ")
    assert f"frame12{ending}.nii.gz" in fault


def test_acdc_one_patient_in_both_halves(acdc):
    (acdc / "training" / "patient002").rename(acdc / "training" / "patient101")
    for path in sorted((acdc / "training" / "patient101").glob("*.nii.gz")):
        path.rename(path.with_name(path.name.replace("patient002", "patient101")))
    fault = only_fault(make("acdc", acdc, subset="all"))
    assert fault.startswith("patient101 is in ")
    assert str(acdc / "testing" / "patient101") in fault
    assert str(acdc / "training" / "patient101") in fault


@pytest.mark.parametrize("half", ["training", "testing"])
def test_acdc_one_half_is_not_all(acdc, half):
    (acdc / half).rename(acdc / "elsewhere")
    assert "has one only" in only_fault(make("acdc", acdc, subset="all"))


NNUNET = {"labels": {"background": 0, "LV": 1, "RV": 3}, "channel_names": {"0": "CT"}}
DECATHLON = {"labels": {"0": "background", "1": "LV", "3": "RV"}}


@pytest.mark.parametrize(
    ("images", "stems", "description"),
    [
        ("imagesTr", ("la_003_0000", "la_007_0000"), NNUNET),
        ("imagesTr", ("la_003", "la_007"), DECATHLON),
        ("images", ("la_003", "la_007"), None),
    ],
)
def test_nifti_layouts(tmp_path, images, stems, description):
    labels = images.replace("images", "labels")
    for stem in stems:
        write(tmp_path / images / f"{stem}.nii.gz")
        write(tmp_path / images / f"._{stem}.nii.gz")
        write(tmp_path / labels / f"{stem.removesuffix('_0000')}.nii.gz", 3)
    write(tmp_path / labels / "._la_003.nii.gz")
    write(tmp_path / labels / ".hidden.nii.gz")
    (tmp_path / images / "notes.txt").write_text("ignored")
    if description:
        (tmp_path / "dataset.json").write_text(json.dumps(description))
    dataset = make("nifti", tmp_path)
    assert listed(dataset) == [("la_003", "la_003"), ("la_007", "la_007")]
    case = dataset.cases()[1]
    assert case.image == tmp_path / images / f"{stems[1]}.nii.gz"
    assert case.label == tmp_path / labels / "la_007.nii.gz"
    names = [(s.name, s.value) for s in dataset.structures]
    assert names == ([("LV", 1), ("RV", 3)] if description else [("label 3", 3)])


@pytest.fixture
def plain(tmp_path):
    for stem in ("p1_ed", "p1_es", "p2_ed"):
        write(tmp_path / "images" / f"{stem}.nii.gz")
        write(tmp_path / "labels" / f"{stem}.nii.gz", 2)
    return tmp_path


def test_nifti_uncompressed_files(tmp_path):
    write(tmp_path / "images" / "a.nii")
    write(tmp_path / "labels" / "a.nii.gz")
    assert listed(make("nifti", tmp_path)) == [("a", "a")]


def test_nifti_two_files_of_one_case(plain):
    write(plain / "images" / "p2_ed.nii")
    assert "are its image" in only_fault(make("nifti", plain))


def test_nifti_patients(plain):
    dataset = make("nifti", plain, patient_pattern=r"(p\d+)_")
    assert listed(dataset) == [("p1_ed", "p1"), ("p1_es", "p1"), ("p2_ed", "p2")]
    fault = only_fault(make("nifti", plain, patient_pattern=r"(p1)_"))
    assert fault.startswith("p2_ed: patient_pattern")


def test_nifti_stops_where_names_look_like_one_patients(plain):
    assert only_fault(make("nifti", plain)) == (
        "p1_ed and p1_es look like one patient, who would be trained on and tested; tell patients "
        'by name with -d "patient_pattern=(p\\d+)_.*", or keep each case a patient of its own with '
        '-d "patient_pattern=(.+)"'
    )
    assert listed(make("nifti", plain, patient_pattern=r"(p\d+)_.*"))[1] == ("p1_es", "p1")
    assert listed(make("nifti", plain, patient_pattern="(.+)"))[1] == ("p1_es", "p1_es")


@pytest.mark.parametrize("pattern", ["p.*", "(p)(.*)", "(p"])
def test_nifti_pattern_must_have_one_group(pattern):
    with pytest.raises(ValueError, match=r"group|regular expression"):
        datasets.get("nifti").Options(patient_pattern=pattern)


@pytest.mark.parametrize("text", ["LV", "LV=x", "=1", "LV=0", "LV=1,RV=1", "LV=1,LV=2", "LV=-1"])
def test_nifti_structures_option_is_checked(text):
    with pytest.raises(ValueError, match=r"form|twice|are 1 to"):
        datasets.get("nifti").Options(structures=text)


def test_nifti_structures_option_comes_first(plain):
    (plain / "dataset.json").write_text(json.dumps(NNUNET))
    dataset = make("nifti", plain, structures="RV=2, LV cavity=1")
    assert [(s.name, s.value) for s in dataset.structures] == [("RV", 2), ("LV cavity", 1)]


@pytest.mark.parametrize(
    "description",
    [
        "{",
        "[]",
        "{}",
        '{"labels": {"background": 0}}',
        '{"labels": {"background": 0, "whole": [1, 2]}}',
        '{"labels": {"background": 0, "LV": 1, "RV": 1}}',
        '{"labels": {"background": 0, "LV": 1, "ignore": 2}}',
        '{"labels": {"0": "background", "1": "LV", "2": "LV"}}',
        '{"labels": {"background": 0, "LV": "1"}}',
        '{"labels": {"background": 0, "LV": true}}',
        '{"labels": {"background": 0, "LV": 1, "LV": 2}}',
        '{"labels": ["background", "LV"]}',
    ],
)
def test_nifti_description_that_cannot_be_used(plain, description):
    (plain / "dataset.json").write_text(description)
    with pytest.raises(DataError, match=r"dataset\.json:? .*cannot be used") as caught:
        _ = make("nifti", plain).structures
    assert len(caught.value.faults) == 1


def test_nifti_labels_without_values_are_not_guessed(plain):
    for stem in ("p1_ed", "p1_es", "p2_ed"):
        write(plain / "labels" / f"{stem}.nii.gz", -3)
    with pytest.raises(DataError, match="from -3 to -3"):
        _ = make("nifti", plain, patient_pattern="(.+)").structures


def test_nifti_second_channel(tmp_path):
    write(tmp_path / "imagesTr" / "a_0000.nii.gz")
    write(tmp_path / "imagesTr" / "a_0001.nii.gz")
    write(tmp_path / "labelsTr" / "a.nii.gz")
    dataset = make("nifti", tmp_path)
    (case,) = dataset.cases()
    assert (case.id, case.image.name) == ("a", "a_0000.nii.gz")
    assert [path.name for path in case.further] == ["a_0001.nii.gz"]
    assert len(dataset.channels) == 2


def test_nifti_four_digits_that_are_no_channel(tmp_path):
    for number in ("0000", "0001", "0002"):
        write(tmp_path / "imagesTr" / f"heart_{number}.nii.gz")
        if number != "0002":
            write(tmp_path / "labelsTr" / f"heart_{number}.nii.gz")
    dataset = make("nifti", tmp_path)
    assert [case.id for case in dataset.cases()] == ["heart_0000", "heart_0001", "heart_0002"]
    assert [case.labelled for case in dataset.cases()] == [True, True, False]


def test_nifti_unlabelled(plain):
    (plain / "labels" / "p1_es.nii.gz").unlink()
    each = {"patient_pattern": "(.+)"}
    found = listed(make("nifti", plain, pool=False, **each))
    assert found == [("p1_ed", "p1_ed"), ("p2_ed", "p2_ed")]
    cases = make("nifti", plain, **each).cases()
    assert [(case.id, case.labelled, case.label is None) for case in cases] == [
        ("p1_ed", True, False),
        ("p1_es", False, True),
        ("p2_ed", True, False),
    ]


@pytest.mark.parametrize("folder", ["imagesTs", "imagesTest", "unlabelled"])
@pytest.mark.parametrize("layout", ["nnU-Net", "Decathlon", "plain"])
def test_nifti_folders_of_images_without_labels(tmp_path, layout, folder):
    images, labels = ("images", "labels") if layout == "plain" else ("imagesTr", "labelsTr")
    ending = "_0000" if layout == "nnU-Net" else ""
    write(tmp_path / images / f"p1_a{ending}.nii.gz")
    write(tmp_path / labels / "p1_a.nii.gz")
    write(tmp_path / folder / f"p1_b{ending}.nii.gz")
    write(tmp_path / folder / f"p2_a{ending}.nii.gz")
    write(tmp_path / "labelsTs" / "p2_a.nii.gz")
    dataset = make("nifti", tmp_path, patient_pattern=r"(p\d)_")
    assert [(case.id, case.patient, case.labelled) for case in dataset.cases()] == [
        ("p1_a", "p1", True),
        ("p1_b", "p1", False),
        ("p2_a", "p2", False),
    ]
    assert listed(make("nifti", tmp_path, pool=False)) == [("p1_a", "p1_a")]


def test_nifti_label_that_is_not_taken_makes_no_case_without_label(plain):
    label = plain / "labels" / "p1_es.nii.gz"
    for other in ("p1_es.npz", "p1_es.nii.gz.part", "more/p1_es.nii.gz"):
        (plain / "labels" / other).parent.mkdir(exist_ok=True)
        label.rename(plain / "labels" / other)
        found = make("nifti", plain, patient_pattern="(.+)")
        with pytest.raises(DataError) as caught:
            found.cases()
        told = f"p1_es: {plain / 'labels' / other} is"
        assert any(fault.startswith(told) for fault in caught.value.faults)
        (plain / "labels" / other).rename(label)


@pytest.mark.parametrize("how", ["link", "file"])
def test_nifti_labels_that_cannot_be_listed(plain, how):
    labels = plain / "labels"
    labels.rename(plain / "elsewhere")
    if how == "link":
        labels.symlink_to(plain / "nowhere")
    else:
        labels.write_text("")
    with pytest.raises(DataError, match="labels cannot be listed"):
        make("nifti", plain).cases()


def test_nifti_all_faults_at_once(plain):
    write(plain / "labels" / "p9.nii.gz")
    write(plain / "unlabelled" / "p1_es.nii.gz")
    (plain / "images" / "p2_ed.nii.gz").unlink()
    with pytest.raises(DataError) as caught:
        make("nifti", plain).cases()
    assert sorted(fault.split(":")[0] for fault in caught.value.faults) == ["p1_es", "p2_ed", "p9"]


def test_nifti_names_are_one_however_they_are_spelt(tmp_path):
    for kind, form in (("images", "NFC"), ("labels", "NFD")):
        write(tmp_path / kind / f"{unicodedata.normalize(form, 'é')}.nii.gz")
    (case,) = make("nifti", tmp_path).cases()
    assert (case.id, case.labelled) == ("é", True)


def test_nifti_field_of_view_is_the_users(plain):
    assert make("nifti", plain, field_of_view_mm=180.0).recipe.field_of_view_mm == 180.0


@pytest.mark.parametrize("name", ["mmwhs", "acdc", "nifti"])
def test_info_is_complete(name):
    info = datasets.get(name).info
    assert info.needs_path
    assert info.spacing_known
    assert "below --data" in info.layout
    assert "\n" not in info.layout
