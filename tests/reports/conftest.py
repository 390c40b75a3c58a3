"""A report with every kind of column, and names that try to break out of their cells."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from tests.makers.rows import make_row, results

from contrabench.contracts.report import NAME, Column, Report, Section, Table
from contrabench.report.build import build_report

NASTY = (
    "=HYPERLINK(1)|a*b_c_`x`[link](u)<script>alert(1)</script>&[bold]red[/bold]\n\x1b[31m"
    "\\input{/etc/passwd}$x^2$%#~{}\u202egnp\u200f\\\\ end"
)
METHODS = ["mmgl", "simclr[temperature=0.1]", NASTY]
NAMES = (Column("Method", "text", NAME), Column("Deviations", "text", NAME))
STRUCTURES = ("left ventricle", "RV", "LA", "RA", "myocardium", "aorta", "PA", "x|y")
KINDS = {
    "score": [0.8125, 0.41, math.nan],
    "distance": [1.005, 371.25, math.nan],
    "difference": [0.0512, -0.0004, math.nan],
    "share": [1.0, 0.525, math.nan],
    "rank": [1.0, 2.5, math.nan],
    "count": [20, 4, math.nan],
    "p": [1.9e-6, 0.0625, math.nan],
    "text": ["more than 16", "-cmd", None],
}


def make(name, columns, values, **more):
    cells = {"Method": METHODS, "Deviations": ["three views; deep supervision", "none", "none"]}
    data = pd.DataFrame({
        column.name: cells.get(column.name, values.get(column.name)) for column in columns
    })  # fmt: skip
    return Table(name, tuple(columns), data, **more)


@pytest.fixture
def report():
    kinds = [Column(f"A {kind}", kind, "Results") for kind in KINDS]
    structures = [
        Column(f"{name}: {metric}", kind, f"{metric} by structure", name, metric)
        for metric, kind in (("Dice", "score"), ("ASD mm", "distance"))
        for name in STRUCTURES
    ]
    pairs = [Column(f"minus {name}", "difference", "Minus the column", name) for name in METHODS]
    numbers = {
        column.name: [0.1 + 0.011 * index + row / 7 for row in range(3)]
        for index, column in enumerate([*structures, *pairs])
    }
    notes = ("a | b is <b>bold</b>", "make it with `bench run --labels 10% -o a_b` soon", NASTY)
    section = Section(
        title=f"phantom, 10% of the labels {NASTY}",
        protocol="ab12cd34ef56ab12",
        tables=(
            make("leaderboard", [*NAMES, *kinds], {f"A {k}": v for k, v in KINDS.items()},
                 leader=0, notes=("50% & more",)),
            make("structures", [*NAMES, *structures], numbers),
            make("pairs", [*NAMES, *pairs], numbers, detail=True),
        ),
        verdict=("better: mmgl", NASTY),
        notes=notes,
    )  # fmt: skip
    return Report((section,), pd.DataFrame(), f"bench report --format x {NASTY}")


@pytest.fixture(scope="session")
def answered():
    """A study of five methods at two label budgets, 20 patients in five folds and two draws."""
    luck = np.random.default_rng(7).normal(0, 0.03, (12, 20))
    planted = {
        "scratch": ("reference", 0.0), "reco": ("contrast during", 0.1),
        "unimatch": ("consistency", 0.2), "bcp": ("consistency", 0.1),
        "gcl": ("contrast before", 0.0),
        "mmgl[orientations=3,strength=0.25]": ("contrast before", -0.02),
    }  # fmt: skip
    budgets = {"10%": (0.1, 2, 0.0), "20%": (0.2, 3, 0.05), "100%": (1.0, 16, 0.3)}
    rows = [
        make_row(
            method=method.partition("[")[0], variant=method, family=family, patient=f"p{p:02d}",
            fold=p % 5, folds=5, draw=draw, labels=labels, fraction=share,
            labelled_patients=count, structure=structure,
            dice=0.4 + 0.01 * p + more + shift / (count / 2) + luck[number, p],
            asd_mm=9 - 10 * (more + shift) + luck[number, p],
        )
        for labels, (share, count, more) in budgets.items()
        for number, (method, (family, shift)) in enumerate(planted.items())
        if labels != "100%" or method == "scratch"
        for p in range(20)
        for draw in range(2)
        for structure in ("LV", "RV")
    ]  # fmt: skip
    frame = pd.DataFrame([asdict(row) for row in rows]).astype({"asd_voxel": float})
    return build_report(results(frame), "bench report --out report.html")
