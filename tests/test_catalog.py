"""Where chips and models are found: built in, the user's folders, plug-ins, paths; and what an unknown name is told."""

from __future__ import annotations

import json
import os
import sys
import time
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import platformdirs
import pytest

import roofline as rl
from roofline.base.errors import BadDescriptor, BadModel, UnknownName
from roofline.catalog import chips, load as catalog, places, plugins

CHILD = """\
schema = 1
name = "{name}"
extends = "{parent}"
[power.tdp]
value = "{watts} W"
source = "s"
kind = "measured"
"""


def put(folder: Path, name: str, parent: str = "h100-sxm", watts: float = 650, extra: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(extra + CHILD.format(name=name, parent=parent, watts=watts))
    return path


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelves")


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shelves: Path) -> None:
    """A user without any chips or plug-ins of their own."""
    monkeypatch.setattr("roofline.base.kept.folder", lambda: shelves)
    monkeypatch.setattr(chips, "_shelves", {})
    monkeypatch.delenv("ROOFLINE_CHIPS", raising=False)
    monkeypatch.delenv("ROOFLINE_MODELS", raising=False)
    monkeypatch.setattr(platformdirs, "user_data_dir", lambda *args, **options: str(tmp_path / "data"))
    monkeypatch.setattr(places, "_plugins", lambda group: [])
    plugins.warn_once.cache_clear()


def rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in catalog.chip_records()}


# Names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("h100-sxm", "h100-sxm"),
        ("H100-SXM", "h100-sxm"),
        (" h100-sxm ", "h100-sxm"),
        ("h100", "h100-sxm"),
        ("H100 SXM", "h100-sxm"),
        ("h100_sxm5", "h100-sxm"),
        ("NVIDIA H100 SXM5 80GB", "h100-sxm"),
        ("H100 SXM5 80GB", "h100-sxm"),
        ("mtia", "mtia-v1"),
        ("MTIA v2", "mtia-2i"),
    ],
)
def test_names_and_aliases(name: str, meant: str) -> None:
    assert rl.load_chip(name).name == meant


@pytest.mark.parametrize(
    ("name", "near"),
    [("h100-sxn", "h100-sxm"), ("mi355", "mi355x"), ("tpu-v5", "tpu-v5e"), ("artms", "artemis")],
)
def test_an_unknown_chip_suggests_names_that_load(name: str, near: str) -> None:
    with pytest.raises(UnknownName) as error:
        rl.load_chip(name)
    assert near in error.value.close
    for close in error.value.close:
        assert rl.load_chip(close)
    assert "did you mean" in str(error.value)


@pytest.mark.parametrize("name", ["", " ", "!!!", "-", "hopper", "\u4e2d", "x" * 100_000, "\x1b[2J"])
def test_nonsense_for_a_name(name: str) -> None:
    for load in (rl.load_chip, rl.load_model):
        with pytest.raises(UnknownName) as error:
            load(name)
        assert len(str(error.value)) < 400
        assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    "path", ["absent/x.toml", "x.toml", "a\0/b.toml", "x" * 5000 + ".toml", "~nosuchuser/x.toml", os.sep, os.devnull]
)
def test_a_path_to_nothing(path: str) -> None:
    for load in (rl.load_chip, rl.load_model):
        with pytest.raises(UnknownName, match="file is called"):
            load(path)


def test_a_path_to_nothing_names_what_lies_beside_it(tmp_path: Path) -> None:
    put(tmp_path, "mine")
    with pytest.raises(UnknownName, match=r"beside it lies 'mine\.toml'"):
        rl.load_chip(tmp_path / "mien.toml")


def test_a_folder_for_a_file_is_called_one_and_says_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "dir.toml"
    folder.mkdir()
    with pytest.raises(UnknownName) as error:
        rl.load_chip(folder)
    assert "did you mean" not in str(error.value)
    assert str(error.value).endswith("dir.toml' (that is a folder, expected a file; it holds no *.toml)")
    put(folder, "mine")
    with pytest.raises(UnknownName, match=r"\(that is a folder, expected a file; it holds mine\.toml\)"):
        rl.load_chip(str(folder))


# Places ---------------------------------------------------------------------------------------------------------


def test_a_path_to_a_file(tmp_path: Path) -> None:
    path = put(tmp_path, "mine")
    for spelling in (path, str(path)):
        assert rl.load_chip(spelling)["power.tdp"] == 650
    with pytest.raises(UnknownName):
        rl.load_chip("mine")


