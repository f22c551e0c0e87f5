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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from roofline.base import tomlfile
from roofline.base.errors import BadDescriptor, BadModel, BadWorkload, UnknownName
from roofline.base.face import NAME, of, takes
from roofline.catalog import chips
from roofline.catalog.chips import records as chip_records, squash
from roofline.catalog.descriptors import read_chip as read_chip
from roofline.catalog.places import MODEL_ENDINGS, Stamp, existing, files_of, missing_folders, stamp_of
from roofline.hardware.chip import Chip
from roofline.models.fields import MAX_BYTES, read_json
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

if TYPE_CHECKING:
    import pandas as pd

Model = LanguageModel | Recommender

#: What names a chip or a model: its name, or the path to its file.
Name: TypeAlias = str | os.PathLike[str]

#: What functions take that want one of them.
CHIP = of("one chip, its name or its path", Chip, str, os.PathLike)
MODEL = of("one model, its name or its path", LanguageModel, Recommender, str, os.PathLike)


# Chips ----------------------------------------------------------------------------------------------------------


@takes(name=NAME)
def load_chip(name: Name) -> Chip:
    """Load a chip by name, alias, or path to a descriptor file.

    Parameters
    ----------
    name : str or path
        ``"h100-sxm"``, an alias such as ``"h100"``, or ``"my/chip.toml"``.

    Returns
    -------
    Chip
        Its figures, those of its family, and what makes changed copies: :meth:`Chip.what_if`, :meth:`Chip.on_stack`.

    Raises
    ------
    UnknownName
        With the closest names.
    BadDescriptor
        When the file is not a valid descriptor: every problem, each with its key.

    Examples
    --------
    >>> import roofline as rl
    >>> h100 = rl.load_chip("h100")
    >>> h100.name, h100["memory.hbm.bandwidth"]
    ('h100-sxm', 3350000000000.0)
    """
    text = os.fspath(name)
    if text.lower().endswith(".toml") or os.sep in text:
        return read_chip(existing(text, "descriptor file", "*.toml"))
    return chips.named(text)


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
        found: Model = load_model(model)
        return found
    raise BadWorkload(f"expected one model, its name or its path (sweep takes several), found {type(model).__name__}")


def list_chips() -> pd.DataFrame:
    """All chips that can be loaded by name, with their headline figures.

    Returns
    -------
    DataFrame
        Indexed by name: title, vendor, family, year, status; dense FLOP/s at 16 and 8 bits; memory capacity (bytes)
        and bandwidth (B/s); TDP (W); where it was found. A descriptor that cannot be read is listed with its error.

    Examples
    --------
    >>> import roofline as rl
    >>> chips = rl.list_chips()
    >>> chips.loc["h100-sxm", ["vendor", "family"]].tolist()
    ['NVIDIA', 'gpu']
    """
    import pandas as pd

    return pd.DataFrame.from_records(chip_records()).set_index("name")


# Models ---------------------------------------------------------------------------------------------------------


@takes(name=NAME)
def load_model(name: Name) -> Any:
    """Load a model by name, alias, or path.

    Parameters
    ----------
    name : str or path
        ``"llama-3.1-70b"``, ``"dlrm-v2"``, the path of a Hugging Face ``config.json`` or its folder, or of a
        recommendation model's TOML file.

    Returns
    -------
    LanguageModel or Recommender
        As the file is; no type checker can tell from the name. ``model: LanguageModel = load_model(...)`` tells it.

    Raises
    ------
    UnknownName
        With the closest names.
    BadModel
        When the file is not a model that roofline can read.

    Examples
    --------
    >>> import roofline as rl
    >>> llama = rl.load_model("llama-3.1-8b")
    >>> f"{llama.params:,.0f}"
    '8,030,261,248'
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
        key = aliases.get(squash(text), ("", ""))[0]
        if not key:
            known = [*files, *(alias for _, alias in aliases.values())]
            raise UnknownName("model", text, known, f"(roofline models lists them){missing_folders('models')}")
    path = files[key][1]
    return _cached_model(str(path), stamp_of(path))


@functools.lru_cache(maxsize=256)
def _cached_model(path: str, stamp: Stamp) -> Model:
    return _read_model(Path(path))


def _read_model(path: Path) -> Model:
    if path.suffix == ".toml":
        from roofline.models import description

        return description.load(path)
    from roofline.models import huggingface

    return huggingface.load(path)


@functools.lru_cache(maxsize=4)
def _model_aliases(files: tuple[tuple[str, str, Stamp], ...]) -> dict[str, tuple[str, str]]:
    """Every spelling of every model -> its file stem, and the spelling as it is written."""
    spellings: dict[str, tuple[str, str]] = {}
    for stem, path, _ in files:
        try:
            others = _spellings(Path(path))
        except BadModel:
            continue  # a broken file of the user's must not hide the other models; loading it by name says why
        for spelling in (stem, *others):
            if squash(spelling):
                spellings.setdefault(squash(spelling), (stem, spelling))
    return spellings


def _spellings(path: Path) -> tuple[str, ...]:
    """A model's title and aliases; nothing else of the file is read, as there are hundreds."""
    about: object
    if path.suffix == ".toml":
        try:
            about = tomlfile.read(path, MAX_BYTES, MAX_BYTES)
        except BadDescriptor as error:
            raise BadModel(str(path), "; ".join(error.problems)) from None
    else:
        about = read_json(path).get("_roofline")
    if not isinstance(about, dict):
        return ()
    aliases = about.get("aliases")
    found = [about.get("title"), *(aliases if isinstance(aliases, list) else [])]
    return tuple(one for one in found if isinstance(one, str))


def model_records() -> list[dict[str, object]]:
    """All models that can be loaded by name, as plain records; see :func:`list_models`."""
    rows: list[dict[str, object]] = []
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
        rows.append(
            {
                "name": stem,
                "kind": kind,
                "title": model.title,
                "params": model.params,
                "active_params": active,
                "origin": origin,
            }
        )
    return rows


def list_models() -> pd.DataFrame:
    """All models that can be loaded by name.

    Returns
    -------
    DataFrame
        Indexed by name: kind (language or recommendation), title, parameters, active parameters (of a recommendation
        model: those outside the tables), where it was found.

    Examples
    --------
    >>> import roofline as rl
    >>> rl.list_models().loc["dlrm-v2", "kind"]
    'recommendation'
    """
    import pandas as pd

    return pd.DataFrame.from_records(model_records()).set_index("name")
