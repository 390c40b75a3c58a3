"""A dataset prepared: how runs, studies and inspections get their cases."""

from __future__ import annotations

from pathlib import Path

from contrabench.contracts.dataset import Dataset
from contrabench.data.prepare import PreparedCase, prepare_dataset
from contrabench.progress import Reporter
from contrabench.stages import audit

FOLDER = "prepared"


def prepare(
    dataset: Dataset, name: str, pixels: int, store: Path, reporter: Reporter
) -> list[PreparedCase]:
    """Prepares every case of a dataset, or takes it from the store's cache.

    Raises:
        DataError: with one line for each fault of the input.
        AuditError: rule 6, if a label has values that its file has not.
    """
    with reporter.track("preparation", len(dataset.cases())) as track:
        cases = prepare_dataset(
            dataset,
            name,
            dataset.recipe,
            pixels,
            store / FOLDER,
            progress=lambda done, _total, case: track.advance(done, case),
        )
    audit.check_labels(cases, len(dataset.structures) + 1)
    return cases
