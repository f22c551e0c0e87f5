"""Sweeps past memory and past one machine: stores that go on where they stopped, clusters, what is refused."""

from __future__ import annotations

import hashlib
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import roofline as rl
from roofline.study import definition, grids, resources, running, slabs, stores

#: Two dozen slabs, some with points that no plan can do, for both families.
MODELS, CHIPS = ["llama-3.1-8b", "rm1"], ["h100-sxm", "artemis"]
AXES: dict[str, Any] = {
    "batch": [8, 16, 32],
    "tp": [1, 3],
    "memory.main.bandwidth": ["1 TB/s", "2 TB/s"],
    "figures": ["time_s", "tokens_per_s"],
}


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs of a few points."""
    monkeypatch.setattr(definition, "MOST", 4)


@pytest.fixture(scope="module")
def whole() -> xr.Dataset:
    """The grid as memory holds it."""
    return rl.sweep(MODELS, CHIPS, **AXES)


def bytes_of(path: Path) -> dict[str, str]:
    """A digest of every file of a store, by its place."""
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_a_store_holds_what_memory_does(tmp_path: Path, whole: xr.Dataset) -> None:
    stored = rl.sweep(MODELS, CHIPS, to=tmp_path / "grid.zarr", **AXES)
    xr.testing.assert_identical(stored.load(), whole)
    assert stored["bound"].dtype == np.uint8
    assert set(np.unique(stored.roofline.bound_text())) == set(np.unique(whole.roofline.bound_text()))
    alone = rl.sweep("rm1", "h100", batch=8, to=tmp_path / "point.zarr")
    xr.testing.assert_identical(alone.load(), rl.sweep("rm1", "h100", batch=8))


def test_a_sweep_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rl.sweep(MODELS, CHIPS, to=tmp_path / "straight.zarr", **AXES)
    path, answered, put = tmp_path / "stopped.zarr", [0], stores.Store.put

    def stopping(self: stores.Store, index: int, values: dict[str, Any]) -> None:
        answered[0] += 1
        if answered[0] % 7 == 0:  # in the middle of a slab: some of its variables are written
            half = {name: values[name] for name in list(values)[:2]}
            monkeypatch.setattr(self, "_variables", {name: self._variables[name] for name in half})
            put(self, index, half)
            (path / "time_s" / "c" / "0" / "left.partial").write_bytes(b"half a chunk")
            raise KeyboardInterrupt
        put(self, index, values)

    monkeypatch.setattr(stores.Store, "put", stopping)
    stops = 0
    while True:
        try:
            rl.sweep(MODELS, CHIPS, to=path, **AXES)
            break
        except KeyboardInterrupt:
            stops += 1
            assert np.isnan(xr.open_zarr(path, consolidated=False)["time_s"]).any()
    assert stops > 1
    assert bytes_of(path) == bytes_of(tmp_path / "straight.zarr")
    before = answered[0]
    rl.sweep(MODELS, CHIPS, to=path, **AXES)
    assert answered[0] == before  # of a whole store nothing is computed again


DIFFERENT: list[tuple[dict[str, Any], str]] = [
    ({"batch": [8, 17, 32]}, r"axes: batch is 3 values from 8 to 32 \(\w+\) there, 3 values"),
    ({"figures": ["time_s"]}, r"figures: \['time_s', 'tokens_per_s'\] there, \['time_s'\] here"),
    ({"draws": 2}, "axes: draw is absent there"),
]


@pytest.mark.parametrize(("changes", "message"), DIFFERENT, ids=[message for _, message in DIFFERENT])
def test_the_store_of_another_sweep_is_refused_with_what_differs(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    short = AXES | {"tp": 1}
    rl.sweep(MODELS[0], CHIPS, to=tmp_path / "grid.zarr", **short)
    before = bytes_of(tmp_path / "grid.zarr")
    with pytest.raises(rl.BadWorkload, match=rf"holds another sweep. What differs: {message}"):
        rl.sweep(MODELS[0], CHIPS, to=tmp_path / "grid.zarr", **(short | changes))
    assert bytes_of(tmp_path / "grid.zarr") == before


def test_other_chips_of_the_same_name_are_another_sweep(tmp_path: Path) -> None:
    rl.sweep("rm1", "h100", batch=[8, 16], to=tmp_path / "grid.zarr")
    text = rl.load_chip("h100").to_toml().replace('"3.35 TB/s"', '"3.36 TB/s"')
    (tmp_path / "h100-sxm.toml").write_text(text)
    with pytest.raises(rl.BadWorkload, match="chips: h100-sxm is"):
        rl.sweep("rm1", tmp_path / "h100-sxm.toml", batch=[8, 16], to=tmp_path / "grid.zarr")
    (tmp_path / "notes").mkdir()
    with pytest.raises(rl.BadWorkload, match="is there, and is no store of a sweep"):
        rl.sweep("rm1", "h100", batch=[8, 16], to=tmp_path / "notes")


@pytest.mark.parametrize(("place", "why"), [("é" * 300, "too long"), ("a\0b", "null byte")])
def test_a_store_that_cannot_be_made_is_refused(tmp_path: Path, place: str, why: str) -> None:
    with pytest.raises(rl.BadWorkload, match=f"sweep: .* cannot be made: .*{why}"):
        rl.sweep("rm1", "h100", batch=[8, 16], to=f"{tmp_path}/{place}")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """A cluster of two workers in this process."""
    distributed = pytest.importorskip("distributed")
    with (
        warnings.catch_warnings(action="ignore"),  # what it leaves open is its own affair
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", protocol="inproc://"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def test_a_cluster_answers_the_same(client: Any, tmp_path: Path, whole: xr.Dataset) -> None:
    xr.testing.assert_identical(rl.sweep(MODELS, CHIPS, client=client, **AXES), whole)
    rl.sweep(MODELS, CHIPS, client=client, to=tmp_path / "there.zarr", **AXES)
    rl.sweep(MODELS, CHIPS, to=tmp_path / "here.zarr", **AXES)
    assert bytes_of(tmp_path / "there.zarr") == bytes_of(tmp_path / "here.zarr")


def test_what_fails_on_a_cluster_fails_here(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("in a worker")

    monkeypatch.setattr(slabs.Slabs, "answer", broken)
    with pytest.raises(ZeroDivisionError, match="in a worker"):
        rl.sweep("rm1", "h100", batch=[1, 2, 3, 4, 5, 6], client=client)
    with pytest.raises(rl.BadWorkload, match=r"client: expected a dask\.distributed\.Client, .* found 'tcp"):
        rl.sweep("rm1", "h100", batch=[1, 2], client="tcp://10.0.0.1:8786")


def test_a_grid_past_memory_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grids, "memory_bytes", lambda: 1e6)
    monkeypatch.setattr(slabs.Slabs, "answer", lambda *_: pytest.fail("computed all the same"))
    with pytest.raises(rl.BadWorkload, match=r"1,000,000 points need \d+ MB of memory, and 1 MB are free: give to="):
        rl.sweep("llama-3.1-8b", "h100", batch=range(1, 1001), prompt=range(1, 1001))


def test_slabs_run_in_threads_and_stop_at_the_first_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_LEAST", 1)
    monkeypatch.setattr(running.cpus, "available", lambda: 3)
    axes: dict[str, Any] = {"batch": [1, 2, 3], "clock": [f"x{0.9 + i / 100}" for i in range(12)]}
    several, names, answer = rl.sweep("rm1", "h100", **axes), set(), slabs.Slabs.answer

    def watched(self: slabs.Slabs, slab: Any) -> Any:
        names.add(threading.current_thread().name)
        return answer(self, slab)

    monkeypatch.setattr(slabs.Slabs, "answer", watched)
    xr.testing.assert_identical(rl.sweep("rm1", "h100", **axes), several)
    assert threading.main_thread().name not in names
    monkeypatch.setattr(slabs.Slabs, "answer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        rl.sweep("rm1", "h100", **axes)


def test_the_memory_that_a_control_group_leaves_is_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "_own_groups", lambda: [tmp_path])
    free = resources.memory_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert resources.memory_bytes() > 2e6
    (tmp_path / "memory.max").write_text("3000000\n")
    assert resources.memory_bytes() == 2e6 < free
