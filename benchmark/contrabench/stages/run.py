"""A run on its data: fold, labelled patients, initial network.

A `Run` has opened the plug-ins that a `RunSpec` names and laid it over the prepared cases; it
computes nothing that is kept, but the keys of the stages follow from it, and their makers read it.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from contrabench.contracts import registry
from contrabench.contracts.chosen import Chosen, chosen
from contrabench.contracts.fingerprint import fingerprint
from contrabench.contracts.method import COMMON_LOSS, Fidelity, Method, MethodInfo, Stage
from contrabench.data.own_split import lay_split
from contrabench.data.prepare import PreparedCase
from contrabench.data.splits import draw_labels, make_split
from contrabench.protocol import (
    ALONG,
    METRIC_CONTRACT,
    PROTOCOL_VERSION,
    BackboneSpec,
    Pace,
    Protocol,
    Seeds,
    digest,
)
from contrabench.references import LONGER
from contrabench.stages.recipe import StageWork, share_out, tuning_stages
from contrabench.stages.run_spec import RunSpec

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.loss import Loss
    from contrabench.contracts.metric import Metric
    from contrabench.model.segmentation import Segmenter


def _identity(name: str, method: Method) -> dict[str, Any]:
    """What identifies a method's computation: its code, version and options."""
    return {
        "name": name,
        "code": fingerprint(type(method)),
        "version": method.info.version,
        "options": method.options.model_dump(mode="json", exclude={*method.of_hand_off}),
    }


