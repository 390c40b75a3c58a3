"""`bench methods`, `bench datasets` and others: what plug-ins there are, and all of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from contrabench.cli import options, output
from contrabench.cli.listed import listed
from contrabench.contracts import registry
from contrabench.text import one_line

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.dataset import Dataset
    from contrabench.contracts.loss import Loss
    from contrabench.contracts.method import Method
    from contrabench.contracts.metric import Metric
    from contrabench.protocol import Options

NARROW = 120
"""Columns below which a listing leaves its long facts to `show`."""

Facts = dict[str, Any]
Tables = Iterator[tuple[str, list[Facts]]]


@dataclass(frozen=True)
class Kind:
    """How the plug-ins of one kind are listed, and one of them is shown.

    `listed` are facts with their headings, those without one for JSON alone; `wide` are facts in
    sentences, left out where the terminal is narrow. `facts` are all that a plug-in declares
    beside its options; `tables` takes out of them what is told as tables, and gives their titles.
    Plug-ins that share the fact `grouped` stand together.
    """

    word: str
    example: str
    shows: str
    flag: str
    listed: Mapping[str, str]
    wide: Sequence[str]
    facts: Callable[[Any], Facts]
    tables: Callable[[Facts], Tables]
    grouped: str = "name"

    @property
    def plural(self) -> str:
        """The word for several: that of the command and of the registry."""
        return f"{self.word}es" if self.word.endswith("s") else f"{self.word}s"

    def commands(self, *others: typer.Typer) -> typer.Typer:
        """The command that lists the plug-ins, its `show NAME`, and others of the same group."""
        plural = self.plural
        app = typer.Typer(name=plural)

        @app.callback(
            invoke_without_command=True,
            help=f"List the {plural}; `show NAME` tells all of one.",
            epilog=options.examples(f"bench {plural}", self.example),
        )
        def list_all(
            context: typer.Context, as_json: options.Json = False, plugin: options.Plugins = None
        ) -> None:
            context.obj = as_json
            if context.invoked_subcommand is None:
                self._list(as_json)

        @app.command(
            help=f"Show a {self.word}: {self.shows}.",
            epilog=options.examples(self.example, f"{self.example} --json"),
        )
        def show(
            context: typer.Context,
            name: Annotated[str, typer.Argument(metavar="NAME", help="A name in the list.")],
            as_json: options.Json = False,
            plugin: options.Plugins = None,
        ) -> None:
            self._show(name, as_json or bool(context.obj))

        for other in others:
            app.add_typer(other)
        return app

    def _described(self, name: str, plugin: Any) -> Facts:
        described = describe_options(plugin.Options)
        return {"name": name, **self.facts(plugin), "options": described}

    @property
    def _registry(self) -> registry.Registry[Any]:
        found: registry.Registry[Any] = getattr(registry, self.plural)
        return found

    def _found(self, entries: Sequence[registry.Plugin[Any]]) -> dict[str, list[Facts]]:
        """The facts of entries that can be used, and of those that cannot, with the reason."""
        rows: list[Facts] = []
        broken: list[Facts] = []
        for entry in entries:
            reason = entry.error
            if reason is None:
                try:
                    facts = self._described(entry.name, entry.value) | {"origin": entry.origin}
                    rows.append({key: facts[key] for key in ("name", *self.listed)})
                # A stranger's code runs here, and may raise anything.
                except Exception as error:
                    reason = one_line(error)
            if reason is not None:
                broken.append({"name": entry.name, "origin": entry.origin, "reason": reason})
        return {self.plural: rows, "broken": broken}

    def _list(self, as_json: bool) -> None:
        """Lists what can be used, and below it what cannot."""
        plural = self.plural
        facts = listed(self._registry, plural, self._found)
        facts[plural].sort(key=lambda row: (row[self.grouped], row["name"]))
        facts["broken"].sort(key=lambda row: row["name"])
        if as_json:
            output.write_json(facts)
            return
        rows, broken = facts[plural], facts["broken"]
        screen = output.console()
        wide = [key for key in self.wide if screen.width < NARROW]
        shown = [key for key, heading in self.listed.items() if heading and key not in wide]
        table = output.plain_table(self.word, *(self.listed[key] for key in shown))
        for row in rows:
            table.add_row(row["name"], *(output.words(row[key]) for key in shown))
        screen.print(table if rows else f"no {self.word} can be used")
        if rows and wide:
            rest = " and ".join(self.listed[key] for key in wide)
            screen.print(f"{rest}: in `bench {self.plural} show NAME`, or here on a wider terminal")
        for item in broken:
            where = "" if item["origin"] in item["reason"] else f" ({item['origin']})"
            text = f"not usable: {item['name']}{where}: {item['reason']}"
            screen.print(text, soft_wrap=True)

    def _show(self, name: str, as_json: bool) -> None:
        facts = self._described(name, self._registry.get(name))
        if as_json:
            output.write_json(facts)
            return
        tables = [(f"Options ({self.flag})", facts.pop("options")), *self.tables(facts)]
        output.print_facts(facts)
        for title, rows in tables:
            output.print_rows(title, rows, "none")


def describe_options(cls: type[Options]) -> list[Facts]:
    """The options of a plug-in: name, type, default and description."""
    defaults = cls().model_dump(mode="json")
    return [
        {
            "option": name,
            "type": _type_words(field.annotation),
            "default": defaults[name],
            "description": field.description or "",
        }
        for name, field in cls.model_fields.items()
    ]


def _type_words(annotation: Any) -> str:
    """A type as a reader would write it: `a | b` for choices, `list of x` for sequences."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (Union, UnionType):
        return " | ".join(map(_type_words, inner))
    if origin in (list, tuple, Sequence) and (origin is not tuple or Ellipsis in inner):
        return f"list of {_type_words(inner[0])}"
    if annotation is type(None):
        return "none"
    return annotation.__name__ if isinstance(annotation, type) and not inner else str(annotation)


