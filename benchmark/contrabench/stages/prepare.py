"""A dataset by its name, opened and prepared: how runs, studies and inspections get cases."""

from __future__ import annotations

from pathlib import Path

from contrabench.contracts import registry
from contrabench.contracts.dataset import Dataset
from contrabench.data.prepare import PreparedCase, prepare_dataset
from contrabench.errors import RequestError
from contrabench.progress import Reporter
from contrabench.protocol import DataRecipe
from contrabench.stages import audit
from contrabench.stages.request import Plan


def dataset_class(name: str, root: Path | None) -> type[Dataset]:
    """The class of a registered dataset, once it is sure that its files are named.

    Raises:
        RequestError: if there is no such dataset, or it needs files and none are named.
    """
    found = registry.datasets.get(name)
    if found.info.needs_path and root is None:
        raise RequestError(f"'{name}' needs its files: --data FOLDER, with {found.info.layout}")
    return found


def prepare(plan: Plan, store: Path, reporter: Reporter) -> list[PreparedCase]:
    """Prepares the cases of a plan's dataset; see `prepare_cases`."""
    spec = plan.spec
    return prepare_cases(
        plan.dataset, spec.dataset, plan.data_recipe, spec.budget.pixels, store, reporter
    )


def prepare_cases(
    dataset: Dataset, name: str, recipe: DataRecipe, pixels: int, store: Path, reporter: Reporter
) -> list[PreparedCase]:
    """Prepares every case of a dataset, or takes it from the store's cache.

    Args:
        dataset: with its options and path.
        name: its registered name.
        recipe: how volumes become network input.
        pixels: side of a slice.
        store: the store folder.
        reporter: where progress is told.

    Raises:
        DataError: with one line for each fault of the input.
        AuditError: rule 6, if a label has values that its file has not.
    """
    with reporter.track("preparation", len(dataset.cases())) as track:
        cases = prepare_dataset(
            dataset,
            name,
            recipe,
            pixels,
            store / "prepared",
            progress=lambda done, _total, case: track.advance(done, case),
        )
    audit.check_labels(cases, len(dataset.structures) + 1)
    return cases
