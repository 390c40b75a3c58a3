"""A user's own NIfTI folder: nnU-Net, Medical Segmentation Decathlon, or images and labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from contrabench import (
    Case,
    DataError,
    DataRecipe,
    DatasetInfo,
    NiftiDataset,
    Options,
    Structure,
    register_dataset,
)
from contrabench.data.reading import is_nifti, stem

FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
WITHOUT_LABELS = ("imagesTs", "imagesTest", "unlabelled")
"""Folders beside these whose images are trained on without labels, whatever labels there are."""
CHANNEL = re.compile(r"(.+)_(\d{4})")


class NiftiOptions(Options):
    """Options of a user's own folder."""

    patient_pattern: str = Field(
        "(.+)", description="regular expression; its one group is the patient in a case's name"
    )
    structures: str = Field(
        "", description='names of label values, "LV=1,RV=2"; empty: dataset.json or as found'
    )
    pool: bool = Field(True, description="train on the images without labels, too")
    field_of_view_mm: float = Field(224.0, gt=0, description="side of the square kept, in mm")

    @field_validator("patient_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"'{pattern}' has {groups} groups; put the patient into one (...)")
        return pattern

    @field_validator("structures")
    @classmethod
    def _pairs(cls, text: str) -> str:
        _parse_structures(text)
        return text


@register_dataset("nifti")
class NiftiFolder(NiftiDataset):
    """Any single-channel dataset in one of three common layouts."""

    info = DatasetInfo(
        title="NIfTI folder",
        modality="the user's",
        source="the user's own files",
        terms="the user's",
        layout="imagesTr/NAME_0000.nii.gz or imagesTr/NAME.nii.gz with labelsTr/NAME.nii.gz and "
        "dataset.json, or images/NAME.nii.gz with labels/NAME.nii.gz, below --data; images without "
        "labels among them or in imagesTs, imagesTest or unlabelled",
    )
    Options = NiftiOptions
    options: NiftiOptions

    def __init__(self, root: Path | None = None, options: NiftiOptions | None = None) -> None:
        super().__init__(root, options)
        self.recipe = DataRecipe(field_of_view_mm=self.options.field_of_view_mm)
        self._structures: tuple[Structure, ...] = ()

    @property
    def structures(self) -> tuple[Structure, ...]:
        """From the option, else from `dataset.json`, else the values that the labels hold."""
        if not self._structures:
            description = self.folder() / "dataset.json"
            if self.options.structures:
                self._structures = _parse_structures(self.options.structures)
            elif description.is_file():
                self._structures = _described(description)
            else:
                self._structures = self._found()
        return self._structures

    def cases(self) -> list[Case]:
        """Lists the images by name, folder by folder; those without a label serve training alone.

        `patient_pattern` finds the patient in the names of all of them.

        Raises:
            DataError: naming each missing or extra file, second channel and name from which
                no patient can be read.
        """
        images, labels = self._folders()
        faults: list[str] = []
        label_of = {stem(path): path for path in _volumes(labels)}
        image_of = self._images(images, label_of, faults)
        if not image_of and not faults:
            raise self.misplaced(f"no image was found in {images}")
        labellable = {name for name, path in image_of.items() if path.parent == images}
        faults += [
            f"{name}: {label_of[name]} has no image in {images}"
            for name in sorted(set(label_of) - labellable)
        ]
        near = set(labels.rglob("[!.]*")) - set(label_of.values())
        cases = []
        for name, image in image_of.items():
            label = label_of.get(name) if name in labellable else None
            patient = re.search(self.options.patient_pattern, name)
            beside = [path for path in near if path.name.lower().startswith(f"{name}.".lower())]
            if patient is None or not patient[1]:
                faults.append(
                    f"{name}: patient_pattern '{self.options.patient_pattern}' does not match it"
                )
            elif label is None and name in labellable and beside:
                faults.append(
                    f"{name}: {min(beside)} is not taken for its label; call it {name}.nii.gz or "
                    f"{name}.nii and put it right into {labels}"
                )
            elif label is not None or self.options.pool:
                cases.append(Case(name, patient[1], image, label, labelled=label is not None))
        if faults:
            raise DataError(faults, where=str(self.root))
        return cases

    def _folders(self) -> tuple[Path, Path]:
        root = self.folder()
        for images, labels in FOLDERS:
            if (root / images).is_dir():
                return root / images, root / labels
        raise self.misplaced(f"{root} has neither imagesTr nor images")

    def _images(self, folder: Path, labels: Container[str], faults: list[str]) -> dict[str, Path]:
        """Images by case; a channel number at the end of nnU-Net's names is no part of it.

        Four digits are a channel unless some label has them in its name too.
        """
        found: dict[str, Path] = {}
        numbered = folder.name == "imagesTr" and not any(
            stem(path) in labels for path in _volumes(folder) if CHANNEL.fullmatch(stem(path))
        )
        folders = [folder, *(folder.with_name(name) for name in WITHOUT_LABELS)]
        for path in (path for one in folders for path in _volumes(one)):
            name = stem(path)
            channel = CHANNEL.fullmatch(name) if numbered else None
            if channel and channel[2] != "0000":
                faults.append(
                    f"{name}: {path} is a further channel; only single-channel images are "
                    "supported, so keep one channel as _0000"
                )
                continue
            name = channel[1] if channel else name
            if name in found:
                faults.append(f"{name}: both {found[name]} and {path} are its image; keep one")
                continue
            found[name] = path
        return found

    def _found(self) -> tuple[Structure, ...]:
        values: set[int] = set()
        for case in self.cases():
            try:
                label = self.load(case).label
            except DataError:  # it is told with all other faults when the cases are read
                continue
            if label is not None:
                values.update(*(np.unique(part).tolist() for part in label))
        values.discard(0)
        if not values or min(values) < 0 or len(values) > 255:
            raise DataError(
                [
                    f"the labels hold {len(values)} values besides 0"
                    + (f", from {min(values)} to {max(values)}" if values else "")
                    + '; name those that are structures with structures="LV=1,RV=2"'
                ],
                where=str(self.root),
            )
        return tuple(Structure(name=f"label {value}", value=value) for value in sorted(values))


def _volumes(folder: Path) -> list[Path]:
    """NIfTI files of a folder by name; none if there is no such folder.

    DataError if there is something else, or it cannot be listed: its labels must not be missed.
    """
    if not os.path.lexists(folder):
        return []
    try:
        return sorted(filter(is_nifti, folder.iterdir()))
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError([f"{folder} cannot be listed ({reason})"], where=str(folder)) from error


def _parse_structures(text: str) -> tuple[Structure, ...]:
    """Reads "LV=1,RV=2".

    Raises:
        ValueError: if the text does not have that form, or names a value twice.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and value.strip().isdigit() for name, _, value in pairs):
        raise ValueError(f"'{text}' does not have the form LV=1,RV=2")
    return _structures([(name.strip(), int(value)) for name, _, value in pairs])


def _structures(pairs: list[tuple[str, int]]) -> tuple[Structure, ...]:
    names, values = {name for name, _ in pairs}, {value for _, value in pairs}
    if len(names) != len(pairs) or len(values) != len(pairs):
        raise ValueError("a name or a value occurs twice")
    if len(pairs) > 255 or min(values, default=1) < 1:
        raise ValueError("label values must be positive, 255 structures at most")
    return tuple(Structure(name=name, value=value) for name, value in pairs)


def _described(path: Path) -> tuple[Structure, ...]:
    """Reads the structures from `dataset.json`, in the form of nnU-Net or of the Decathlon.

    Raises:
        DataError: if it has no labels that can be used.
    """
    try:
        labels = dict(json.loads(path.read_text(encoding="utf-8"))["labels"])
        decathlon = all(key.isdigit() for key in labels)
        pairs = [(v, int(k)) if decathlon else (k, v) for k, v in labels.items()]
        if not all(isinstance(value, int) for _, value in pairs):
            raise ValueError("regions made of several values are not supported")
        if "ignore" in labels:
            raise ValueError("an ignore label is not supported")
        pairs = [(str(name), value) for name, value in pairs if value != 0]
        if not pairs:
            raise ValueError("there is no label besides the background")
        return _structures(pairs)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            [
                f"{path}: its labels cannot be used ({' '.join(str(error).split())}); "
                'write {"background": 0, "LV": 1} or set structures="LV=1,RV=2"'
            ],
            where=str(path.parent),
        ) from error
