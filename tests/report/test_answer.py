"""The answer of a label budget, word for word of planted studies, and its numbers by hand."""

import re

import numpy as np
import pytest
from tests.makers.rows import results

from contrabench.report.answer import DICE_GAIN
from contrabench.report.build import build_report
from contrabench.report.screen import HEIGHT, screen
from contrabench.statistics.paired import paired_difference

LUCK = np.random.default_rng(7).normal(0, 0.03, (60, 20))


def study(method, shift=0.0, number=0, family="reference", patients=20, **changes):
    """Five folds, two draws: a shift for all, and each method's own noise."""
    return [
        {
            "method": method, "variant": method, "family": family, "patient": f"p{p:02d}",
            "fold": p % 5, "folds": 5, "draw": d,
            "dice": 0.5 + 0.01 * p + shift + LUCK[number, p],
            "asd_mm": 9.0 - 10 * shift + LUCK[number, p], **changes,
        }
        for p in range(patients)
        for d in range(2)
    ]  # fmt: skip


FULL = {"labels": "100%", "fraction": 1.0, "labelled_patients": 16}


def base(full=0.3, **changes):
    return [*study("scratch", **changes), *study("scratch", full, 1, **{**changes, **FULL})]


def answer(frame, *rows, labels="10%"):
    made = build_report(results(frame(*rows)), "bench report", [labels])
    (told,) = (section.answer for section in made.sections if section.answer)
    return told


def words(frame, *rows):
    return " ".join(answer(frame, *rows).words)


def test_the_best_is_named_with_what_cannot_be_told_from_it_and_what_others_bring(frame):
    told = words(
        frame,
        *base(),
        *study("unimatch", 0.2, 2, "consistency"),
        *study("bcp", 0.2, 3, "consistency"),
        *study("reco", 0.1, 4, "contrast during"),
        *study("gcl", 0.0, 5, "contrast before"),
    )
    first, second = sorted(("unimatch", "bcp"), key=told.index)
    assert re.match(rf"Use {first}: \+0\.\d\d Dice over training from scratch with 2 lab", told)
    assert f"Cannot be told from it: {second}." in told
    assert re.search(r"Contrast during helps too: reco \+0\.\d\d\.", told)
    assert re.search(r"Contrast before \(gcl\) is not shown to help: at most \+0\.\d\d\.", told)
    assert "networks trained anew" not in told


def test_the_best_that_is_shown_to_beat_scratch_has_a_name(frame):
    planted = [*study("bcp", 0.2, 3, "consistency"), *study("reco", 0.1, 4, "contrast during")]
    assert answer(frame, *base(), *planted).best == "bcp"
    assert answer(frame, *base(), *study("gcl", 0.0, 5, "contrast before")).best == ""
    assert answer(frame, *base(full=-0.1), *planted).best == ""


def test_what_fine_tuning_alone_brings_is_no_method_s(frame):
    """MMGL fine-tunes with deep supervision, and is held against scratch that does so too."""
    deep = {"deviations": "deep supervision"}
    own = study("scratch", 0.15, 2, **{**deep, "variant": "scratch[deep_supervision=true]"})
    both = {"deviations": "three orientations; deep supervision"}
    told = answer(frame, *base(), *own, *study("mmgl", 0.16, 3, "contrast before", **both))
    assert told.best == ""
    alike = r"that is fine-tuned alike: mmgl \+0\.1\d \(then \+0\.0\d\)\."
    assert re.search(rf"not shown to be above scratch {alike}", " ".join(told.words))
    told = answer(frame, *base(), *own, *study("mmgl", 0.25, 3, "contrast before", **both))
    assert told.best == "mmgl"
    gap = LUCK[3].mean() - LUCK[2].mean() + 0.10
    assert f"({gap:+.2f} over scratch with deep supervision)" in told.words[0]
    # Without that reference in the table there is nothing else to be held against.
    alone = answer(frame, *base(), *study("mmgl", 0.16, 3, "contrast before", **both))
    assert alone.best == "mmgl"


