"""The names of the rows that stand beside the methods: references (rule 10) and controls."""

from __future__ import annotations

REFERENCE = "scratch"
"""The method that all others are compared with: no pre-training."""
LONGER = "scratch_long"
"""The pre-training steps spent on longer fine-tuning instead."""
LONGER_WORD = "finetune"
"""Begins what tables say of a method whose fine-tuning sees more labelled images: `finetune x6`."""
FULL = "full_supervision"
"""The reference with all labels, as `--without` takes it."""
EVERY_LABEL = "100%"
"""The label budget of full supervision, as rows write it."""
REFERENCES = (REFERENCE, LONGER, FULL)
ORACLE = "oracle"
"""The control that has seen every label; all others must equal scratch."""
CONTROLS = {ORACLE: (ORACLE, f"{ORACLE}[parts=encoder]"), "noise": ("noise",)}
"""The controls that every study runs beside its methods, as `--without` takes them, and the words
that stand for each: one pre-training serves all label budgets and draws."""
LEFT_OUT = (*REFERENCES, *CONTROLS)
"""What `--without` takes."""
FULL_SUPERVISION = "full supervision"
"""As tables call it."""
REFERENCE_FAMILY = "reference"
CONTROL_FAMILY = "control"
"""The family of what shows how well a study can see; never ranked."""
NOT_COMPARED = (REFERENCE_FAMILY, CONTROL_FAMILY)
"""The families of methods that `all` leaves out."""
