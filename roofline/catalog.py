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
import importlib.util
import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.chip import Chip
from roofline.errors import BadDescriptor, BadModel, UnknownName
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

if TYPE_CHECKING:
    import pandas as pd

    from roofline.descriptor import Number

Model = LanguageModel | Recommender

_HERE = Path(__file__).parent
_MODEL_ENDINGS = (".json", ".toml")


def _folders(what: str) -> Iterator[tuple[str, Path]]:
    """The folders that may hold chips or models, as (origin, folder), the most particular first."""
    for text in os.environ.get(f"ROOFLINE_{what.upper()}", "").split(os.pathsep):
        if text:
            yield f"ROOFLINE_{what.upper()}", Path(text).expanduser()
    import platformdirs

    yield "user", Path(platformdirs.user_data_dir("roofline", appauthor=False)) / what
    for entry in entry_points(group=f"roofline.{what}"):
        spec = importlib.util.find_spec(entry.value.partition(":")[0])
        if spec is not None:
            for place in spec.submodule_search_locations or ([str(Path(spec.origin).parent)] if spec.origin else []):
                yield f"plug-in {entry.name}", Path(place)
    if what == "chips":
        yield "built in", _HERE / "chips"
    else:
        yield "built in", _HERE / "models" / "configs"
        yield "built in", _HERE / "models" / "recommenders"


