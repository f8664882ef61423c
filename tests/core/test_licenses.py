import pytest

from atdata_core.licenses import license_problem


@pytest.mark.parametrize("given", ["CC-BY-4.0", "MIT", "MIT OR Apache-2.0", "GPL-3.0-or-later", "LicenseRef-lab"])
def test_an_spdx_identifier_or_expression_is_known(given):
    assert license_problem(given) is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("cc-by-4.0", "CC-BY-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC BY-SA", "CC-BY-SA-4.0"),
        ("CC0", "CC0-1.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("the MIT license", "MIT"),
        ("GPLv3", "GPL-3.0"),
        ("BSD", "BSD-3-Clause"),
    ],
)
def test_what_is_written_loosely_is_answered_with_the_identifier(given, meant):
    assert f"Write {meant}, or" in license_problem(given)


@pytest.mark.parametrize("given", ["proprietary", "ask me", "%", "ü", "x" * 1_000, "MIT AND", "-"])
def test_what_nothing_is_known_of_is_answered_with_the_list(given):
    problem = license_problem(given)
    assert "https://spdx.org/licenses/" in problem
    assert len(problem) < 250


@pytest.mark.parametrize("given", [None, ""])
def test_no_license_is_a_problem(given):
    assert license_problem(given).startswith("No license is given")
