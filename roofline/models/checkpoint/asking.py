"""What the readers of quantisers ask of a configuration alike: names, bits, groups, what is known."""

from __future__ import annotations

from collections.abc import Iterable

from roofline.base.errors import closest, shown
from roofline.models.checkpoint.recipe import Recipe
from roofline.models.checkpoint.stored import LEFT, Stored, grouped, per_channel
from roofline.models.fields import Fields

#: Keys under which quantisers list the modules that they leave alone.
EXCEPTIONS = (
    "modules_to_not_convert",
    "ignore",
    "ignored_layers",
    "exclude_modules",
    "llm_int8_skip_modules",
    "exclude",
    "skip_modules",
    "modules_to_not_quantize",
)


def names_in(config: Fields, key: str) -> list[str]:
    """The names of modules in a list."""
    names = config.array(key) or []
    for name in names:
        if not isinstance(name, str):
            config.fail(key, f"found {shown(name)}, expected a list of the names of modules")
    return names


def exceptions(config: Fields) -> list[str]:
    return [name for key in EXCEPTIONS for name in names_in(config, key)]


def leaving(recipe: Recipe, config: Fields) -> Recipe:
    """The recipe, with what the configuration leaves alone."""
    recipe.rule(exceptions(config), LEFT)
    return recipe


def bits_among(config: Fields, *keys: str, default: int | None = None, among: Iterable[int] = range(2, 9)) -> int:
    bits = config.integer(*keys, default=default)
    if bits not in among:
        config.fail(keys[0], f"found {bits} bits, expected one of {', '.join(map(str, among))}")
    return bits


def group_size(config: Fields, default: int) -> int:
    """Inputs that share a scale; 0 where all inputs of an output do, which files write as -1 too."""
    size = config.get("group_size")
    if size is None or (size in (-1, 0) and not isinstance(size, bool)):
        return default if size is None else 0
    return config.integer("group_size")


def one_of(config: Fields, key: str, found: str, known: Iterable[str], or_else: str = "") -> None:
    """Refuse what is not known, with the nearest that is."""
    if found not in known:
        near = closest(found, known, 1)
        config.fail(
            key,
            f"found {shown(found)}, expected one of {', '.join(known)}{or_else}"
            + (f"; did you mean {near[0]!r}?" if near else ""),
        )


def integers(bits: int, group: int, hidden: int, zeros: bool) -> Stored:
    """Integers with a 16-bit scale a group (0: an output) and, perhaps, a zero point as narrow as a weight."""
    zero_bytes = bits / 8 if zeros else 0.0
    if not group:
        return per_channel(f"int{bits}", hidden, scale_bytes=2.0 + zero_bytes)
    return grouped(f"int{bits}", group, zero_bytes=zero_bytes)
