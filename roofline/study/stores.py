"""A sweep's result on disk, written slab by slab: a Zarr store of format 3, one chunk a slab and variable.

A chunk is written under another name and renamed when it is whole, and the chunks of a slab one after the other: a slab
is done when its last variable's chunk is there. Whoever is stopped goes on with the slabs that are missing, and ends
with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, RooflineError, shown
from roofline.study import datasets
from roofline.study.definition import Cut, Grid

if TYPE_CHECKING:
    import xarray as xr

#: The attribute of a store that says which sweep it holds.
_OWN = "roofline_sweep"


class Store:
    """The store of one sweep. Several threads, and processes, may write to it at a time.

    Parameters
    ----------
    path : path
        The folder, by convention ending in ``.zarr``; on a cluster a place that all of its machines see.
    grid, cut
        What is asked, and how it is cut.
    """

    def __init__(self, path: str | os.PathLike[str], grid: Grid, cut: Cut) -> None:
        self.path, self.grid, self.cut = Path(path).absolute(), grid, cut
        self._variables = datasets.variables(grid)
        self._arrays: dict[str, Any] = {}

    def begin(self) -> list[int]:
        """Make the store, or look at the one that is there; the slabs that are missing.

        Raises
        ------
        BadWorkload
            Where something else is there, or the store of another sweep: what differs.
        """
        try:
            if self.path.exists():
                self._refuse_another()
            else:
                self._create()
        except BadWorkload:
            raise
        except (OSError, ValueError) as error:  # a name too long, a full disk, no permission; a NUL byte
            why = getattr(error, "strerror", None) or error
            raise BadWorkload(f"sweep: {shown(str(self.path))} cannot be made: {why}") from None
        return [index for index in range(len(self.cut)) if not self._chunk(self._last, index).exists()]

    def put(self, index: int, values: dict[str, Any]) -> None:
        """Write the variables of one slab."""
        slab = self.cut.slab(index)
        shape = tuple(side.stop - side.start for side in slab)
        for name, (kind, _) in self._variables.items():
            self._array(name)[slab] = np.broadcast_to(np.asarray(values[name], dtype=kind), shape)

    def end(self) -> xr.Dataset:
        """Throw away what was left half-written, and open the whole."""
        for left in self.path.rglob("*.partial"):
            left.unlink(missing_ok=True)
        return self.open()

    def open(self) -> xr.Dataset:
        """The result as it stands, read when it is looked at."""
        import xarray as xr

        datasets.register()
        found: xr.Dataset = xr.open_zarr(self.path, consolidated=False)[list(self._variables)]
        for name in found.variables:  # JSON knows lists only
            values = found[name].attrs.get("flag_values")
            if values is not None:
                found[name].attrs["flag_values"] = np.array(values, dtype=np.uint8)
        found.attrs.pop(_OWN, None)
        return found

    # -- How it lies on the disk ------------------------------------------------------------------------------------

    @property
    def _last(self) -> str:
        """The variable that is written last."""
        return list(self._variables)[-1]

    def _chunk(self, name: str, index: int) -> Path:
        return self.path.joinpath(name, "c", *map(str, self.cut.place(index)))

    def _array(self, name: str) -> Any:
        found = self._arrays.get(name)
        if found is None:
            zarr = _zarr()
            # A chunk of nothing but what an empty one would read as is written all the same: it says that it is done.
            found = self._arrays[name] = zarr.open_array(
                self.path / name, mode="r+", zarr_format=3, config={"write_empty_chunks": True}
            )
        return found

    def _create(self) -> None:
        """Lay out the store: first under another name, so that there is a whole one or none."""
        scratch = self.path.with_name(f".{self.path.name}.new")
        shutil.rmtree(scratch, ignore_errors=True)
        group = _zarr().create_group(scratch, zarr_format=3)
        dims = [axis.name for axis in self.grid.axes]
        for name, (kind, attrs) in self._variables.items():
            form = {"shape": self.grid.shape, "chunks": self.cut.lengths, "dimension_names": dims or None}
            _lay(group, name, kind, attrs, fill_value=datasets.empty(self.grid, name), **form)
        for axis in self.grid.axes:
            kind = str if axis.labels.dtype.kind == "U" else axis.labels.dtype
            form = {"shape": axis.labels.shape, "chunks": axis.labels.shape, "dimension_names": [axis.name]}
            _lay(group, axis.name, kind, axis.attrs, **form)[...] = axis.labels
        alone = datasets.single(self.grid)
        for name, label in alone.items():
            _lay(group, name, str, {}, shape=(), chunks=())[...] = label
        group.attrs.update(
            {**datasets.attributes(self.grid), _OWN: describe(self.grid, self.cut)}
            | ({"coordinates": " ".join(alone)} if alone else {})
        )
        with contextlib.suppress(OSError):
            os.rename(scratch, self.path)
        self._refuse_another()  # somebody else may have been faster

    def _refuse_another(self) -> None:
        try:
            there = json.loads((self.path / "zarr.json").read_text(encoding="utf-8"))["attributes"][_OWN]
        except (OSError, ValueError, KeyError, TypeError):
            raise BadWorkload(f"sweep: {self.path} is there, and is no store of a sweep: give another place") from None
        here = describe(self.grid, self.cut)
        if there != here:
            found = "; ".join(differences(there, here)) or "its form"
            raise BadWorkload(
                f"sweep: {self.path} holds another sweep. What differs: {found}. Give another place, or remove it"
            )


def _lay(group: Any, name: str, kind: Any, attrs: dict[str, Any], **form: Any) -> Any:
    from zarr.codecs import BloscCodec

    # Fast, and the same bytes for the same numbers.
    packed = "auto" if kind is str else BloscCodec(cname="lz4", clevel=1, shuffle="shuffle")
    return group.create_array(name, dtype=kind, attributes=_plain(attrs), compressors=packed, **form)


def _zarr() -> Any:
    try:
        import zarr
    except ImportError:
        raise RooflineError("a sweep to disk needs zarr: pip install zarr") from None
    return zarr


# What a sweep is ----------------------------------------------------------------------------------------------------


def describe(grid: Grid, cut: Cut) -> dict[str, Any]:
    """A sweep as plain data: all that its bytes depend on; models, chips and long axes by their digest."""
    return {
        "roofline": version("roofline"),
        "models": {model.name: digest(model) for model in grid.models},
        "chips": {chip.name: digest(chip) for chip in grid.chips},
        "axes": {
            axis.name: {
                "values": len(axis),
                "from": _plain(axis.labels[0]),
                "to": _plain(axis.labels[-1]),
                "digest": digest([axis.labels, axis.relative]),
            }
            for axis in grid.axes
        },
        "order": [axis.name for axis in grid.axes],
        "options": _plain(grid.fixed),
        "figures of the chip": _plain(grid.changes),
        "draws": grid.draws,
        "seed": grid.seed,
        "steady state": grid.serving,
        "figures": list(grid.figures),
        "slab": list(cut.lengths),
    } | ({"model error": True} if grid.model_error else {})


def digest(value: Any) -> str:
    """A digest of everything that a value is made of."""
    text = json.dumps(_plain(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Tables, lists, arrays and dataclasses as JSON has them; what is looked up again is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value) if one.init}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str):
        return [_plain(one) for one in (sorted(value) if isinstance(value, set | frozenset) else value)]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def differences(there: Any, here: Any) -> list[str]:
    """What differs between two sweeps, a phrase each."""
    found: list[str] = []
    for key in dict.fromkeys([*there, *here]):
        one, other = there.get(key), here.get(key)
        if one == other or (key == "slab" and found):  # which follows from the axes
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            for name in dict.fromkeys([*one, *other]):
                if one.get(name) != other.get(name):
                    found.append(f"{key}: {name} is {_words(one, name)} there, {_words(other, name)} here")
        else:
            found.append(f"{key}: {one} there, {other} here")
    return found


def _words(table: dict[str, Any], name: str) -> str:
    value = table.get(name)
    if isinstance(value, dict):
        return f"{value['values']:,} values from {value['from']} to {value['to']} ({value['digest'][:6]})"
    return "absent" if name not in table else str(value)