def test_networks_of_one_draw_are_said_to_be_these(frame):
    rows = [*base(), *study("bcp", 0.2, 3, "consistency")]
    told = words(frame, *(row for row in rows if row["draw"] == 0))
    assert "That is shown for these networks, not yet for networks trained anew." in told


def test_the_head_tells_of_methods_with_fewer_draws(frame):
    rows = [*base(), *study("bcp", 0.2, 3, "consistency")]
    assert "5 of 5 folds x 2 draws" in answer(frame, *rows).about
    fewer = (row for row in rows if row["method"] != "bcp" or row["draw"] == 0)
    assert "5 of 5 folds x 1 to 2 draws" in answer(frame, *fewer).about


def test_where_nothing_beats_scratch_the_most_that_it_may_be_is_told(frame):
    rows = [*base(), *study("gcl", 0.0, 5, "contrast before")]
    told = answer(frame, *rows)
    high = told.forest.data.set_index("Method").loc["gcl", "95% high"]
    (told,) = told.words
    beginning = "No method is shown to beat scratch; none can be more than "
    assert told.startswith(beginning)
    # What is rounded is still a bound.
    assert high <= float(told.removeprefix(beginning).split()[0]) < high + 0.01


def test_undertrained_networks_say_nothing_about_methods(frame):
    told = words(frame, *base(full=-0.2), *study("bcp", 0.2, 3, "consistency"))
    assert "says nothing about methods" in told
    assert "Use" not in told


def test_full_supervision_of_some_folds_is_held_against_scratch_in_these(frame):
    """Run in the hardest fold alone, it is better there and below the mean of scratch."""
    scratch = study("scratch")
    dice = {
        fold: np.mean([row["dice"] for row in scratch if row["fold"] == fold]) for fold in range(5)
    }
    hardest = min(dice, key=dice.get)
    gain = (np.mean(list(dice.values())) - dice[hardest]) / 2
    part = [row for row in study("scratch", gain, **FULL) if row["fold"] == hardest]
    told = words(frame, *scratch, *part, *study("bcp", 0.2, 3, "consistency"))
    assert told.startswith("Use bcp")


def test_without_scratch_nothing_is_judged(frame):
    told = words(frame, *study("bcp", 0.2, 3, "consistency"))
    assert told == "Nothing here is compared with scratch: no method can be judged."


def test_a_reference_that_wins_is_no_method_to_use(frame):
    told = words(frame, *base(), *study("scratch_long", 0.2, 2), *study("gcl", 0, 5, "contrast"))
    assert "Use" not in told
    assert re.search(r"A reference is: scratch_long \+0\.\d\d\.", told)


def test_a_reference_that_beats_the_best_method_stands_before_it(frame):
    bcp = study("bcp", 0.1, 3, "consistency")
    told = answer(frame, *base(), *study("scratch_long", 0.25, 2), *bcp)
    assert told.best == "scratch_long"
    assert told.short.startswith("scratch_long +0.2")
    assert told.words[0].startswith("Use scratch_long: +0.2")
    assert told.words[1].startswith("No method is shown to beat that; the best is bcp with +0.")
    # One that cannot be told from the method is named.
    told = answer(frame, *base(), *study("scratch_long", 0.1, 2), *bcp)
    assert told.best == "bcp"
    assert "Cannot be told from it: scratch_long." in told.words


def test_a_tie_is_named_that_is_not_shown_to_beat_scratch_itself(frame):
    """A method that varies much lies beside the best, and beside scratch."""
    wide = [
        {**row, "dice": row["dice"] + (0.25 if int(row["patient"][1:]) % 2 else -0.2)}
        for row in study("gcl", 0.05, 5, "contrast before")
    ]
    told = words(frame, *base(), *study("bcp", 0.1, 3, "consistency"), *wide)
    assert told.startswith("Use bcp")
    assert "Cannot be told from it: gcl." in told
    assert "Contrast before (gcl) is not shown to help" in told


def test_what_was_tested_on_other_patients_is_said_to_be_left_out(frame):
    part = [row for row in study("pcl", 0.2, 4, "contrast before") if row["fold"] < 4]
    told = words(frame, *base(), *study("gcl", 0.0, 5, "contrast before"), *part)
    assert "Not compared, for they were tested on other patients: pcl." in told


