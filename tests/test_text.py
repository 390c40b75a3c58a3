import pytest

from contrabench.contracts.options import read_value
from contrabench.errors import RequestError
from contrabench.text import (
    counted,
    did_you_mean,
    kept_whole,
    one_line,
    size_words,
    some,
    split_words,
    unique_beginning,
)


def test_one_is_not_many():
    assert [counted(n, "patient") for n in (0, 1, 2)] == ["0 patients", "1 patient", "2 patients"]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**60, "1048576 TiB"),
    ],
)
def test_a_size_has_the_unit_that_fits(size, words):
    assert size_words(size) == words


def test_of_many_names_the_first_are_told():
    assert some(range(3)) == "0, 1, 2"
    assert some(range(9), most=2) == "0, 1 and 7 more"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a, b", ["a", "b"]),
        ("a[1, 2], b", ["a[1, 2]", "b"]),
        ('source="us, on [some] hearts", b', ['source="us, on [some] hearts"', "b"]),
        ('5" wide, b', ['5" wide', "b"]),
        ("", []),
    ],
)
def test_a_list_is_split_at_its_own_commas(text, parts):
    assert split_words(text) == parts


@pytest.mark.parametrize("text", ["plain", "us, on ACDC", 'the "best"', "a [b]", "ö, ü"])
def test_what_is_kept_whole_is_read_back(text):
    assert read_value(kept_whole(text)) == text
    assert split_words(f"{kept_whole(text)}, b") == [kept_whole(text), "b"]


def test_a_near_name_is_suggested():
    assert did_you_mean("simcrl", ["simclr", "moco"]) == "did you mean 'simclr'? "
    assert did_you_mean("aab", ["aaa", "aac"], most=3) == "did you mean 'aac' or 'aaa'? "
    assert did_you_mean("xyz", ["simclr", "moco"]) == ""


def test_a_beginning_stands_for_a_name_if_no_other_begins_so():
    names = ["aabb", "aacc", "bb"]
    assert unique_beginning("b", names, "run in here", "Look.") == "bb"
    with pytest.raises(RequestError, match=r"^more than one run in here .* aabb, aacc\. Look\.$"):
        unique_beginning("aa", names, "run in here", "Look.")
    with pytest.raises(RequestError, match=r"^no run in here begins with 'c'; .* aabb, aacc, bb"):
        unique_beginning("c", names, "run in here", "Look.")


def test_an_error_is_one_line_with_its_type_where_the_text_needs_it():
    assert one_line(RequestError("a\n b")) == "a b"
    assert one_line(ValueError("a\nb")) == "ValueError: a b"
    assert one_line(KeyError()) == "KeyError"
