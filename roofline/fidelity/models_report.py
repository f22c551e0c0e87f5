"""The page ``docs/models.md``: ``python -m roofline.fidelity.models_report > docs/models.md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from roofline.models import huggingface
from roofline.models.llm import LanguageModel
from roofline.show.documents import markdown
from roofline.show.table import Table

CONFIGS = Path(huggingface.__file__).parent / "configs"

_HEAD = """\
# Language models

The models that are built in, and what is counted of each. Made by
`python -m roofline.fidelity.models_report > docs/models.md`.

*Counted* is every parameter of the language model, tied embeddings once; towers beside it, which have a column of their
own, and the layers of multi-token prediction are not in it. *Active* are those that one token uses, the embeddings
included, which some publishers leave out. *transformers* is what the model's class in transformers 5.24 has on the meta
device, counted by `benchmarks/parameters.py --note`: "equal" to the parameter, by how many ours is more or fewer, or
"-" where transformers has no such class. *Published* is what the source at the end of the row says, rounded as it
rounds; "recalled" marks a figure that was written down from memory and not read again.

"""


def records() -> list[dict[str, Any]]:
    """Every built-in language model: what is counted of it, and what others say, in order of their names."""
    out = []
    for file in sorted(CONFIGS.glob("*.json")):
        model = huggingface.load(file)
        about = json.loads(file.read_text())["_roofline"]
        out.append({"model": model, **about})
    return out


def page() -> str:
    """The page's text."""
    found = records()
    rows = [_row(one["model"], one) for one in found]
    columns = [
        "model",
        ">counted",
        ">transformers",
        ">published",
        ">active",
        ">published active",
        ">towers",
        ">KV bytes a token",
        ">state bytes",
        ">weights GB",
        "source of what is published",
    ]
    return _HEAD + markdown([Table(f"{len(found)} models", columns, rows)])


def _row(model: LanguageModel, about: dict[str, Any]) -> list[str]:
    theirs = about.get("transformers_params")
    state = float(model.state_bytes(1))
    return [
        model.name,
        f"{model.params:,}",
        "-" if theirs is None else "equal" if theirs == model.params else f"{model.params - theirs:+,}",
        _billions(about.get("published_params_b")),
        _billions(model.active_params / 1e9),
        _billions(about.get("published_active_b")),
        _towers(model, about.get("transformers_tower_params")),
        f"{model.kv_bytes_per_token():,.0f}",
        f"{state:,.0f}" if state else "",
        f"{model.stored_bytes / 1e9:,.1f}",
        about.get("published_source", ""),
    ]


def _towers(model: LanguageModel, theirs: int | None) -> str:
    """The parameters of towers, or that the file has one that is not read."""
    if model.towers:
        return f"{model.tower_params:,}" + (" (equal)" if theirs == model.tower_params else "")
    return "" if theirs is None else f"not read ({theirs:,})"


def _billions(value: float | None) -> str:
    return "" if value is None else f"{value:,.4g} B"


if __name__ == "__main__":
    print(page(), end="")
