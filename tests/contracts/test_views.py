"""Specifications of views refuse what cannot be drawn."""

import pytest
from pydantic import ValidationError

from contrabench.contracts.views import Intensity, Spatial, ViewSpec
from contrabench.protocol import digest


@pytest.mark.parametrize(
    ("model", "field", "value", "message"),
    [
        (Spatial, "crop_area", (0.9, 0.4), "low <= high"),
        (Spatial, "crop_area", (0.0, 0.4), "0 < low"),
        (Spatial, "crop_area", (0.4, 1.2), "up to 1"),
        (Spatial, "aspect", (1.1, 1.4), "holds 1"),
        (Intensity, "gamma", (0.0, 1.5), "0 < low"),
        (Intensity, "contrast", (1.5, 0.5), "low <= high"),
        (Intensity, "probability", 1.5, "less than or equal to 1"),
        (ViewSpec, "scale", 0.0, "greater than 0"),
        (ViewSpec, "crop", 0.5, "Extra inputs"),
    ],
)
def test_a_range_that_cannot_be_drawn_is_refused(model, field, value, message):
    with pytest.raises(ValidationError, match=message):
        model(**{field: value})


def test_the_defaults_are_valid_and_survive_json():
    spec = ViewSpec()
    again = ViewSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert digest(again) == digest(spec)
    for part in (Spatial, Intensity):
        assert part(**part().model_dump()) == part()
