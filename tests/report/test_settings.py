"""Flattened specifications, against a walk that builds them up again."""

import json

from hypothesis import given
from hypothesis import strategies as st

from contrabench.report.appendix import parsed, settings

NAMES = st.text("abc_", min_size=1, max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.text("xyz, ", max_size=5)
TREES = st.dictionaries(
    NAMES,
    st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=3)),
    max_size=4,
)


@given(TREES)
def test_every_leaf_is_found_under_its_path(tree):
    flat = settings(tree)
    leaves = 0

    def walk(value, path):
        nonlocal leaves
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, [*path, name])
        else:
            leaves += 1
            assert flat[".".join(path)] == (value if isinstance(value, str) else json.dumps(value))

    walk(tree, [])
    assert len(flat) == leaves


def test_lists_and_empty_parts_are_readable():
    spec = {"a": [0.5, 99.5], "b": {"c": ["x", "y"], "d": {}}, "e": [], "f": [{"g": 1}]}
    assert settings(spec) == {
        "a": "0.5, 99.5", "b.c": "x, y", "b.d": "{}", "e": "[]", "f": '[{"g": 1}]',
    }  # fmt: skip
    assert settings({}) == {}


def test_no_text_is_no_specification():
    assert parsed("") == parsed(None) == parsed(float("nan")) == {}
    assert parsed('{"a": {"b": 1}}') == {"a": {"b": 1}}
