"""Evaluation: the test cases predicted and scored, the only sight that a run has of them."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contrabench.data.grid import spacing_of
from contrabench.files import write_text
from contrabench.protocol import METRIC_CONTRACT, PROTOCOL_VERSION, digest
from contrabench.stages import audit
from contrabench.stages.kind import (
    WEIGHTS,
    Kind,
    Making,
    Node,
    of_kind,
    weights_after,
    write_record,
)
from contrabench.store.rows import column_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from contrabench.data.prepare import PreparedCase
    from contrabench.model.segmentation import Segmenter
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime

SCORES = "scores.json"
_BEGUN = "begun.json"


class Evaluate(Kind):
    """Predictions and scores of the last checkpoint."""

    name = "evaluate"
    order = 30
    plural = "evaluations"
    doing = "evaluate"
    title = "evaluation"
    device = "first"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """One, of the fine-tuned network, and of what it was on the way there; none untested."""
        if not run.split.test:
            return ()
        tuned = of_kind(before, "finetune")
        model = tuned[-1].key
        along = [(column_at(share), tuned[at - 1].key, step) for share, at, step in run.along]
        structures = [item.model_dump(mode="json") for item in run.dataset.structures]
        spec = {
            "protocol_version": PROTOCOL_VERSION,
            "model": model,
            "along": along,
            "data": {case.case: case.fingerprint for case in run.test_cases()},
            "structures": structures,
            "spacing_known": run.dataset.info.spacing_known,
            "metric_contract": METRIC_CONTRACT,
        }
        if run.metrics:
            spec["metrics"] = [metric.identity for metric in run.metrics]
        same = {
            "evaluate": run.spec.dataset,
            "pixels": run.spec.budget.pixels,
            "backbone": run.network.model_dump(mode="json"),
        }
        inputs = tuple(dict.fromkeys((*(key for _, key, _ in along), model)))
        return (Node(self.name, "", spec, inputs, len(run.test_cases()), digest(same)),)

    def begin(self, making: Making, node: Node, folder: Path) -> None:
        """Leaves one file of predictions per case (`NNN.npz`), and what it was on the way."""
        from contrabench.evaluation.inference import predict_case
        from contrabench.stages.trained import header_of

        began = time.monotonic()
        run, runtime = making.run, making.runtime.alone()
        weights = making.store.folder("finetune", node.inputs[-1]) / WEIGHTS
        audit.check_last_step(header_of(weights), run.tuning[-1][1])
        segmenter = _network(run, weights, runtime)
        early = {
            name: _network(run, making.store.folder("finetune", key) / weights_after(step), runtime)
            for name, key, step in node.spec["along"]
        }
        along: dict[str, dict[str, list[float | None]]] = {}
        cases = run.test_cases()
        with making.reporter.track(self.title, len(cases)) as track:
            for number, case in enumerate(cases, start=1):
                prediction = predict_case(segmenter, case, runtime)
                audit.check_scored(case, prediction)
                np.savez_compressed(
                    folder / _file(number), prediction=prediction, affine=case.native_affine
                )
                along[_file(number)] = {
                    name: _dice(run, case, predict_case(network, case, runtime))
                    for name, network in early.items()
                }
                track.advance(number, case.case)
        told = {"seconds": time.monotonic() - began, "runtime": runtime.record(), "along": along}
        write_text(folder / _BEGUN, json.dumps(told))

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Leaves the predictions of all cases and the scores of all of them."""
        if not (folder / _BEGUN).is_file():
            self.begin(making, node, folder)
        told = json.loads((folder / _BEGUN).read_text(encoding="utf-8"))
        began, run = time.monotonic(), making.run
        scores: list[dict[str, Any]] = []
        cases = run.test_cases()
        with making.reporter.track("scoring", len(cases)) as track:
            for number, case in enumerate(cases, start=1):
                file = _file(number)
                with np.load(folder / file) as stored:
                    columns = _scores(run, case, stored["prediction"])
                for name, found in told["along"][file].items():
                    columns = [
                        {**one, name: value} for one, value in zip(columns, found, strict=True)
                    ]
                about = {"patient": case.patient, "case": case.case, "file": file}
                scores += [about | one for one in columns]
                track.advance(number, case.case)
        write_text(folder / SCORES, json.dumps(scores, indent=1))
        seconds = told["seconds"] + time.monotonic() - began
        write_record(folder, {"seconds": seconds, "runtime": told["runtime"]})
        (folder / _BEGUN).unlink()

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """One real case, a shifted reference in the place of the prediction."""
        from contrabench.evaluation.inference import predict_case

        case = run.test_cases()[0]
        segmenter = run.segmenter(run.backbone()).to(runtime.torch_device)
        shifted = np.roll(case.native_label(), 2, axis=0)
        began = time.perf_counter()
        _scores(run, case, shifted)
        scored = time.perf_counter()
        predict_case(segmenter, case, runtime)
        _dice(run, case, shifted)
        # The network as it was on the way is asked as well, for its Dice alone.
        networks = 1 + len(node.spec["along"])
        return scored - began + networks * (time.perf_counter() - scored)

    def disk(self, run: Run, node: Node) -> int:
        """Predictions as large as the references."""
        references = (case.folder / "native_label.npz" for case in run.test_cases())
        return sum(path.stat().st_size for path in references)


KIND = Evaluate()


def _file(number: int) -> str:
    """The predictions of a case, counted from 1."""
    return f"{number:03d}.npz"


def _network(run: Run, weights: Path, runtime: Runtime) -> Segmenter:
    """The network of fine-tuning with the weights of a file, on the device."""
    from contrabench.training.checkpoint import load_weights

    segmenter = run.segmenter(run.backbone())
    segmenter.load_state_dict(load_weights(weights))
    return segmenter.to(runtime.torch_device)


def _dice(run: Run, case: PreparedCase, prediction: NDArray[np.uint8]) -> list[float | None]:
    """The Dice of each structure; None where it does not apply."""
    from contrabench.evaluation.metrics import dice_of

    found = dice_of(prediction, case.native_label(), len(run.dataset.structures))
    return [None if math.isnan(value) else value for value in found]


def _scores(run: Run, case: PreparedCase, prediction: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """The columns of a row for each structure; in voxels where no spacing is known."""
    from contrabench.evaluation.metrics import score_case
    from contrabench.evaluation.own import own_scores

    known = run.dataset.info.spacing_known
    spacing = spacing_of(case.native_affine) if known else (1.0, 1.0, 1.0)
    names = [structure.name for structure in run.dataset.structures]
    reference = case.native_label()
    scores = score_case(prediction, reference, names, spacing)
    further = own_scores(run.metrics, prediction, reference, names, spacing)
    return [
        {**score.columns(known), "own_metrics": told}
        for score, told in zip(scores, further, strict=True)
    ]
