"""What a store holds of a case: the prediction of a run, and the image and its reference."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contrabench.contracts.dataset import Case
from contrabench.data.prepare import PreparedCase, open_case
from contrabench.files import damage_of
from contrabench.store.stages import PREPARE, home_of

_KEY = re.compile(r"[0-9a-f]+")
_FOREIGN = (OSError, EOFError, BadZipFile, ValueError, LookupError, TypeError, AttributeError)
"""What reading a file of another form than expected may raise."""

NO_PREDICTION = "the store does not hold the prediction"
NO_IMAGE = "the store does not hold the prepared image"
DAMAGED = "its folder is damaged"
OTHER_IMAGE = "the prediction was made from another image"


class LostError(Exception):
    """Something that a picture needs is not there; the message says what."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one run predicted for one prepared case, of which it has the fingerprint.

    `classes` is (X, Y, Z) on the native grid in canonical orientation, k+1 for structure k.
    """

    classes: NDArray[np.uint8]
    fingerprint: str
    structures: tuple[str, ...]


class Shelf:
    """Reads a store; a folder that differs from its checksums counts as damaged.

    Both readers raise LostError if what they read is not there, or not as it was written.
    """

    def __init__(self, store: Path, runs: pd.DataFrame) -> None:
        self._store = store
        self._stages = {str(run): str(key) for run, key in runs["evaluate"].items()}
        self._sound: dict[Path, bool] = {}

    def prediction(self, run: str, case: str) -> Prediction:
        """Reads what a run predicted for a case."""
        home = self._open("evaluate", self._stages.get(run, ""), NO_PREDICTION)
        try:
            spec, scores = _json(home / "spec.json"), _json(home / "scores.json")
            files = [score["file"] for score in scores if score["case"] == case]
            if not files:
                raise LostError(NO_PREDICTION)
            with np.load(home / Path(files[0]).name) as file:
                classes = file["prediction"]
            names = tuple(str(structure["name"]) for structure in spec["structures"])
            return Prediction(classes, str(spec["data"][case]), names)
        except _FOREIGN as error:
            raise LostError(DAMAGED) from error

    def scan(self, prediction: Prediction) -> tuple[PreparedCase, NDArray[np.uint8]]:
        """The image that a prediction was made from, and its reference on the native grid."""
        home = self._open(PREPARE, prediction.fingerprint, NO_IMAGE)
        try:
            found = open_case(Case(id=home.name, patient="", labelled=True), home)
            return found, found.native_label()
        except _FOREIGN as error:
            raise LostError(DAMAGED) from error

    def _open(self, kind: str, key: str, absent: str) -> Path:
        home = home_of(self._store, kind) / key
        # A key comes from a record, which may have come from elsewhere.
        if not _KEY.fullmatch(key) or not home.is_dir():
            raise LostError(absent)
        if home not in self._sound:
            self._sound[home] = damage_of(home) is None
        if not self._sound[home]:
            raise LostError(DAMAGED)
        return home


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