class Run:
    """One run on its data.

    Attributes:
        split: who may be trained on, and who is tested.
        manifest: whose labels may be used.
        laid: the given split over the patients, if there is one.
        work: the pre-training stages, each with its share of the budget.
        tuning: the stages of fine-tuning with their steps; None stands for the common one.

    Raises:
        RequestError: if the fold cannot be made of the dataset's patients.
    """

    def __init__(
        self, spec: RunSpec, cases: Sequence[PreparedCase], root: Path | None = None
    ) -> None:
        self.spec, self.cases = spec, list(cases)
        self.method, self.tuner = spec.open_method(), spec.open_tuner()
        self.dataset = spec.open_dataset(root)
        labelled = {case.patient for case in cases if case.labelled}
        unlabelled = {case.patient for case in cases} - labelled
        self.laid = lay_split(spec.split, cases) if spec.split else None
        if self.laid is not None:
            self.split, first = self.laid.folds[spec.fold], self.laid.labelled
        else:
            self.split = make_split(
                sorted(labelled), sorted(unlabelled), spec.folds, spec.fold, spec.seeds.split
            )
            first = ()
        self.manifest = draw_labels(self.split, spec.labels, spec.draw, spec.seeds.labels, first)
        self.work: list[StageWork] = share_out(self.method, spec.budget, spec.recipe)
        self.tuning = tuning_stages(self.tuner, self.finetune_steps)

    @cached_property
    def protocol(self) -> Protocol:
        """Everything the rows depend on except the method."""
        spec, dataset = self.spec, self.dataset
        pool = [case for case in self.cases if case.pool]
        return Protocol(
            dataset=spec.dataset,
            dataset_version=dataset.info.version,
            dataset_options=dataset.options.model_dump(mode="json"),
            data=digest(self.data_of([case for case in self.cases if not case.pool])),
            pool=spec.pool,
            pool_data=digest(self.data_of(pool)) if pool else "",
            structures=tuple(structure.name for structure in dataset.structures),
            recipe=dataset.recipe,
            folds=spec.folds,
            split_seed=spec.seeds.split,
            split=self.laid.hash if self.laid else "",
            backbone=self.network,
            budget=spec.budget,
            pretraining=spec.recipe,
            precision=spec.precision,
            metric_contract=METRIC_CONTRACT,
        )

    @cached_property
    def loss(self) -> Chosen[Loss] | None:
        """Of fine-tuning, if it is not the common one."""
        text = self.spec.deviations.loss
        return None if text == COMMON_LOSS else chosen(registry.losses, text)

    @cached_property
    def metrics(self) -> list[Chosen[Metric]]:
        """What is told beside the metric contract."""
        return [chosen(registry.metrics, text) for text in self.spec.metrics]

    @property
    def plugins(self) -> list[type]:
        """The classes that say what is computed."""
        opened = [type(one) for one in (self.method, self.tuner, self.dataset)]
        return [*opened, *(one.kind for one in (self.loss, *self.metrics) if one is not None)]

    @property
    def classes(self) -> int:
        """Structures and background."""
        return len(self.dataset.structures) + 1

    @property
    def network(self) -> BackboneSpec:
        """The backbone at the budget's width, for images of the dataset's channels.

        Where an option names a file, what is in it stands in its place.
        """
        spec = self.spec
        return BackboneSpec(
            name=spec.backbone,
            options={**spec.backbone_options, **self._contents},
            width=spec.budget.width,
            in_channels=len(self.dataset.channels),
        )

    @cached_property
    def _contents(self) -> dict[str, str]:
        """What is in the files that options of the backbone name, by option."""
        from contrabench.model.checkpoints import content_of

        kind, given = registry.backbones.get(self.spec.backbone), self.spec.backbone_options
        return {name: content_of(given[name]) for name in kind.files if given.get(name)}

    @property
    def asked(self) -> dict[str, Any]:
        """All that is asked for as JSON-like data, without a place of the backbone's files."""
        return {**self.spec.model_dump(mode="json"), "backbone_options": self.network.options}

    @property
    def from_outside(self) -> list[str]:
        """What is known of the network's initial weights, if they are from outside."""
        kind = registry.backbones.get(self.spec.backbone)
        return [*filter(None, [kind.outside(kind.Options.model_validate(self.network.options))])]

    @property
    def pace(self) -> Pace:
        """How fast fine-tuning trains handed-over parts and new ones."""
        return Pace(rates=self.spec.rates or "uniform", course=self.spec.deviations.course)

    @property
    def seeds(self) -> Seeds:
        """Of weights, views and order, those of the run's fold."""
        return self.spec.seeds.in_fold(self.spec.fold)

    @property
    def finetune_steps(self) -> int:
        """Steps of fine-tuning, with those that a run has beside the budget's."""
        budget = self.spec.budget
        return budget.finetune.steps + round(self.extra * budget.pretrain.images) // (
            budget.finetune.batch
        )

    @property
    def extra(self) -> float:
        """Share of the pre-training images that fine-tuning sees beside its own."""
        own = self.method.finetune_extra if self.spec.method == LONGER else 0.0
        return own + self.spec.deviations.finetune_extra

    @property
    def along(self) -> list[tuple[int, int, int]]:
        """When the network is scored before its end.

        Percent of all steps, the stage of fine-tuning, from 1, and the step in it.
        """
        ends = list(itertools.accumulate(steps for _, steps in self.tuning))
        found = []
        for share in ALONG:
            step = max(1, round(share * ends[-1] / 100))
            place = bisect.bisect_left(ends, step)
            found.append((share, place + 1, step - (ends[place - 1] if place else 0)))
        return found

    def drawn(self, which: Literal["any", "labelled", "unlabelled"]) -> list[PreparedCase]:
        """Cases of the training patients: those whose masks may be used, the others, or both.

        Where all masks may be used, a stream of slices without masks draws any.
        """
        train = set(self.split.train)
        cases = [case for case in self.cases if case.patient in train]
        if which == "any":
            return cases
        return [case for case in cases if self.masked(case) == (which == "labelled")] or cases

    def masked(self, case: PreparedCase) -> bool:
        """Whether the mask of a case may be used in training."""
        return case.labelled and case.patient in self.manifest.patients

    def seen_masks(self, stage: Stage) -> tuple[str, ...]:
        """Patients whose masks a pre-training stage with labels may see."""
        if not stage.every_label:
            return self.manifest.patients
        return self.split.labelled

    def pool(self, stage: Stage) -> list[PreparedCase]:
        """Cases whose slices a pre-training stage may draw."""
        if stage.every_label:
            return [case for case in self.drawn("any") if case.labelled]
        return self.drawn("labelled" if stage.labelled_slices_only else "any")

    def test_cases(self) -> list[PreparedCase]:
        """The cases of the test patients."""
        return [case for case in self.cases if case.labelled and case.patient in self.split.test]

    @cached_property
    def info(self) -> MethodInfo:
        """What a reader must know of what is run; of two methods, of both."""
        first, second = self.method.info, self.tuner.info
        if not self.spec.joint:
            return first
        order = get_args(Fidelity)
        return MethodInfo(
            title=f"{first.title} + {second.title}",
            family=second.family,
            paper=f"{first.paper}; {second.paper}",
            fidelity=max(first.fidelity, second.fidelity, key=order.index),
            inferred=(*first.inferred, *second.inferred),
            needs=(*first.needs, *second.needs),
            version=first.version + second.version - 1,
        )

    def method_spec(self) -> dict[str, Any]:
        """What identifies the computation of pre-training: the method's code and options."""
        return _identity(self.spec.method, self.method)

    def tuner_spec(self) -> dict[str, Any]:
        """The same of fine-tuning in joint stages."""
        return _identity(self.spec.joint or self.spec.method, self.tuner)

    def training_spec(self) -> dict[str, Any]:
        """What every stage that trains depends on."""
        spec = self.spec
        return {
            "protocol_version": PROTOCOL_VERSION,
            "recipe": self.dataset.recipe.model_dump(mode="json"),
            "pixels": spec.budget.pixels,
            "backbone": {
                **self.network.model_dump(mode="json"),
                "code": fingerprint(registry.backbones.get(spec.backbone)),
            },
            "precision": spec.precision,
            "seeds": self.seeds.model_dump(mode="json", include={"init", "views", "order"}),
        }

    def data_of(self, cases: Sequence[PreparedCase]) -> dict[str, str]:
        """What tells the prepared volumes of some cases from others, by case."""
        return {case.case: case.fingerprint for case in cases}

    def backbone(self) -> Backbone:
        """The backbone with the initial weights of seed and fold: the same for every method."""
        from contrabench.model.weights import build_backbone

        named = {"options": self.spec.backbone_options}
        return build_backbone(self.network.model_copy(update=named), self.seeds.init)

    def segmenter(self, backbone: Backbone) -> Segmenter:
        """The network of fine-tuning around a backbone, its heads with initial weights."""
        from contrabench.model.segmentation import build_segmenter

        deep = self.spec.deviations.deep_supervision
        return build_segmenter(backbone, self.classes, deep, self.seeds.init)

    def initial_digest(self) -> str:
        """Hash of the initial weights: equal for all methods of a seed, a fold and a budget."""
        state = hashlib.sha256()
        for value in self.backbone().state_dict().values():
            state.update(value.numpy().tobytes())
        return state.hexdigest()[:16]
