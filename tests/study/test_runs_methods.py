"""Methods as they are typed: names, families, all, and option sets that tables also write."""

from typing import Literal, get_args, get_origin

import pytest
from tests.makers.studies import specs_of

from contrabench.contracts import registry
from contrabench.errors import RequestError
from contrabench.study.runs import Asked, read_methods
from contrabench.text import split_words


def names(*words, exclude=()):
    return [one.name for one in read_methods(words, exclude)]


def family(word):
    """The methods whose information names a family, or a kind."""
    found = [(entry.name, entry.value.info) for entry in registry.methods.entries()]
    return sorted(name for name, info in found if word in (info.family, info.kind))


def spec(word):
    """The run that a word asks for."""
    (found,) = specs_of(methods=[word])
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mmgl,simclr", ["mmgl", "simclr"]),
        (" mmgl , simclr ,", ["mmgl", "simclr"]),
        ("mmgl[stages=global, variant=U],simclr", ["mmgl[stages=global, variant=U]", "simclr"]),
        ("mmgl[global_taps=[pool3, pool4]], moco", ["mmgl[global_taps=[pool3, pool4]]", "moco"]),
        ("instance contrast,moco", ["instance contrast", "moco"]),
        ("", []),
        (" , ", []),
    ],
)
def test_a_list_is_split_outside_of_brackets(text, words):
    assert split_words(text) == words


def test_names_stay_in_the_order_in_which_they_are_named_each_once():
    assert names("simclr", "moco", "simclr") == ["simclr", "moco"]
    assert names(" simclr ") == ["simclr"]


@pytest.mark.parametrize(
    "word", ["contrast before", "Contrast Before", "contrast-before", "contrast_before"]
)
def test_a_family_is_its_members_however_it_is_written(word):
    assert names(word) == family("contrast before")
    assert len(names(word)) > 1


def test_a_kind_within_a_family_is_its_members_too():
    for word in ("self-distillation", "self distillation"):
        assert sorted(names(word)) == family("self-distillation")


def test_all_is_every_method_but_references_and_controls():
    every = set(registry.methods.names())
    assert set(names("all")) == every - set(family("reference")) - set(family("control"))
    assert set(names("all", "reference", "control")) == every
    assert len(names("all")) == len(set(names("all")))


def test_excluded_are_names_and_families_and_option_sets_of_them():
    assert "simclr" not in names("all", exclude=["simclr"])
    left = names("all", exclude=["instance-contrast", "mmgl"])
    assert set(left) == set(names("all")) - {"mmgl"} - set(family("instance contrast"))
    assert names("simclr", "mmgl[stages=global]", exclude=["mmgl"]) == ["simclr"]


def test_nothing_left_is_an_error_and_so_is_an_excluded_word_that_nobody_knows():
    with pytest.raises(RequestError, match="no method is left"):
        read_methods(["simclr"], ["simclr"])
    with pytest.raises(RequestError, match="did you mean 'simclr'"):
        read_methods(["all"], ["simclrr"])


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("simclrr", "did you mean 'simclr'?"),
        ("instance contrasts", "did you mean 'instance contrast'?"),
        ("zzz", "methods are "),
        ("simclrr[temperature=1]", "simclr"),
        ("mmgl[stages=global", "no closing bracket"),
        ("mmgl[stages]", "not a pair"),
        ("mmgl[stage=global]", "did you mean 'stages'?"),
        ("mmgl[stages=all]", "it is 'all'"),
        ("mmgl[stages=global, stages=local]", "given twice"),
        ("mmgl[views=coronal]", "it is 'coronal'"),
        ("mmgl[global_taps=pool3+pool9]", "pool4"),
        ("mmgl[]x", "no closing bracket"),
        ("scratch[temperature=1]", "there are no options"),
        ("", "there is no method or family ''"),
    ],
)
def test_a_word_that_is_not_understood_is_refused_with_a_hint(word, hint):
    with pytest.raises(RequestError) as caught:
        read_methods([word], [])
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("scratch+mean_teacher", "'scratch' does not"),
        ("mean_teacher+simclr", "needs one method after the + that trains during fine-tuning"),
        ("mean_teacher+cps", "'mean_teacher' does not"),
        ("simclr+byol", "needs one method after the +"),
        ("simclr+scratch", "needs one method after the +"),
        ("simclr+mean_teacher+cps", "needs one method after the +"),
        ("simclr+consistency", "needs one method after the +"),
        ("simclr+", "there is no method or family ''"),
        ("+mean_teacher", "there is no method or family ''"),
        ("simclr+mean_teachr", "did you mean 'mean_teacher'?"),
        ("simclrr+mean_teacher", "did you mean 'simclr'?"),
        ("simclr+mean_teacher[wieght=1]", "did you mean 'weight'?"),
        ("simclr[wieght=1]+mean_teacher", "'wieght' is unknown"),
        ("simclr+mean_teacher[weight=-1]", "a number from 0"),
        ("simclr+mean_teacher[weight=1", "no closing bracket"),
    ],
)
def test_two_methods_that_do_not_go_together_are_refused_in_a_line(word, hint):
    with pytest.raises(RequestError) as caught:
        read_methods([word], [])
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_methods_are_one_that_pre_trains_and_one_that_fine_tunes():
    made = spec("simclr[temperature=0.2]+mean_teacher[weight=0.1]")
    assert (made.name, made.method, made.joint) == ("simclr+mean_teacher", "simclr", "mean_teacher")
    assert made.open_method().options.temperature == 0.2
    assert made.open_tuner().options.weight == 0.1
    assert made.variant() == "simclr[temperature=0.2]+mean_teacher[weight=0.1]"
    assert spec("simclr+mean_teacher").variant() == "simclr+mean_teacher"


