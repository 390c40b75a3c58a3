"""Simulates studies of which the truth is known, and counts how often the statistics are right.

    python docs/scripts/statistics_simulation.py [--studies 2000] [--only PART]

prints the tables of `docs/statistics-simulations.md`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import isotonic_regression

from contrabench.statistics.design import patients_needed, power
from contrabench.statistics.intervals import studentised_bootstrap
from contrabench.statistics.labels_saved import labels_needed
from contrabench.statistics.paired import pairwise, superiority
from contrabench.statistics.ranking import rank_limits, rank_stability
from contrabench.statistics.retraining import retrained_ps, retraining, with_reference
from contrabench.statistics.signflip import holm, sign_flip_interval, sign_flip_p, sign_flip_ps
from contrabench.statistics.variance import variance_split

Floats = NDArray[np.float64]
Generator = np.random.Generator
Rows = Iterator[Sequence[object]]
SIZES = (4, 8, 16, 20, 40)
LEVEL = 0.05
METHODS = 6


def normal(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Scores that differ by normal noise."""
    return rng.normal(0.8, 0.05, shape)


def failing(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Dice as it is met: near a bound, skewed, and one patient in ten a failure."""
    dice = rng.beta(16, 4, shape)
    failures = rng.random(shape) < 0.1
    return np.where(failures, dice * rng.random(shape), dice)


def distances(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Distances in mm: positive, with a long tail."""
    return rng.lognormal(1.0, 0.6, shape)


def failing_distances(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Distances in mm of which one in ten is that of a structure missed by far."""
    return np.where(rng.random(shape) < 0.1, rng.uniform(20, 60, shape), distances(rng, shape))


def heavy(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Symmetric with heavy tails: Student's t with 3 degrees of freedom."""
    return rng.standard_t(3, shape)


def skewed(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """An exponential distribution: differences that lean to one side."""
    return rng.exponential(1.0, shape)


def one_sided(rng: Generator, shape: tuple[int, ...]) -> Floats:
    """Small normal differences, and one patient in ten whom only one method misses."""
    failures = rng.random(shape) < 0.1
    return rng.normal(0.0, 0.02, shape) + failures * rng.uniform(0.1, 0.5, shape)


def scores_mean(draw: Callable[[Generator, tuple[int, ...]], Floats]) -> float:
    """The mean of a distribution, from two million draws."""
    return float(draw(np.random.default_rng(99), (2_000_000,)).mean())


def false_verdicts(rng: Generator, studies: int) -> Rows:
    """How often any method is called different that is not."""
    yield (
        "Patients",
        *(f"{kind}: {family}" for kind in ("normal", "failing", "half real")
          for family in ("vs scratch", "all pairs")),
    )  # fmt: skip
    first, second = np.triu_indices(METHODS, 1)
    for patients in SIZES:
        shares: list[str] = []
        for draw, better in ((normal, 0), (failing, 0), (normal, METHODS // 2)):
            shape = (studies, patients, METHODS)
            scores = draw(rng, (studies, patients, 1)) + draw(rng, shape)
            scores[:, :, METHODS - better :] += 0.05
            gaps = (scores[:, :, first] - scores[:, :, second]).transpose(0, 2, 1)
            p = sign_flip_ps(gaps.reshape(-1, patients)).reshape(studies, -1)
            null = second < METHODS - better
            null |= first >= METHODS - better
            for family in (first == 0, first >= 0):
                adjusted = np.array([holm(row.tolist()) for row in p[:, family]])
                shares.append(percent((adjusted <= LEVEL)[:, null[family]].any(axis=1).mean()))
        yield (patients, *shares)


def shared_runs(rng: Generator, studies: int) -> Rows:
    """False verdicts where the patients of a fold share the luck of one training run.

    All methods are equal. *Mixed*: the networks of one method in four move as much as its
    patients, those of the others a tenth of it. The power is that for a difference of five
    true standard errors, by itself at Holm's strictest level.
    """
    yield (
        "Comparisons", "Run variance / patient variance", "sign-flip", "retrained p",
        "fold means", "power: retrained p", "power: fold means",
    )  # fmt: skip
    folds = np.repeat(np.arange(5), 4)
    mixed = np.tile([0.1, 0.1, 0.1, 1.0], 3)
    ratios = {str(ratio): np.full(12, ratio) for ratio in (0.0, 0.1, 0.2, 0.5, 1.0)}
    for methods in (1, 3, 12, "78 pairs"):
        for name, of_methods in (ratios | {"mixed": mixed}).items():
            number = 12 if methods == "78 pairs" else int(methods)
            if name == "mixed" and number < 12:
                continue
            moves = np.append(of_methods[:number], of_methods[:number].mean())  # scratch is last
            found = np.array([
                _verdicts(rng, moves, folds, methods == "78 pairs")
                for _ in range(studies // 4 if methods == "78 pairs" else studies)
            ])  # fmt: skip
            yield methods, name, *map(percent, found.mean(axis=0))


def _verdicts(
    rng: Generator, moves: Floats, folds: NDArray[np.int64], pairs: bool
) -> tuple[bool | float, ...]:
    """Of one study: any false verdict by each test, and the power of two of them."""
    runs = rng.normal(0, 1, (moves.size, 5)) * np.sqrt(moves)[:, None]
    scores = rng.normal(0, 1, (moves.size, folds.size)) + runs[:, folds]
    if pairs:
        first, second = np.triu_indices(moves.size, 1)
        gaps = scores[first] - scores[second]
    else:
        gaps = scores[:-1] - scores[-1]
        first, second = np.arange(moves.size - 1), np.full(moves.size - 1, moves.size - 1)
    strictest = LEVEL / len(gaps)
    found = retraining(gaps, folds, with_reference(moves.size - 1))
    error = np.sqrt((2 + 4 * (moves[first] + moves[second])) / folds.size)
    means = (gaps + 5 * error[:, None]).reshape(len(gaps), 5, 4).mean(axis=2)
    inflated = found.inflation * gaps.std(axis=1, ddof=1) / np.sqrt(folds.size)
    student = 2 * stats.t.sf(np.abs(means.mean(axis=1)) / inflated, found.freedom)
    ps = sign_flip_ps(gaps)
    by_folds = stats.ttest_1samp(gaps.reshape(len(gaps), 5, 4).mean(axis=2), 0, axis=1).pvalue
    return (
        min(holm(ps.tolist())) <= LEVEL,
        retrained_ps(gaps, ps, found).min() <= LEVEL,
        by_folds.min() <= strictest,
        float((student <= strictest).mean()),
        float((stats.ttest_1samp(means, 0, axis=1).pvalue <= strictest).mean()),
    )


def predicted_power(rng: Generator, studies: int) -> Rows:
    """What the design aid promises, and what the test finds."""
    yield (
        "Difference / deviation", "Comparisons", "Patients needed", "Promised",
        "Found, normal", "Found, heavy tails", "Found in Holm's family",
    )  # fmt: skip
    for effect in (2.0, 1.5, 1.0, 0.7):
        for comparisons in (1, 5, 21):
            needed = int(patients_needed(effect, 1.0, comparisons))
            shape = (studies, needed)
            deviation = np.sqrt(3.0)  # of Student's t with 3 degrees of freedom
            found = [
                (sign_flip_ps(effect + noise) <= LEVEL / comparisons).mean()
                for noise in (rng.standard_normal(shape), heavy(rng, shape) / deviation)
            ]
            # In a family of which this is one real difference and the rest are null.
            others = rng.standard_normal((studies, comparisons, needed))
            others[:, 0] += effect
            p = sign_flip_ps(others.reshape(-1, needed)).reshape(studies, comparisons)
            family = np.mean([holm(row.tolist())[0] <= LEVEL for row in p])
            promised = power(effect, 1.0, needed, comparisons)
            yield effect, comparisons, needed, *map(percent, (promised, *found, family))


def power_at_hand(rng: Generator, studies: int) -> Rows:
    """The power of a study of given size, promised and found."""
    effects = (0.5, 1.0, 1.5)
    yield "Patients", "Comparisons", *(f"{effect} deviations" for effect in effects)
    for patients in (8, 16, 20, 40):
        for comparisons in (1, 5, 21):
            cells = []
            for effect in effects:
                p = sign_flip_ps(rng.normal(effect, 1, (studies, patients)))
                found = (p <= LEVEL / comparisons).mean()
                promised = power(effect, 1.0, patients, comparisons)
                cells.append(f"{percent(promised)} / {percent(found)}")
            yield patients, comparisons, *cells


def difference_coverage(rng: Generator, studies: int) -> Rows:
    """Four intervals of a mean difference: how often they hold it, and how wide they are."""
    names = ("sign-flip", "Student", "studentised bootstrap", "BCa")
    yield "Differences", "Patients", *names, *(f"width: {name}" for name in names[2:])
    kinds: dict[str, Callable[[Generator, tuple[int, ...]], Floats]] = {
        "normal": normal,
        "heavy tails": heavy,
        "both fail": lambda rng, shape: failing(rng, shape) - failing(rng, shape),
        "skewed": skewed,
        "one fails": one_sided,
    }
    for kind, draw in kinds.items():
        truth = 0.0 if kind in {"heavy tails", "both fail"} else scores_mean(draw)
        for patients in SIZES:
            values = draw(rng, (studies, patients)) - truth
            flipped = (sign_flip_ps(values) > LEVEL).mean()
            if patients < 6:
                flipped = np.nan
            student = student_t(values)
            studentised = np.array([studentised_bootstrap(row) for row in values])
            bca = stats.bootstrap(
                (values,), np.mean, axis=-1, n_resamples=999, method="BCa", rng=rng, batch=100
            ).confidence_interval
            corrected = np.stack([bca.low, bca.high], axis=1)
            ends = (student, studentised, corrected)
            widths = [np.nanmedian(end[:, 1] - end[:, 0]) for end in ends]
            yield (
                kind, patients, percent(flipped), *(percent(covers(end, 0.0)) for end in ends),
                *(f"{width / widths[0]:.2f}" for width in widths[1:]),
            )  # fmt: skip


def interval_width(rng: Generator, studies: int) -> Rows:
    """How much wider the sign-flip interval is than Student's, where both hold."""
    yield "Patients", "Width, sign-flip / Student, normal", "The same, both fail"
    for patients in SIZES[1:]:
        cells = []
        for draw in (normal, failing):
            values = draw(rng, (studies // 10, patients)) - draw(rng, (studies // 10, patients))
            flips = np.array([sign_flip_interval(row) for row in values])
            student = student_t(values)
            ratio = (flips[:, 1] - flips[:, 0]) / (student[:, 1] - student[:, 0])
            cells.append(f"{np.median(ratio):.2f}")
        yield patients, *cells


def mean_coverage(rng: Generator, studies: int) -> Rows:
    """The interval of one method's mean, for scores as they are met, and its width."""
    yield (
        "Scores", "Patients", "studentised bootstrap", "Student",
        "width / range of scores, median", "the same, one in twenty over",
    )  # fmt: skip
    kinds = {"Dice, no failures": lambda rng, shape: rng.beta(16, 4, shape), "Dice": failing}
    kinds |= {"ASD": distances, "normal": normal, "ASD with failures": failing_distances}
    for kind, draw in kinds.items():
        truth = scores_mean(draw)
        for patients in (4, 6, 8, 16, 20, 40):
            values = draw(rng, (studies, patients))
            ends = np.array([studentised_bootstrap(row) for row in values])
            widths = (ends[:, 1] - ends[:, 0]) / np.ptp(values, axis=1)
            yield (
                kind, patients, percent(covers(ends, truth)),
                percent(covers(student_t(values), truth)),
                *(f"{width:.1f}" for width in np.nanquantile(widths, [0.5, 0.95])),
            )  # fmt: skip


def superiority_coverage(rng: Generator, studies: int) -> Rows:
    """The interval of the probability that one method beats another on a new patient."""
    shares = ((0.5, 0.0), (0.7, 0.0), (0.9, 0.0), (0.35, 0.3), (0.6, 0.3), (0.1, 0.8))
    yield "Patients", *(f"wins {win}, ties {tie}" for win, tie in shares)
    for patients in SIZES:
        cells = []
        for win, tie in shares:
            outcomes = rng.choice([1, 0, -1], (studies, patients), p=[win, tie, 1 - win - tie])
            found = [superiority(row, np.zeros(patients)) for row in outcomes]
            truth = win + tie / 2
            cells.append(percent(np.mean([one.low <= truth <= one.high for one in found])))
        yield patients, *cells


def labels_coverage(rng: Generator, studies: int) -> Rows:
    """How often the interval of the labels needed holds the true number."""
    yield "Patients", "sign-flip", "resampled curves", "unbounded"
    budgets, truth = np.array([1.0, 2, 4, 8, 16]), 5.0
    for patients in SIZES:
        held, resampled, unbounded = [], [], []
        for _ in range(studies // 5):
            difficulty, slope = rng.normal(0, 0.08, (patients, 1)), rng.normal(0.06, 0.02, patients)
            curve = 0.5 + difficulty + slope[:, None] * np.log2(budgets)
            between = curve[:, 2] + (curve[:, 3] - curve[:, 2]) * np.log2(truth / 4)
            curve = curve + rng.normal(0, 0.03, curve.shape)
            scores = between + rng.normal(0, 0.03, patients)
            found = labels_needed(budgets, curve, scores)
            held.append(found.low <= truth <= found.high)
            unbounded.append(found.low == 0 and np.isinf(found.high))
            picks = rng.integers(0, patients, (200, patients))
            needed = [crossing(budgets, curve[pick].mean(0), scores[pick].mean()) for pick in picks]
            low, high = np.quantile(needed, [0.025, 0.975], method="inverted_cdf")
            resampled.append(low <= truth <= high)
        yield patients, *(percent(np.mean(cell)) for cell in (held, resampled, unbounded))


def labels_shapes(rng: Generator, studies: int) -> Rows:
    """The same where scratch's curve is flat or falls: 20 patients, budgets 2, 3, 6 and 16."""
    yield "Scratch at 2, 3, 6, 16", "True number", "sign-flip", "on the monotone curve"
    budgets = np.array([2.0, 3, 6, 16])
    shapes = {
        (0.56, 0.57, 0.63, 0.71): (2, 4, 16),
        (0.58, 0.58, 0.60, 0.75): (2, 3, 4),
        (0.50, 0.60, 0.70, 0.70): (6, 10, 16),
        (0.60, 0.55, 0.65, 0.75): (2, 3, 4, 6),
    }
    for means, numbers in shapes.items():
        for number in numbers:
            held, pooled = [], []
            for _ in range(studies):
                patients = rng.normal(0, 0.1, (20, 1))
                level = np.interp(np.log(number), np.log(budgets), means)
                scores = level + patients[:, 0] + rng.normal(0, 0.05, 20)
                curve = np.array(means) + patients + rng.normal(0, 0.05, (20, 4))
                found = labels_needed(budgets, curve, scores)
                held.append(found.low <= number <= found.high)
                seen = curve.mean(axis=0)
                curve = curve + isotonic_regression(seen).x - seen
                there = [np.interp(np.log(number), np.log(budgets), row) for row in curve]
                pooled.append(sign_flip_p(scores - there) > LEVEL)
            yield (
                ", ".join(map(str, means)),
                number,
                percent(np.mean(held)),
                percent(np.mean(pooled)),
            )


def labels_runs(rng: Generator, studies: int) -> Rows:
    """The same where the patients of a fold share the luck of one training run."""
    yield "Run variance / patient variance", "sign-flip", "retrained"
    budgets, means, truth = np.array([2.0, 3, 6, 16]), (0.56, 0.57, 0.63, 0.71), 4.0
    level = np.interp(np.log(truth), np.log(budgets), means)
    truths = np.array([*means, level])
    for ratio in (0.0, 0.1, 0.2, 0.5, 1.0):
        held, anew = [], []
        for _ in range(studies):
            difficulty, own = rng.normal(0, 0.1, (5, 4, 1)), rng.normal(0, 0.05, (5, 4, 5))
            runs = rng.normal(0, 0.05 * np.sqrt(ratio), (5, 1, 5))
            scores = (truths + difficulty + own + runs).reshape(20, 5)
            found = labels_needed(budgets, scores[:, :4], scores[:, 4])
            held.append(found.low <= truth <= found.high)
            # Method and scratch at the true number, as a report's family at one label budget.
            gaps = scores[None, :, 4] - scores[None, :, 2]
            trained = retraining(gaps, np.repeat(np.arange(5), 4), 1, draws=2)
            found = labels_needed(budgets, scores[:, :4], scores[:, 4], trained)
            anew.append(found.low <= truth <= found.high)
        yield ratio, percent(np.mean(held)), percent(np.mean(anew))


def rank_coverage(rng: Generator, studies: int) -> Rows:
    """How often the ranges of all ranks hold the true order of six methods."""
    yield "Patients", "Steps between methods", "limits from tests", "resampled patients"
    for patients in SIZES:
        for step in (0.0, 0.02, 0.05):
            truth, means = np.arange(1, METHODS + 1), -step * np.arange(METHODS)
            both = []
            for _ in range(studies // 5):
                scores = pd.DataFrame(means + normal(rng, (patients, METHODS)))
                limits = rank_limits(pairwise(scores))
                table, _ = rank_stability(scores, resamples=500)
                both.append([
                    ((found["low"] <= truth) & (truth <= found["high"])).all()
                    for found in (limits, table)
                ])  # fmt: skip
            yield patients, step, *map(percent, np.mean(both, axis=0))


def recovered_variance(rng: Generator, studies: int) -> Rows:
    """The components found, where the true ones are known."""
    yield "Source", "True", "Mean estimate", "Deviation of estimates"
    truth = {"patients": 4.0, "draws": 1.0, "seeds": 0.5, "remainder": 2.0}
    index = pd.MultiIndex.from_product(
        [range(5), range(4), range(3), range(2)], names=["fold", "patient", "draw", "seed"]
    )
    frame = index.to_frame(index=False)
    frame["patient"] += 10 * frame["fold"]
    found = []
    for _ in range(studies // 5):
        effects = {
            "patients": rng.normal(0, 2, (5, 4, 1, 1)),
            "draws": rng.normal(0, 1, (5, 1, 3, 1)),
            "seeds": rng.normal(0, np.sqrt(0.5), (5, 1, 3, 2)),
            "remainder": rng.normal(0, np.sqrt(2), (5, 4, 3, 2)),
        }
        scores = sum(effects.values(), np.zeros((5, 4, 3, 2))).ravel()
        split = variance_split(pd.Series(scores, index=pd.MultiIndex.from_frame(frame)))
        found.append([getattr(split, name) for name in truth])
    for (name, value), estimates in zip(truth.items(), np.array(found).T, strict=True):
        yield name, value, f"{estimates.mean():.2f}", f"{estimates.std():.2f}"


def student_t(values: Floats) -> Floats:
    """Student's intervals of the means of rows, shape (rows, 2)."""
    patients = values.shape[1]
    half = stats.t.ppf(0.975, patients - 1) * values.std(axis=1, ddof=1) / np.sqrt(patients)
    return np.stack([values.mean(axis=1) - half, values.mean(axis=1) + half], axis=1)


def crossing(budgets: Floats, curve: Floats, score: float) -> float:
    """Where a curve, made monotone by running maxima, reaches a score."""
    rising = np.maximum.accumulate(curve)
    if score < rising[0] or score > rising[-1]:
        return 0.0 if score < rising[0] else np.inf
    return float(np.exp(np.interp(score, rising, np.log(budgets))))


def covers(ends: Floats, truth: float) -> float:
    """Share of intervals that hold the truth; one that does not exist holds nothing."""
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()) if len(ends) else np.nan


def percent(share: float) -> str:
    """A share as the tables show it."""
    return "none" if np.isnan(share) else f"{100 * share:.1f}"


PARTS = {
    "False verdicts, % of studies": false_verdicts,
    "False verdicts with shared training runs, % (20 patients, 5 folds)": shared_runs,
    "Patients needed for 80 % power, and the power found, %": predicted_power,
    "Power at hand, promised / found, %": power_at_hand,
    "Coverage of the interval of a mean difference, %": difference_coverage,
    "Width of the sign-flip interval": interval_width,
    "Coverage of the interval of a mean score, %": mean_coverage,
    "Coverage of the probability of being better, %": superiority_coverage,
    "Coverage of the labels needed, %": labels_coverage,
    "Coverage of all ranks together, %": rank_coverage,
    "Components of variance": recovered_variance,
    "Coverage of the labels needed where the curve is flat or falls, %": labels_shapes,
    "Coverage of the labels needed with shared training runs, %": labels_runs,
}


def main() -> None:
    """Prints every table, or those whose name holds `--only`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies a cell")
    parser.add_argument("--only", default="", help="part of a table's title")
    wanted = parser.parse_args()
    for number, (title, part) in enumerate(PARTS.items()):
        if wanted.only.lower() in title.lower():
            rows = list(part(np.random.default_rng(number), wanted.studies))
            lines = [" | ".join(map(str, row)) for row in rows]
            lines.insert(1, " | ".join(["---:"] * len(rows[0])))
            table = "\n".join(f"| {line} |" for line in lines)
            sys.stdout.write(f"### {title}\n\n{table}\n\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
