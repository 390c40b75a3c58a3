"""`bench methods`, `bench datasets`, `bench backbones`: what plug-ins there are, and all of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer

from contrabench.cli.common import (
    JsonOption,
    PluginOption,
    console,
    examples,
    plain_table,
    print_facts,
    print_rows,
    words,
    write_json,
)
from contrabench.text import one_line

if TYPE_CHECKING:
    from contrabench.contracts.backbone import Backbone
    from contrabench.contracts.dataset import Dataset
    from contrabench.contracts.method import Method
    from contrabench.protocol import Options

NARROW = 120
"""Columns below which a listing leaves its long facts to `show`."""

Facts = dict[str, Any]
Tables = Iterator[tuple[str, list[Facts], str]]


@dataclass(frozen=True)
class Kind:
    """How the plug-ins of one kind are listed.

    Attributes:
        word: for one of them; its registry and its command are called by the plural.
        example: a command that shows one.
        shows: what `show` tells, for its help.
        flag: that sets an option of one.
        listed: fact to heading, of what the list tells; those without one are in JSON alone.
        wide: facts in sentences, left out where the terminal is narrow.
        facts: all that a plug-in declares, beside its options.
        tables: takes the facts that are told as tables out of the others: title, rows, and
            what is said where there are none.
    """

    word: str
    example: str
    shows: str
    flag: str
    listed: Mapping[str, str]
    wide: Sequence[str]
    facts: Callable[[Any], Facts]
    tables: Callable[[Facts], Tables]

    def commands(self) -> typer.Typer:
        """The command that lists the plug-ins, and its `show NAME`."""
        plural = f"{self.word}s"
        app = typer.Typer(name=plural)

        def list_all(
            context: typer.Context, as_json: JsonOption = False, plugin: PluginOption = None
        ) -> None:
            context.obj = as_json
            if context.invoked_subcommand is None:
                self._list(as_json)

        def show(
            context: typer.Context,
            name: Annotated[str, typer.Argument(metavar="NAME", help="A name in the list.")],
            as_json: JsonOption = False,
            plugin: PluginOption = None,
        ) -> None:
            self._show(name, as_json or bool(context.obj))

        text = f"List the {plural}; `show NAME` tells all of one."
        epilog = examples(f"bench {plural}", self.example)
        app.callback(invoke_without_command=True, help=text, epilog=epilog)(list_all)
        text = f"Show a {self.word}: {self.shows}."
        app.command("show", help=text, epilog=examples(self.example, f"{self.example} --json"))(
            show
        )
        return app

    def _described(self, plugin: Any) -> Facts:
        return {**self.facts(plugin), "options": describe_options(plugin.Options)}

    def _list(self, as_json: bool) -> None:
        """Lists what can be used, and below it what cannot, with the reason."""
        from contrabench.contracts import registry

        rows: list[Facts] = []
        broken: list[dict[str, str]] = []
        for entry in getattr(registry, f"{self.word}s").entries():
            reason = entry.error
            if reason is None:
                try:
                    facts = self._described(entry.value)
                    row = {key: facts[key] for key in self.listed if key in facts}
                    rows.append({"name": entry.name, **row, "origin": entry.origin})
                # A stranger's code runs here, and may raise anything.
                except Exception as error:
                    reason = one_line(error)
            if reason is not None:
                broken.append({"name": entry.name, "origin": entry.origin, "reason": reason})
        if as_json:
            write_json({f"{self.word}s": rows, "broken": broken})
        else:
            self._print(rows, broken)

    def _print(self, rows: list[Facts], broken: list[dict[str, str]]) -> None:
        out = console()
        left_out = [key for key in self.wide if out.width < NARROW]
        shown = [key for key, heading in self.listed.items() if heading and key not in left_out]
        table = plain_table(self.word, *(self.listed[key] for key in shown))
        for row in rows:
            table.add_row(row["name"], *(words(row[key]) for key in shown))
        out.print(table if rows else f"no {self.word} can be used")
        if rows and left_out:
            rest = " and ".join(self.listed[key] for key in left_out)
            out.print(f"{rest}: in `bench {self.word}s show NAME`, or here on a wider terminal")
        for item in broken:
            where = "" if item["origin"] in item["reason"] else f" ({item['origin']})"
            out.print(f"not usable: {item['name']}{where}: {item['reason']}", soft_wrap=True)

    def _show(self, name: str, as_json: bool) -> None:
        from contrabench.contracts import registry

        plugin = getattr(registry, f"{self.word}s").get(name)
        facts = {"name": name, **self._described(plugin)}
        if as_json:
            write_json(facts)
            return
        options = facts.pop("options")
        tables = list(self.tables(facts))
        print_facts(facts)
        heading = f"Options ({self.flag} key=value)"
        for title, rows, none in ((heading, options, "none"), *tables):
            print_rows(title, rows, none)


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
        return " | ".join(str(choice) for choice in inner)
    if origin in (Union, UnionType):
        return " | ".join(_type_words(item) for item in inner)
    if origin in (list, tuple, Sequence) and (origin is not tuple or Ellipsis in inner):
        return f"list of {_type_words(inner[0])}"
    if annotation is type(None):
        return "none"
    return annotation.__name__ if isinstance(annotation, type) and not inner else str(annotation)


def _method(method: type[Method]) -> Facts:
    made, info = method(), method.info
    return {
        **info.model_dump(mode="json", exclude={"against_collapse"}),
        "against collapse": info.against_collapse,
        "labels": made.label_dependent(),
        "hands over": list(made.transfers()),
        "deviations": list(method.deviations.labels()),
        "stages": [stage.model_dump(mode="json") for stage in made.stages()],
        "published": method.published.model_dump(mode="json") if method.published else None,
    }


def _method_tables(facts: Facts) -> Tables:
    stages, published = facts.pop("stages"), facts.pop("published")
    yield "Pre-training stages", [_stage_row(stage) for stage in stages], "none"
    recipe: list[Facts] = []
    if published:
        facts["left common"] = published["unknown"]
        options = [f"{name}={value}" for name, value in published["options"].items()]
        recipe = [
            {"stage": name, **paper, "options": options}
            for name, paper in published["stages"].items()
        ]
    yield "Published recipe (--recipe published)", recipe, "none known"


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
    }


def _dataset_tables(facts: Facts) -> Tables:
    recipe = facts.pop("recipe").items()
    yield "Preparation", [{"setting": key, "value": value} for key, value in recipe], "none"


def _backbone(backbone: type[Backbone]) -> Facts:
    from contrabench.protocol import BackboneSpec

    spec = BackboneSpec(width=8)
    made = backbone(spec, backbone.Options())
    return {
        **backbone.info.model_dump(mode="json"),
        "image sides": f"multiples of {made.multiple}, from {2 * made.multiple}",
        "parts": list(made.parts),
        "deepest": made.deepest,
        "finest": made.finest,
        "deep supervision": list(made.deep_taps),
        "taps": [
            {"tap": tap, "channels": f"{made.channels[tap] / spec.width:g} x width"}
            for tap in made.taps
        ],
    }


def _backbone_tables(facts: Facts) -> Tables:
    yield "Taps", facts.pop("taps"), "none"


METHODS = Kind(
    word="method",
    example="bench methods show mmgl",
    shows="paper, options, stages, what it hands over and what was inferred",
    flag="-o",
    listed={
        "title": "", "family": "family", "paper": "paper", "fidelity": "fidelity",
        "needs": "needs", "labels": "labels in pre-training", "origin": "origin",
    },
    wide=("paper", "needs"),
    facts=_method,
    tables=_method_tables,
)  # fmt: skip
DATASETS = Kind(
    word="dataset",
    example="bench datasets show acdc",
    shows="source, terms, expected files, structures, preparation, options",
    flag="-d",
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
    flag="-b",
    listed={"title": "title", "source": "source", "version": "version", "origin": "origin"},
    wide=("source",),
    facts=_backbone,
    tables=_backbone_tables,
)
