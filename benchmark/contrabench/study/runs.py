"""From a study to its runs: methods as it names them, and the references beside them.

A method is named by its name, its family, `all`, or an option set in brackets.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from contrabench import limits
from contrabench.budgets import BUDGETS, find_budget
from contrabench.contracts import registry
from contrabench.contracts.chosen import checked_loss, chosen
from contrabench.contracts.method import COMMON_LOSS, Deviations, Method
from contrabench.contracts.options import bracketed, parse_options
from contrabench.errors import RequestError
from contrabench.model.checkpoints import content_of
from contrabench.protocol import Budget, Frozen, Options, Rates, Seeds, digest
from contrabench.references import (
    CONTROL_FAMILY,
    CONTROLS,
    EVERY_LABEL,
    FULL,
    LONGER,
    NOT_COMPARED,
    REFERENCE,
    REFERENCES,
)
from contrabench.stages.recipe import share_out, usual_options
from contrabench.stages.run_spec import RunSpec, combined_deviations
from contrabench.study.spec import StudySpec
from contrabench.text import did_you_mean, split_parts, split_words

_ALL = "all"
_FEW = 4
"""So many methods that hand something over are fine-tuned at both rates without being asked."""


@dataclass(frozen=True)
class Asked:
    """One method, with the options and the deviations that were asked for, by name.

    `named`: whether it was named, rather than a member of a family or of all. `joint` is another
    one whose joint stages fine-tune.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()
    deviations: tuple[tuple[str, Any], ...] = ()
    named: bool = True
    joint: Asked | None = None

    @property
    def method(self) -> type[Method]:
        """The plug-in."""
        return registry.methods.get(self.name)

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names."""
        return (self.name, *(self.joint.names if self.joint else ()))

    def deviating(self, spec: StudySpec) -> Deviations:
        """The method's own deviations, under those of the study, under those of its own words."""
        asked = {name: getattr(spec, name, None) for name in Deviations.model_fields}
        study = {name: value for name, value in asked.items() if value is not None}
        own = combined_deviations(self.method, (self.joint or self).method)
        found = own.model_copy(update=study | dict(self.deviations))
        # A loss without a kept contract is found before anything is trained.
        same = found.loss == COMMON_LOSS
        return found if same else found.model_copy(update={"loss": checked_loss(found.loss)})


def runs_of(
    spec: StudySpec, device: str, precision: str
) -> tuple[tuple[RunSpec, ...], tuple[str, ...]]:
    """Lists the runs of a study; everything that is wrong with its words is found here.

    The references are scratch and scratch_long at every label budget and full
    supervision, with the same folds and seeds; a method that changes fine-tuning gets a
    scratch beside it that changes it as well, or its row would mix two effects. Controls are
    run in the first draw and seed.

    Returns:
        One specification for each run, each once; runs of one fold together, and in a fold those
        of one draw, so that a study that is under way compares all methods as soon as any. And
        what was left out and why, for the reader.

    Raises:
        RequestError: for a method, option, budget or recipe that does not exist.
    """
    asked, notes = _methods(spec)
    common = _common(spec, device, precision)
    levels = _levels(spec, asked)
    # Everything that a method's words mean is looked up once, not in each of its runs.
    cells = [
        (meaning, labels, draw, control)
        for one, control in asked
        for meaning in _meanings(spec, one, common["budget"], levels)
        for labels in spec.labels
        # All labels are the same in every draw.
        for draw in ((0,) if labels == EVERY_LABEL else spec.draw_numbers)
        if not control or (labels != EVERY_LABEL and draw == spec.draw_numbers[0])
    ]
    if FULL not in spec.without:
        full = _meanings(spec, _plain(REFERENCE), common["budget"], levels)
        cells += [(meaning, EVERY_LABEL, 0, False) for meaning in full]
    cells.sort(key=lambda cell: cell[2])
    if (count := len(cells) * len(spec.tested) * len(spec.seed_numbers)) > limits.RUNS:
        raise RequestError(
            f"the study has some {count} runs, {limits.RUNS} at most can be planned; ask for fewer "
            "draws, seeds, folds or label budgets"
        )
    runs: dict[str, RunSpec] = {}
    for fold, seed, cell in itertools.product(spec.tested, spec.seed_numbers, cells):
        meaning, labels, draw, control = cell
        if control and seed != spec.seed_numbers[0]:
            continue
        seeds = Seeds(init=seed, views=seed, order=seed)
        run = RunSpec(**common, **meaning, labels=labels, fold=fold, draw=draw, seeds=seeds)
        runs.setdefault(digest(run), run)
    return tuple(runs.values()), tuple(notes)


def comparisons(runs: Sequence[RunSpec]) -> int:
    """How many rows a table of these runs compares with scratch, at most: the family of Holm."""
    families = defaultdict[tuple[str, str], set[str]](set)
    levels = {run.rates for run in runs} - {""} or {""}
    for run in runs:
        if registry.methods.get(run.method).info.family != CONTROL_FAMILY:
            for level in [run.rates] if run.rates else levels:
                families[run.labels, level].add(run.variant())
    return max((len(one) - 1 for one in families.values() if REFERENCE in one), default=0)


