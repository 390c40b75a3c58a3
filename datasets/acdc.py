"""ACDC 2017: end-diastole and end-systole in cine MR, in the publisher's own layout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from contrabench import (
    Case,
    DataError,
    DataRecipe,
    DatasetInfo,
    GivenFold,
    GivenSplit,
    NiftiDataset,
    Options,
    Structure,
    register_dataset,
)
from contrabench.data.nifti import frame_count

FRAME = re.compile(r"(patient\d+)_frame(\d+)(_gt)?\.nii(\.gz)?")
SERIES = re.compile(r"(patient\d+)_4d\.nii(\.gz)?")


def _patients(numbers: str) -> tuple[str, ...]:
    return tuple(f"patient{number}" for number in numbers.split())


# As `train.list`, `val.list` and `test.list` have them, training in the order in which SSL4MIS
# labels: its 3 and 7 patients are the first ones here.
TRAIN = _patients(
    "099 038 050 100 058 021 049 020 072 040 060 089 004 056 098 096 031 018 094 047 048 055 "
    "097 074 043 041 063 037 095 054 026 088 032 069 006 071 012 073 061 017 025 010 057 029 "
    "051 005 036 046 062 034 076 092 070 077 067 003 091 016 014 044 042 090 053 027 035 086 "
    "023 009 079 015"
)
VAL = _patients("028 085 082 087 019 030 078 045 002 039")
TEST = _patients("011 013 084 033 093 022 068 024 083 081 080 001 007 066 008 065 075 064 059 052")
SSL4MIS = GivenSplit(
    folds=(GivenFold(train=TRAIN, val=VAL, test=TEST),),
    labelled=TRAIN,
    source="SSL4MIS (github.com/HiLab-git/SSL4MIS, data/ACDC at 0119796): 70 training, "
    "10 validation and 20 test patients",
)


class ACDCOptions(Options):
    """Options of ACDC."""

    subset: Literal["training", "testing", "all"] = Field(
        "training", description="which patients: 100 for training, 50 for testing"
    )
    every: int = Field(
        5,
        ge=0,
        description="train on every so many-th other frame of the 4D series, without labels; 0: "
        "on none",
    )


@register_dataset("acdc")
class ACDC(NiftiDataset):
    """Two labelled frames of each patient, and others of the series if it is there.

    All frames of a patient stay on the same side of a split.
    """

    info = DatasetInfo(
        title="ACDC 2017",
        modality="cardiac cine MR, short axis",
        source="Bernard et al., IEEE Transactions on Medical Imaging 37 (2018) 2514-2525, "
        "doi:10.1109/TMI.2018.2837502",
        terms="research use after registration with the organisers; cite the paper",
        layout="training/patientNNN/patientNNN_frameNN.nii.gz and patientNNN_frameNN_gt.nii.gz "
        "below --data, or --data at that folder; patientNNN_4d.nii.gz beside them if it is there",
    )
    Options = ACDCOptions
    options: ACDCOptions
    splits: ClassVar = {"ssl4mis": SSL4MIS}
    # Of 99 patients one, 046, has labelled voxels outside: 7 % at end-diastole, 2 % at end-systole.
    recipe = DataRecipe(field_of_view_mm=224.0)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """Three structures with the values of the challenge."""
        return (
            Structure(name="RV", value=1),
            Structure(name="myocardium", value=2),
            Structure(name="LV", value=3),
        )

    def cases(self) -> list[Case]:
        """Lists the frames with labels by patient, then those of the series.

        Raises:
            DataError: naming each frame without label, each label without frame, and each series
                that cannot be read.
        """
        subset = self.options.subset
        subsets = ("training", "testing") if subset == "all" else (subset,)
        found: dict[tuple[str, str], dict[str, Path]] = {}
        series: dict[str, Path] = {}
        homes: dict[str, Path] = {}
        faults = []
        for path in sorted(path for folder in self._folders(subsets) for path in folder.iterdir()):
            if match := FRAME.fullmatch(path.name):
                files, kind = found.setdefault((match[1], match[2]), {}), match[3] or "image"
            elif match := SERIES.fullmatch(path.name):
                files, kind = series, match[1]
            else:
                continue
            home = homes.setdefault(match[1], path.parent)
            if home != path.parent:
                faults.append(f"{match[1]} is in {home} and in {path.parent}; keep one of them")
            elif other := files.get(kind):
                faults.append(f"{match[1]}: both {other} and {path} are there; keep one of them")
            files[kind] = path
        if not found:
            raise self.misplaced(f"no frame of a {' or '.join(subsets)} patient was found")
        faults = list(dict.fromkeys(faults)) + [
            f"{patient}_frame{frame}: its {what} is missing beside {next(iter(files.values()))}"
            for (patient, frame), files in found.items()
            for kind, what in (("image", "image"), ("_gt", "label"))
            if kind not in files
        ]
        others: list[Case] = []
        for patient, path in series.items() if self.options.every else ():
            known = {int(frame) for name, frame in found if name == patient}
            try:
                frames = [n for n in range(1, frame_count(path) + 1) if n not in known]
            except ValueError as error:
                faults.append(f"{patient}: {error}")
                continue
            others += [
                Case(f"{patient}_frame{n:02d}", patient, path, labelled=False, frame=n - 1)
                for n in frames[:: self.options.every]
            ]
        if faults:
            raise DataError(faults, where=self.info.title)
        labelled = [
            Case(f"{patient}_frame{frame}", patient, files["image"], files["_gt"])
            for (patient, frame), files in found.items()
        ]
        return labelled + others

    def _folders(self, subsets: tuple[str, ...]) -> list[Path]:
        """The patients' folders below --data, or below its subset folders."""
        root = self.folder()
        parents = [root / subset for subset in subsets if (root / subset).is_dir()] or [root]
        if 0 < len(parents) < len(subsets) and parents != [root]:
            raise self.misplaced(f"subset=all takes training and testing, and {root} has one only")
        return [
            folder
            for parent in parents
            for folder in parent.iterdir()
            if folder.is_dir() and re.fullmatch(r"patient\d+", folder.name)
        ]
