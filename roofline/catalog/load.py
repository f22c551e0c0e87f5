"""Find and load chips and models: built in, the user's own, and those of installed plug-ins.

Places, the first that knows a name wins:

1. a path to a file (or, for a model, to the folder that holds a Hugging Face ``config.json``);
2. the folders on ``ROOFLINE_CHIPS`` / ``ROOFLINE_MODELS`` (separated like ``PATH``);
3. ``chips`` / ``models`` in the platform's user data folder;
4. plug-in packages: entry points of the groups ``roofline.chips`` / ``roofline.models``, each naming a package or
   module whose folder holds such files;
5. the built-in ones.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base import tomlfile
from roofline.base.errors import BadDescriptor, BadModel, BadWorkload, UnknownName, closest, shown
from roofline.catalog.places import HERE, MODEL_ENDINGS, Stamp, existing, files_of, missing_folders, stamp_of
from roofline.hardware.chip import SPREADS, Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender
from roofline.work import op

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.descriptor import Number

Model = LanguageModel | Recommender


# Chips ----------------------------------------------------------------------------------------------------------


def load_chip(name: str | os.PathLike[str]) -> Chip:
    """Load a chip by name, alias, or path to a descriptor file.

    Parameters
    ----------
    name : str or path
        ``"h100-sxm"``, an alias such as ``"h100"``, or ``"my/chip.toml"``.

    Raises
    ------
    UnknownName
        With the closest names.
    BadDescriptor
        When the file is not a valid descriptor: every problem, each with its key.
    """
    text = os.fspath(name)
    if text.lower().endswith(".toml") or os.sep in text:
        return read_chip(existing(text, "descriptor file", "*.toml"))
    files = files_of("chips")
    key = text.strip().lower()
    if key not in files:
        aliases = _chip_aliases(tuple((k, str(p), stamp_of(p)) for k, (_, p) in files.items()))
        key = aliases.get(_squash(text), ("", ""))[0]
        if not key:
            known = [*files, *(alias for _, alias in aliases.values())]
            raise UnknownName("chip", text, known, f"(roofline chips lists them){missing_folders('chips')}")
    return _cached_chip(files[key][1])


_loaded: dict[Path, tuple[Chip, dict[Path, Stamp]]] = {}


def _cached_chip(path: Path) -> Chip:
    """The chip of a file, read again when it or one that it extends has changed."""
    known = _loaded.get(path)
    if known is None or any(stamp_of(file) != stamp for file, stamp in known[1].items()):
        files: dict[Path, Stamp] = {}
        known = _loaded[path] = (_read_chip(path, files), files)
    return known[0]


@functools.lru_cache(maxsize=256)
def _parsed(path: Path, stamp: Stamp) -> dict[str, Any]:
    """A parsed file, which several others may extend: not to be changed."""
    return tomlfile.read(path)


@functools.lru_cache(maxsize=4)
def _chip_aliases(files: tuple[tuple[str, str, Stamp], ...]) -> dict[str, tuple[str, str]]:
    """Every spelling of every chip -> its file stem, and the spelling as it is written."""
    spellings: dict[str, tuple[str, str]] = {}
    for stem, path, stamp in files:
        try:
            raw = _parsed(Path(path), stamp)
        except BadDescriptor:
            continue  # a broken file of the user's must not hide the other chips; loading it by name says why
        aliases, title, vendor = raw.get("aliases", []), raw.get("title", ""), raw.get("vendor", "")
        named = [stem, raw.get("name", ""), *(aliases if isinstance(aliases, list) else [])]
        if isinstance(title, str) and isinstance(vendor, str):
            named += [title, title.removeprefix(vendor)]
        for spelling in named:
            if isinstance(spelling, str) and _squash(spelling):
                spellings.setdefault(_squash(spelling), (stem, spelling.strip()))
    return spellings


def _squash(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())


def read_chip(path: Path) -> Chip:
    """Read one descriptor file, following ``extends``.

    Raises
    ------
    BadDescriptor
        For anything wrong with it or with what it extends.
    """
    return _read_chip(path, {})


def _read_chip(path: Path, files: dict[Path, Stamp]) -> Chip:
    """Read one descriptor; `files` is told every file that went into it."""
    from roofline.hardware import descriptor

    raw, inherited = _merged(path, (), files)
    numbers = descriptor.validate(raw, str(path))
    own = {p: _mark(n, inherited.get(p, "")) for p, n in numbers.items()}
    defaults = _family(raw["family"])
    problems = _unknown_parameters(own, defaults)
    if problems:
        raise BadDescriptor(str(path), problems)
    levels = tuple(raw["memory"])
    flags: dict[str, Any] = {"levels": levels, "core": raw["cores"]["name"]}
    for level in levels:
        flags[f"memory.{level}.type"] = raw["memory"][level]["type"]
        flags[f"memory.{level}.per"] = raw["memory"][level].get("per", "chip")
    for link, table in raw.get("links", {}).items():
        for key in ("topology", "switch_reduction", "name"):
            if key in table:
                flags[f"links.{link}.{key}"] = table[key]
    if "process" in raw:
        flags |= {"process": raw["process"]["value"]}
        flags |= {f"process.{key}": raw["process"][key] for key in ("source", "kind", "note") if key in raw["process"]}
        flags["process.source"] = raw.get("sources", {}).get(flags["process.source"], flags["process.source"])
    return Chip(
        name=raw["name"], title=raw.get("title") or raw["name"], vendor=raw["vendor"], family=raw["family"],
        status=raw["status"], year=raw["year"], numbers=own, defaults=defaults, flags=flags,
        aliases=tuple(raw.get("aliases", ())), note=raw.get("note", ""), calibration=raw.get("calibration", {}),
    )  # fmt: skip


def _unknown_parameters(own: dict[str, Number], defaults: dict[str, Number]) -> list[str]:
    """Efficiency figures that no operator or kernel would ever ask for."""
    paths = [p.split(".") for p in defaults if p.startswith("efficiency.")]
    operators = {p[1] for p in paths} | {n for n, f in vars(op).items() if callable(f) and n.islower() and n[0] != "_"}
    parameters = {p[-1] for p in paths} | {"launch_s", "spread", *SPREADS}
    problems = []
    for path in own:
        parts = path.split(".")
        parts = parts[2:] if parts[0] == "stack" else parts
        if parts[0] == "efficiency":
            for name, known, what in ((parts[1], operators, "operator"), (parts[-1], parameters, "parameter")):
                if name not in known:
                    near = closest(name, known, 1)
                    hint = f"; did you mean {near[0]!r}?" if near else ""
                    problems.append(f"{path}: unknown {what} {name!r}{hint}")
    return problems


@functools.cache
def _family(family: str) -> dict[str, Number]:
    """The figures that every chip of a family inherits."""
    from roofline.hardware import descriptor

    path = HERE / "chips" / "families" / f"{family}.toml"
    numbers = descriptor.validate(tomlfile.read(path), str(path), descriptor.FamilyDefaults)
    return {p: _mark(n, f"family {family}") for p, n in numbers.items()}


def _mark(number: Number, origin: str) -> Number:
    import dataclasses

    return dataclasses.replace(number, inherited=origin) if origin else number


_NOT_INHERITED = ("name", "title", "aliases", "extends", "without", "note", "status")


def _merged(path: Path, seen: tuple[str, ...], files: dict[Path, Stamp]) -> tuple[dict[str, Any], dict[str, str]]:
    """The raw descriptor with its parents merged in, and which figures came from which parent."""
    files[path] = stamp_of(path)
    raw = _parsed(path, files[path])
    parent, without = raw.get("extends", ""), raw.get("without", [])
    if not isinstance(without, list) or not all(isinstance(key, str) for key in without):
        raise BadDescriptor(str(path), [f"without: expected a list of keys in quotes, found {shown(without)}"])
    if not parent:
        if without:
            raise BadDescriptor(str(path), ["without: only a chip that extends another can leave something out"])
        return raw, {}
    if not isinstance(parent, str) or os.sep in parent:
        raise BadDescriptor(str(path), [f"extends: expected the name of a chip, found {shown(parent)}"])
    if len(seen) > 8 or parent in seen:
        raise BadDescriptor(str(path), [f"extends: goes round in a circle: {' -> '.join((*seen, parent))}"])
    if parent == path.stem:
        raise BadDescriptor(str(path), [f"extends: the chip {parent!r} extends itself"])
    source = path.parent / f"{parent}.toml"
    if source == path or not source.is_file():
        known = files_of("chips")
        if parent.lower() not in known:
            problem = UnknownName("chip", parent, [*known, *(p.stem for p in path.parent.glob("*.toml"))])
            raise BadDescriptor(str(path), [f"extends: {problem}"])
        source = known[parent.lower()][1]
    if source.resolve() == path.resolve():
        raise BadDescriptor(str(path), [f"extends: the chip {parent!r} extends itself"])
    base, inherited = _merged(source, (*seen, parent), files)
    base_raw = {k: v for k, v in base.items() if k not in _NOT_INHERITED}
    for dropped in without:
        if dropped not in _tables_and_figures(base_raw):
            problem = UnknownName("inherited key", dropped, _tables_and_figures(base_raw))
            raise BadDescriptor(str(path), [f"without: {problem}"])
        base_raw = _drop(base_raw, dropped)
    merged = _merge(base_raw, raw)
    if "status" not in merged:
        merged["status"] = base.get("status")
    origin = {p: inherited.get(p, parent) for p in _figure_paths(base_raw)}
    mine = set(_figure_paths(raw))
    return merged, {p: o for p, o in origin.items() if p not in mine}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`over` laid upon `base`; a figure (a table with a value) is replaced whole."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and "value" not in value and "value" not in old:
            out[key] = _merge(old, value)
        else:
            out[key] = value
    return out


def _drop(raw: dict[str, Any], dropped: str) -> dict[str, Any]:
    """The raw descriptor without one table or figure."""
    key, _, rest = dropped.partition(".")
    if not rest:
        return {k: v for k, v in raw.items() if k != key}
    return {**raw, key: _drop(raw[key], rest)}


def _tables_and_figures(raw: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """The paths of everything that a chip can be without."""
    for key, value in raw.items():
        if isinstance(value, dict):
            yield prefix + key
            if "value" not in value:
                yield from _tables_and_figures(value, f"{prefix}{key}.")


def _figure_paths(raw: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in raw.items():
        if isinstance(value, dict):
            if "value" in value:
                yield prefix + key
            else:
                yield from _figure_paths(value, f"{prefix}{key}.")


def chip_records() -> list[dict[str, Any]]:
    """All chips that can be loaded by name, as plain records; see :func:`list_chips`."""
    rows: list[dict[str, Any]] = []
    for stem, (origin, path) in sorted(files_of("chips").items()):
        try:
            chip = _cached_chip(path)
        except BadDescriptor as error:
            rows.append({"name": stem, "error": str(error), "origin": origin})
            continue
        eight = [chip.peak(d) for d in ("fp8", "int8") if d in chip.dtypes]
        sixteen = [chip.peak(d) for d in ("bf16", "fp16") if d in chip.dtypes]
        rows.append({
            "name": stem, "title": chip.title, "vendor": chip.vendor, "family": chip.family, "year": chip.year,
            "status": chip.status, "flops_16bit": max(sixteen, default=None), "flops_8bit": max(eight, default=None),
            "memory_bytes": chip.level(chip.main_level, "capacity"),
            "memory_Bps": chip.level(chip.main_level, "bandwidth"), "tdp_W": chip.get("power.tdp"), "origin": origin,
        })  # fmt: skip
    return rows


def as_chip(chip: Chip | str | os.PathLike[str]) -> Chip:
    """The chip itself, or the one of that name or path.

    Raises
    ------
    BadWorkload
        For what is neither.
    """
    if isinstance(chip, Chip):
        return chip
    if isinstance(chip, str | os.PathLike):
        return load_chip(chip)
    raise BadWorkload(f"expected one chip, its name or its path (sweep takes several), found {type(chip).__name__}")


def as_model(model: Model | str | os.PathLike[str]) -> Model:
    """The model itself, or the one of that name or path.

    Raises
    ------
    BadWorkload
        For what is neither.
    """
    if isinstance(model, LanguageModel | Recommender):
        return model
    if isinstance(model, str | os.PathLike):
        return load_model(model)
    raise BadWorkload(f"expected one model, its name or its path (sweep takes several), found {type(model).__name__}")


def list_chips() -> pd.DataFrame:
    """All chips that can be loaded by name, with their headline figures.

    Returns
    -------
    DataFrame
        Indexed by name: title, vendor, family, year, status; dense FLOP/s at 16 and 8 bits; memory capacity (bytes)
        and bandwidth (B/s); TDP (W); where it was found. A descriptor that cannot be read is listed with its error.
    """
    import pandas as pd

    return pd.DataFrame.from_records(chip_records()).set_index("name")


# Models ---------------------------------------------------------------------------------------------------------


def load_model(name: str | os.PathLike[str]) -> Model:
    """Load a model by name, alias, or path.

    Parameters
    ----------
    name : str or path
        ``"llama-3.1-70b"``, ``"dlrm-v2"``, the path of a Hugging Face ``config.json`` or its folder, or of a
        recommendation model's TOML file.

    Raises
    ------
    UnknownName
        With the closest names.
    BadModel
        When the file is not a model that roofline can read.
    """
    text = os.fspath(name)
    folder = os.path.isdir(os.path.expanduser(text))
    # A folder that merely shares a model's name is not meant; and what Hugging Face calls models holds one slash.
    is_file = text.lower().endswith(MODEL_ENDINGS) or os.path.isfile(os.path.join(text, "config.json"))
    is_path = os.sep in text and (folder or text.count("/") != 1 or text.startswith((".", "~", os.sep)))
    if is_file or is_path:
        return _read_model(existing(os.path.join(text, "config.json") if folder else text, "model file", "*.json"))
    files = files_of("models")
    key = text.strip().lower()
    if key not in files:
        aliases = _model_aliases(tuple((k, str(p), stamp_of(p)) for k, (_, p) in files.items()))
        key = aliases.get(_squash(text), ("", ""))[0]
        if not key:
            known = [*files, *(alias for _, alias in aliases.values())]
            raise UnknownName("model", text, known, f"(roofline models lists them){missing_folders('models')}")
    path = files[key][1]
    return _cached_model(str(path), stamp_of(path))


@functools.lru_cache(maxsize=256)
def _cached_model(path: str, stamp: Stamp) -> Model:
    return _read_model(Path(path))


def _read_model(path: Path) -> Model:
    from roofline.models import description, huggingface

    return description.load(path) if path.suffix == ".toml" else huggingface.load(path)


@functools.lru_cache(maxsize=4)
def _model_aliases(files: tuple[tuple[str, str, Stamp], ...]) -> dict[str, tuple[str, str]]:
    """Every spelling of every model -> its file stem, and the spelling as it is written."""
    spellings: dict[str, tuple[str, str]] = {}
    for stem, path, stamp in files:
        try:
            model = _cached_model(path, stamp)
        except BadModel:
            continue  # a broken file of the user's must not hide the other models; loading it by name says why
        for spelling in (stem, model.title, *model.aliases):
            if _squash(spelling):
                spellings.setdefault(_squash(spelling), (stem, spelling))
    return spellings


def model_records() -> list[dict[str, Any]]:
    """All models that can be loaded by name, as plain records; see :func:`list_models`."""
    rows: list[dict[str, Any]] = []
    for stem, (origin, path) in sorted(files_of("models").items()):
        try:
            model = _cached_model(str(path), stamp_of(path))
        except BadModel as error:
            rows.append({"name": stem, "error": str(error), "origin": origin})
            continue
        if isinstance(model, LanguageModel):
            kind, active = "language", model.active_params
        else:
            kind, active = "recommendation", model.dense_params
        rows.append({
            "name": stem, "kind": kind, "title": model.title, "params": model.params, "active_params": active,
            "origin": origin,
        })  # fmt: skip
    return rows


def list_models() -> pd.DataFrame:
    """All models that can be loaded by name.

    Returns
    -------
    DataFrame
        Indexed by name: kind (language or recommendation), title, parameters, active parameters (of a recommendation
        model: those outside the tables), where it was found.
    """
    import pandas as pd

    return pd.DataFrame.from_records(model_records()).set_index("name")
