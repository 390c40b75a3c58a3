"""Pseudo-labels: slices without masks labelled by the stage of fine-tuning before, for the next."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from contrabench.contracts.views import IGNORE
from contrabench.protocol import PROTOCOL_VERSION, digest
from contrabench.stages import audit
from contrabench.stages.kind import WEIGHTS, Kind, Making, Node, read_record, write_record
from contrabench.store.stages import SPEC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from contrabench.contracts.method import JointStage
    from contrabench.data.bank import SliceBank
    from contrabench.data.prepare import PreparedCase
    from contrabench.stages.run import Run
    from contrabench.training.runtime import Runtime

_FILE = "labels.npz"
_BYTES = 0.1
"""Of a pixel of compressed labels, at most."""


class PseudoLabels(Kind):
    """Labels of whole volumes on the working grid, by one model of the label manifest."""

    name = "pseudo_label"
    order = 21
    plural = "pseudo-labellings"
    doing = "label slices{name}"
    title = "pseudo-labels{name}"

    def nodes(self, run: Run, before: tuple[Node, ...]) -> tuple[Node, ...]:
        """None of their own: they lie between stages of fine-tuning, which ask for them."""
        return ()

    def make(self, making: Making, node: Node, folder: Path) -> None:
        """Leaves the labels of all cases in one file; AuditError, rule 2, for a foreign model."""
        from contrabench.evaluation.inference import predict_slices
        from contrabench.training.checkpoint import load_weights

        began = time.monotonic()
        run, runtime = making.run, making.runtime.alone()
        home = making.store.folder("finetune", node.spec["model"])
        labelled = json.loads((home / SPEC).read_text(encoding="utf-8"))["labelled"]
        seen = audit.check_pseudo_labels(labelled, run.manifest, len(node.spec["data"]))
        segmenter = run.segmenter(run.backbone())
        segmenter.load_state_dict(load_weights(home / WEIGHTS))
        segmenter.to(runtime.torch_device)
        cases = _cases(run, node)
        found: dict[str, NDArray[np.uint8]] = {}
        with making.reporter.track(node.title, len(cases)) as track:
            for number, case in enumerate(cases, start=1):
                shares = predict_slices(segmenter, case, runtime).float().cpu().numpy()
                how = node.spec["threshold"], node.spec["largest"]
                found[f"{number:04d}"] = _decide(shares, *how)
                track.advance(number, case.case)
        np.savez_compressed(folder / _FILE, **found)  # type: ignore[arg-type]
        names = [case.case for case in cases]
        spent = time.monotonic() - began
        record = {"cases": names, "seen": seen, "seconds": spent, "runtime": runtime.record()}
        write_record(folder, record)

    def seconds_per_unit(self, run: Run, node: Node, runtime: Runtime) -> float:
        """One real case, by a network that knows nothing."""
        from contrabench.evaluation.inference import predict_slices

        segmenter = run.segmenter(run.backbone()).to(runtime.torch_device)
        began = time.perf_counter()
        for case in _cases(run, node)[:1]:
            shares = predict_slices(segmenter, case, runtime).float().cpu().numpy()
            _decide(shares, node.spec["threshold"], node.spec["largest"])
        return time.perf_counter() - began

    def disk(self, run: Run, node: Node) -> int:
        """A few bits a pixel."""
        return round(_BYTES * sum(math.prod(case.image.shape[-3:]) for case in _cases(run, node)))


KIND = PseudoLabels()


def _cases(run: Run, node: Node) -> list[PreparedCase]:
    """Those that are labelled."""
    return [case for case in run.cases if case.case in node.spec["data"]]


def labelling(
    run: Run, stage: JointStage, number: int, cases: Sequence[PreparedCase], model: str
) -> Node | None:
    """The node of the labels that a stream carries, by a fine-tuned model; None if it has none."""
    wanted = stage.streams[number].masks
    if isinstance(wanted, str):
        return None
    spec = {
        "protocol_version": PROTOCOL_VERSION,
        "model": model,
        "data": run.data_of([case for case in cases if not run.masked(case)]),
        **wanted.model_dump(mode="json"),
    }
    same = {
        "pseudo_label": run.spec.dataset,
        "pixels": run.spec.budget.pixels,
        "backbone": run.network.model_dump(mode="json"),
    }
    streams = f", stream {number + 1}" if len(stage.streams) > 1 else ""
    name = f" (for {stage.name}{streams})"
    return Node(KIND.name, name, spec, (model,), len(spec["data"]), digest(same))


def fill(bank: SliceBank, cases: Sequence[PreparedCase], folder: Path) -> str:
    """Puts the labels of a finished stage into a bank of some cases, built with masks.

    Returns one line of evidence for the record.
    """
    import torch

    record = read_record(folder)
    place = {name: number for number, name in enumerate(record["cases"], start=1)}
    with np.load(folder / _FILE) as file:
        for index, case in enumerate(cases):
            if case.case in place and bank.masks is not None:
                found = torch.from_numpy(file[f"{place[case.case]:04d}"])
                bank.masks[bank.volume == index] = found.to(bank.masks.device)
    return str(record["seen"])


def _decide(shares: NDArray[np.float32], threshold: float, largest: bool) -> NDArray[np.uint8]:
    """Labels (N, H, W) of probabilities (N, C, H, W); `IGNORE` where none reaches the threshold."""
    labels: NDArray[np.uint8] = shares.argmax(1).astype(np.uint8)
    if largest:
        full = np.ones((3, 3, 3))
        for value in range(1, shares.shape[1]):
            parts, count = ndimage.label(labels == value, full)
            if count > 1:
                sizes = np.bincount(parts.ravel())[1:]
                labels[(parts > 0) & (parts != 1 + sizes.argmax())] = 0
    labels[shares.max(1) < threshold] = IGNORE
    return labels
