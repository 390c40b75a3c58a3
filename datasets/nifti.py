"""A user's own folder: nnU-Net, Medical Segmentation Decathlon, or images and labels."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

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
from contrabench.data.formats import stem, unread, volumes_in
from contrabench.data.names import shared_patient
from contrabench.text import composed

FOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
WITHOUT_LABELS = ("imagesTs", "imagesTest", "unlabelled")
"""Folders beside these whose images are trained on without labels, whatever labels there are."""
CHANNEL = re.compile(r"(.+)_(\d{4})")
MOST = 254
"""Structures that a mask can tell: 255 marks what is not labelled."""
EACH = "(.+)"
"""The pattern by which each case is a patient of its own."""


class NiftiOptions(Options):
    """Options of a user's own folder."""

    patient_pattern: str = Field(
        "",
        description="regular expression; its one group is the patient in a case's name; empty: "
        "each case is a patient, if no two names look like one patient's",
    )
    structures: str = Field(
        "", description='names of label values, "LV=1,RV=2"; empty: dataset.json or as found'
    )
    pool: bool = Field(True, description="train on the images without labels, too")
    field_of_view_mm: float = Field(
        224.0, ge=10, le=1000, description="side of the square kept, in mm"
    )
    sides_mm: tuple[float, float] = Field(
        (0.1, 20.0), description="the least and the largest side that a voxel can have, in mm"
    )

    @field_validator("patient_pattern")
    @classmethod
    def _one_group(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern or EACH).groups
        except re.error as error:
            raise ValueError(f"'{pattern}' is no regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"'{pattern}' has {groups} groups; put the patient into one (...)")
        return composed(pattern)

    @field_validator("sides_mm")
    @classmethod
    def _bounds(cls, sides: tuple[float, float]) -> tuple[float, float]:
        if not 0 < sides[0] < sides[1]:
            raise ValueError(f"{list(sides)} are no bounds; write the least and the largest side")
        return sides

    @field_validator("structures")
    @classmethod
    def _pairs(cls, text: str) -> str:
        _parse_structures(text)
        return text


@register_dataset("nifti")
class NiftiFolder(NiftiDataset):
    """Any dataset in one of three common layouts, of one channel or several."""

    info = DatasetInfo(
        title="NIfTI folder",
        modality="the user's",
        source="the user's own files",
        terms="the user's",
        layout="imagesTr/NAME_0000.nii.gz (further channels _0001 and on) or imagesTr/NAME.nii.gz "
        "with labelsTr/NAME.nii.gz and dataset.json, or images/NAME.nii.gz with "
        "labels/NAME.nii.gz, below --data; .nrrd, .mha or a folder NAME of DICOM slices as well; "
        "images without labels among them or in imagesTs, imagesTest or unlabelled",
    )
    Options = NiftiOptions
    options: NiftiOptions

    def __init__(self, root: Path | None = None, options: NiftiOptions | None = None) -> None:
        super().__init__(root, options)
        self.recipe = DataRecipe(field_of_view_mm=self.options.field_of_view_mm)
        self.sides_mm = self.options.sides_mm
        self._structures: tuple[Structure, ...] = ()
        self._channels: tuple[str, ...] = ()

    @property
    def structures(self) -> tuple[Structure, ...]:
        """From the option, else from `dataset.json`, else the values that the labels hold."""
        if not self._structures:
            description = self.folder() / "dataset.json"
            if self.options.structures:
                self._structures = _parse_structures(self.options.structures)
            elif os.path.lexists(description):
                self._structures = _described(description)
            else:
                self._structures = self._found()
        return self._structures

    @property
    def channels(self) -> tuple[str, ...]:
        """From `dataset.json`, else by the numbers of nnU-Net's files."""
        if not self._channels:
            images, labels = self._folders()
            files = _image_files(self._sources(images), _label_files(labels, []), [])
            numbers = {0, *_by_number(files)}
            found = tuple(f"channel {number}" for number in sorted(numbers))
            self._channels = self._named() or (found if len(found) > 1 else super().channels)
        return self._channels

    def cases(self) -> list[Case]:
        """Lists the images by name, folder by folder; those without a label serve training alone.

        `patient_pattern` finds the patient in the names of all of them.

        Raises:
            DataError: naming each missing or extra file, each kind of file that cannot be read,
                and each name from which no patient can be read; or two cases that look like one
                patient's, where no `patient_pattern` tells patients.
        """
        images, labels = self._folders()
        faults = unread((*self._sources(images), labels))
        label_of = _label_files(labels, faults)
        image_of = self._images(images, label_of, faults)
        if not image_of and not faults:
            raise self.misplaced(f"no image was found in {images}")
        labellable = {name for name, files in image_of.items() if files[0].parent == images}
        faults += [
            f"{name}: {label_of[name]} has no image in {images}"
            for name in sorted(set(label_of) - labellable)
        ]
        near = {
            path: composed(path.name).lower()
            for path in set(labels.rglob("[!.]*")) - set(label_of.values())
        }
        cases, pattern = [], self.options.patient_pattern
        for name, (image, *further) in image_of.items():
            label = label_of.get(name) if name in labellable else None
            patient = re.search(pattern or EACH, name)
            beside = [
                path for path, called in near.items() if called.startswith(f"{name.lower()}.")
            ]
            if patient is None or not patient[1]:
                faults.append(f"{name}: patient_pattern '{pattern}' does not match it")
            elif label is None and name in labellable and beside:
                faults.append(
                    f"{name}: {min(beside)} is not taken for its label; call it {name}.nii.gz or "
                    f"{name}.nii and put it right into {labels}"
                )
            elif label is not None or self.options.pool:
                known = label is not None
                cases.append(Case(name, patient[1], image, label, known, tuple(further)))
        if faults:
            raise DataError(faults, where=str(self.root))
        if not pattern and (found := shared_patient([case.id for case in cases])):
            first, second, pattern = found
            fault = (
                f"{first} and {second} look like one patient, who would be trained on and tested; "
                f'tell patients by name with -d "patient_pattern={pattern}", or keep each case a '
                f'patient of its own with -d "patient_pattern={EACH}"'
            )
            raise DataError([fault], where=str(self.root))
        return cases

    def _folders(self) -> tuple[Path, Path]:
        root = self.folder()
        for images, labels in FOLDERS:
            if (root / images).is_dir():
                return root / images, root / labels
        raise self.misplaced(f"{root} has neither imagesTr nor images")

    def _sources(self, images: Path) -> list[Path]:
        """The folders whose images are taken; those beside the first have no labels."""
        pool = WITHOUT_LABELS if self.options.pool else ()
        return [images, *(images.with_name(name) for name in pool)]

    def _images(
        self, folder: Path, labels: Container[str], faults: list[str]
    ) -> dict[str, list[Path]]:
        """The files of each image by case: one, or one for each channel."""
        found, named = _image_files(self._sources(folder), labels, faults), self._named()
        there = _by_number(found)
        if not there:
            return {name: [files[0]] for name, files in found.items()}
        if named and max(there) >= len(named):
            faults.append(
                f"{there[max(there)]} is a channel that dataset.json does not name; it names "
                f"{', '.join(named)}"
            )
        for number in range(max(max(there) + 1, len(named))):
            ending = f"{number:04d}"
            if number not in there:
                faults.append(
                    f"no image in {folder} has the channel _{ending}; channels are numbered from "
                    "_0000 without a gap, and dataset.json names as many"
                )
                continue
            faults += [
                f"{name}: its channel {name}_{ending} is missing in {min(files.values()).parent}"
                for name, files in found.items()
                if number not in files
            ]
        return {name: [files[n] for n in sorted(files)] for name, files in found.items()}

    def _named(self) -> tuple[str, ...]:
        """The names of the channels in `dataset.json`, if it has any."""
        path = self.folder() / "dataset.json"
        known = _read_description(path) if os.path.lexists(path) else {}
        names = known.get("channel_names", known.get("modality")) or {}
        names = {"0": names} if isinstance(names, str) else names
        if not isinstance(names, dict) or set(names) != set(map(str, range(len(names)))):
            raise DataError(
                [
                    f"{path}: its channels cannot be used ({names}); write "
                    '"channel_names": {"0": "T2", "1": "ADC"}'
                ],
                where=str(self.root),
            )
        return tuple(str(names[str(number)]) for number in range(len(names)))

    def _found(self) -> tuple[Structure, ...]:
        values: set[int] = set()
        faults: list[str] = []
        for case in self.cases():
            try:
                label = self.load(case).label
            except DataError as error:
                faults += error.faults
                continue
            if label is not None:
                values.update(*(np.unique(part).tolist() for part in label))
        values.discard(0)
        if not values and faults:
            raise DataError(faults, where=str(self.root))
        if not any(case.labelled for case in self.cases()):
            raise DataError(
                ["no image has a mask; put masks under the names of their images into labels/"],
                where=str(self.root),
            )
        if not values or min(values) < 0 or len(values) > MOST:
            raise DataError(
                [
                    f"the labels hold {len(values)} values besides 0"
                    + (f", from {min(values)} to {max(values)}" if values else "")
                    + f", and 1 to {MOST} can be told apart; name those that are structures with "
                    'structures="LV=1,RV=2"'
                ],
                where=str(self.root),
            )
        return tuple(Structure(name=f"label {value}", value=value) for value in sorted(values))


def _image_files(
    folders: Sequence[Path], labels: Container[str], faults: list[str]
) -> dict[str, dict[int, Path]]:
    """Image files by case and channel; nnU-Net's number of a channel is no part of a case's name.

    Four digits at the end are a channel unless some label has them in its name too.
    """
    paths = [path for folder in folders for path in volumes_in(folder)]
    numbered = folders[0].name == "imagesTr" and not any(
        name in labels for name in map(stem, paths) if CHANNEL.fullmatch(name)
    )
    found: dict[str, dict[int, Path]] = {}
    for path in paths:
        channel = CHANNEL.fullmatch(stem(path)) if numbered else None
        name, number = (channel[1], int(channel[2])) if channel else (stem(path), 0)
        files = found.setdefault(name, {})
        if number in files:
            faults.append(f"{name}: both {files[number]} and {path} are its image; keep one")
            continue
        files[number] = path
    return found


def _by_number(files: dict[str, dict[int, Path]]) -> dict[int, Path]:
    """A file of each channel number; none where no name ends with a number."""
    there = {number: path for numbers in files.values() for number, path in numbers.items()}
    numbered = any(
        stem(path) != name for name, numbers in files.items() for path in numbers.values()
    )
    return there if numbered else {}


def _label_files(folder: Path, faults: list[str]) -> dict[str, Path]:
    """Labels by case."""
    found: dict[str, Path] = {}
    for path in volumes_in(folder):
        if (name := stem(path)) in found:
            faults.append(f"{name}: both {found[name]} and {path} are its label; keep one")
        found[name] = path
    return found


def _parse_structures(text: str) -> tuple[Structure, ...]:
    """Reads "LV=1,RV=2".

    Raises:
        ValueError: if the text does not have that form, or names a value twice.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and value.strip().isdecimal() for name, _, value in pairs):
        raise ValueError(f"'{text}' does not have the form LV=1,RV=2")
    return _structures([(name.strip(), int(value)) for name, _, value in pairs])


def _structures(pairs: list[tuple[str, int]]) -> tuple[Structure, ...]:
    names, values = {name for name, _ in pairs}, {value for _, value in pairs}
    if len(names) != len(pairs) or len(values) != len(pairs):
        raise ValueError("a name or a value occurs twice")
    if len(pairs) > MOST or min(values, default=1) < 1 or max(values, default=1) >= 2**63:
        raise ValueError(f"label values are 1 to 2**63 - 1, of {MOST} structures at most")
    return tuple(Structure(name=name, value=value) for name, value in pairs)


def _described(path: Path) -> tuple[Structure, ...]:
    """Reads the structures from `dataset.json`, in the form of nnU-Net or of the Decathlon.

    Raises:
        DataError: if it has no labels that can be used.
    """
    labels = _read_description(path).get("labels")
    try:
        if not isinstance(labels, dict):
            raise ValueError('"labels" is missing or no object')
        decathlon = all(key.isdecimal() for key in labels)
        pairs = [(v, int(k)) if decathlon else (k, v) for k, v in labels.items()]
        for name, value in pairs:
            if isinstance(value, list):
                raise ValueError(f"'{name}' is a region of several values; name single ones")
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"the value of '{name}' is {json.dumps(value)}, no whole number")
        if "ignore" in labels:
            raise ValueError("an ignore label is not supported")
        pairs = [(str(name), value) for name, value in pairs if value != 0]
        if not pairs:
            raise ValueError("there is no label besides the background")
        return _structures(pairs)
    except ValueError as error:
        raise DataError(
            [
                f"{path}: its labels cannot be used ({' '.join(str(error).split())}); "
                'write {"background": 0, "LV": 1} or set structures="LV=1,RV=2"'
            ],
            where=str(path.parent),
        ) from error


def _read_description(path: Path) -> dict[str, Any]:
    """The content of `dataset.json`; DataError if it is no object, or says something twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if twice := {key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1}:
            raise ValueError(f"'{min(twice)}' stands there twice")
        return dict(pairs)

    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
        if not isinstance(content, dict):
            raise ValueError("it is no object in braces")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            [f"{path} cannot be used ({' '.join(str(error).split())}); mend it or take it away"],
            where=str(path.parent),
        ) from error
    return content
