"""The one list of options: what is made of it has all of them, and takes no others. Explicit values win over
earlier ones, those over the metadata of the entry, and empty ones clear."""

from inspect import signature

import pytest

from atdata_core.promote import plan_promotion, promote_many, promote_to_atmosphere
from atdata_core.promotion.options import (
    OF_INSTANCE,
    OPTIONS,
    REQUIREMENTS,
    PromotionKeywords,
    PromotionOptions,
    Values,
    explicit_values,
    from_metadata,
)


def test_each_option_is_a_keyword_and_each_keyword_an_option():
    assert set(OPTIONS) == PromotionKeywords.__optional_keys__
    assert set(REQUIREMENTS) < set(OF_INSTANCE) < set(OPTIONS)


@pytest.mark.parametrize("call", [promote_to_atmosphere, plan_promotion])
def test_help_and_notebooks_show_each_keyword_with_its_default_and_text(call):
    shown = {name: each.default for name, each in signature(call).parameters.items()}
    assert {**shown, **{name: each.default for name, each in OPTIONS.items()}} == shown
    assert all(f"    {name}: " in call.__doc__ for name in OPTIONS)


@pytest.mark.parametrize(("call", "keyword"), [(promote_to_atmosphere, "licence"), (promote_many, "license")])
def test_a_keyword_that_is_no_option_is_refused_before_anything_is_looked_at(call, keyword):
    with pytest.raises(TypeError, match=rf"{call.__name__}\(\) got an unexpected keyword argument '{keyword}'"):
        call(None, None, None, **{keyword: "MIT"})


def test_what_is_not_given_has_its_default_and_values_stand_together():
    options = PromotionOptions.of(tags="one", take_over=True)
    assert options == PromotionOptions(values=Values(tags=("one",)), take_over=True)


def test_what_a_pipeline_is_given_are_defaults_and_requirements():
    options = PromotionOptions.of_instance(license="MIT", require_license=True)
    assert options == PromotionOptions(defaults=Values(license="MIT"), require_license=True)


def test_what_is_said_now_wins_and_what_is_not_said_stays():
    earlier = Values.of("old", ["a"], "MIT")
    assert Values.of(tags=["b"]).over(earlier) == Values("old", ("b",), "MIT")


def test_an_empty_value_clears_and_is_remembered_as_said():
    cleared = Values.of("", [], "").over(Values.of("old", ["a"], "MIT"))
    assert cleared == Values("", (), "")
    assert Values.from_json(cleared.to_json()) == cleared


def test_metadata_of_other_types_is_not_taken_for_a_value():
    assert from_metadata({"description": 3, "tags": "a,b", "license": None}) == Values()
    assert from_metadata({"description": "d", "tags": ["a"], "license": "MIT"}) == Values("d", ("a",), "MIT")
    assert from_metadata(None) == Values()


def test_a_single_tag_may_be_a_plain_string():
    assert Values.of(tags="one").tags == ("one",)


def test_a_record_tells_what_a_person_must_have_typed():
    given = Values.of("from metadata", ["m"], "MIT")
    assert explicit_values(given, given) == Values()
    assert explicit_values(Values.of("typed", [], None), given) == Values("typed", (), "")
    assert explicit_values(Values(), Values()) == Values()