def _method(method: type[Method]) -> Facts:
    from contrabench.stages.run_spec import combined_deviations

    made, info = method(), method.info
    return {
        **info.model_dump(mode="json", exclude={"against_collapse"}),
        "against collapse": info.against_collapse,
        "labels": made.label_dependent(),
        "hands over": list(made.transfers()),
        "deviations": list(combined_deviations(method, method).labels()),
        "stages": [stage.model_dump(mode="json") for stage in made.stages()],
        "joint stages": [stage.model_dump(mode="json") for stage in made.joint_stages()],
        "published": method.published.model_dump(mode="json") if method.published else None,
    }


def _method_tables(facts: Facts) -> Tables:
    yield "Pre-training stages", [_stage_row(stage) for stage in facts.pop("stages")]
    if joint := facts.pop("joint stages"):
        before = [None, *(stage["name"] for stage in joint)]
        rows = [row for pair in zip(joint, before, strict=False) for row in _joint_rows(*pair)]
        yield "Joint stages, in place of the common fine-tuning", rows
    published = facts.pop("published") or {"stages": {}, "options": {}}
    changed = [f"{name}={value}" for name, value in published["options"].items()]
    if "unknown" in published:
        facts["left common"] = published["unknown"]
    yield (
        "Published recipe (--recipe published)",
        [{"stage": name, **of, "options": changed} for name, of in published["stages"].items()],
    )


def _stage_row(stage: Facts) -> Facts:
    """One stage: how many views, and the switches in words."""
    draws = ["labelled slices only"] if stage["labelled_slices_only"] else []
    if stage["partitions"]:
        draws.append(f"one slice of each of {stage['partitions']} parts of a volume")
    return {
        "stage": stage["name"],
        "views": [_view_words(view) for view in stage["views"]],
        **{name: stage[name] for name in ("trains", "labels", "share")},
        "draws": "; ".join(draws) or "uniformly",
    }


def _joint_rows(stage: Facts, before: str | None) -> Iterator[Facts]:
    """What a joint stage draws in a step, the labelled slices of the common fine-tuning first."""
    first = {
        "stage": stage["name"],
        "share of steps": stage["share"],
        "goes on from": None if stage["restarts"] else before,
    }
    common = {"draws": "labelled", "share of slices": None, "views": "as in fine-tuning"}
    yield {**first, **common, "masks": "labels"}
    for stream in stage["streams"]:
        masks = stream["masks"]
        yield {
            **dict.fromkeys(first),
            "draws": stream["draws"],
            "share of slices": stream["share"],
            "views": "; ".join(_view_words(view) for view in stream["views"]),
            "masks": masks if isinstance(masks, str) else "predicted by the stage before",
        }


