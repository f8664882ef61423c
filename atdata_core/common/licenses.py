"""Licenses of datasets: identifiers of the SPDX list (https://spdx.org/licenses/), and expressions of them."""

from __future__ import annotations

import re

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from ..errors import LicenseError

_ENDINGS = (".0", "-4.0", "-3.0", "-2.0", "-1.0", "-2-Clause", "-3-Clause")
"""What people leave out at the end of an identifier."""

_ADDRESSES = (
    (r"creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)(?:/([a-z]{2,3})\b)?", r"CC \1 \2 \3"),
    (r"creativecommons\.org/publicdomain/zero/(\d\.\d)", r"CC0 \1"),
    (r"creativecommons\.org/publicdomain/mark/(\d\.\d)", r"CC PDM \1"),
    (r"opendatacommons\.org/licenses/by\b", "ODC-By"),
    (r"opendatacommons\.org/licenses/(odbl|pddl)\b", r"\1"),
    (r"apache\.org/licenses/license-(\d\.\d)", r"Apache \1"),
    (
        r"(?:spdx|opensource|gnu)\.org/licenses?/(?:old-licenses/)?([\w.+-]+?)(?:\.(?:html|json|txt))?(?:[/#?]|$)",
        r"\1",
    ),
)
"""Where licenses stand, and the words of their identifiers."""

_LONG = (
    (r"creative commons zero", "CC0"),
    (r"creative commons|^(?=attribution)", "CC "),
    (r"open data commons attribution", "ODC-By"),
    (r"(open data commons )?open database", "ODbL"),
    (r"(open data commons )?public domain dedication (&|and)", "PDDL"),
    (r"community data license agreement", "CDLA"),
    (r"attribution", "BY"),
    (r"non[ -]?commercial", "NC"),
    (r"share[ -]?alike", "SA"),
    (r"no[ -]?deriv(ative)?s?( works)?", "ND"),
    (r"\bgnu\b", " "),
    (r"affero general public", "AGPL"),
    (r"lesser general public", "LGPL"),
    (r"general public", "GPL"),
    (r"free documentation", "GFDL"),
    (r"mozilla public", "MPL"),
    (r"\bany later", "later"),
    (r"\b(international|unported|generic|universal|public domain dedication|software|foundation)\b", " "),
    (r'"[^"]*"( or "[^"]*")?', " "),
)
"""Words of full names, and what an identifier has in their place; in this order."""

_SPDX = re.compile(r"https?://spdx\.org/licenses/([\w.+-]+?)(?:\.html|\.json)?")
"""The address of a license on the SPDX list, which stands for its identifier."""

_SHOWN = 60
"""Characters of a license that an error repeats."""


def license_id(given: str | None) -> str | None:
    """The identifier or expression that a license is known by to SPDX; None where it is known by none.

    Args:
        given: An identifier, an expression, or the address of a license on the SPDX list.
    """
    found = _SPDX.fullmatch(given or "")
    named = found[1] if found else given
    return named if named and _canonical(named) == named else None


def license_address(given: str | None) -> str | None:
    """Where a license stands on the SPDX list; None for an expression of several, or a license of one's own."""
    ident = license_id(given)
    if ident is None or " " in ident or "LicenseRef-" in ident:
        return None
    return f"https://spdx.org/licenses/{ident.removesuffix('+')}"


def license_problem(given: str | None) -> str | None:
    """What is wrong with a license, and what may be meant, in words for people; None where nothing is.

    Args:
        given: As it is published; the address of a license on the SPDX list stands for its identifier. A license
            of one's own is called ``LicenseRef-...``.
    """
    if not given:
        return "No license is given, so nobody knows what they may do with the data. Give one, such as CC-BY-4.0."
    if license_id(given) is not None:
        return None
    canonical = _canonical(given)
    meant = [canonical] if canonical else _meant(given)
    advice = "Look it up at https://spdx.org/licenses/"
    if meant:
        advice = f"Write {meant[0]}" if len(meant) == 1 else f"Write the one that is meant: {', '.join(meant)}"
    return (
        f"{given[:_SHOWN]!r} is no SPDX license identifier. {advice}, or LicenseRef-... for a license of your own."
    )


def refuse_unknown(given: str | None) -> None:
    """Raises ``LicenseError`` where there is a problem."""
    problem = license_problem(given)
    if problem is not None:
        raise LicenseError(problem, license=given)


def _canonical(given: str) -> str | None:
    try:
        return str(canonicalize_license_expression(given))
    except InvalidLicenseExpression:
        return None


def _meant(given: str) -> list[str]:
    """The identifiers that a loose way of writing may stand for; several where it leaves out which one."""
    words = given
    for address, short in _ADDRESSES:
        if place := re.search(address, given, re.IGNORECASE):
            words = place.expand(short)
            break
    for long, short in _LONG:
        words = re.sub(long, short, words, flags=re.IGNORECASE)
    words = re.sub(r"\b(the|licen[cs]e|version)\b|v(?=\d)", " ", words, flags=re.IGNORECASE)
    joined = "-".join(re.findall(r"[A-Za-z0-9.+]+", words))
    if not joined:
        return []
    known = _canonical(joined)
    if known:
        return [known]
    return [known for ending in _ENDINGS if (known := _canonical(joined + ending))]
