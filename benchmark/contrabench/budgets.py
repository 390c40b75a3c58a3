"""The named budgets: how much every method may compute.

Fine-tuning is such that each budget but `smoke`, which proves that things run, tells few labels
from many for a network from scratch (`docs/budgets.md`).
"""

from __future__ import annotations

from contrabench.errors import RequestError
from contrabench.protocol import Budget, Phase

BUDGETS = {
    budget.name: budget
    for budget in (
        Budget(
            name="smoke",
            pixels=32,
            width=8,
            pretrain=Phase(images=480, batch=16, lr=1e-3),
            finetune=Phase(images=480, batch=8, lr=1e-2),
        ),
        Budget(
            name="quick",
            pixels=48,
            width=8,
            pretrain=Phase(images=24_000, batch=16, lr=1e-3),
            finetune=Phase(images=12_000, batch=8, lr=3e-3),
        ),
        Budget(
            name="standard",
            pixels=128,
            width=32,
            pretrain=Phase(images=256_000, batch=32, lr=1e-3),
            finetune=Phase(images=96_000, batch=32, lr=2e-3),
        ),
        Budget(
            name="paper",
            pixels=160,
            width=64,
            pretrain=Phase(images=640_000, batch=64, lr=5e-4),
            finetune=Phase(images=192_000, batch=32, lr=1e-3),
        ),
    )
}


def find_budget(name: str | None, device: str) -> Budget:
    """A named budget, or RequestError; without a name `quick` on a CPU and `standard` elsewhere."""
    if name is None:
        name = "quick" if device == "cpu" else "standard"
    if name not in BUDGETS:
        raise RequestError(f"there is no budget '{name}'; choose one of {', '.join(BUDGETS)}")
    return BUDGETS[name]
