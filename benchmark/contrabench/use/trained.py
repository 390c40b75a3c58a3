"""A network that a run or a fit has trained, with all that it takes to use it.

Everything is read from the record; the data that it was trained on need not be there.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from contrabench.contracts.dataset import Structure
from contrabench.errors import RequestError
from contrabench.files import damage_of, read_json
from contrabench.model.segmentation import Segmenter, build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec, DataRecipe
from contrabench.stages.fit import FIT_RECORD, FITS
from contrabench.stages.kind import WEIGHTS
from contrabench.stages.run_spec import RunSpec
from contrabench.store.runs import RUN_RECORD, inner
from contrabench.store.stages import RUNS, SPEC, home_of
from contrabench.text import unique_beginning
from contrabench.training.checkpoint import load_weights

_RECORDS = {RUNS: RUN_RECORD, FITS: FIT_RECORD}


@dataclass(frozen=True)
class Trained:
    """A trained network on disk, and what its record says of it."""

    record: dict[str, Any]
    store: Path

    @property
    def key(self) -> str:
        """Of the run or the fit."""
        return str(self.record["run"])

    @cached_property
    def spec(self) -> RunSpec:
        """What was computed."""
        return RunSpec.model_validate(self.record["spec"])

    @property
    def is_fit(self) -> bool:
        """Whether everybody was trained on."""
        return not self.record["patients"]["test"]

    @cached_property
    def structures(self) -> tuple[Structure, ...]:
        """What is segmented, class 1 first, with the label values of the publisher's files."""
        found = self.record.get("structures") or self._of_evaluation("structures")
        return tuple(map(Structure.model_validate, found))

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of an image's channels."""
        count = self.backbone.in_channels
        return tuple(self.record.get("channels") or ("image",) * count)

    @property
    def recipe(self) -> DataRecipe:
        """How volumes became its input."""
        return DataRecipe.model_validate(self.record["protocol"]["recipe"])

    @property
    def backbone(self) -> BackboneSpec:
        """The network's name, options, width and channels."""
        return BackboneSpec.model_validate(self.record["protocol"]["backbone"])

    @property
    def weights(self) -> Path:
        """The file of all its weights, sound; RequestError if it is not there any more."""
        key: str = self.record["stages"]["finetune"]
        folder = home_of(self.store, "finetune") / key
        problem = damage_of(folder) if folder.is_dir() else "they are not in the store"
        if problem:
            raise RequestError(
                f"the weights of {self.key} cannot be used: {problem}; rows can be given away "
                "without them. Name a store that has them with --store, or repeat the run"
            )
        return folder / WEIGHTS

    def network(self) -> Segmenter:
        """The network with its weights, ready to predict on the CPU."""
        spec, classes = self.spec, 1 + len(self.structures)
        backbone = build_backbone(self.backbone, spec.seeds.init, begin=False)
        deep = spec.deviations.deep_supervision
        network = build_segmenter(backbone, classes, deep, spec.seeds.init)
        network.load_state_dict(load_weights(self.weights))
        return network.eval()

    def siblings(self) -> list[Trained]:
        """This one and those of the other folds of the same run, by fold."""
        found = {}
        for path in home_of(self.store, RUNS).glob(f"[!.]*/{RUN_RECORD}"):
            spec = inner(record := read_json(path), "spec")
            if spec | {"fold": 0} == self.record["spec"] | {"fold": 0}:
                found[spec["fold"]] = Trained(record, self.store)
        return [found[fold] for fold in sorted(found)] or [self]

    def _of_evaluation(self, name: str) -> Any:
        """What the specification of the evaluation tells, of a record that does not yet."""
        key = inner(self.record, "stages").get("evaluate", "")
        spec = read_json(home_of(self.store, "evaluate") / str(key) / SPEC)
        if not isinstance(spec, dict) or name not in spec:
            raise RequestError(
                f"the record of {self.key} is of an earlier version and does not tell its {name}; "
                "repeat the run with the same command"
            )
        return spec[name]


def find_trained(text: str, store: Path) -> Trained:
    """A finished run or fit by its folder, its key, or the beginning of its key in the store.

    RequestError if there is none, or several.
    """
    homes = {kind: home_of(store, kind) for kind in _RECORDS}
    found = {
        path.parent.name: path
        for kind, record in _RECORDS.items()
        for path in homes[kind].glob(f"[!.]*/{record}")
        if "." not in path.parent.name
    }
    for name in _RECORDS.values():
        if (path := Path(text) / name).is_file():
            return _open(path)
    hint = "Name one of them, or another folder with --store"
    return _open(found[unique_beginning(text, found, f"run or fit in {store}", hint)])


def _open(path: Path) -> Trained:
    record = read_json(path)
    if not isinstance(record, dict) or "stages" not in record:
        raise RequestError(f"{path} cannot be read; repeat the run to make it again")
    home = path.resolve().parents[2 if path.name == RUN_RECORD else 3]
    return Trained(record, home)
