"""What lies beside exported weights: what they are, what made them, and how they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import contrabench
from contrabench.contracts.registry import datasets
from contrabench.text import counted, some

if TYPE_CHECKING:
    from contrabench.use.trained import Trained


_LICENCES = frozenset((
    *("apache-2.0", "mit", "cc0-1.0", "odbl", "pddl"),
    *("cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
    *("cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
))  # fmt: skip
"""Those that data comes with, by their names at huggingface.co/docs/hub/repositories-licenses."""
_LIBRARIES = {"onnx": "onnx", "monai": "monai", "timm": "timm"}
"""What loads a format; torch loads the others."""


def card_of(trained: Trained, part: str, form: str, files: Mapping[str, str]) -> dict[str, Any]:
    """The facts of an export as JSON-like data; `files` are the hashes of what it consists of."""
    record, spec = trained.record, trained.spec
    data = datasets.get(spec.dataset).info
    names = list(dict.fromkeys(filter(None, (spec.dataset, spec.pool))))
    sources = [datasets.get(name).info for name in names]
    patients = record["patients"]
    return {
        "part": part,
        "format": form,
        "key": trained.key,
        "made_by": f"contrabench {contrabench.__version__}",
        "method": record["variant"],
        "method_name": spec.name,
        "paper": record["method"]["info"]["paper"],
        "fidelity": record["method"]["info"]["fidelity"],
        "dataset": spec.place(),
        "registered": spec.dataset,
        "pool": spec.pool,
        "source": "; ".join(one.source for one in sources),
        "terms": "; ".join(one.terms for one in sources),
        "outside": record.get("outside") or {},
        "from_outside": record.get("from_outside") or [],
        "modality": data.modality,
        "trained_on": patients["train"],
        "labelled": patients["labelled"],
        "tested_on": patients["test"],
        "classes": ["background", *(structure.name for structure in trained.structures)],
        "label_values": [0, *(structure.value for structure in trained.structures)],
        "channels": list(trained.channels),
        "network": trained.backbone.model_dump(mode="json"),
        "budget": spec.budget.model_dump(mode="json"),
        "pixels": spec.budget.pixels,
        "recipe": trained.recipe.model_dump(mode="json"),
        "protocol": record["protocol"]["hash"],
        "files": dict(files),
    }


def front_matter(facts: dict[str, Any]) -> dict[str, Any]:
    """What a model hub reads of the card, by the names of Hugging Face's model cards.

    The licence is that of the data, where its terms are one; terms in other words, or those of
    weights from outside, are `other`, and stand in the card.
    """
    is_network = facts["part"] == "network"
    licence = "-".join(facts["terms"].lower().split())
    known = licence in _LICENCES and not (facts["outside"] or facts["from_outside"])
    named = {"license": "other", "license_name": "terms-of-the-data"}
    found: dict[str, Any] = {
        **({"license": licence} if known else named if licence else {"license": "unknown"}),
        "library_name": _LIBRARIES.get(facts["format"], "pytorch"),
        "pipeline_tag": "image-segmentation" if is_network else "image-feature-extraction",
        "tags": ["contrabench", "medical-imaging", facts["method_name"]],
    }
    return found | ({"metrics": ["dice"]} if facts["tested_on"] and is_network else {})


def markdown(facts: dict[str, Any], lines: Sequence[str]) -> str:
    """The card: facts in words, the way of an image to the network, and the code that loads it.

    Above it stands what a model hub reads, in YAML.
    """
    # JSON is YAML that needs no rules of quoting.
    head = "\n".join(f"{name}: {json.dumps(it)}" for name, it in front_matter(facts).items())
    what = "Segmentation network" if facts["part"] == "network" else "Encoder"
    labelled = len(facts["labelled"])
    tested = facts["tested_on"]
    known = (
        f"Tested on {counted(len(tested), 'patient')} ({some(tested)}); never trained on them."
        if tested
        else "Trained on everybody there was: nothing was left to test it on."
    )
    shown = "\n".join(f"    {line}" for line in lines)
    recipe = facts["recipe"]
    low, high = recipe["clip_percentiles"]
    named = zip(facts["classes"], facts["label_values"], strict=True)
    rows = (f"| {n} | {name} | {value} |" for n, (name, value) in enumerate(named))
    classes = "\n".join(["| class | structure | label value |", "|---:|---|---:|", *rows])
    gives = (
        "probabilities (B, classes, H, W)"
        if facts["part"] == "network"
        else "one map for each part of the encoder, the finest first"
    )
    outside = facts["outside"]
    began = [f"{outside['source']} ({outside['licence']})"] if outside else []
    told = "".join(f"| weights from outside | {it} |\n" for it in began + facts["from_outside"])
    return f"""---
{head}
---

# {what}: {facts["method"]} on {facts["dataset"]}

{facts["modality"]}. Trained on {counted(len(facts["trained_on"]), "patient")}, {labelled} of them
labelled. {known}

## Load it

{shown}

It takes slices (B, {len(facts["channels"])}, H, W) in float32, prepared as below, and gives
{gives}.

{classes}

## How an image gets there

1. The volume is turned to RAS axes, its acquired slices along the third one.
2. In the plane it is resampled to {facts["pixels"]} x {facts["pixels"]} pixels over a square of
   {recipe["field_of_view_mm"]:g} mm about its centre, after a Gaussian of (step - 1) / 2
   voxels where that is coarser; through the plane never finer than it is.
3. Grey values are clipped at the percentiles {low:g} and {high:g} of what the volume covers, then
   have mean 0 and deviation 1.
4. Slices are cut along the third axis, rows from the patient's front to back and columns from right
   to left: `volume.transpose(2, 1, 0)[:, ::-1, ::-1]`.

`bench predict` does all of this and the way back.

## Where it comes from

| | |
|---|---|
| method | {facts["method"]}: {facts["paper"]} ({facts["fidelity"]}) |
| data | {facts["dataset"]}: {facts["source"]} |
| terms of the data | {facts["terms"]} |
{told}\
| network | {facts["network"]["name"]}, width {facts["network"]["width"]} |
| budget | {facts["budget"]["name"]}: {facts["budget"]["pretrain"]["images"]} + \
{facts["budget"]["finetune"]["images"]} slices |
| protocol | {facts["protocol"]} |
| key | {facts["key"]}, {facts["made_by"]} |
"""