def test_a_few_words_say_the_same_as_the_sentences(frame):
    bcp, gcl = study("bcp", 0.2, 3, "consistency"), study("gcl", 0, 5, "contrast")
    told = answer(frame, *base(), *bcp, *gcl)
    gain = told.forest.data.set_index("Method").loc["bcp", DICE_GAIN]
    assert told.short == f"bcp {gain:+.2f} Dice"
    assert answer(frame, *base(), *gcl).short == "nothing shown to beat scratch"
    assert answer(frame, *base(full=-0.2), *bcp).short == "networks undertrained"
    assert answer(frame, *bcp).short == "nothing compared with scratch"


def test_labels_that_scratch_would_need_are_told_where_its_curve_is_known(frame):
    more = {"labels": "40%", "fraction": 0.4, "labelled_patients": 8}
    rows = [*base(), *study("scratch", 0.1, 0, **more), *study("bcp", 0.05, 0, "consistency")]
    # Half of the way from 2 to 8 in the logarithm of the number.
    assert "as good as scratch with 4" in words(frame, *rows)


def test_the_picture_has_the_differences_of_the_patients(frame):
    rows = [*base(), *study("gcl", 0.05, 5, "contrast before")]
    data = frame(*rows)
    told = answer(frame, *rows)
    line = told.forest.data.set_index("Method").loc["gcl"]
    here = data[data["labels"] == "10%"]
    for column, metric in ((DICE_GAIN, "dice"), ("ASD mm minus scratch", "asd_mm")):
        means = here.pivot_table(index="patient", columns="method", values=metric)
        wanted = paired_difference(means["gcl"], means["scratch"])
        assert line[column] == pytest.approx(wanted.mean)
    board = told.board.data.set_index("Method")
    medians = here[here["method"] == "gcl"].groupby("patient")["asd_mm"].mean().median()
    assert board.loc["gcl", "median"] == pytest.approx(medians)


def test_an_alarm_of_any_label_budget_is_on_the_screen_of_all(frame):
    more = {"labels": "40%", "fraction": 0.4, "labelled_patients": 8}
    rows = [*base(), *study("scratch", **more)]
    for labels, shift in (({}, 0.0), (more, 0.15)):
        rows += study("bcp", 0.1, 3, "consistency", **labels)
        rows += study("noise", shift, 0, "control", **labels)
    made = build_report(results(frame(*rows)), "bench report")
    text = " ".join(line.text for line in screen(made.sections, 80, "bench report"))
    assert "noise must equal scratch and lies at +0.150" in text


def many(number):
    families = ("consistency", "contrast before", "contrast during", "reconstruction")
    return [
        row
        for place in range(number)
        for row in study(f"method_{place:02d}", 0.004 * place, place, families[place % 4])
    ]


def lines(frame, *rows, width=80):
    made = build_report(results(frame(*rows)), "bench report", ["10%"])
    return [line.text for line in screen(made.sections, width, "bench report --store runs")]


@pytest.mark.parametrize("number", [1, 5, 12, 40])
@pytest.mark.parametrize("width", [80, 100])
def test_one_label_budget_is_one_screen(frame, number, width):
    shown = lines(frame, *base(), *study("scratch_long", 0.01, 2), *many(number), width=width)
    assert len(shown) <= HEIGHT
    assert max(map(len, shown)) <= width
    text = "\n".join(shown)
    assert text.isascii() or set(text) - set(map(chr, range(128))) == {"–"}
    # Captions of families, unless they would cost a method its row.
    rows = sum(line.startswith("  method_") for line in shown)
    assert "consistency" in shown or rows >= number
    assert "bench report --store runs --all" in text