def _levels(spec: StudySpec, asked: Sequence[tuple[Asked, bool]]) -> tuple[Rates, ...]:
    """The rates of handed-over parts that a study compares; the first one ranks."""
    if spec.rates is not None:
        return spec.rates
    opened = (
        one.method(one.method.Options.model_validate(dict(one.options)))
        for one, control in asked
        if not control
    )
    few = sum(map(_hands_over, opened)) <= _FEW
    return ("uniform", "gentle") if few else ("uniform",)


def _hands_over(method: Method) -> bool:
    """Whether fine-tuning gets anything of it, so that the rates make a difference."""
    return bool((method.stages() or method.checkpoint()) and method.transfers())


def _methods(spec: StudySpec) -> tuple[list[tuple[Asked, bool]], list[str]]:
    """The methods of a study with its references and controls, and what was left out of it.

    Of each, whether it is a control that nobody has asked for.
    """
    wanted, notes = [], []
    for one in read_methods(spec.methods, spec.exclude):
        if spec.recipe == "published" and one.method.published is None and one.method().stages():
            text = f"{one.name}: no published recipe is known"
            if one.named:
                raise RequestError(f"{text}; leave it out, or run it under the common recipe")
            notes.append(f"left out: {text}")
        else:
            wanted.append(one)
    references = [_plain(name) for name in (REFERENCE, LONGER) if name not in spec.without]
    if REFERENCE not in spec.without:
        changed = dict.fromkeys(one.deviating(spec).of_finetuning for one in wanted)
        references += [_plain(REFERENCE, **dict(d)) for d in changed if d != Deviations()]
    for what, members in (("references", REFERENCES), ("controls", CONTROLS)):
        if lacking := [name for name in spec.without if name in members]:
            notes.append(
                f"{what} switched off: {', '.join(lacking)}; every table will say that they are "
                "missing"
            )
    standing = {one.name for one in references}
    named = [
        one
        for one in wanted
        if one.options or one.deviations or one.joint or one.name not in standing
    ]
    words = [word for name, words in CONTROLS.items() if name not in spec.without for word in words]
    controls = [_plain(one.name, one.options) for word in words for one in _read(word)]
    plain = [(one, False) for one in (*references, *named)]
    return [*plain, *((one, True) for one in controls if one not in named)], notes


def _plain(name: str, options: tuple[tuple[str, Any], ...] = (), **deviations: Any) -> Asked:
    """A row as tables look for it: without deviations, whatever the study asks."""
    return Asked(name, options, tuple({**dict(Deviations()), **deviations}.items()))


def _common(spec: StudySpec, device: str, precision: str) -> dict[str, Any]:
    """What all runs of a study share."""
    network = _options(registry.backbones, "backbone", spec)
    for file in filter(None, map(network.get, registry.backbones.get(spec.backbone).files)):
        # Asked here already, so that a file that is not there costs no preparation.
        content_of(file)
    return {
        "dataset": spec.dataset,
        "dataset_options": _options(registry.datasets, "dataset", spec),
        "pool": spec.pool,
        "pool_options": _options(registry.datasets, "pool", spec) if spec.pool else {},
        "backbone": spec.backbone,
        "backbone_options": network,
        "folds": spec.all_folds,
        "split": spec.split,
        "budget": _budget(spec, device),
        "recipe": spec.recipe,
        "precision": precision,
        "metrics": tuple(sorted({chosen(registry.metrics, text).text for text in spec.metrics})),
    }


def _options(plugins: registry.Registry[Any], what: str, spec: StudySpec) -> dict[str, Any]:
    """All options of a study's dataset, pool or backbone, checked as the command line's are."""
    name, given = getattr(spec, what), getattr(spec, f"{what}_options")
    if what == "pool" and name == spec.dataset:
        given = {**spec.dataset_options, **given}
    cls: type[Options] = plugins.get(name).Options
    return parse_options(cls, given, f"{what} '{name}'").model_dump(mode="json")


def _meanings(
    spec: StudySpec, one: Asked, budget: Budget, levels: Sequence[Rates]
) -> list[dict[str, Any]]:
    """A method with all its options and deviations, at each of the rates that differ for it."""
    kind = one.method
    usual = usual_options(kind, spec.recipe)
    options = kind.Options.model_validate({**usual, **dict(one.options)})
    meaning = {
        "method": one.name,
        "options": options.model_dump(mode="json"),
        "deviations": one.deviating(spec),
    }
    if one.joint is not None:
        given = one.joint.method.Options.model_validate(dict(one.joint.options))
        meaning |= {"joint": one.joint.name, "joint_options": given.model_dump(mode="json")}
    method = kind(options)
    # Asked here already, so that what cannot be had costs no preparation and no training.
    share_out(method, budget, spec.recipe)
    differ = levels if _hands_over(method) else ("",)
    return [{**meaning, "rates": level} for level in differ]