@pytest.mark.parametrize(
    "word",
    [
        "mmgl[global_taps=pool3+pool4, variant=U]+ua_mt[literal=true, passes=2]",
        "mmgl+bcp[side=0.5]",
        "moco[views=all]+reco",
        "simclr[deep_supervision=true]+unimatch[strong=0.0]",
        "mean_teacher[score=teacher]",
        "simclr+mean_teacher[score=teacher]",
    ],
)
def test_a_variant_of_two_methods_reads_back_as_what_it_names(word):
    made = spec(word)
    (again,) = split_words(made.variant())
    assert spec(again) == made
    assert spec(again).variant() == made.variant()


def test_a_family_may_pre_train_and_each_member_is_one():
    found = read_methods(["instance contrast+cps"], [])
    assert sorted(one.name for one in found) == family("instance contrast")
    assert {one.joint.name for one in found} == {"cps"}


def test_what_is_excluded_is_left_out_on_either_side_of_the_plus():
    words = ["simclr+cps", "moco+cps", "simclr+bcp", "simclr"]

    def left(*exclude):
        found = read_methods(words, exclude)
        return [f"{one.name}+{one.joint.name}" if one.joint else one.name for one in found]

    assert left("moco") == ["simclr+cps", "simclr+bcp", "simclr"]
    assert left("cps") == ["simclr+bcp", "simclr"]
    assert left("consistency") == ["simclr"]


def test_joint_methods_are_members_of_all_and_of_their_families():
    for name in ("mean_teacher", "ua_mt", "fixmatch", "unimatch", "cps", "bcp", "reco"):
        assert name in names("all")
    assert {"mean_teacher", "cps", "bcp"} <= set(names("consistency"))
    assert names("contrast-during")[0] in family("contrast during")
    assert {"mixup", "cutmix"} <= set(names("reference"))
    assert {"mixup", "cutmix"}.isdisjoint(names("all"))


def test_an_average_of_any_network_may_be_tested():
    for word in ("mean_teacher", "cps", "scratch", "simclr+reco"):
        (found,) = specs_of(methods=[word], score="teacher")
        assert found.deviations.score == "teacher"
        assert "score=teacher" in found.variant()
    one, other = specs_of(methods=["mean_teacher[score=teacher]", "simclr"])
    assert (one.deviations.score, other.deviations.score) == ("teacher", "student")


def test_deviations_stand_in_the_brackets_beside_options():
    (entry,) = read_methods(["mmgl[views=axial, stages=global, deep-supervision=false]"], [])
    deviations = (("deep_supervision", False), ("views", "axial"))
    assert entry == Asked("mmgl", (("stages", "global"),), deviations)
    (plain,) = read_methods(["mmgl[]"], [])
    assert plain == Asked("mmgl")


@pytest.mark.parametrize(
    "word", ["mmgl[global_taps=pool3+pool4]", "mmgl[global-taps=[pool3, pool4]]"]
)
def test_a_list_is_written_with_a_plus_or_in_brackets(word):
    assert spec(word).open_method().options.global_taps == ("pool3", "pool4")
    assert spec(word).variant() == "mmgl[global_taps=pool3+pool4]"


def other(field):
    """Values of a field that are not its default."""
    kinds = [field.annotation]
    if get_origin(field.annotation) not in (Literal, tuple, list) and get_args(field.annotation):
        kinds = list(get_args(field.annotation))
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield from (value for value in get_args(kind) if value != field.default)
        elif get_origin(kind) in (tuple, list):
            yield field.default[:1]
            yield field.default[::-1]
        elif kind is bool:
            yield not field.default
        elif kind is type(None) and field.default is not None:
            yield None
        elif kind is int:
            yield (field.default or 6) + 2
        elif kind is float:
            yield from ((field.default or 1.0) * factor for factor in (0.5, 1e-7, 1 / 3))


def changed(method):
    """Option sets of a method that differ from its defaults in one field."""
    for name, field in method.Options.model_fields.items():
        for value in other(field):
            try:
                options = method.Options(**{name: value})
                method(options).stages()
            except (ValueError, RequestError):
                continue
            if options != method.Options():
                yield options


@pytest.mark.parametrize("name", registry.methods.names())
def test_every_variant_of_every_method_reads_back_as_the_plan_that_it_names(name):
    method = registry.methods.get(name)
    for options in changed(method):
        pairs = []
        for key in options.model_fields_set:
            value = getattr(options, key)
            text = f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)
            pairs.append(f"{key}={text}")
        for views in ("axial", "all"):
            for deep in (False, True):
                words = [*pairs, f"views={views}", f"deep_supervision={deep}"]
                made = spec(f"{name}[{', '.join(words)}]")
                assert made.open_method().options == options
                (again,) = split_words(made.variant())
                assert spec(again) == made
                assert spec(again).variant() == made.variant()


def test_the_round_trip_has_something_to_do():
    assert len(list(changed(registry.methods.get("mmgl")))) >= 15


def test_a_variant_of_a_table_is_the_plan_that_was_meant():
    made = spec("mmgl[global_taps=pool4, variant=U]")
    assert made.open_method().options.variant == "U"
    assert made.variant() == "mmgl[global_taps=pool4, variant=U]"


def test_a_broken_plug_in_is_told_with_its_reason(tmp_path, monkeypatch):
    from contrabench.contracts import discovery

    (tmp_path / "brittle.py").write_text("import nothing_of_this_name\n")
    monkeypatch.setenv(discovery.VARIABLE, str(tmp_path / "brittle.py"))
    with pytest.raises(RequestError, match="nothing_of_this_name"):
        read_methods(["brittle"], [])
    assert "brittle" not in names("all")
