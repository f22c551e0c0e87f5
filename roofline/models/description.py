"""The description of a recommendation model: the schema of its file, and the planning of its blocks.

Makes the :class:`~roofline.models.recommender.Recommender` of ``recommender.py``; kept apart so that a program that
loads no such model never imports pydantic for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, model_validator

from roofline.base import tomlfile
from roofline.base.errors import BadDescriptor, BadModel, UnknownName, shown
from roofline.models.block import Count, Feature, Name, Strict, Width, as_list, flat
from roofline.models.blocks import BLOCKS, Block
from roofline.models.recommender import Recommender
from roofline.models.steps import Once, Pointwise, Step, merged
from roofline.models.tables import TableGroup
from roofline.work.sizes import MOST_REPEAT, MOST_SKEW

Rows = Annotated[int, Field(strict=True, gt=0, le=10**13)]
Pooling = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]

Share = Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)]
Pair = Annotated[list[Share], Field(min_length=2, max_length=2)]

#: More than any model has; a bound on what a few bytes of a hostile file can ask for.
MAX_TABLES = 100_000

#: Different shapes of layer, or of table: what is alike costs nothing to have more of, what differs is computed apart.
MAX_KINDS = 2000

#: Larger than any honest description; a file beyond it is refused unread.
MAX_FILE_BYTES = 1_000_000


class Tables(Strict):
    """A group of embedding tables of one width.

    `rows` and `pooling` are one number for all `count` tables, or a list with one for each. `pooling` is the rows
    that a sample looks up in a table and sums; with `sequence` instead, that many rows are looked up and kept apart.
    With `together` the rows of a bag are a fixed list behind one index, and come and go together.
    `shares` names a group whose tables these lookups read too: another feature, no other rows. `skew` is the Zipf
    exponent of the indices; `popularity` a measured distribution instead, as pairs of a share of the rows and the share
    of the lookups that these get; `repeat` the share of a batch's lookups that repeat those of the batch before. With
    ``once = true`` a request of `pairs_per_request` samples looks up once, for all.
    """

    name: Name = ""
    count: Count | None = None
    rows: Annotated[list[Rows], BeforeValidator(as_list), Field(min_length=1, max_length=100_000)] | None = None
    dim: Width | None = None
    pooling: Annotated[list[Pooling], BeforeValidator(as_list), Field(min_length=1, max_length=100_000)] | None = None
    sequence: Count | None = None
    shares: Name | None = None
    together: Annotated[bool, Field(strict=True)] = False
    skew: Annotated[float, Field(strict=True, ge=0, le=MOST_SKEW, allow_inf_nan=False)] = 0.0
    repeat: Annotated[float, Field(strict=True, ge=0, le=MOST_REPEAT, allow_inf_nan=False)] = 0.0
    popularity: Annotated[
        list[Annotated[list[Share], Field(min_length=2, max_length=2)]], Field(max_length=20, default_factory=list)
    ]
    once: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _check(self) -> Tables:
        own = [value is not None for value in (self.rows, self.dim)]
        if not all(own) if self.shares is None else any(own):
            raise ValueError("expected rows and dim, or shares with the name of the group that has them")
        if self.pooling is not None and self.sequence is not None:
            raise ValueError("expected pooling (rows are summed) or sequence (rows are kept apart), found both")
        for at, of in ((0, "rows"), (1, "lookups")):
            total = sum(pair[at] for pair in self.popularity)
            if self.popularity and abs(total - 1) > 1e-6:
                raise ValueError(f"popularity: expected shares of the {of} that sum to 1, found {total:g}")
        if self.popularity and self.skew:
            raise ValueError("expected skew or popularity, found both")
        lengths = {key: len(values) for key, values in (("rows", self.rows), ("pooling", self.pooling)) if values}
        many = {key: n for key, n in lengths.items() if n > 1}
        if self.count is not None:
            many["count"] = self.count
        if len(set(many.values())) > 1:
            raise ValueError(
                "expected one number, or one for each table; found "
                + ", ".join(f"{n} tables by {key}" for key, n in many.items())
            )
        return self


class Description(Strict):
    """A model file: what it is and where its figures come from, its inputs, and its blocks in order."""

    title: Annotated[str, Field(strict=True, min_length=1, max_length=200)]
    source: Annotated[str, Field(strict=True, min_length=1, max_length=2000)]
    note: Annotated[str, Field(strict=True, max_length=5000)] = ""
    aliases: Annotated[list[Annotated[str, Field(strict=True)]], Field(max_length=20, default_factory=list)]
    dense_features: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] = 0
    pairs_per_request: Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)] = 1
    tables: Annotated[list[Tables], Field(min_length=1, max_length=10_000)]
    block: Annotated[list[Block], Field(min_length=1, max_length=200)]


def load(path: str | os.PathLike[str]) -> Recommender:
    """Read a model from its TOML file; the file's name is the model's.

    Raises
    ------
    BadModel
        When the file is too large, is no TOML, or does not describe a model.
    """
    path = Path(path)
    try:
        raw = tomlfile.read(path, MAX_FILE_BYTES, MAX_FILE_BYTES)  # a list of rows may be one long line
    except BadDescriptor as error:
        raise BadModel(str(path), "; ".join(error.problems)) from None
    return read(raw, path.stem, str(path))


def read(raw: dict[str, Any], name: str, file: str = "") -> Recommender:
    """Check a description and plan its blocks.

    Parameters
    ----------
    raw : dict
        The description, as a TOML file holds it.
    name : str
        The model's name.
    file : str, optional
        Where it was read, for messages. Default: `name`.

    Raises
    ------
    BadModel
        Naming the key, what was found and what was expected.
    """
    file = file or name
    if not isinstance(raw, dict):
        raise BadModel(file, f"expected a table of keys, found {type(raw).__name__}")
    try:
        described = Description.model_validate(raw)
    except ValidationError as error:
        problems = [_explain(e) for e in error.errors()[:20]]
        raise BadModel(file, "; ".join(problems)) from None
    try:
        groups = _groups(described.tables, described.pairs_per_request)
        last, steps = _plan(described, groups)
        steps = merged(steps)
        if len(steps) > MAX_KINDS:
            raise _Misfit(f"block: expected at most {MAX_KINDS:,} layers that differ in shape, found more")
        if len({(group.dim, group.sequence) for group in groups}) > MAX_KINDS:
            raise _Misfit(f"tables: expected at most {MAX_KINDS:,} groups of different width, found more")
    except _Misfit as error:
        raise BadModel(file, str(error)) from None
    return Recommender(
        name=name,
        title=described.title,
        source=described.source,
        note=described.note,
        aliases=tuple(described.aliases),
        dense_features=described.dense_features,
        pairs_per_request=described.pairs_per_request,
        tables=groups,
        blocks=tuple((b.label, b.type) for b in described.block),
        steps=tuple(steps),
        outputs=last.width,
    )


class _Misfit(Exception):
    """What is wrong with how the parts of a description go together."""


def _unknown(where: str, name: str, known: Sequence[str]) -> _Misfit:
    return _Misfit(f"{where}: {UnknownName('feature', name, known)}")


def _groups(described: Sequence[Tables], samples: float) -> tuple[TableGroup, ...]:
    """The table groups, each with one number a table."""
    groups: list[TableGroup] = []
    for i, tables in enumerate(described):
        where = f"tables[{i}]"
        name = tables.name or ("embedding" if len(described) == 1 else f"tables_{i}")
        if any(g.name == name for g in groups) or name == "dense" or (name == "embedding" and len(described) > 1):
            raise _Misfit(f"{where}.name: expected a name that nothing else has, found {name!r}")
        if tables.shares is None:
            rows, dim = tables.rows or [], tables.dim or 0  # the schema has seen to it that both are there
        else:
            owner = next((g for g in groups if g.name == tables.shares), None)
            if owner is None:
                raise _unknown(f"{where}.shares", tables.shares, [g.name for g in groups])
            rows, dim = list(owner.rows), owner.dim
        pooling = tables.pooling or [1]
        n = max(tables.count or 1, len(rows), len(pooling))
        if n + sum(g.tables for g in groups) > MAX_TABLES:
            raise _Misfit(f"{where}: expected at most {MAX_TABLES} tables in all, found more")
        rows = rows * n if len(rows) == 1 else rows
        pooling = pooling * n if len(pooling) == 1 else pooling
        if not len(rows) == len(pooling) == n:
            raise _Misfit(f"{where}: expected one number, or one for each of {n} tables")
        own = tables.shares is None
        popularity = tuple((of_rows, of_lookups) for of_rows, of_lookups in tables.popularity)
        groups.append(
            TableGroup(
                name,
                tuple(rows),
                dim,
                tuple(pooling),
                tables.sequence or 0,
                own,
                tables.together,
                tables.skew,
                popularity,
                samples if tables.once else 1.0,
                tables.repeat,
            )
        )
    return tuple(groups)


def _takes(block: Any, where: str, features: dict[str, Feature], last: Feature | None) -> list[str]:
    """The features that a block takes, by name; without any it is what the block before it hands on."""
    takes = list(block.takes)
    if not block.input:
        if last is None:
            raise _Misfit(f"{where}.input: expected one of {sorted(features)}, since no block comes before it")
        takes.insert(0, last.name)
    for name in takes:
        if name == "dense" and name not in features:
            raise _Misfit(f"{where}.input: takes the dense features, expected dense_features above zero, found none")
        if name not in features:
            raise _unknown(f"{where}.input", name, [*features])
    return takes


def _copied(block: Any, once: Sequence[Feature], samples: float) -> list[Step]:
    """What a request has once, copied to each of its samples for a block that runs on each."""
    return [
        Pointwise(f"{block.label}.broadcast.{feature.name}", "copy", feature.width, reads=1 / samples)
        for feature in once
    ]


def _plan(described: Description, groups: Sequence[TableGroup]) -> tuple[Feature, list[Step]]:
    """Run the blocks over the features: the last one's output, and all steps in order."""
    features = {g.name: Feature(g.name, ((g.vectors, g.dim),)) for g in groups}
    features["embedding"] = Feature("embedding", tuple((g.vectors, g.dim) for g in groups))
    if described.dense_features:
        features["dense"] = flat("dense", described.dense_features)
    used: set[str] = set()
    samples = described.pairs_per_request
    shared = {g.name for g in groups if g.samples != 1}  # features that a request has once
    if groups and all(g.name in shared for g in groups):
        shared.add("embedding")
    steps: list[Step] = []
    last: Feature | None = None
    for i, block in enumerate(described.block):
        where = f"block[{i}] ({block.label})"
        takes = _takes(block, where, features, last)
        used.update(takes)
        if block.label in features:
            raise _Misfit(f"{where}.name: expected a name that nothing else has, found {block.label!r}")
        try:
            last, more = block.plan([features[name] for name in takes])
        except ValueError as error:
            raise _Misfit(f"{where}: {error}") from None
        features[block.label] = last
        if block.once:
            mixed = [name for name in takes if name not in shared and name != "dense"]
            if mixed:
                raise _Misfit(f"{where}.once: takes {mixed[0]!r}, which differs from sample to sample")
            shared.add(block.label)
            more = [Once(step, samples) for step in more]
        else:
            steps += _copied(block, [features[name] for name in takes if name in shared], samples)
        steps.extend(more)
    assert last is not None  # the schema asks for at least one block
    idle = {*features} - used - {last.name}
    idle -= {g.name for g in groups} if "embedding" in used else {"embedding"}
    if idle:
        raise _Misfit(f"nothing takes the output of {sorted(idle)}: name it as an input, or leave it out")
    return last, steps


