import pytest

from atdata_core.common.licenses import license_id, license_problem


@pytest.mark.parametrize("given", ["CC-BY-4.0", "MIT", "MIT OR Apache-2.0", "GPL-3.0-or-later", "LicenseRef-lab"])
def test_an_spdx_identifier_or_expression_is_known(given):
    assert license_problem(given) is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("cc-by-4.0", "CC-BY-4.0"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("CC0", "CC0-1.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("the MIT license", "MIT"),
        ("GPLv3", "GPL-3.0"),
        ("Creative Commons Attribution 4.0", "CC-BY-4.0"),
        ("Creative Commons Attribution Share Alike 4.0 International", "CC-BY-SA-4.0"),
        ("Creative Commons Attribution Non Commercial No Derivatives 3.0 Unported", "CC-BY-NC-ND-3.0"),
        ("Attribution-NonCommercial-ShareAlike 4.0 International", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Zero v1.0 Universal", "CC0-1.0"),
        ("CC0 1.0 Universal Public Domain Dedication", "CC0-1.0"),
        ("Open Data Commons Attribution License v1.0", "ODC-By-1.0"),
        ("Open Data Commons Open Database License v1.0", "ODbL-1.0"),
        ("Open Data Commons Public Domain Dedication & License 1.0", "PDDL-1.0"),
        ("Community Data License Agreement Permissive 2.0", "CDLA-Permissive-2.0"),
        ("GNU General Public License v3.0 or later", "GPL-3.0-or-later"),
        ("GNU Affero General Public License v3.0 only", "AGPL-3.0-only"),
        ("Mozilla Public License 2.0", "MPL-2.0"),
        ('BSD 3-Clause "New" or "Revised" License', "BSD-3-Clause"),
        ("Apache Software License 2.0", "Apache-2.0"),
    ],
)
def test_what_is_written_loosely_is_answered_with_the_identifier(given, meant):
    assert f"Write {meant}, or" in license_problem(given)


@pytest.mark.parametrize(
    ("given", "several"),
    [("BSD", "BSD-2-Clause, BSD-3-Clause"), ("CC BY-SA", "CC-BY-SA-4.0, CC-BY-SA-3.0, CC-BY-SA-2.0, CC-BY-SA-1.0")],
)
def test_what_leaves_out_which_one_is_answered_with_all_of_them(given, several):
    assert f"Write the one that is meant: {several}, or" in license_problem(given)


@pytest.mark.parametrize(
    ("address", "meant"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://creativecommons.org/licenses/by-sa/4.0/deed.en", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/licenses/by-nc-nd/3.0/igo/legalcode", "CC-BY-NC-ND-3.0-IGO"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)", "CC-BY-4.0"),
        ("https://opendatacommons.org/licenses/by/1-0/", "ODC-By-1.0"),
        ("https://opendatacommons.org/licenses/odbl/1-0/", "ODbL-1.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0.txt", "Apache-2.0"),
        ("https://opensource.org/license/mit", "MIT"),
        ("https://www.gnu.org/licenses/gpl-3.0.html", "GPL-3.0"),
    ],
)
def test_the_address_of_a_license_is_answered_with_the_identifier(address, meant):
    assert f"Write {meant}, or" in license_problem(address)


@pytest.mark.parametrize(
    "given",
    ["proprietary", "ask me", "%", "ü", "https://example.org/terms", "public domain", "x" * 1_000, "MIT AND", "-"],
)
def test_what_nothing_is_known_of_is_answered_with_the_list(given):
    problem = license_problem(given)
    assert "https://spdx.org/licenses/" in problem
    assert len(problem) < 250


@pytest.mark.parametrize("given", [None, ""])
def test_no_license_is_a_problem(given):
    assert license_problem(given).startswith("No license is given")


@pytest.mark.parametrize("ending", ["", ".html", ".json"])
def test_the_address_on_the_spdx_list_stands_for_the_identifier(ending):
    assert license_problem(f"https://spdx.org/licenses/GPL-3.0-only{ending}") is None
    assert license_id(f"https://spdx.org/licenses/GPL-3.0-only{ending}") == "GPL-3.0-only"
    assert license_id(f"https://spdx.org/licenses/No-Such-License{ending}") is None
