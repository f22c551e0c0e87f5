"""The chips and models that a page may open: those of the catalogue, those it was given, and what is dropped on it."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from roofline.base import tomlfile
from roofline.base.errors import BadData, BadWorkload, UnknownName, shown
from roofline.catalog.chips import named as chip_named
from roofline.catalog.load import Model, load_chip, load_model
from roofline.catalog.places import MODEL_ENDINGS, Stamp, files_of, stamp_of
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel
from roofline.models.recommender import Recommender

#: Bytes of a file that is dropped on the page, and how many of them a server keeps.
MOST_BYTES, MOST_FILES = 2_000_000, 32


class Stock:
    """What names stand for on the pages of one server.

    No text of a browser is ever taken for a path: a name is the catalogue's, or that of something given or dropped.
    """

    def __init__(self) -> None:
        self._models: dict[str, tuple[Model, str]] = {}
        self._chips: dict[str, tuple[Chip, str]] = {}
        self._catalogue: dict[str, tuple[Path, Stamp, Model]] = {}
        self._dropped: list[str] = []

    # What there is ----------------------------------------------------------------------------------------------

    @property
    def models(self) -> list[str]:
        """The names of models, those that were given first."""
        return list(dict.fromkeys([*self._models, *sorted(files_of("models"))]))

    @property
    def chips(self) -> list[str]:
        """The names of chips, those that were given first."""
        return list(dict.fromkeys([*self._chips, *sorted(files_of("chips"))]))

    def model(self, name: str) -> Model:
        """The model of a name.

        Raises
        ------
        UnknownName
            With the closest names; also for a path.
        BadModel
            When its file in the catalogue cannot be read.
        """
        if name in self._models:
            return self._models[name][0]
        key, files = name.strip().lower(), files_of("models")
        if key in files:
            path = files[key][1]
            stamp, known = stamp_of(path), self._catalogue.get(key)
            if known is None or known[:2] != (path, stamp):
                self._catalogue[key] = (path, stamp, load_model(path))
            return self._catalogue[key][2]
        if os.sep in name or name.lower().endswith(MODEL_ENDINGS) or os.path.exists(name):
            raise UnknownName("model", name, self.models, "(the page opens what the catalogue has; drop a file on it)")
        found: Model = load_model(name)  # an alias, or an error with the nearest names
        return found

    def chip(self, name: str) -> Chip:
        """The chip of a name.

        Raises
        ------
        UnknownName
            With the closest names; also for a path.
        BadDescriptor
            When its file in the catalogue cannot be read.
        """
        return self._chips[name][0] if name in self._chips else chip_named(name)

    def model_source(self, name: str) -> str:
        """What a script names the model by: its name in the catalogue, or the file that it came from."""
        return self._models[name][1] if name in self._models else name

    def chip_source(self, name: str) -> str:
        """What a script names the chip by: its name in the catalogue, or the file that it came from."""
        return self._chips[name][1] if name in self._chips else name

    # What is added ----------------------------------------------------------------------------------------------

    def give_model(self, model: Model | str | os.PathLike[str]) -> str:
        """Put a model on the shelf that the caller gives, by name, path or as an object; returns its name here."""
        if isinstance(model, LanguageModel | Recommender):
            known = self._in_catalogue(model)
            if not known:
                self._models[model.name] = (model, f"{model.name}.json")
            return known or model.name
        text = os.fspath(model)
        if not _is_path(text):
            self.model(text)
            return text
        loaded: Model = load_model(text)
        self._models[loaded.name] = (loaded, text)
        return loaded.name

    def _in_catalogue(self, model: Model) -> str:
        """The catalogue's name of this very model; empty where it has another one, or none."""
        try:
            return model.name if self.model(model.name) is model or load_model(model.name) is model else ""
        except (LookupError, ValueError):
            return ""

    def give_chip(self, chip: Chip | str | os.PathLike[str]) -> str:
        """Put a chip on the shelf that the caller gives, by name, path or as an object; returns its name here."""
        if isinstance(chip, Chip):
            try:
                if chip_named(chip.name) is chip:
                    return chip.name
            except (LookupError, ValueError):
                pass
            self._chips[chip.name] = (chip, f"{chip.name}.toml")
            return chip.name
        text = os.fspath(chip)
        if not _is_path(text):
            self.chip(text)
            return text
        loaded = load_chip(text)
        self._chips[loaded.name] = (loaded, text)
        return loaded.name

    def drop(self, file: str, content: str) -> tuple[str, str]:
        """Take in a file that was dropped on the page, read by the loaders that read any other.

        Parameters
        ----------
        file : str
            Its name, of which nothing becomes a path.
        content : str

        Returns
        -------
        (str, str)
            ``"model"`` or ``"chip"``, and the name that it goes by from now on.

        Raises
        ------
        BadData
            For a file that is larger than :data:`MOST_BYTES`, or neither JSON nor TOML.
        BadModel, BadDescriptor
            From the loaders.
        """
        data = content.encode("utf-8", errors="replace")
        if len(data) > MOST_BYTES:
            raise BadData(f"{shown(file)}: expected at most {MOST_BYTES:,} bytes, found {len(data):,}")
        stem, ending = os.path.splitext(os.path.basename(file))
        if ending.lower() not in MODEL_ENDINGS:
            raise BadData(f"{shown(file)}: expected a config.json, or a chip's or a model's TOML file")
        plain = re.sub(r"[^a-z0-9._]+", "-", stem.lower()).strip("-._")[:40] or "file"
        name = f"{plain}-{hashlib.sha256(data).hexdigest()[:6]}"
        with tempfile.TemporaryDirectory(prefix="roofline-") as folder:
            path = Path(folder, f"{name}{ending.lower()}")  # in a folder of its own: it stands beside no other file
            path.write_bytes(data)
            try:
                what = "chip" if ending.lower() == ".toml" and _is_chip(path) else "model"
                if what == "chip":
                    self._chips[name] = (load_chip(path), os.path.basename(file))
                else:
                    self._models[name] = (load_model(path), os.path.basename(file))
            except (BadData, BadWorkload):
                raise
            except ValueError as error:  # ours, which name the file: by the name that its owner knows
                raise BadData(str(error).replace(str(path), os.path.basename(file))) from None
        self._remember(name)
        return what, name

    def _remember(self, name: str) -> None:
        self._dropped = [*(one for one in self._dropped if one != name), name]
        for old in self._dropped[:-MOST_FILES]:
            self._models.pop(old, None)
            self._chips.pop(old, None)
        self._dropped = self._dropped[-MOST_FILES:]


def _is_path(text: str) -> bool:
    return os.sep in text or text.lower().endswith(MODEL_ENDINGS) or os.path.isdir(text)


def _is_chip(path: Path) -> bool:
    """Whether a TOML file says that it describes a chip: a descriptor names its schema, or what it extends."""
    table = tomlfile.read(path)
    return "schema" in table or "extends" in table