def test_the_users_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "one", "mine", watts=100, extra='aliases = ["my chip"]\n')
    put(tmp_path / "two", "mine", watts=200)
    put(tmp_path / "two", "other", watts=300)
    put(tmp_path / "data" / "chips", "third", watts=400)
    monkeypatch.setenv("ROOFLINE_CHIPS", os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two"), "/absent"]))
    assert rl.load_chip("mine")["power.tdp"] == 100  # the first folder wins
    assert rl.load_chip("My Chip")["power.tdp"] == 100
    assert rl.load_chip("other")["power.tdp"] == 300
    assert rl.load_chip("third")["power.tdp"] == 400
    found = rows()
    assert found["mine"]["origin"] == "ROOFLINE_CHIPS"
    assert found["third"]["origin"] == "user"
    assert found["h100-sxm"]["origin"] == "built in"
    assert list(rl.list_chips().index) == sorted(found)


def test_the_users_file_wins_over_the_built_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "h200", watts=123)
    before = rl.load_chip("h200")["power.tdp"]
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path))
    assert before != rl.load_chip("h200")["power.tdp"] == 123
    assert rows()["h200"]["origin"] == "ROOFLINE_CHIPS"


def test_the_users_alias_wins_over_a_built_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "zz-mine", extra='aliases = ["h100"]\n')
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path))
    assert rl.load_chip("h100").name == "zz-mine"


def test_an_unknown_name_mentions_a_missing_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path / "absent"))
    assert rl.load_chip("h100")
    with pytest.raises(UnknownName, match=r"ROOFLINE_CHIPS names what is no folder: .*absent"):
        rl.load_chip("mine")


def test_a_broken_file_hides_no_other_and_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "mine")
    (tmp_path / "syntax.toml").write_text("schema = \n")
    (tmp_path / "incomplete.toml").write_text('schema = 1\nname = "incomplete"\n')
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "typed.toml").write_text("aliases = 3\ntitle = 4\nname = 5\nextends = 6\n")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "dangling.toml").symlink_to(tmp_path / "absent")
    (tmp_path / ".hidden.toml").write_text("")
    (tmp_path / "notes.txt").write_text("")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.toml")
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path))
    found = rows()
    broken = {name for name, row in found.items() if "error" in row}
    assert broken == {"syntax", "incomplete", "binary", "typed"}
    assert "not valid TOML" in found["syntax"]["error"]
    assert "line 1" in found["syntax"]["error"]
    assert found["mine"]["tdp_W"] == 650
    assert rl.load_chip("H100 SXM").name == "h100-sxm"
    with pytest.raises(BadDescriptor, match="not valid TOML"):
        rl.load_chip("syntax")
    assert str(rl.list_chips().loc["syntax", "error"]).startswith(str(tmp_path))


def test_every_listed_name_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "called-so").rename(tmp_path / "Copy-Of.toml")
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path))
    assert "copy-of" in rows()
    for name in rows():
        assert rl.load_chip(name)
    assert rl.load_chip("called-so")["power.tdp"] == 650


def test_extends_across_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "one", "child", parent="parent", watts=1)
    put(tmp_path / "two", "parent", parent="h200", watts=2)
    monkeypatch.setenv("ROOFLINE_CHIPS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    child = rl.load_chip("child")
    assert child["power.tdp"] == 1
    assert child["memory.main.capacity"] == rl.load_chip("h200")["memory.main.capacity"]
    assert child.number("memory.main.capacity").inherited == "h200"
    assert child.number("engines.matrix.bf16").inherited == "h100-sxm"


def test_a_changed_file_is_read_again_and_so_is_its_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = put(tmp_path, "parent", watts=100, extra='aliases = ["first alias"]\n')
    child = tmp_path / "child.toml"
    child.write_text('schema = 1\nname = "child"\nextends = "parent"\n')
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path))
    first = rl.load_chip("child")
    assert rl.load_chip("child") is first
    assert rl.load_chip("first alias")["power.tdp"] == 100
    put(tmp_path, "parent", watts=2000, extra='aliases = ["another alias"]\n')
    os.utime(parent, ns=(1, 1))
    assert first["power.tdp"] == 100
    assert rl.load_chip("child")["power.tdp"] == 2000
    assert rl.load_chip("another alias")["power.tdp"] == 2000
    with pytest.raises(UnknownName):
        rl.load_chip("first alias")


# Plug-ins -------------------------------------------------------------------------------------------------------


def plug_in(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(f"p{i}", value, "roofline.chips") for i, value in enumerate(values)]
    monkeypatch.setattr(places, "_plugins", lambda group: points if group == "roofline.chips" else [])


