"""Predicts and scores the test cases: the only sight that a run has of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from contrabench.contracts.dataset import Dataset
from contrabench.data.grid import spacing_of
from contrabench.data.prepare import PreparedCase
from contrabench.evaluation.inference import predict_case
from contrabench.evaluation.metrics import score_case
from contrabench.files import write_text
from contrabench.model.segmentation import Segmenter
from contrabench.progress import Reporter
from contrabench.stages import audit
from contrabench.stages.outputs import SCORES
from contrabench.training.runtime import Runtime


def score_cases(
    segmenter: Segmenter,
    cases: Sequence[PreparedCase],
    dataset: Dataset,
    folder: Path,
    runtime: Runtime,
    reporter: Reporter,
) -> None:
    """Leaves one file of predictions per case, and the scores of all of them.

    Args:
        segmenter: on the runtime's device.
        cases: of the test patients.
        dataset: gives the structures, and whether spacings can be trusted; if not,
            distances are measured in voxels.
        folder: receives `NNN.npz` (prediction on the native grid, its affine) and
            `scores.json`.
        runtime: device and precision.
        reporter: shows the progress.

    Raises:
        AuditError: rule 6, if a prediction leaves out a part of its volume.
    """
    names = [structure.name for structure in dataset.structures]
    scores = []
    with reporter.track("evaluation", len(cases)) as track:
        for number, case in enumerate(cases, start=1):
            prediction = predict_case(segmenter, case, runtime)
            audit.check_scored(case, prediction)
            file = f"{number:03d}.npz"
            np.savez_compressed(folder / file, prediction=prediction, affine=case.native_affine)
            known = dataset.info.spacing_known
            spacing = spacing_of(case.native_affine) if known else (1.0, 1.0, 1.0)
            scores += [
                {"patient": case.patient, "case": case.case, "file": file} | asdict(score)
                for score in score_case(prediction, case.native_label(), names, spacing)
            ]
            track.advance(number, case.case)
    write_text(folder / SCORES, json.dumps(scores, indent=1))
