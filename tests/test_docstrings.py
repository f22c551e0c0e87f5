"""Every public name has an example in its docstring, the example runs, and the reference lists the name."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

import roofline as rl

API = Path(__file__).parent.parent / "docs" / "reference" / "api.rst"


@pytest.mark.parametrize("name", rl.__all__)
def test_the_example_of_a_public_name_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    found = doctest.DocTestFinder(recurse=False).find(getattr(rl, name), name, globs={})
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for one in found:
        runner.run(one, out=said.append)
    plt.close("all")
    assert runner.tries > 0, f"roofline.{name} has no example"
    assert name in "".join(example.source for one in found for example in one.examples)
    assert runner.failures == 0, "".join(said)


def test_the_reference_lists_every_public_name_once() -> None:
    listed = re.findall(r"^   ([A-Za-z_]+)$", API.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(rl.__all__)
