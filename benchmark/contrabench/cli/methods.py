"""`bench methods`: which methods there are, and what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli.check import EPILOG as CHECK_EXAMPLES
from contrabench.cli.check import check
from contrabench.cli.common import (
    JsonOption,
    PluginOption,
    console,
    describe_all,
    describe_options,
    examples,
    print_facts,
    print_listing,
    print_rows,
    write_json,
)
from contrabench.cli.new import EPILOG as NEW_EXAMPLES
from contrabench.cli.new import new_method

if TYPE_CHECKING:
    from contrabench.contracts.method import Method

COLUMNS = {
    "family": "family",
    "paper": "paper",
    "fidelity": "fidelity",
    "needs": "needs",
    "labels": "labels in pre-training",
    "origin": "origin",
}

app = typer.Typer()


@app.callback(
    invoke_without_command=True,
    epilog=examples(
        "bench methods",
        "bench methods --plugin my_method.py",
        "bench methods show mmgl",
    ),
)
def list_methods(
    context: typer.Context, as_json: JsonOption = False, plugin: PluginOption = None
) -> None:
    """List the methods; `show NAME` tells all of one."""
    context.obj = as_json
    if context.invoked_subcommand is not None:
        return
    from contrabench.contracts.registry import methods

    listing = describe_all(methods.entries(), summary)
    if as_json:
        write_json(listing.as_json("methods"))
    else:
        print_listing(listing, COLUMNS, "method", wide=("paper", "needs"))


@app.command("show", epilog=examples("bench methods show mmgl", "bench methods show mmgl --json"))
def show_method(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in `bench methods`.")],
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Show a method: paper, options, stages, what it hands over and what was inferred."""
    from contrabench.contracts.registry import methods

    facts = {"name": name, **details(methods.get(name))}
    if as_json or context.obj:
        write_json(facts)
        return
    options, stages = facts.pop("options"), facts.pop("stages")
    published = facts.pop("published")
    print_facts(facts)
    print_rows("Options (-o key=value)", options, "none")
    print_rows("Pre-training stages", [_stage_words(stage) for stage in stages], "none")
    print_rows("Published recipe (--recipe published)", _recipe_rows(published), "none known")
    for item in published["unknown"] if published else []:
        console().print(f"left common: {item}", soft_wrap=True)


app.command("new", epilog=NEW_EXAMPLES)(new_method)
app.command("check", epilog=CHECK_EXAMPLES)(check)


def summary(method: type[Method]) -> dict[str, Any]:
    """The facts of a method that its row in the listing shows."""
    info = method.info
    return {
        "title": info.title,
        "family": info.family,
        "paper": info.paper,
        "fidelity": info.fidelity,
        "needs": list(info.needs),
        "labels": method().label_dependent(),
    }


def details(method: type[Method]) -> dict[str, Any]:
    """All that a method declares, with its default options."""
    made = method()
    return {
        **summary(method),
        "inferred": list(method.info.inferred),
        "against collapse": method.info.against_collapse,
        "version": method.info.version,
        "hands over": list(made.transfers()),
        "deviations": list(method.deviations.labels()),
        "options": describe_options(method.Options),
        "stages": [stage.model_dump(mode="json") for stage in made.stages()],
        "published": method.published.model_dump(mode="json") if method.published else None,
    }


def _recipe_rows(published: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The paper's optimisation of each stage as rows, with the options it changes."""
    if published is None:
        return []
    options = ", ".join(f"{name}={value}" for name, value in published["options"].items())
    return [
        {
            "stage": stage,
            "optimiser": paper["optimizer"],
            "rate": f"{paper['lr']:g}"
            + (f" per {paper['lr_batch']} images" if paper["lr_batch"] else ""),
            "batch": paper["batch"],
            "decay": f"{paper['weight_decay']:g}",
            "warm-up": f"{paper['warmup']:.0%}",
            "schedule": paper["schedule"],
            "options": options,
            "source": paper["source"],
        }
        for stage, paper in published["stages"].items()
    ]


def _stage_words(stage: dict[str, Any]) -> dict[str, Any]:
    """One stage as a row: how many views, and the switches in words."""
    draws = []
    if stage["labelled_slices_only"]:
        draws.append("labelled slices only")
    if stage["partitions"]:
        draws.append(f"one slice of each of {stage['partitions']} parts of a volume")
    return {
        "stage": stage["name"],
        "views": [_view_words(view) for view in stage["views"]],
        "trains": stage["trains"],
        "labels": stage["labels"],
        "share": stage["share"],
        "draws": "; ".join(draws) or "uniformly",
    }


def _view_words(view: dict[str, Any]) -> str:
    """One view in two or three words."""
    parts = [part for part in ("spatial", "intensity") if view[part] is not None]
    text = " + ".join(parts) or "unchanged"
    if view["geometry_of"] is not None:
        text += f", placed as view {view['geometry_of']}"
    return text if view["scale"] == 1 else f"{text}, side x {view['scale']:g}"
