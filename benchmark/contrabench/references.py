"""The names of the rows that stand in every table beside the methods (rule 10 of the protocol)."""

from __future__ import annotations

REFERENCE = "scratch"
"""The method that all others are compared with: no pre-training."""
LONGER = "scratch_long"
"""The pre-training steps spent on longer fine-tuning instead."""
FULL = "full_supervision"
"""The reference with all labels, as `--without` takes it."""
EVERY_LABEL = "100%"
"""The label budget of full supervision, as rows write it."""
REFERENCES = (REFERENCE, LONGER, FULL)
FULL_SUPERVISION = "full supervision"
"""As tables call it."""
REFERENCE_FAMILY = "reference"
"""The family of methods that `all` leaves out."""