@pytest.mark.parametrize("age_s", [0, 3600])
def test_files_come_and_go_in_a_folder_that_was_listed(
    age_s: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old folder is remembered until it changes; a young one may change again within a tick of its clock."""
    monkeypatch.setenv("ROOFLINE_CHIPS", str(tmp_path))
    put(tmp_path, "first")
    then = time.time() - age_s
    os.utime(tmp_path, (then, then))
    assert "second" not in catalog.files_of("chips")
    put(tmp_path, "second")
    assert "second" in catalog.files_of("chips")
    assert rl.load_chip("second")
    (tmp_path / "first.toml").unlink()
    assert "first" not in catalog.files_of("chips")


def test_a_plug_in_package_brings_chips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "acme_chips", "acme-1")
    (tmp_path / "acme_chips" / "__init__.py").write_text("raise RuntimeError('a package of data is never run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    plug_in(monkeypatch, "acme_chips")
    assert rl.load_chip("acme-1")["power.tdp"] == 650
    assert rows()["acme-1"]["origin"] == "plug-in p0"
    assert "acme_chips" not in sys.modules


def test_a_broken_plug_in_hides_nothing_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "acme_data", "acme-2")
    (tmp_path / "acme_data" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    broken = ["absent_package", "absent.inner", "", "not a name", "__main__.x"]
    plug_in(monkeypatch, *broken, "acme_data:thing")
    with pytest.warns(UserWarning, match="left out") as told:
        assert rl.load_chip("acme-2")
    whose = {str(warning.message).partition(" are left out: ")[0] for warning in told}
    assert whose == {f"the chips of plug-in p{i} ({value})" for i, value in enumerate(broken)}
    assert len(told) == len(broken)  # once each
    assert rl.load_chip("h100")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("raise RuntimeError('no licence\\nat all')", "RuntimeError: no licence at all"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("class Odd(Exception):\n    def __str__(self): return 'x' * 10_000\nraise Odd", "Odd: xxx"),
        ("assert False", "AssertionError"),
        ("__path__ = 3", "Error"),
    ],
)
def test_a_plug_in_that_fails_on_import_hides_nothing_and_is_named(
    body: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"acme_{abs(hash(body)):x}"
    put(tmp_path / name / "inner", "acme-3")
    (tmp_path / name / "__init__.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    plug_in(monkeypatch, f"{name}.inner")
    with pytest.warns(UserWarning, match=rf"the chips of plug-in p0 \({name}\.inner\) are left out: ") as told:
        assert "h100-sxm" in rows()
    assert why in str(told[0].message)
    assert len(str(told[0].message)) < 250


@pytest.mark.parametrize("value", ["sys", "builtins", "zipimport"])
def test_a_plug_in_without_a_folder_brings_not_the_files_of_this_one(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "stray")
    monkeypatch.chdir(tmp_path)
    plug_in(monkeypatch, value)
    with pytest.warns(UserWarning, match="has no folder"):
        assert "stray" not in rows()


def test_a_list_of_plug_ins_that_cannot_be_read_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(group: str) -> None:
        raise TypeError("entry_points.txt: what is that?")

    monkeypatch.setattr("importlib.metadata.entry_points", fails)
    with pytest.warns(UserWarning, match=r"the chips of all plug-ins are left out: TypeError: entry_points\.txt"):
        assert plugins.found("roofline.chips", (("nowhere", (1, 1)),)) == ()


# Models ---------------------------------------------------------------------------------------------------------

LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 256, "intermediate_size": 512,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2, "vocab_size": 1000,
    "max_position_embeddings": 2048, "torch_dtype": "bfloat16", "tie_word_embeddings": False, "hidden_act": "silu",
}  # fmt: skip


def test_the_users_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "little-llama.json").write_text(json.dumps(LLAMA))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken-too.toml").write_text("= 3")
    monkeypatch.setenv("ROOFLINE_MODELS", str(tmp_path))
    assert rl.load_model("Little Llama").params == rl.load_model(tmp_path / "little-llama.json").params > 0
    found = {row["name"]: row for row in catalog.model_records()}
    assert {name for name, row in found.items() if "error" in row} == {"broken", "broken-too"}
    assert found["little-llama"]["origin"] == "ROOFLINE_MODELS"
    assert len(found) > 45
    with pytest.raises(BadModel):
        rl.load_model("broken")


def test_the_folder_of_a_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    with pytest.raises(UnknownName, match="model file"):
        rl.load_model(folder)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    assert rl.load_model(folder).params > 0
    monkeypatch.chdir(tmp_path)
    assert rl.load_model("checkout").params > 0


def test_a_folder_that_merely_has_the_name_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dlrm-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert rl.load_model("dlrm-v2").name == "dlrm-v2"


def test_an_unknown_model_suggests_names_that_load() -> None:
    with pytest.raises(UnknownName) as error:
        rl.load_model("llama-3.1-70")
    assert "llama-3.1-70b" in error.value.close
    for close in error.value.close:
        assert rl.load_model(close)


def test_a_model_is_known_by_what_hugging_face_calls_it() -> None:
    assert rl.load_model("meta-llama/Llama-3.1-8B").name == "llama-3.1-8b"
    with pytest.raises(UnknownName, match=r"no model is called 'meta-llama/Llama-3\.1-9B'; did you mean"):
        rl.load_model("meta-llama/Llama-3.1-9B")
    with pytest.raises(UnknownName, match="no model file is called"):
        rl.load_model("./meta-llama/Llama-3.1-8B")
