"""What can be asked of a promotion: the one list of its options, with their names, defaults and help texts.

The library's keywords, the command line, the launch dialogs and the component's attributes are made of it.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack, cast, get_type_hints

from ..common.citation import CANONICAL, creator_text
from ..errors import MetadataError

P = ParamSpec("P")
R = TypeVar("R")
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


class Requirements(TypedDict, total=False):
    """Keywords of what can be required of one dataset or of many."""

    require_public: bool
    require_license: bool
    require_compatible: bool


class PromotionKeywords(Requirements, total=False):
    """Keywords of one promotion; ``PromotionOptions`` has their defaults and says what they mean."""

    name: str | None
    description: str | None
    tags: Sequence[str] | None
    license: str | None
    creators: Sequence[str] | None
    doi: str | None
    citation: str | None
    homepage: str | None
    keywords: Sequence[str] | None
    language: Sequence[str] | None
    keep_urls: bool | None
    version: str | None
    take_over: bool
    restore: bool
    allow_private: bool


def _option(default: Any, help: str, *, command: str | None = None, instance: str | None = None) -> Any:
    """An option with its help texts.

    Args:
        default: Where it is not given.
        help: For launch dialogs and the library.
        command: For the command line; None: it has no such option.
        instance: For the attribute of the component that gives it for all of its datasets; None: there is none.
    """
    return field(default=default, metadata={"help": help, "command": command, "instance": instance})


@dataclass(frozen=True, slots=True)
class Values:
    """Values of a publication. None: not given; ``""`` and ``()``: clear it."""

    description: str | None = _option(
        None,
        'Null: the last one given, else that of the entry\'s metadata. "" clears it.',
        command='What it is; "" clears what was said before.',
    )
    tags: tuple[str, ...] | None = _option(
        None,
        "Null: the last ones given, else those of the entry's metadata. [] clears them.",
        command='A tag; may be repeated. A single "" clears all.',
        instance="Where neither a person nor the metadata give any.",
    )
    license: str | None = _option(
        None,
        "An SPDX identifier such as CC-BY-4.0. Null: the last one given, else that of the entry's metadata. "
        '"" clears it.',
        command='An SPDX identifier such as CC-BY-4.0; "" clears it.',
        instance="Where neither a person nor the metadata give one, such as CC-BY-4.0.",
    )
    creators: tuple[str, ...] | None = _option(
        None,
        "Who made it, in the order of a citation: 'Name', 'Name <ORCID>' or 'Name <DID>'. Null: the last ones "
        "given, else those of the entry's metadata. [] clears them.",
        command="Who made it: 'Name', 'Name <ORCID>' or 'Name <DID>'; may be repeated. A single \"\" clears all.",
        instance="Where neither a person nor the metadata give any: 'Name <ORCID or DID>'.",
    )
    doi: str | None = _option(
        None,
        'Such as 10.5281/zenodo.1234567. Null: the last one given, else that of the metadata. "" clears it.',
        command='Its DOI, such as 10.5281/zenodo.1234567; "" clears it.',
        instance="Where neither a person nor the metadata give one.",
    )
    citation: str | None = _option(
        None,
        'How it wants to be cited. Null: the last one given, else that of the entry\'s metadata. "" clears it.',
        command='How it wants to be cited; "" clears it.',
        instance="Where neither a person nor the metadata give one.",
    )
    homepage: str | None = _option(
        None,
        'Address of its own page. Null: the last one given, else that of the entry\'s metadata. "" clears it.',
        command='Address of its own page; "" clears it.',
        instance="Where neither a person nor the metadata give one.",
    )
    keywords: tuple[str, ...] | None = _option(
        None,
        "They join the tags, as far as there is room. Null: the last ones given, else those of the metadata. [] "
        "clears them.",
        command='A keyword, which joins the tags; may be repeated. A single "" clears all.',
        instance="Where neither a person nor the metadata give any.",
    )
    language: tuple[str, ...] | None = _option(
        None,
        "Tags of BCP 47 such as en or de-CH. Null: the last ones given, else those of the metadata. [] clears "
        "them.",
        command='A language of its contents, such as en or de-CH; may be repeated. A single "" clears all.',
        instance="Where neither a person nor the metadata give any, such as en.",
    )
    keep_urls: bool | None = _option(
        None,
        "True: publish the index's own URLs, also where a destination is configured or copies are published. "
        "False: end that. Null: as it was last said.",
        command="Publish the index's own URLs, whatever bucket is configured now or later; --no-keep-urls ends "
        "that.",
    )

    @classmethod
    def of(
        cls,
        description: str | None = None,
        tags: Sequence[str] | None = None,
        license: str | None = None,
        keep_urls: bool | None = None,
        **content: str | Sequence[str] | None,
    ) -> Values:
        """Values from arguments as people give them; a single one of several may come as a plain string."""
        given = {"tags": tags, **content}
        for name in _LISTS & given.keys():
            value = given[name]
            listed = [value] if isinstance(value, str) else value
            given[name] = None if listed is None else tuple(each for each in listed if each)
        return cls(**cast("Any", {"description": description, "license": license, "keep_urls": keep_urls, **given}))

    @property
    def of_record(self) -> dict[str, Any]:
        """Those that an entry record has, as arguments of its builder; raises ``MetadataError``."""
        # NumPy is loaded with it, which the options themselves do without.
        from ..atmosphere.record_format.content_metadata import ContentMetadata

        return {
            "description": self.description,
            "tags": self.all_tags,
            "license": self.license,
            "content": ContentMetadata.of_values({name: getattr(self, name) for name in CONTENT_FIELDS}),
        }

    @property
    def all_tags(self) -> tuple[str, ...]:
        """Tags, and the keywords that there is room for: an AppView searches these alone."""
        joined = list(self.tags or ())
        for keyword in self.keywords or ():
            if keyword not in joined and len(joined) < MOST_TAGS and len(keyword.encode()) <= LONGEST_TAG:
                joined.append(keyword)
        return tuple(joined)

    def to_json(self) -> dict[str, Any]:
        """What is given, as a JSON object; what is not given is left out."""
        given = {name: value for name in FIELDS if (value := getattr(self, name)) is not None}
        return {name: list(value) if name in _LISTS else value for name, value in given.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Values:
        """The inverse of ``to_json``; also reads an entry record. What is of another type is left out."""
        keep_urls, content = data.get("keep_urls"), data.get("contentMetadata")
        if isinstance(content, Mapping):
            data = {**data, **{key: cast("Any", content).get(key) for key in CONTENT_FIELDS}}
        return replace(from_metadata(data), keep_urls=keep_urls if isinstance(keep_urls, bool) else None)

    def over(self, earlier: Values) -> Values:
        """These values where they are given, the earlier ones elsewhere."""
        mine = {name: value for name in FIELDS if (value := getattr(self, name)) is not None}
        return replace(earlier, **mine)


FIELDS = tuple(each.name for each in fields(Values))
"""The names of the values."""
RECORD_FIELDS = tuple(name for name in FIELDS if name != "keep_urls")
"""Those that an entry record has, and that an entry's metadata may give."""
CONTENT_FIELDS = tuple(name for name in RECORD_FIELDS if name in CANONICAL)
"""Those that stand in the record's ``contentMetadata``."""
_LISTS = {"tags", "creators", "keywords", "language"}
"""Those that are lists of strings; the others are strings."""
MOST_TAGS, LONGEST_TAG = 30, 150
"""Tags of a record, and bytes of one: what the lexicon allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionOptions:
    """What a person, a sensor or a schedule asks of one promotion.

    Beside the options it has ``run``, which names the run: one that is tried again keeps its place in the order in
    which values are given; and ``defaults``, for where neither anybody nor the entry's metadata give a value.
    """

    name: str | None = _option(
        None,
        "Name to publish under; empty (null): the dataset's own name.",
        command="Publish under another name; for a single dataset.",
    )
    values: Values = Values()
    version: str | None = _option(
        None,
        "Makes a second label of this version, which stays with this entry. Null: none.",
        command="Make a second label of this version that stays with this entry.",
    )
    take_over: bool = _option(
        False,
        "Write over a record or label that was edited elsewhere since it was published.",
        command="Write over a record or label that was edited elsewhere.",
    )
    restore: bool = _option(
        True,
        "Write again what was deleted on the network or retracted. Sensor, schedule and automation conditions "
        "don't: such a dataset is left to a person.",
    )
    require_public: bool = _option(
        False,
        "Refuse shards that cannot be read anonymously; else that is a warning, unless the pipeline is configured "
        "to refuse them always.",
        command="Refuse shards that cannot be read anonymously.",
        instance="Refuse shards that cannot be read anonymously, always.",
    )
    require_license: bool = _option(
        False,
        "Refuse to publish without a license that SPDX knows; else that is a warning.",
        command="Refuse to publish without a license that SPDX knows.",
        instance="Refuse datasets without a license that SPDX knows, always.",
    )
    require_compatible: bool = _option(
        False,
        "Refuse a schema that breaks with the version before it, unless its own version says so; else that is a "
        "warning.",
        command="Refuse a schema that breaks with the version before it, unless its own version says so.",
        instance="Refuse schemas that break with the version before without a new major version, always.",
    )
    allow_private: bool = _option(
        False,
        "Publish shards that cannot be read anonymously in the place of some that can; else refused.",
        command="Publish shards that cannot be read anonymously in the place of some that can; else that is "
        "refused.",
    )
    run: str | None = None
    defaults: Values = Values()

    @classmethod
    def of(
        cls,
        *,
        run: str | None = None,
        defaults: Values = Values(),
        **given: Unpack[PromotionKeywords],
    ) -> PromotionOptions:
        """Options from keywords as people give them; raises ``TypeError`` for one that is none."""
        others: dict[str, Any] = {**given}
        values = Values.of(**{name: others.pop(name, None) for name in FIELDS})
        return cls(values=values, run=run, defaults=defaults, **others)

    @classmethod
    def of_instance(cls, **given: Unpack[PromotionKeywords]) -> PromotionOptions:
        """What holds for all datasets of a pipeline: the values given are its defaults."""
        options = cls.of(**given)
        return replace(options, values=Values(), defaults=options.values)


@dataclass(frozen=True, slots=True)
class Option:
    """One option as it is given: name, type and default, and the help texts as ``_option`` has them."""

    name: str
    type: Any
    default: Any
    help: str
    command: str | None
    instance: str | None


def _options() -> Iterator[Option]:
    types = get_type_hints(PromotionKeywords)
    for each in fields(PromotionOptions):
        for one in fields(Values) if each.name == "values" else [each]:
            if one.metadata:
                yield Option(one.name, types[one.name], one.default, **one.metadata)


OPTIONS = {each.name: each for each in _options()}
"""All options by name, in the order in which people see them."""
REQUIREMENTS = tuple(name for name in OPTIONS if name in Requirements.__annotations__)
"""What a pipeline can require of all that it promotes, and a person of one promotion."""
OF_INSTANCE = tuple(name for name, each in OPTIONS.items() if each.instance)
"""What a pipeline can be configured with: defaults of values, and requirements."""


_OTHER_NAMES = {"local_entry": "entry", "local_index": "index", "atmosphere_client": "client"}
"""What the package ``atdata`` calls the arguments of a promotion."""


def takes_options(options: type[Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """For a function with ``**keywords``: it takes these and no others, and ``help`` shows each of them."""
    taken = [each for each in OPTIONS.values() if each.name in get_type_hints(options)]
    texts = "\n".join(_described(each) for each in taken)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        *own, _ = signature.parameters.values()
        for each in taken:
            own.append(inspect.Parameter(each.name, _KEYWORD, default=each.default, annotation=each.type))
        known = {each.name for each in own}

        @wraps(function)
        def checked(*arguments: P.args, **keywords: P.kwargs) -> R:
            named: dict[str, Any] = {}
            for name, value in keywords.items():
                own_name = _OTHER_NAMES.get(name, name)
                if own_name not in known or own_name in named:
                    raise TypeError(f"{function.__name__}() got an unexpected keyword argument {name!r}")
                named[own_name] = value
            return cast("Callable[..., R]", function)(*arguments, **named)

        setattr(checked, "__signature__", signature.replace(parameters=own))  # noqa: B010 - no type has it
        checked.__doc__ = f"{inspect.getdoc(function)}\n\nOptions:\n{texts}\n"
        return checked

    return decorate


def _described(option: Option) -> str:
    text = f"{option.name}: {option.help.replace('Null', 'None')}"
    return textwrap.fill(text, width=112, initial_indent="    ", subsequent_indent="        ")


def from_metadata(metadata: Mapping[Any, Any] | None) -> Values:
    """The values that an entry's own metadata gives, where they have the right type."""
    read = {name: _read(name, (metadata or {}).get(name)) for name in RECORD_FIELDS}
    return Values(**read)


def _read(name: str, value: Any) -> Any:
    if name not in _LISTS:
        return _canonical(name, value) if isinstance(value, str) else None
    if name in CONTENT_FIELDS and isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return None
    texts = [creator_text(each) if name == "creators" else each for each in cast("list[Any]", value)]
    known = [_canonical(name, each) for each in texts if isinstance(each, str)]
    return tuple(known) if len(known) == len(texts) else None


def _canonical(name: str, text: str) -> str:
    """In the form in which a record has it; what has none is refused once the record is built."""
    with suppress(MetadataError):
        return CANONICAL[name](text) if name in CANONICAL and text else text
    return text


def explicit_values(published: Values, given: Values) -> Values:
    """What a person must have given for ``published`` to stand in a record whose entry gives ``given``."""

    def explicit(name: str) -> Any:
        there, otherwise = (getattr(each, name) or None for each in (published, given))
        if name == "tags":
            # In a record the keywords are among them.
            otherwise = replace(given, keywords=published.keywords).all_tags or None
        return None if there == otherwise else there or (() if name in _LISTS else "")

    return Values(**{name: explicit(name) for name in RECORD_FIELDS})
