"""Chips that are kept from one start to the next are those of the files, whatever happened to either."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

import roofline as rl
from roofline.catalog import chips, extends, places, shelf
from roofline.catalog.descriptors import read_chip
from roofline.catalog.shelf import Shelf

CHILD = """\
schema = 1
name = "{name}"
extends = "{parent}"
power.tdp = {{ value = "{watts} W", source = "s", kind = "measured" }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with the chip `mine`, which extends `base`, and an empty cache folder."""
    monkeypatch.setattr("roofline.base.kept.folder", lambda: tmp_path / "cache")
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path / "chips"))
    (tmp_path / "chips").mkdir()
    put(tmp_path / "chips", "base", "h200", 500)
    put(tmp_path / "chips", "mine", "base", 600)
    start_anew(monkeypatch)
    return tmp_path / "chips"


def put(folder: Path, name: str, parent: str, watts: int) -> None:
    (folder / f"{name}.toml").write_text(CHILD.format(name=name, parent=parent, watts=watts))


def start_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget all that this process knows of chips, as a new one would."""
    for name in ("_loaded", "_rows", "_shelves"):
        monkeypatch.setattr(chips, name, {})
    for function in (extends.read, extends._filled, shelf._digest, chips._aliases):
        function.cache_clear()


def kept_file(folder: Path) -> Path:
    return Shelf(folder)._path


def read_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a file that is parsed is a failure."""

    def refuse(path: Path) -> None:
        raise AssertionError(f"{path} was parsed")

    monkeypatch.setattr("roofline.base.tomlfile.read_with_digest", refuse)


def test_what_is_kept_is_what_was_read_figure_by_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.base.kept.folder", lambda: tmp_path / "cache")
    start_anew(monkeypatch)
    listed = chips.records()
    files = {name: path for name, (_, path) in places.files_of("chips").items()}
    read = {name: read_chip(path) for name, path in files.items()}
    start_anew(monkeypatch)
    read_none(monkeypatch)
    assert chips.records() == listed
    for name, one in read.items():
        again = rl.load_chip(name)
        assert again is not one
        for field in dataclasses.fields(one):
            if field.init:
                mine, its = getattr(again, field.name), getattr(one, field.name)
                assert (mine, repr(mine)) == (its, repr(its)), f"{name}: {field.name}"


def test_a_changed_file_is_seen_though_its_size_and_time_are_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rl.load_chip("mine")["power.tdp"] == 600
    for name, watts, expected in (("base", 550, 600), ("mine", 650, 650)):
        path = folder / f"{name}.toml"
        status = path.stat()
        put(folder, name, {"base": "h200", "mine": "base"}[name], watts)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        start_anew(monkeypatch)
        assert rl.load_chip("mine")["power.tdp"] == expected
        assert rl.load_chip("base")["power.tdp"] == 550


def test_a_parent_that_is_found_elsewhere_now_is_the_one_that_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rl.load_chip("mine")["memory.main.capacity"]
    put(folder, "h200", "h100-sxm", 1)  # beside `base`, which extends the built-in one until now
    start_anew(monkeypatch)
    assert rl.load_chip("mine")["memory.main.capacity"] == rl.load_chip("h100-sxm")["memory.main.capacity"] < before


@pytest.mark.parametrize("damage", ["cut", "figure", "empty", "writable", "code"])
def test_a_shelf_that_cannot_be_trusted_is_as_good_as_none(
    damage: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rl.load_chip("mine")
    path = kept_file(folder)
    data = path.read_bytes()
    if damage == "figure":
        assert b"600.0" in data
        path.write_bytes(data.replace(b"600.0", b"900.0"))
    elif damage == "writable":
        path.chmod(0o666)
    elif damage == "code":
        monkeypatch.setattr(shelf, "made_by", lambda: "another version")
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")
    start_anew(monkeypatch)
    assert Shelf(folder).files(folder / "mine.toml") is None
    assert rl.load_chip("mine")["power.tdp"] == 600
    start_anew(monkeypatch)
    read_none(monkeypatch)
    assert rl.load_chip("mine")["power.tdp"] == 600  # and it was kept anew


def test_two_processes_that_keep_different_chips_keep_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Shelf(folder), Shelf(folder)
    for at, name in ((one, "base"), (two, "mine")):
        sources = extends.Sources()
        from roofline.catalog.descriptors import read_with_sources

        path = folder / f"{name}.toml"
        chip = read_with_sources(path, sources)
        at.put(path, chip, {"title": name}, sources)
    one.save()
    two.save()
    found = Shelf(folder)
    assert [found.row(folder / f"{name}.toml") for name in ("base", "mine")] == [{"title": "base"}, {"title": "mine"}]
    assert all(found.chip(folder / f"{name}.toml") for name in ("base", "mine"))


def test_without_a_place_chips_are_read_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.base.kept.folder", lambda: folder / "mine.toml" / "cache")
    for _ in range(2):
        start_anew(monkeypatch)
        assert rl.load_chip("mine")["power.tdp"] == 600


def test_shelves_do_not_pile_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = kept_file(folder).parent
    cache.mkdir(mode=0o700)
    for i in range(shelf.MOST_SHELVES + 5):
        (cache / f"chips-{i}.json").write_text("")
    rl.load_chip("mine")
    assert len(list(cache.glob("chips-*.json"))) <= shelf.MOST_SHELVES + 1