def _files(what: str) -> dict[str, tuple[str, Path]]:
    """Name (file stem, lower case) -> (origin, path); the first folder that has a name wins."""
    endings = (".toml",) if what == "chips" else _MODEL_ENDINGS
    found: dict[str, tuple[str, Path]] = {}
    for origin, folder in _folders(what):
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.suffix in endings and not path.name.startswith((".", "_")):
                    found.setdefault(path.stem.lower(), (origin, path))
    return found


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
    if text.endswith(".toml") or os.sep in text:
        path = Path(text).expanduser()
        if not path.is_file():
            raise UnknownName("descriptor file", text, [p.name for p in path.parent.glob("*.toml")])
        return read_chip(path)
    files = _files("chips")
    key = text.lower()
    if key not in files:
        key = _chip_aliases(tuple((k, str(p)) for k, (_, p) in files.items())).get(_squash(text), "")
    if key not in files:
        known = [*files, *_chip_aliases(tuple((k, str(p)) for k, (_, p) in files.items()))]
        raise UnknownName("chip", text, known, "(roofline chips lists them)")
    path = files[key][1]
    return _cached_chip(str(path), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _cached_chip(path: str, stamp: int) -> Chip:
    return read_chip(Path(path))


@functools.lru_cache(maxsize=4)
def _chip_aliases(files: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Every spelling of every chip -> its file stem."""
    from roofline.descriptor import read_toml

    spellings: dict[str, str] = {}
    for stem, path in files:
        try:
            raw = read_toml(Path(path))
        except BadDescriptor:
            continue  # a broken file of the user's must not hide the other chips; loading it by name says why
        aliases = raw.get("aliases", [])
        for spelling in [stem, raw.get("title", ""), *(aliases if isinstance(aliases, list) else [])]:
            if isinstance(spelling, str) and spelling:
                spellings.setdefault(_squash(spelling), stem)
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
    from roofline import descriptor

    raw, inherited = _merged(path, ())
    numbers = descriptor.validate(raw, str(path))
    own = {p: _mark(n, inherited.get(p, "")) for p, n in numbers.items()}
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
        flags["process"] = raw["process"]["value"]
    family = raw["family"]
    return Chip(
        name=raw["name"], title=raw.get("title") or raw["name"], vendor=raw["vendor"], family=family,
        status=raw["status"], year=raw["year"], numbers=own, defaults=_family(family), flags=flags,
        aliases=tuple(raw.get("aliases", ())), note=raw.get("note", ""), calibration=raw.get("calibration", {}),
    )  # fmt: skip


@functools.cache
def _family(family: str) -> dict[str, Number]:
    from roofline import descriptor

    out: dict[str, Number] = {}
    for name in ("all", family):  # the family's own figures stand above those of every chip
        path = _HERE / "chips" / "families" / f"{name}.toml"
        numbers = descriptor.validate(descriptor.read_toml(path), str(path), descriptor.FamilyDefaults)
        out |= {p: _mark(n, f"family {family}") for p, n in numbers.items()}
    return out


def _mark(number: Number, origin: str) -> Number:
    import dataclasses

    return dataclasses.replace(number, inherited=origin) if origin else number


_NOT_INHERITED = ("name", "title", "aliases", "extends", "without", "note", "status")


def _merged(path: Path, seen: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, str]]:
    """The raw descriptor with its parents merged in, and which figures came from which parent."""
    from roofline.descriptor import read_toml

    raw = read_toml(path)
    parent = raw.get("extends", "")
    if not parent:
        return raw, {}
    if not isinstance(parent, str):
        raise BadDescriptor(str(path), [f"extends: expected the name of a chip, found {parent!r}"])
    if len(seen) > 8 or parent in seen:
        raise BadDescriptor(str(path), [f"extends: goes round in a circle: {' -> '.join((*seen, parent))}"])
    sibling = path.parent / f"{parent}.toml"
    files = _files("chips")
    if sibling.is_file() and sibling != path:
        source = sibling
    elif parent.lower() in files:
        source = files[parent.lower()][1]
    else:
        problem = UnknownName("chip", parent, [*files, *(p.stem for p in path.parent.glob("*.toml"))])
        raise BadDescriptor(str(path), [f"extends: {problem}"])
    if source.resolve() == path.resolve():
        raise BadDescriptor(str(path), [f"extends: the chip {parent!r} extends itself"])
    base, inherited = _merged(source, (*seen, parent))
    base_raw = {k: v for k, v in base.items() if k not in _NOT_INHERITED}
    for dropped in raw.get("without", []):
        base_raw = _drop(base_raw, str(dropped), path)
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


def _drop(raw: dict[str, Any], dropped: str, path: Path) -> dict[str, Any]:
    """The raw descriptor without one table or figure."""
    key, _, rest = dropped.partition(".")
    if key not in raw or (rest and not isinstance(raw[key], dict)):
        raise BadDescriptor(str(path), [f"without: {UnknownName('inherited key', dropped, raw)}"])
    if not rest:
        return {k: v for k, v in raw.items() if k != key}
    return {**raw, key: _drop(raw[key], rest, path)}


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
    for stem, (origin, path) in sorted(_files("chips").items()):
        try:
            chip = _cached_chip(str(path), path.stat().st_mtime_ns)
        except BadDescriptor as error:
            rows.append({"name": stem, "error": str(error), "origin": origin})
            continue
        eight = [chip.peak(d) for d in ("fp8", "int8") if d in chip.dtypes]
        sixteen = [chip.peak(d) for d in ("bf16", "fp16") if d in chip.dtypes]
        rows.append({
            "name": chip.name, "title": chip.title, "vendor": chip.vendor, "family": chip.family, "year": chip.year,
            "status": chip.status, "flops_16bit": max(sixteen, default=None), "flops_8bit": max(eight, default=None),
            "memory_bytes": chip.level(chip.main_level, "capacity"),
            "memory_Bps": chip.level(chip.main_level, "bandwidth"), "tdp_W": chip.get("power.tdp"), "origin": origin,
        })  # fmt: skip
    return rows


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
    path = Path(text).expanduser()
    if text.endswith(_MODEL_ENDINGS) or os.sep in text or path.is_dir():
        if path.is_dir():
            path = path / "config.json"
        if not path.is_file():
            raise UnknownName("model file", str(path), [p.name for p in path.parent.glob("*.json")])
        return _read_model(path)
    files = _files("models")
    key = text.lower()
    if key not in files:
        aliases = _model_aliases(tuple((k, str(p)) for k, (_, p) in files.items()))
        key = aliases.get(_squash(text), "")
        if not key:
            raise UnknownName("model", text, [*files, *aliases], "(roofline models lists them)")
    path = files[key][1]
    return _cached_model(str(path), path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _cached_model(path: str, stamp: int) -> Model:
    return _read_model(Path(path))


def _read_model(path: Path) -> Model:
    from roofline.models import llm, recommender

    return recommender.load(path) if path.suffix == ".toml" else llm.load(path)


@functools.lru_cache(maxsize=4)
def _model_aliases(files: tuple[tuple[str, str], ...]) -> dict[str, str]:
    spellings: dict[str, str] = {}
    for stem, path in files:
        try:
            model = _cached_model(path, Path(path).stat().st_mtime_ns)
        except BadModel:
            continue  # a broken file of the user's must not hide the other models; loading it by name says why
        for spelling in (stem, model.title, *model.aliases):
            spellings.setdefault(_squash(spelling), stem)
    return spellings


def model_records() -> list[dict[str, Any]]:
    """All models that can be loaded by name, as plain records; see :func:`list_models`."""
    rows: list[dict[str, Any]] = []
    for stem, (origin, path) in sorted(_files("models").items()):
        try:
            model = _cached_model(str(path), path.stat().st_mtime_ns)
        except BadModel as error:
            rows.append({"name": stem, "error": str(error), "origin": origin})
            continue
        language = isinstance(model, LanguageModel)
        rows.append({
            "name": stem, "kind": "language" if language else "recommendation", "title": model.title,
            "params": model.params, "active_params": model.active_params if language else model.dense_params,
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