def _explain(error: Any) -> str:
    """One problem that pydantic found, in the words of the file: key, expected, found."""
    loc, what = list(error["loc"]), "model"
    owner: type[BaseModel] = Description
    if loc[0] == "tables" and len(loc) > 1:
        owner, what = Tables, "table group"
    elif loc[0] == "block" and len(loc) > 2:
        what = f"{loc[2]} block"
        owner = BLOCKS[loc.pop(2)]  # the branch of the union, no key of the file
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")
    kind, context, found = error["type"], error.get("ctx", {}), shown(error["input"])
    found = found if len(found) <= 60 else found[:57] + "..."
    if kind == "extra_forbidden":
        return f"{where}: {UnknownName(f'key of a {what}', str(loc[-1]), owner.model_fields)}"
    if kind == "missing":
        return f"{where}: expected in every {what}, found nothing"
    if kind == "union_tag_invalid":
        return f"{where}.type: {UnknownName('block type', str(context['tag']), BLOCKS)}"
    if kind == "union_tag_not_found":
        return f"{where}.type: expected one of {', '.join(BLOCKS)}, found nothing"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    expected = {
        "greater_than": "a number above {gt:g}",
        "greater_than_equal": "a number of at least {ge:g}",
        "less_than_equal": "a number of at most {le:g}",
        "int_type": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "string_type": "a text",
        "bool_type": "true or false",
        "list_type": "a list",
        "model_type": "a table of keys",
        "model_attributes_type": "a table of keys",
        "dict_type": "a table of keys",
        "literal_error": "{expected}",
        "string_too_short": "a text",
        "string_pattern_mismatch": "a name of letters, digits, '_' and '-'",
        "too_short": "at least {min_length} of them",
        "too_long": "at most {max_length} of them",
    }.get(kind)
    return f"{where}: expected {expected.format(**context)}, found {found}" if expected else f"{where}: {error['msg']}"
