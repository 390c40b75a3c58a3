"""`-o key=value`: how values are read, and what an error says."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, model_validator

from contrabench.contracts.options import parse_options, read_value
from contrabench.errors import RequestError
from contrabench.protocol import Options


class Mine(Options):
    temperature: float = Field(0.1, gt=0, description="tau")
    steps: int = 4
    linear: bool = False
    variant: Literal["S", "U", "1"] = "S"
    taps: tuple[Literal["dec1", "dec2", "centre"], ...] = ("dec1",)
    label: str = "x"
    limit: int | None = 3


class Paired(Options):
    low: int = 0
    high: int = 1

    @model_validator(mode="after")
    def ordered(self):
        if self.low > self.high:
            raise ValueError("low is above high; swap them")
        return self


def parse(*pairs, cls=Mine):
    return parse_options(cls, pairs, "method 'mine'")


def problem(*pairs, cls=Mine) -> str:
    with pytest.raises(RequestError) as caught:
        parse(*pairs, cls=cls)
    return str(caught.value)


@pytest.mark.parametrize(
    ("pair", "field", "value"),
    [
        ("temperature=0.5", "temperature", 0.5),
        ("temperature=1e-3", "temperature", 1e-3),
        ("temperature=.5", "temperature", 0.5),
        ("temperature=2", "temperature", 2.0),
        ("steps=12", "steps", 12),
        ("steps = 12 ", "steps", 12),
        ("linear=true", "linear", True),
        ("linear=False", "linear", False),
        ("linear=yes", "linear", True),
        ("variant=U", "variant", "U"),
        ("variant=1", "variant", "1"),
        ('variant="U"', "variant", "U"),
        ('taps=["dec2", "dec1"]', "taps", ("dec2", "dec1")),
        ("taps=[dec2, centre]", "taps", ("dec2", "centre")),
        ("taps=[]", "taps", ()),
        ("label=1e3", "label", "1e3"),
        ("label=true", "label", "true"),
        ("label=a=b", "label", "a=b"),
        ("label=", "label", ""),
        ("label=none", "label", "none"),
        ("limit=null", "limit", None),
        ("limit=none", "limit", None),
        ("limit=5", "limit", 5),
    ],
)
def test_values(pair, field, value):
    options = parse(pair)
    assert getattr(options, field) == value
    assert type(getattr(options, field)) is type(value)
    others = {key: item for key, item in options if key != field}
    assert others == {key: item for key, item in Mine() if key != field}


def test_nothing_given_is_the_defaults():
    assert parse() == Mine()


def test_a_hyphen_in_a_key_is_an_underscore():
    class Long(Options):
        two_words: int = 1

    assert parse("two-words=5", cls=Long).two_words == 5


def test_one_string_that_looks_like_a_number_does_not_spoil_its_neighbours():
    options = parse("label=3", "steps=7", "variant=1")
    assert (options.label, options.steps, options.variant) == ("3", 7, "1")


@pytest.mark.parametrize(
    ("pairs", "parts"),
    [
        (["temprature=1"], ["'temprature' is unknown", "did you mean 'temperature'?", "steps"]),
        (["zzz=1"], ["'zzz' is unknown; there are temperature, steps, linear"]),
        (["temperature=-1"], ["'temperature' is a number above 0, not -1"]),
        (["steps=many"], ["'steps' should be a valid integer", "; it is 'many'"]),
        (["steps=1.5"], ["'steps' should be a valid integer", "; it is 1.5"]),
        (["variant=Q"], ["'variant' should be 'S', 'U' or '1'; it is 'Q'"]),
        (["taps=[dec1, dec9]"], ["'taps.1' should be 'dec1', ", "it is 'dec9'"]),
        (["steps"], ["'steps' is not a pair; write key=value"]),
        (["=3"], ["'=3' is not a pair"]),
        (["steps=1", "steps=2"], ["'steps' is given twice, as 1 and as 2; keep one"]),
        (["temperature=inf"], ["'temperature' should be a finite number"]),
        (["temperature=NaN"], ["'temperature' should be a finite number; it is nan"]),
    ],
)
def test_one_problem_is_one_line_in_plain_words(pairs, parts):
    text = problem(*pairs)
    assert text.startswith("option of method 'mine': ")
    for part in parts:
        assert part in text
    assert "\n" not in text
    assert "pydantic" not in text


def test_every_problem_gets_its_own_line():
    text = problem("steps=many", "temprature=1", "temperature=0")
    first, *lines = text.splitlines()
    assert first == "3 faults in the options of method 'mine':"
    assert len(lines) == 3
    for key in ("steps", "temprature", "temperature"):
        assert sum(f"'{key}'" in line.split(";")[0] for line in lines) == 1


def test_a_valid_string_beside_an_invalid_number_is_not_reported():
    text = problem("label=3", "steps=many")
    assert "'steps'" in text
    assert "'label'" not in text


def test_a_rule_over_several_options_speaks_for_itself():
    assert problem("low=5", cls=Paired).endswith("low is above high; swap them")


def test_a_plugin_without_options_says_so():
    assert "there are no options" in problem("steps=1", cls=Options)


@pytest.mark.parametrize(
    ("text", "value"), [("[a, 1, true]", ["a", 1, True]), ('{"a": 1}', {"a": 1}), ("a b", "a b")]
)
def test_read_value(text, value):
    assert read_value(text) == value
