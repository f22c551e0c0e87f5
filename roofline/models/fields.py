"""Reading a model description field by field: every refusal names the file, the field, and what was expected."""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from typing import Any, NoReturn

from roofline.base.errors import BadModel, closest, shown
from roofline.models.ignored import changes_nothing, speaks_of_size

#: A description is a few kilobytes; what is larger is no description.
MAX_BYTES = 10_000_000

#: Larger sizes than any model has: what exceeds them is a slip, and would only make absurd numbers later.
LIMITS = {
    "layers": 10_000,
    "heads": 100_000,
    "width": 10_000_000,
    "vocab": 100_000_000,
    "experts": 1_000_000,
    "positions": 10**12,
}

#: What other code calls fields that Hugging Face has under names that are nothing like.
OTHER_WORDS = {
    "tie_word_embeddings": ("tied", "tie_embeddings"), "head_dim": ("d_kv", "d_head", "head_size"),
    "num_experts_per_tok": ("top_k",), "attention_bias": ("attn_bias",), "vocab_size": ("n_vocab",),
    "attention_k_eq_v": ("attn_k_eq_v",), "hidden_size": ("dim", "d_model", "n_embd"),
}  # fmt: skip


class Fields:
    """The fields of one JSON object.

    Parameters
    ----------
    values : dict
        The object.
    file : str
        Named in errors.
    inside : str
        The key under which the object lies, for errors: ``"text_config"``.
    """

    def __init__(self, values: dict[str, Any], file: str, inside: str = "") -> None:
        self.values = values
        self.file = file
        self.inside = f"{inside}." if inside else ""
        self._known: set[str] = set()
        self._missed: set[str] = set()

    def fail(self, key: str, problem: str) -> NoReturn:
        """Refuse the file because of one field."""
        raise BadModel(self.file, f"{self.inside}{key}: {problem}")

    def get(self, *keys: str) -> Any:
        """The first of `keys` that is there and not null, else None."""
        self._known.update(keys)
        found = next((key for key in keys if self.values.get(key) is not None), None)
        # What is there under one name is not missed under another.
        self._missed.update(() if found else keys)
        return None if found is None else self.values[found]

    def has(self, key: str) -> bool:
        """Whether the field is there, even as null."""
        self._known.add(key)
        self._missed.add(key)
        return key in self.values

    def integer(self, *keys: str, default: int | None = None, low: int = 1, limit: str = "width") -> int:
        """A whole number within bounds; the first key is the field's name, further ones its older spellings."""
        value, key, high = self.get(*keys), keys[0], LIMITS[limit]
        expected = f"expected a whole number from {low} to {high}"
        if value is None:
            if default is not None:
                return default
            self._missing(key, expected)
        key = next(k for k in keys if self.values.get(k) is not None)
        if isinstance(value, bool) or not isinstance(value, int):
            hint = f"; write {int(value)}" if _is_whole(value) and low <= float(value) <= high else ""
            self.fail(key, f"found {_shown(value)}, {expected}{hint}")
        if not low <= value <= high:
            self.fail(key, f"found {_shown(value)}, {expected}")
        return value

    def number(self, *keys: str, default: float, low: float, high: float) -> float:
        """A number within bounds."""
        value = self.get(*keys)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            key = next(k for k in keys if self.values.get(k) is not None)
            self.fail(key, f"found {_shown(value)}, expected a number from {low:g} to {high:g}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fail(key, f"found {_shown(value)}, expected true or false")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A string."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.fail(key, f"found {_shown(value)}, expected a string")
        return value

    def array(self, key: str) -> list[Any] | None:
        """A list, or None where it is absent."""
        value = self.get(key)
        if value is not None and not isinstance(value, list):
            self.fail(key, f"found {_shown(value)}, expected a list")
        return value

    def integers(self, key: str, high: int) -> list[int] | None:
        """A list of whole numbers from 0 to `high`, or None where it is absent."""
        values = self.array(key)
        for value in values or []:
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
                self.fail(key, f"found {_shown(value)}, expected whole numbers from 0 to {high}")
        return values

    def table(self, key: str) -> Fields | None:
        """A nested object, or None where it is absent."""
        value = self.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fail(key, f"found {_shown(value)}, expected an object")
        return Fields(value, self.file, self.inside + key)

    def divides(self, key: str, value: int, of: str, whole: int) -> None:
        """Refuse a `value` that does not divide `whole`, with the nearest ones that do."""
        if whole % value:
            low = [d for d in range(1, math.isqrt(whole) + 1) if whole % d == 0]
            near = sorted({*low, *(whole // d for d in low)}, key=lambda d: abs(d - value))[:2]
            self.fail(
                key,
                f"found {value}, expected a divisor of {of} = {whole}; nearest: "
                + " or ".join(str(d) for d in sorted(near)),
            )

    def finish(self, family: str = "this model family") -> None:
        """Refuse what would change the model and was not read.

        That is a misspelt field (one that nobody asked for, next to an absent one that somebody did, so that a slip
        such as ``num_key_value_head`` leaves a default in place that is wrong by a factor), and a field that by its
        name says how large a model is and that the family's reader does not know: experts, a window, a state.

        Parameters
        ----------
        family : str
            Named in errors.
        """
        self.near_misses(family)
        for key in self._unknown():
            if speaks_of_size(key, self.values[key]):
                near = difflib.get_close_matches(key, sorted(self._missed - self.values.keys()), n=1, cutoff=0.7)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                self.fail(
                    key, f"found {_shown(self.values[key])}, which roofline does not know how to read in {family}{hint}"
                )

    def near_misses(self, family: str = "this model family") -> None:
        """Refuse a misspelt field, or one under another's name: see :meth:`finish`."""
        for key, others in OTHER_WORDS.items():
            found = next((one for one in others if self.values.get(one) is not None and one not in self._known), None)
            if found and key in self._missed - self.values.keys():
                self.fail(found, f"is not a field of {family}; did you mean {key!r}?")
        unknown = {_spelt(key): key for key in self._unknown()}
        for key in sorted(self._missed - self.values.keys()):
            spelt = _spelt(key)
            cutoff = 0.8 if len(spelt) > 8 else 0.7
            for near in difflib.get_close_matches(spelt, unknown, n=1, cutoff=cutoff):
                self.fail(unknown[near], f"is not a field of {family}; did you mean {key!r}?")

    def _unknown(self) -> list[str]:
        """Fields that nobody asked for, and that are not known to change nothing."""
        return [key for key in self.values if key not in self._known and not changes_nothing(key)]

    def _missing(self, key: str, expected: str) -> NoReturn:
        near = closest(key, [k for k in self.values if k not in self._known], 1)
        self.fail(key, f"is missing, {expected}" + (f"; did you mean {key!r} by {near[0]!r}?" if near else ""))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises
    ------
    BadModel
        For a file that cannot be read, is larger than :data:`MAX_BYTES`, or holds anything but one JSON object.
    """
    file = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadModel(file, f"cannot be read: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise BadModel(file, f"is larger than {MAX_BYTES / 1e6:g} MB; expected a config.json of a few kB")
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except RecursionError:
        raise BadModel(file, "is nested too deeply; expected a config.json") from None
    except (ValueError, MemoryError) as error:  # bad JSON, bad UTF-8, a number of thousands of digits
        raise BadModel(file, f"is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadModel(file, f"holds {_shown(value)}, expected a JSON object such as a config.json")
    return value


def _spelt(key: str) -> str:
    """A field's name without what people write in more ways than one: capitals, dashes and underscores."""
    return key.casefold().replace("-", "").replace("_", "")


def _is_whole(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and float(value).is_integer()
    except (TypeError, ValueError, OverflowError):
        return False


def _shown(value: Any) -> str:
    """A value as JSON writes it, shortened."""
    text = json.dumps(value) if isinstance(value, str | bool | float | type(None)) else shown(value)
    return text if len(text) <= 60 else text[:57] + "..."
