"""Simulates whole studies of which the truth is known: how often intervals and verdicts are right.

    python docs/scripts/coverage.py [--studies 1000] [--seed 1] [--methods 4]

prints the tables of `docs/statistics-simulations.md` on what decides with three folds and two
label draws. A score is the sum of its patient, the network (fold by draw) that made it, and a rest
of its own; methods differ from scratch by a true amount. 20 patients in five folds, two draws, in
Dice.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from contrabench.statistics.random_effects import random_effects
from contrabench.statistics.retraining import (
    MARGIN,
    UNKNOWN,
    Retraining,
    deciding_interval,
    equivalence_p,
    retrained_ps,
    retraining,
    with_reference,
)
from contrabench.statistics.signflip import LEVEL, holm, sign_flip_ps

Floats = NDArray[np.float64]
Rows = Iterator[Sequence[object]]
PATIENTS, FOLDS, DRAWS = 20, 5, 2
FOLD = np.arange(PATIENTS) % FOLDS
SPREAD, REST = 0.01, 0.005
"""Deviation of a method between patients, and of single runs on single patients."""
RATIOS = (0.0, 0.2, 1.0)
"""Variance of networks over that of patients."""


def study(
    rng: np.random.Generator, truths: Sequence[float], ratio: float
) -> tuple[Floats, Retraining]:
    """Differences to scratch, shape (methods, patients), and what training again adds to them."""
    sides = len(truths) + 1
    patients = rng.normal(0, SPREAD, (sides, PATIENTS))
    networks = rng.normal(0, SPREAD * np.sqrt(ratio), (sides, FOLDS, DRAWS))[:, FOLD].mean(axis=2)
    rest = rng.normal(0, REST, (sides, PATIENTS, DRAWS)).mean(axis=2)
    scores = patients + networks + rest
    gaps = scores[1:] - scores[:1] + np.array(truths)[:, None]
    return gaps, retraining(gaps, FOLD.tolist(), with_reference(len(gaps)), DRAWS)


def intervals(rng: np.random.Generator, studies: int, methods: int) -> Rows:
    """Coverage of the two intervals, and how often any of equal methods is called different."""
    yield (
        "Run variance / patient variance", "interval over patients", "interval for networks anew",
        "width anew / over patients", "false: sign-flip p", "false: Retrained p",
    )  # fmt: skip
    for ratio in RATIOS:
        held, wrong, widths = [], [], []
        for _ in range(studies):
            gaps, found = study(rng, [0.0] * methods, ratio)
            ends = [deciding_interval(gaps[0], one) for one in (UNKNOWN, found)]
            held.append([low <= 0 <= high for low, high in ends])
            widths.append((ends[1][1] - ends[1][0]) / (ends[0][1] - ends[0][0]))
            ps = sign_flip_ps(gaps)
            lowest = min(holm(ps.tolist())), retrained_ps(gaps, ps, found).min()
            wrong.append([p <= LEVEL for p in lowest])
        width = f"{np.median(widths):.2f}"
        yield ratio, *percents(held), width, *percents(wrong)


def equivalence(rng: np.random.Generator, studies: int, methods: int) -> Rows:
    """How often a method at the edge of the margin is called as good, which is false; one at 0."""
    truths = (MARGIN, 0.0)
    kinds = ("over patients", "for networks anew")
    yield (
        "Run variance / patient variance",
        *(f"at {truth:g}: {kind}" for truth in truths for kind in kinds),
    )
    for ratio in RATIOS:
        claims = []
        for _ in range(studies):
            gaps, found = study(rng, [*truths, *[0.0] * (methods - 2)], ratio)
            ps = [equivalence_p(gap, one) for gap in gaps[:2] for one in (UNKNOWN, found)]
            claims.append([p <= LEVEL for p in ps])
        yield ratio, *percents(claims)


def datasets(rng: np.random.Generator, studies: int, methods: int) -> Rows:
    """Coverage of the mean over datasets, with the errors over patients and the inflated ones."""
    yield (
        "Datasets", "Tau", "Run variance / patient variance", "errors over patients",
        "errors with training again", "median width",
    )  # fmt: skip
    for number in (2, 3, 5):
        for tau in (0.0, 0.01):
            for ratio in RATIOS[1:]:
                held, widths = [], []
                for _ in range(studies):
                    truths = rng.normal(0, tau, (number, methods))
                    made = [study(rng, list(truth), ratio) for truth in truths]
                    means = [gaps[0].mean() for gaps, _ in made]
                    ends = []
                    for plain in (True, False):
                        errors = [
                            float((UNKNOWN if plain else found).error(gaps[0]))
                            for gaps, found in made
                        ]
                        one = random_effects(means, errors)
                        if one is not None:
                            ends.append((one.low, one.high))
                    held.append([low <= 0 <= high for low, high in ends])
                    widths.append(ends[-1][1] - ends[-1][0])
                width = f"{np.median(widths):.3f}"
                yield number, tau, ratio, *percents(held), width


def percents(found: Sequence[Sequence[bool]]) -> list[str]:
    """The share of studies in which each is so, as the tables show it."""
    return [f"{100 * share:.1f}" for share in np.mean(found, axis=0)]


PARTS = {
    "Intervals and false verdicts": intervals,
    f"Called as good within {MARGIN:g}": equivalence,
    "The mean over datasets": datasets,
}


def main() -> None:
    """Prints every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies a cell")
    parser.add_argument("--methods", type=int, default=4, help="compared with scratch, at least 2")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    for number, (title, part) in enumerate(PARTS.items()):
        rng = np.random.default_rng([wanted.seed, number])
        rows = [" | ".join(map(str, row)) for row in part(rng, wanted.studies, wanted.methods)]
        rows.insert(1, " | ".join(["---:"] * (rows[0].count(" | ") + 1)))
        table = "\n".join(f"| {row} |" for row in rows)
        sys.stdout.write(f"### {title}, % of studies\n\n{table}\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
