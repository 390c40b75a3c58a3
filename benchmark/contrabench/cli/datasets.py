"""`bench datasets`: which datasets there are, and what each expects on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contrabench.cli.common import (
    JsonOption,
    PluginOption,
    describe_all,
    describe_options,
    examples,
    print_facts,
    print_listing,
    print_rows,
    write_json,
)

if TYPE_CHECKING:
    from contrabench.contracts.dataset import Dataset

COLUMNS = {
    "title": "title",
    "modality": "modality",
    "structures": "structures",
    "needs_path": "needs --data",
    "terms": "terms",
    "origin": "origin",
}

app = typer.Typer()


@app.callback(
    invoke_without_command=True,
    epilog=examples("bench datasets", "bench datasets show acdc"),
)
def list_datasets(
    context: typer.Context, as_json: JsonOption = False, plugin: PluginOption = None
) -> None:
    """List the datasets; `show NAME` tells all of one."""
    context.obj = as_json
    if context.invoked_subcommand is not None:
        return
    from contrabench.contracts.registry import datasets

    listing = describe_all(datasets.entries(), summary)
    if as_json:
        write_json(listing.as_json("datasets"))
    else:
        print_listing(listing, COLUMNS, "dataset", wide=("structures", "terms"))


@app.command("show", epilog=examples("bench datasets show acdc", "bench datasets show acdc --json"))
def show_dataset(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name in `bench datasets`.")],
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Show a dataset: source, terms, expected files, structures, preparation, options."""
    from contrabench.contracts.registry import datasets

    facts = {"name": name, **details(datasets.get(name))}
    if as_json or context.obj:
        write_json(facts)
        return
    options, recipe = facts.pop("options"), facts.pop("recipe")
    print_facts(facts)
    preparation = [{"setting": key, "value": value} for key, value in recipe.items()]
    print_rows("Preparation", preparation, "none")
    print_rows("Options (-o key=value)", options, "none")


def summary(dataset: type[Dataset]) -> dict[str, Any]:
    """The facts of a dataset that its row in the listing shows."""
    info = dataset.info
    return {
        "title": info.title,
        "modality": info.modality,
        "structures": _structures(dataset),
        "needs_path": info.needs_path,
        "terms": info.terms,
    }


def details(dataset: type[Dataset]) -> dict[str, Any]:
    """All that a dataset declares, with its default options and no data at hand."""
    info = dataset.info
    return {
        **summary(dataset),
        "source": info.source,
        "layout": info.layout,
        "spacing_known": info.spacing_known,
        "version": info.version,
        "recipe": dataset.recipe.model_dump(mode="json"),
        "options": describe_options(dataset.Options),
    }


def _structures(dataset: type[Dataset]) -> list[str] | None:
    """Names of the structures; None where only the files can tell."""
    from contrabench.errors import DataError

    try:
        return [structure.name for structure in dataset().structures]
    except DataError:
        return None
