"""MM-WHS 2017: whole hearts in CT and MR, in the publisher's own layout."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from contrabench import (
    Case,
    DataError,
    DataRecipe,
    DatasetInfo,
    NiftiDataset,
    Options,
    Structure,
    Volume,
    register_dataset,
)

STRUCTURES = (
    Structure(name="LV", value=500),
    Structure(name="RV", value=600),
    Structure(name="LA", value=420),
    Structure(name="RA", value=550),
    Structure(name="myocardium", value=205),
    Structure(name="ascending aorta", value=820),
    Structure(name="pulmonary artery", value=850),
)
ALIASES = {421: 420}
"""Values that the published labels hold by mistake, and what they mean: a few voxels of
the left atrium in the MR labels are 421."""
SAME_HEART = {"ct_train_1012": "1005", "ct_train_1020": "1001"}
"""Volumes of a patient who has another one already: two phases of the same scan. The ribs agree to
the voxel and the ventricles do not; see docs/protocol.md."""


class MMWHSOptions(Options):
    """Options of MM-WHS."""

    modality: Literal["ct", "mr"] = Field("ct", description="which half of the challenge")
    pool: bool = Field(True, description="train on the test images too, which have no labels")


@register_dataset("mmwhs")
class MMWHS(NiftiDataset):
    """The volumes of one modality: 20 with labels, of 18 patients in CT, and the test images."""

    info = DatasetInfo(
        title="MM-WHS 2017",
        modality="cardiac CT angiography or MR (option `modality`)",
        source="Zhuang & Shen, Medical Image Analysis 31 (2016) 77-87, "
        "doi:10.1016/j.media.2016.02.006; Zhuang et al., Medical Image Analysis 58 (2019) 101537",
        terms="research use after registration with the organisers; cite the papers",
        layout="ct_train/ct_train_NNNN_image.nii.gz and ct_train_NNNN_label.nii.gz "
        "(mr_train/mr_train_... for modality=mr) below --data, or --data at that folder; "
        "ct_test/ct_test_NNNN_image.nii.gz beside it if they are there",
        version=2,
    )
    Options = MMWHSOptions
    options: MMWHSOptions
    # In 20 CT volumes (with their nominal spacing) no labelled voxel lies outside this square.
    recipe = DataRecipe(field_of_view_mm=224.0)

    @property
    def structures(self) -> tuple[Structure, ...]:
        """Seven structures with the values of the challenge."""
        return STRUCTURES

    def cases(self) -> list[Case]:
        """Lists the training volumes by number, then the test images, whatever labels they have.

        Raises:
            DataError: naming each training image without label and each label without image.
        """
        train, test = (f"{self.options.modality}_{half}" for half in ("train", "test"))
        faults: list[str] = []
        found = self._files(train, faults)
        if not found:
            raise self.misplaced(f"no {train} volume was found in {self.folder()}")
        images = self._files(test, faults) if self.options.pool else {}
        faults += [
            f"{name}: its {kind} is missing beside {next(iter(files.values()))}"
            for name, files in found.items()
            for kind in ("image", "label")
            if kind not in files
        ]
        if faults:
            raise DataError(faults, where=self.info.title)
        labelled = [
            Case(name, SAME_HEART.get(name, name[-4:]), files["image"], files["label"])
            for name, files in found.items()
        ]
        return labelled + [
            Case(name, name[-4:], files["image"], labelled=False)
            for name, files in images.items()
            if "image" in files
        ]

    def _files(self, set_name: str, faults: list[str]) -> dict[str, dict[str, Path]]:
        """Image and label of each volume of a set, in its folder below --data, or in --data."""
        folder = self.folder()
        if (folder / set_name).is_dir():
            folder = folder / set_name
        found: dict[str, dict[str, Path]] = {}
        for path in sorted(folder.iterdir()):
            match = re.fullmatch(rf"({set_name}_\d{{4}})_(image|label)\.nii(\.gz)?", path.name)
            if match:
                files = found.setdefault(match[1], {})
                if other := files.get(match[2]):
                    faults.append(f"{match[1]}: both {other} and {path} are there; keep one")
                files[match[2]] = path
        return found

    def load(self, case: Case) -> Volume:
        """Reads one case and puts right the label values known to be mistaken."""
        volume = super().load(case)
        if volume.label is None:
            return volume
        label = volume.label.copy()
        for mistaken, meant in ALIASES.items():
            label[label == mistaken] = meant
        return replace(volume, label=np.asarray(label))
