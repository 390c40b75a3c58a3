"""The pre-trained weights that a finished run has left, and the slices to look at them with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from contrabench.contracts.backbone import Backbone
from contrabench.data.bank import SliceBank, build_bank
from contrabench.data.prepare import cases_of
from contrabench.errors import RequestError
from contrabench.files import damage_of
from contrabench.model.weights import build_backbone
from contrabench.progress import Reporter
from contrabench.protocol import ORIENTATIONS, BackboneSpec, digest
from contrabench.stages.kind import WEIGHTS
from contrabench.stages.prepare import prepare
from contrabench.stages.run_spec import RunSpec
from contrabench.store.runs import RUN_RECORD
from contrabench.store.stages import SPEC, home_of
from contrabench.text import unique_beginning
from contrabench.training.checkpoint import load_weights

RANDOM, PRETRAINED = "random", "pre-trained"


@dataclass(frozen=True)
class Pretrained:
    """The pre-trained weights of a run, and what is known of them."""

    record: dict[str, Any]  # content of the run's `run.json`
    stage: str
    trained: tuple[str, ...]  # parts that the stage and those before it have trained
    weights: Path  # file of the backbone's weights
    store: Path

    @property
    def spec(self) -> RunSpec:
        """What the run computed."""
        return RunSpec.model_validate(self.record["spec"])

    def taps(self) -> tuple[str, ...]:
        """The deepest tap, those of quarter and of full resolution, and the last, if trained."""
        network = self._built(begin=False)
        usual = {network.deepest, network.deep_taps[-1], network.finest} & set(self.trained)
        return tuple(sorted(usual | {network.last(self.trained)}, key=network.taps.index))

    def backbone(self) -> Backbone:
        """The random network that the run started from."""
        return self._built(begin=True)

    def _built(self, begin: bool) -> Backbone:
        network = BackboneSpec.model_validate(self.record["protocol"]["backbone"])
        # The protocol has what is in files, and what was asked for has where they lie.
        named = network.model_copy(update={"options": self.spec.backbone_options})
        seeds = self.spec.seeds.in_fold(self.spec.fold)
        return build_backbone(named, seeds.init, begin)

    def networks(self) -> dict[str, Backbone]:
        """The random encoder that the run started from, and the pre-trained one."""
        networks = {RANDOM: self.backbone(), PRETRAINED: self._built(begin=False)}
        networks[PRETRAINED].load_state_dict(load_weights(self.weights))
        return networks


def find_run(text: str, store: Path) -> Path:
    """The folder of a finished run by its path, its key, or the beginning of its key in the store.

    RequestError if there is none, or several.
    """
    if (Path(text) / RUN_RECORD).is_file():
        return Path(text)
    home = home_of(store, "runs")
    found = [path.parent.name for path in sorted(home.glob(f"*/{RUN_RECORD}"))]
    hint = "Name one of them, or another folder with --store"
    return home / unique_beginning(text, found, f"run in {store}", hint)


def read_pretrained(run: Path, stage: str | None = None) -> Pretrained:
    """The weights that a stage of a run has left; by default its last pre-training stage.

    RequestError if the run has no pre-training, no such stage, or its weights are gone.
    """
    record: dict[str, Any] = json.loads((run / RUN_RECORD).read_text(encoding="utf-8"))
    store = run.resolve().parents[1]
    folders = [home_of(store, "pretrain") / key for key in record["stages"]["pretrain"]]
    if not folders:
        raise RequestError(
            f"{record['variant']} has no pre-training, so there is no representation to inspect; "
            "name a run of a method that pre-trains"
        )
    stages = {}
    for folder in folders:
        if problem := damage_of(folder):
            raise RequestError(
                f"the pre-training {folder.name} of this run: {problem}; repeat the run to make "
                "it again"
            )
        item = json.loads((folder / SPEC).read_text(encoding="utf-8"))["stage"]
        stages[item["name"]] = (item["trains"], folder / WEIGHTS)
    names = list(stages)
    if stage is not None and stage not in names:
        raise RequestError(f"this run has no stage '{stage}'; it has {', '.join(names)}")
    last = stage or names[-1]
    done = names[: names.index(last) + 1]
    parts = dict.fromkeys(part for name in done for part in stages[name][0])
    return Pretrained(record, last, tuple(parts), stages[last][1], store)


def training_bank(pretrained: Pretrained, root: Path | None, reporter: Reporter) -> SliceBank:
    """All slices, with masks, of the labelled training patients of a run, in three orientations.

    Nobody else's image or mask gets into it, test patients least of all. `root` is the folder of
    the dataset's files, if it needs any; RequestError if it is missing or the data are not those of
    the run.
    """
    spec, record = pretrained.spec, pretrained.record
    dataset = spec.open_dataset(root)
    cases = prepare(dataset, spec.dataset, spec.budget.pixels, pretrained.store, reporter)
    if digest({case.case: case.fingerprint for case in cases}) != record["protocol"]["data"]:
        raise RequestError(
            f"the data are not those of this run of '{spec.dataset}': its files or the code that "
            "reads them have changed; name the run's own with --data, or repeat the run"
        )
    training = record["patients"]["train"]
    labelled = {case.patient for case in cases if case.labelled and case.patient in training}
    known = [case for case in cases_of(cases, labelled) if case.labelled]
    return build_bank(known, labelled, ORIENTATIONS, torch.device("cpu"))