def _budget(spec: StudySpec, device: str) -> Budget:
    """The budget of a study; RequestError if there is none, or its own has another's name."""
    budget = spec.budget
    if not isinstance(budget, Budget):
        budget = find_budget(budget, device)
    elif BUDGETS.get(budget.name, budget) != budget:
        raise RequestError(
            f"the name '{budget.name}' belongs to another budget; give your own another name"
        )
    phases = {
        name: getattr(budget, name).model_copy(update={"accumulate": spec.accumulate})
        for name in ("pretrain", "finetune")
    }
    return budget.model_copy(update=phases)


def read_methods(words: Sequence[str], exclude: Sequence[str]) -> list[Asked]:
    """Reads the methods of a study, each once, in the order they are named.

    Words are such as `mmgl`, `consistency`, `all`, `mmgl[stages=global, views=axial]`, or two
    methods, one that pre-trains and one that fine-tunes: `simclr+mean_teacher[weight=0.1]`. A name
    that is excluded is left out even where it is also named.

    Raises:
        RequestError: for an unknown word or option, or if nothing is left.
    """
    left_out = {name for word in exclude for name in _members(word.strip())}
    found: list[Asked] = []
    for word in words:
        first, *others = split_parts(word, "+")
        asked = _read(first)
        if others:
            asked = [_combined(word, one, others) for one in asked]
        found += [one for one in asked if left_out.isdisjoint(one.names) and one not in found]
    if not found:
        raise RequestError(
            "no method is left in the study; name one of 'bench methods' or exclude less"
        )
    return found


def _read(word: str) -> list[Asked]:
    """What a word without a `+` stands for."""
    name, bracket, inside = word.partition("[")
    if not bracket:
        members = _members(name)
        return [Asked(member, named=members == [name]) for member in members]
    if not inside.endswith("]"):
        raise RequestError(f"'{word}' has no closing bracket; write name[option=value]")
    return [_with_options(name.strip(), split_words(inside[:-1]))]


def _combined(word: str, first: Asked, others: Sequence[str]) -> Asked:
    """A method that pre-trains, with another one whose joint stages fine-tune."""
    found = [one for other in others for one in _read(other)]
    if len(found) != 1 or not found[0].method().joint_stages():
        raise RequestError(
            f"'{word}' needs one method after the + that trains during fine-tuning, such as "
            "simclr+mean_teacher"
        )
    if not first.method().stages() or first.method().joint_stages():
        raise RequestError(
            f"'{word}' needs a method before the + that pre-trains and no more; '{first.name}' "
            "does not"
        )
    (second,) = found
    deviations = {**dict(first.deviations), **dict(second.deviations)}
    return replace(first, deviations=tuple(deviations.items()), joint=second)


def _members(word: str) -> list[str]:
    """The methods that a word stands for; references belong to none but their own family."""
    # Other plug-ins are imported only where no method that is found without them has the name.
    holds = registry.methods.holds(word)
    if holds or word in (entry.name for entry in registry.methods.entries()):
        # A plug-in that is broken tells why.
        registry.methods.get(word)
        return [word]
    entries = list(registry.methods.entries())
    families: dict[str, list[str]] = defaultdict(list)
    kinds: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        if entry.value is not None:
            families[entry.value.info.family].append(entry.name)
            if entry.value.info.kind:
                kinds[entry.value.info.kind].append(entry.name)
    if word == _ALL:
        compared = (names for name, names in families.items() if name not in NOT_COMPARED)
        return list(itertools.chain(*compared))
    wanted = word.lower().replace("-", " ").replace("_", " ")
    for family, members in (*families.items(), *kinds.items()):
        if family.lower().replace("-", " ") == wanted:
            return members
    names = list(registry.methods.names())
    hint = did_you_mean(word, [*names, *families, *kinds])
    raise RequestError(
        f"there is no method or family '{word}'; {hint}methods are {', '.join(names)}; families "
        f"are {', '.join(sorted(families))}; or write all"
    )


def _with_options(name: str, pairs: Sequence[str]) -> Asked:
    """A method with what stands in its brackets: options of its own, and deviations."""
    method = registry.methods.get(name)
    options: list[str] = []
    deviations: list[str] = []
    for pair in pairs:
        key = pair.partition("=")[0].strip().replace("-", "_")
        (deviations if key in Deviations.model_fields else options).append(pair)

    def given(cls: type[Frozen], pairs: list[str]) -> tuple[tuple[str, Any], ...]:
        values = parse_options(cls, pairs, f"method '{name}'")
        return tuple((key, getattr(values, key)) for key in sorted(values.model_fields_set))

    options = [bracketed(method.Options, pair) for pair in options]
    return Asked(name, given(method.Options, options), given(Deviations, deviations))