def test_marks_stand_where_the_numbers_are(frame):
    rows = [
        *base(full=0.5),
        *study("gcl", 0.05, 5, "contrast"),
        *study("moco", -0.02, 6, "contrast"),
    ]
    told = answer(frame, *rows)
    shown = lines(frame, *rows)
    ticks = next(line for line in shown if " group " in line)
    marks = {float(one[0]): one.start() for one in re.finditer(r"[+-]?\d[\d.]*", ticks)}
    assert marks[0.0] >= 0
    low, high = min(marks), max(marks)
    data = told.forest.data.set_index("Method")
    for name in ("gcl", "moco"):
        line = next(one for one in shown if one.startswith(f"  {name} "))
        share = (data.loc[name, DICE_GAIN] - low) / (high - low)
        # The last label may have been moved to the left by its length.
        wanted = marks[low] + share * (marks[high] - marks[low])
        assert abs(line.index("o", 8) - wanted) <= 3
    ceiling = next(one for one in shown if one.startswith("  full supervision"))
    assert ">" in ceiling


@pytest.mark.parametrize(("shift", "mark"), [(0.4, r"\+0\.4\d >"), (-0.4, r"< -0\.[34]\d")])
def test_what_lies_beyond_the_plot_says_where(frame, shift, mark):
    far = study("oracle", shift, 4, "control")
    shown = lines(frame, *base(0.05), *study("bcp", 0.02, 3, "consistency"), *far)
    (line,) = (line for line in shown if line.startswith("  oracle "))
    assert re.search(mark, line)


def test_several_label_budgets_stand_beside_each_other(frame):
    more = {"labels": "40%", "fraction": 0.4, "labelled_patients": 8}
    rows = [
        *base(), *study("scratch", 0.1, 0, **more), *study("bcp", 0.2, 3, "consistency"),
        *study("bcp", 0.3, 3, "consistency", **more),
    ]  # fmt: skip
    made = build_report(results(frame(*rows)), "bench report")
    shown = [line.text for line in screen(made.sections, 80, "bench report")]
    assert "2 of 16 8 of 16" in {" ".join(line.split()) for line in shown}
    assert max(map(len, shown)) <= 80
    (bcp,) = (line for line in shown if line.startswith("bcp"))
    assert len(re.findall(r"[+-]0\.\d{3} [a-z]+", bcp)) == 2
    assert sum(line.strip().startswith("Use bcp") for line in shown) == 2


def test_two_protocols_are_told_apart(frame):
    other = {"protocol": "0123456789abcdef", "budget": "larger"}
    rows = [
        *base(), *study("bcp", 0.2, 3, "consistency"),
        *base(**other), *study("gcl", 0.0, 5, "contrast", **other),
    ]  # fmt: skip
    made = build_report(results(frame(*rows)), "bench report", ["10%"])
    shown = [line.text for line in screen(made.sections, 80, "bench report")]
    heads = [place for place, line in enumerate(shown) if line.startswith("budget ")]
    assert [shown[place] for place in heads] == ["budget larger", "budget smoke"]
    first, second = shown[: heads[1]], shown[heads[1] :]
    assert any(line.startswith("gcl") for line in first)
    assert not any(line.startswith("gcl") for line in second)
    assert any(line.startswith("bcp") for line in second)


@pytest.mark.parametrize("names", [("heads_only",), ()])
def test_a_protocol_of_controls_alone_has_no_table_of_differences(frame, names):
    other = {"protocol": "0123456789abcdef", "budget": "larger"}
    controls = [row for name in names for row in study(name, 0.0, 4, "control", **other)]
    rows = [*base(), *study("bcp", 0.2, 3, "consistency"), *study("scratch", **other), *controls]
    made = build_report(results(frame(*rows)), "bench report", ["10%"])
    shown = [line.text for line in screen(made.sections, 80, "bench report")]
    place = shown.index("budget smoke")
    assert not any("a letter in common" in line for line in shown[:place])
    assert any("a letter in common" in line for line in shown[place:])


def test_many_families_cost_no_method_its_row(frame):
    families = [study(f"method_{k}", 0.01 * k, k, f"family {k}") for k in range(9)]
    shown = lines(frame, *base(), *(row for part in families for row in part))
    assert all(any(line.startswith(f"  method_{k} ") for line in shown) for k in range(9))
    assert len(shown) <= HEIGHT
