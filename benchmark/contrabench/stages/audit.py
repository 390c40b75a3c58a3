"""What a run may not do: the ten rules of the protocol, checked in every run.

Each check raises an `AuditError` with the rule's number, or returns one line of evidence
for the run record. Rules 4, 5 and 7 are checked where they can be broken: in the loop, on
the first batch, and in the hand-off. Rule 10 is about tables: `missing_references` of the
leaderboard names what they lack.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from contrabench.data.likeness import SAME_HEART, similarity
from contrabench.errors import AuditError
from contrabench.protocol import Budget, digest

if TYPE_CHECKING:
    from contrabench.data.bank import SliceBank
    from contrabench.data.prepare import PreparedCase
    from contrabench.data.splits import LabelManifest, Split
    from contrabench.stages.run import Run

RULES: Mapping[int, str] = {
    1: "test patients are never seen before evaluation",
    2: "labels of the manifest's patients alone",
    3: "the last checkpoint, never one chosen on test",
    4: "every trained parameter gets a gradient, frozen ones stay",
    5: "views never share memory, and differ",
    6: "labels keep their values, and every slice is scored",
    7: "the hand-off matches what is declared",
    8: "one normalisation for all phases",
    9: "the same images and initial weights for every method",
    10: "scratch, longer scratch and full supervision in every table",
}


def check_split(split: Split) -> str:
    """Rule 1 for a split."""
    if both := sorted(set(split.train) & set(split.test)):
        raise AuditError(1, f"{', '.join(both)} would be trained on and tested; nothing was run")
    return f"{len(split.train)} training and {len(split.test)} test patients, none in both"


def check_hearts(cases: Sequence[PreparedCase], split: Split) -> str:
    """Rule 1 by content: no volume that is trained on shows the heart of a test patient."""
    if not split.test:
        return "nobody is tested"
    trained = [case for case in cases if case.patient in split.train]
    tested = [case for case in cases if case.patient in split.test]
    patterns = (np.stack([case.likeness.pattern for case in part]) for part in (trained, tested))
    alike = similarity(*patterns)
    one, other = np.unravel_index(int(alike.argmax()), alike.shape)
    if alike[one, other] >= SAME_HEART:
        raise AuditError(
            1,
            f"{trained[one].case} (patient {trained[one].patient}) would be trained on and shows "
            f"the heart of the test case {tested[other].case} (patient {tested[other].patient}); "
            "nothing was run",
        )
    pool = sum(not case.labelled for case in trained)
    return (
        f"{len(trained)} training volumes, {pool} of them without labels: none of a test patient "
        f"by name, nor by content (likeness {alike.max():.2f} at most, a copy from {SAME_HEART} on)"
    )


def check_bank(bank: SliceBank, split: Split, allowed: Collection[str]) -> str:
    """Rules 1 and 2 for the slices a stage is about to see, with the masks of some patients."""
    if stray := sorted(set(bank.patients) & set(split.test)):
        raise AuditError(1, f"images of test patients {', '.join(stray)} are in the slice bank")
    if stray := sorted(set(bank.labelled) - set(allowed)):
        raise AuditError(2, f"masks of {', '.join(stray)} are in the bank but not in the manifest")
    masks = f"masks of {len(bank.labelled)}" if bank.labelled else "no masks"
    return f"{len(bank)} slices of {len(bank.patients)} patients, {masks}"


def check_pseudo_labels(labelled: Sequence[str], manifest: LabelManifest, cases: int) -> str:
    """Rule 2: pseudo-labels come from a model that was trained on the masks of the manifest."""
    if stray := sorted(set(labelled) - set(manifest.patients)):
        raise AuditError(
            2, f"pseudo-labels would come from a model that has seen masks of {', '.join(stray)}"
        )
    return f"pseudo-labels of {cases} volumes from masks of {len(labelled)}"


def check_last_step(header: Mapping[str, str], steps: int) -> str:
    """Rule 3: the evaluated weights are those after the last step."""
    if header.get("step") != str(steps):
        raise AuditError(
            3, f"the weights are those of step {header.get('step')}, not of the last, {steps}"
        )
    return f"weights of step {steps} of {steps}"


def check_labels(cases: Sequence[PreparedCase], classes: int) -> str:
    """Rule 6: resampling made no new label value."""
    for case in cases:
        if case.label is None:
            continue
        values = set(np.unique(case.label).tolist())
        native = set(np.unique(case.native_label()).tolist())
        if not values <= native | {0} or max(native) >= classes:
            raise AuditError(6, f"{case.case} has label values after resampling it had not before")
    return f"label values of {len(cases)} cases are those of their files"


def check_scored(case: PreparedCase, prediction: np.ndarray) -> None:
    """Rule 6: a prediction covers every voxel of the native grid."""
    if tuple(prediction.shape) != tuple(case.native_shape):
        raise AuditError(
            6,
            f"the prediction of {case.case} has shape {tuple(prediction.shape)}, the file "
            f"{tuple(case.native_shape)}; slices would go unscored",
        )


def check_recipe(header: Mapping[str, str], recipe: str) -> str:
    """Rule 8: the weights were pre-trained on data prepared in the same way."""
    if header.get("recipe") != recipe:
        raise AuditError(
            8,
            f"the weights were trained on recipe {header.get('recipe')}, fine-tuning would use "
            f"{recipe}",
        )
    return f"data recipe {recipe} in all phases"


def check_images(
    budget: Budget,
    pretrain: Sequence[int],
    finetune: int,
    extra: float,
    batches: Sequence[int],
    beside: int = 0,
    least: int = 0,
) -> str:
    """Rule 9: the images seen are those of the budget, whatever the method.

    A paper's own batch may not divide a stage's images; each such stage may lack less than
    one batch. `pretrain` and `batches` are of each pre-training stage; `extra` is the share of the
    pre-training images that fine-tuning sees beside its own. `beside` are the slices of the
    streams of joint stages: as many as pre-training would see, less what does not divide evenly
    over the steps, but `least` where a slice in every micro-batch of each stream is more.
    """
    before, after = budget.pretrain, budget.finetune
    owed = before.steps * before.batch if pretrain else 0
    tuned = (after.steps + round(extra * before.images) // after.batch) * after.batch
    slack = sum(batch - 1 for batch in batches if batch != before.batch)
    if not owed - slack <= sum(pretrain) <= owed or finetune != tuned:
        raise AuditError(
            9,
            f"{sum(pretrain)} pre-training and {finetune} fine-tuning images were seen; "
            f"the budget '{budget.name}' gives {owed} and {tuned}",
        )
    if beside > max(before.images, least):
        raise AuditError(
            9,
            f"{beside} slices were seen beside the labelled ones; the budget '{budget.name}' gives "
            f"{before.images}",
        )
    more = f", {beside} slices beside these" if beside else ""
    return f"{sum(pretrain)} pre-training and {finetune} fine-tuning images{more}"


def evidence(
    run: Run, before: Sequence[dict[str, Any]], tuned: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What shows that each rule was kept, from the records of pre-training and of fine-tuning."""
    # Stages of fine-tuning go on from the first, or restart from where it began.
    transfer = tuned[0]["transfer"]
    found = {
        1: [
            check_split(run.split),
            check_hearts(run.cases, run.split),
            *(record["seen"] for record in before),
        ],
        2: [
            *(
                record["seen"]
                for work, record in zip(run.work, before, strict=True)
                if work.stage.labels
            ),
            *(record["seen"] for record in tuned),
        ],
        3: [f"weights of step {tuned[-1]['steps']}, the last"],
        4: [
            f"{record['trained']} parameters trained, each with a gradient"
            for record in (*before, *tuned)
        ],
        5: [
            f"{views} views, apart in memory and content"
            for views in (
                *(record["views"] for record in before),
                *(number for record in tuned for number in record["views"]),
            )
        ],
        6: [check_labels(run.cases, run.classes)],
        7: [f"{transfer['matched']} tensors of {', '.join(transfer['parts']) or 'no part'}"],
        8: [
            "how images were prepared for weights from outside is not known"
            if run.from_outside or run.method.checkpoint()
            else f"recipe {digest(run.dataset.recipe)} in all phases"
        ],
        9: [
            check_images(
                run.spec.budget,
                [record["images"] for record in before],
                sum(record["images"] for record in tuned),
                run.extra,
                [work.phase.batch for work in run.work],
                sum(record["others"] for record in tuned),
                run.spec.budget.finetune.accumulate
                * sum(len(stage.streams) * steps for stage, steps in run.tuning if stage),
            )
        ],
    }
    return [
        {"rule": rule, "title": RULES[rule], "evidence": lines}
        for rule, lines in found.items()
        if lines
    ]
