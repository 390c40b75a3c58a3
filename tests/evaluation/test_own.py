"""Metrics of one's own are asked about the masks of each structure, and told as they are."""

import json

import numpy as np
import pytest

from contrabench import Metric, MetricInfo, Options
from contrabench.contracts.chosen import chosen
from contrabench.contracts.registry import Registry, metrics
from contrabench.errors import RunError
from contrabench.evaluation.own import own_scores

GENERATOR = np.random.default_rng(3)
PREDICTION, REFERENCE = GENERATOR.integers(0, 3, (2, 6, 5, 4)).astype(np.uint8)
SPACING = (1.5, 1.5, 8.0)


def made(score):
    own = Registry("metric", "contrabench.evaluation.further")

    @own.register("mine")
    class Mine(Metric):
        """What a test plants."""

        info = MetricInfo(title="mine", source="nobody")

        def score(self, prediction, reference, spacing):
            return score(prediction, reference, spacing)

    return [chosen(own, "mine")]


def test_a_list_among_the_options_is_read_as_it_is_told():
    own = Registry("metric", "contrabench.evaluation.further")

    class Weights(Options):
        """Of a metric that a test plants."""

        weights: tuple[float, ...] = (1.0,)

    @own.register("mine")
    class Mine(Metric):
        """What a test plants."""

        info = MetricInfo(title="mine", source="nobody")
        Options = Weights

        def score(self, prediction, reference, spacing):
            return 0.0

    told = chosen(own, "mine[weights=[1, 2.5]]").text
    assert told == "mine[weights=1.0+2.5]"
    assert chosen(own, told).options.weights == (1.0, 2.5)


def test_the_volume_error_is_the_difference_of_the_volumes_in_millilitres():
    (asked,) = (chosen(metrics, "volume_error"),)
    told = own_scores([asked], PREDICTION, REFERENCE, ["a", "b"], SPACING)
    for value, text in enumerate(told, start=1):
        sizes = [sum(v == value for v in part.ravel().tolist()) for part in (PREDICTION, REFERENCE)]
        ((name, number),) = json.loads(text).items()
        assert name == "volume_error (ml, lower is better)"
        assert number == pytest.approx(abs(sizes[0] - sizes[1]) * 1.5 * 1.5 * 8 / 1000)


def test_each_structure_is_asked_for_once_with_its_masks_and_only_where_it_applies():
    seen = []

    def score(prediction, reference, spacing):
        seen.append((prediction.copy(), reference.copy(), spacing))
        return 0.25

    told = own_scores(made(score), PREDICTION, REFERENCE, ["a", "b", "nowhere"], SPACING)
    assert told == ['{"mine": 0.25}', '{"mine": 0.25}', ""]
    for value, (ours, theirs, spacing) in enumerate(seen, start=1):
        assert spacing == SPACING
        assert (ours == (value == PREDICTION)).all()
        assert (theirs == (value == REFERENCE)).all()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), None, "0.5"])
def test_what_is_no_number_is_told(number):
    with pytest.raises(RunError, match="what is trained is kept"):
        own_scores(made(lambda *_: number), PREDICTION, REFERENCE, ["a", "b"], SPACING)


def test_the_masks_cannot_be_written_to():
    def score(prediction, reference, spacing):
        reference[:] = prediction
        return 1.0

    with pytest.raises(ValueError, match="read-only"):
        own_scores(made(score), PREDICTION, REFERENCE, ["a", "b"], SPACING)


def test_without_metrics_nothing_is_told():
    assert own_scores([], PREDICTION, REFERENCE, ["a"], SPACING) == [""]
