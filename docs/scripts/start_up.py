"""CPU seconds that a process of training needs from its first import to the end of a first step.

    python docs/scripts/start_up.py

The step itself, of eight slices of 32 pixels at width 4, takes some hundredths of a second.
"""

from __future__ import annotations

import sys
import time

from contrabench.data.synthetic import synthetic_bank
from contrabench.model.segmentation import build_segmenter
from contrabench.model.weights import build_backbone
from contrabench.protocol import BackboneSpec, Phase, Seeds
from contrabench.training.runtime import make_runtime
from contrabench.training.step import Step
from contrabench.training.tasks import FinetuneTask


def main() -> None:
    """Takes one step and prints what this process has taken so far."""
    runtime, phase = make_runtime("cpu", threads=1), Phase(images=80, batch=8, lr=1e-3)
    model = build_segmenter(build_backbone(BackboneSpec(width=4), 0), 3, False, 0)
    bank = synthetic_bank(32, 2, runtime.torch_device)
    Step(FinetuneTask(model, bank, phase, Seeds()), phase, runtime, 10).take(0)
    sys.stdout.write(f"{time.process_time():.1f} CPU seconds\n")


if __name__ == "__main__":
    main()