def _view_words(view: Facts) -> str:
    text = " + ".join(part for part in ("spatial", "intensity") if view[part]) or "unchanged"
    if view["geometry_of"] is not None:
        text += f", placed as view {view['geometry_of']}"
    return text if view["scale"] == 1 else f"{text}, side x {view['scale']:g}"


def _dataset(dataset: type[Dataset]) -> Facts:
    from contrabench.errors import DataError

    try:
        structures = [structure.name for structure in dataset().structures]
    except DataError:  # only the files can tell
        structures = None
    return {
        **dataset.info.model_dump(mode="json"),
        "structures": structures,
        "recipe": dataset.recipe.model_dump(mode="json"),
        "splits": {name: split.source for name, split in dataset.splits.items()},
    }


def _dataset_tables(facts: Facts) -> Tables:
    recipe, splits = facts.pop("recipe").items(), facts.pop("splits").items()
    yield "Preparation", [{"setting": key, "value": value} for key, value in recipe]
    if splits:
        yield "Splits", [{"--split": name, "source": source} for name, source in splits]


def _backbone(backbone: type[Backbone]) -> Facts:
    from contrabench.protocol import BackboneSpec

    spec = BackboneSpec(width=8)
    made = backbone(spec, backbone.Options())
    channels = {tap: f"{made.channels[tap] / spec.width:g} x width" for tap in made.taps}
    return {
        **backbone.info.model_dump(mode="json"),
        "image sides": f"multiples of {made.multiple}, from {2 * made.multiple}",
        "parts": list(made.parts),
        "deepest": made.deepest,
        "finest": made.finest,
        "deep supervision": list(made.deep_taps),
        "taps": [{"tap": tap, "channels": words} for tap, words in channels.items()],
    }


def _backbone_tables(facts: Facts) -> Tables:
    yield "Taps", facts.pop("taps")


def _info(plugin: type[Loss | Metric]) -> Facts:
    facts: Facts = plugin.info.model_dump(mode="json")
    return facts


def _no_tables(facts: Facts) -> Tables:
    yield from ()


METHODS = Kind(
    word="method",
    example="bench methods show mmgl",
    shows="paper, options, stages, what it hands over and what was inferred",
    flag="-o key=value",
    listed={
        "title": "", "family": "family", "kind": "kind", "paper": "paper", "fidelity": "fidelity",
        "needs": "needs", "labels": "labels in pre-training", "origin": "origin",
    },
    wide=("kind", "paper", "needs"),
    facts=_method,
    tables=_method_tables,
    grouped="family",
)  # fmt: skip
DATASETS = Kind(
    word="dataset",
    example="bench datasets show acdc",
    shows="source, terms, expected files, structures, preparation, options",
    flag="-d key=value",
    listed={
        "title": "title", "modality": "modality", "structures": "structures",
        "needs_path": "needs --data", "terms": "terms", "origin": "origin",
    },
    wide=("structures", "terms"),
    facts=_dataset,
    tables=_dataset_tables,
)  # fmt: skip
BACKBONES = Kind(
    word="backbone",
    example="bench backbones show unet",
    shows="source, parts that are trained and handed over, named feature maps, options",
    flag="-b key=value",
    listed={"title": "title", "source": "source", "version": "version", "origin": "origin"},
    wide=("source",),
    facts=_backbone,
    tables=_backbone_tables,
)
LOSSES = Kind(
    word="loss",
    example="bench losses show dice_ce",
    shows="source, options",
    flag="--loss name[key=value]",
    listed={"title": "title", "source": "source", "version": "version", "origin": "origin"},
    wide=("source",),
    facts=_info,
    tables=_no_tables,
)
METRICS = Kind(
    word="metric",
    example="bench metrics show volume_error",
    shows="source, unit, options",
    flag="--metrics name[key=value]",
    listed={
        "title": "title", "unit": "unit", "higher_is_better": "higher is better",
        "source": "source", "origin": "origin",
    },
    wide=("source",),
    facts=_info,
    tables=_no_tables,
)  # fmt: skip
