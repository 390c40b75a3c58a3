"""Names that look like one patient's, and names that do not."""

import re

import pytest

from contrabench.data.names import shared_patient


@pytest.mark.parametrize(
    "names",
    [
        ["case_01", "case_02"],
        ["la_003", "la_004"],
        ["ct_train_1001", "ct_train_1002", "mr_train_1001"],
        ["BRATS_001", "BRATS_002"],
        [f"study2_{number:03d}" for number in range(1, 21)],
        ["site1_001", "site1_002", "site2_001"],
        ["case_00000", "case_00001"],
        ["heart_0000", "heart_0001"],
        ["patient001_frame01", "patient002_frame01"],
        ["patient001_frame01", "patient001_frame12"],
        ["ct_t1", "ct_t2", "mr_t1"],
        ["exp1_p1", "exp1_p2", "exp2_p1"],
        ["step1_1", "step1_2", "step2_1"],
        ["a"],
        [],
    ],
    ids=" ".join,
)
def test_these_are_patients_of_their_own(names):
    assert shared_patient(names) is None


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ("patient001_frame01 patient001_frame12 patient002_frame01", r"(patient\d+)_.*"),
        ("p0_ed p0_es p1_ed", r"(p\d+)_.*"),
        ("sub-01_ses-1 sub-01_ses-2 sub-02_ses-1", r"(sub\-\d+)_.*"),
        ("A_patient01_1 A_patient01_2 B_patient01_1", r"(.*?patient\d+)_.*"),
        ("patient001ED patient001ES patient2ED", r"(patient\d+)"),
        ("patient001_ED patient001_ES other", r"(patient\d+|.+)"),
        ("A0S9V9_sa_ED A0S9V9_sa_ES B1_sa_ED", r"(.+)(?:_ED|_ES)"),
        ("1001-visit1 1001-visit2 1002-visit1", r"(.+)\-visit\d+"),
        ("x9_t0 x9_t1 x8", r"(.+?)(?:_t\d+)?$"),
        ("john_ED john_ES mary_ED", r"(.+)(?:_ED|_ES)"),
    ],
)
def test_these_share_a_patient_and_the_pattern_tells_which(names, pattern):
    names = names.split()
    assert shared_patient(names) == (names[0], names[1], pattern)
    patients = [re.search(pattern, name)[1] for name in names]
    assert patients[0] == patients[1] != patients[2]
    # Once told, nobody is on both sides: what is left of the names tells patients apart.
    assert shared_patient(sorted(set(patients))) is None
