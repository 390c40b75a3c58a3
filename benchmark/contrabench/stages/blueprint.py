"""A run drawn up on its data: fold, labelled patients, protocol, and the initial network.

A blueprint computes nothing that is kept. It is what the keys of a run's stages follow
from, and what the makers of the stages read, in this process or another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

from contrabench.contracts.backbone import Backbone
from contrabench.contracts.method import Stage
from contrabench.data.prepare import PreparedCase
from contrabench.data.splits import LabelManifest, Split, draw_labels, make_split
from contrabench.evaluation.metrics import METRIC_CONTRACT
from contrabench.model.segmentation import Segmenter, build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import ORIENTATIONS, Orientation, Protocol, digest
from contrabench.stages.recipe import StageWork, share_out
from contrabench.stages.request import Plan


class Blueprint:
    """One run on its data.

    Args:
        plan: the run.
        cases: all prepared cases of the dataset.

    Raises:
        RequestError: if the fold cannot be made of the dataset's patients.
    """

    def __init__(self, plan: Plan, cases: Sequence[PreparedCase]) -> None:
        self.plan, self.cases = plan, list(cases)
        self.split, self.manifest = _patients(plan, cases)
        self.work: list[StageWork] = share_out(plan.method, plan.spec.budget, plan.spec.recipe)

    @cached_property
    def protocol(self) -> Protocol:
        """Everything the rows depend on except the method."""
        spec, dataset = self.plan.spec, self.plan.dataset
        return Protocol(
            dataset=spec.dataset,
            dataset_version=dataset.info.version,
            dataset_options=dataset.options.model_dump(mode="json"),
            data=digest({case.case: case.fingerprint for case in self.cases}),
            structures=tuple(structure.name for structure in dataset.structures),
            recipe=self.plan.data_recipe,
            folds=spec.folds,
            split_seed=spec.seeds.split,
            backbone=spec.backbone,
            budget=spec.budget,
            pretraining=spec.recipe,
            precision=spec.precision,
            metric_contract=METRIC_CONTRACT,
        )

    @property
    def classes(self) -> int:
        """Structures and background."""
        return len(self.plan.dataset.structures) + 1

    @property
    def orientations(self) -> tuple[Orientation, ...]:
        """Cuts of the volumes that are pre-trained on."""
        return ORIENTATIONS if self.plan.spec.deviations.views == "all" else ("axial",)

    @property
    def finetune_steps(self) -> int:
        """Steps of fine-tuning, with those that the method saves on pre-training."""
        budget = self.plan.spec.budget
        extra = round(self.plan.method.finetune_extra * budget.pretrain.images)
        return budget.finetune.steps + extra // budget.finetune.batch

    def pool(self, stage: Stage) -> tuple[str, ...]:
        """Patients whose slices a pre-training stage may draw."""
        return self.manifest.patients if stage.labelled_slices_only else self.split.train

    def test_cases(self) -> list[PreparedCase]:
        """The cases of the test patients."""
        return [case for case in self.cases if case.patient in self.split.test]

    def backbone(self) -> Backbone:
        """The backbone with the seed's initial weights: the same for every method."""
        return build_backbone(self.plan.spec.backbone, self.plan.spec.seeds.init)

    def segmenter(self, backbone: Backbone) -> Segmenter:
        """The network of fine-tuning around a backbone, its heads with initial weights."""
        spec = self.plan.spec
        return build_segmenter(
            backbone, self.classes, spec.deviations.deep_supervision, spec.seeds.init
        )

    def initial_digest(self) -> str:
        """Hash of the initial weights: equal for all methods of a seed and a budget."""
        state = hashlib.sha256()
        for value in self.backbone().state_dict().values():
            state.update(value.numpy().tobytes())
        return state.hexdigest()[:16]


def _patients(plan: Plan, cases: Sequence[PreparedCase]) -> tuple[Split, LabelManifest]:
    """The fold and the label manifest of a plan."""
    labelled = {case.patient for case in cases if case.labelled}
    unlabelled = {case.patient for case in cases} - labelled
    spec = plan.spec
    split = make_split(
        sorted(labelled), sorted(unlabelled), spec.folds, spec.fold, spec.seeds.split
    )
    return split, draw_labels(split, spec.labels, spec.draw, spec.seeds.labels)
