"""Options that name what a system of servers is made of: ``--decode tp=8,replicas=2``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import typer


def made(options: dict[str, Any]) -> dict[str, Any]:
    """Pools, drafts and replicas that come and go, as options of a simulation; taken out of the options."""
    from roofline.serving.systems import Autoscale, Draft, Pool

    kinds = {"prefill": Pool, "decode": Pool, "draft": Draft, "autoscale": Autoscale}
    found = {name: _made(name, kinds[name], options.pop(name)) for name in kinds if name in options}
    if "autoscale" in found:
        if "replicas" in options:
            raise typer.BadParameter("--autoscale says how many replicas there are: leave --replicas out")
        found["replicas"] = found.pop("autoscale")
    return found


def _made(option: str, kind: type, value: str) -> Any:
    """An object of ``name=value,name=value``."""
    known = [one.name for one in fields(kind)]
    said: dict[str, Any] = {}
    for part in filter(None, (word.strip() for word in value.split(","))):
        name, equals, given = (word.strip() for word in part.partition("="))
        if not equals or name not in known:
            raise typer.BadParameter(f"--{option}: expected NAME=VALUE of {', '.join(known)}, found {part!r}")
        said[name] = _number_or_text(given)
    if option == "draft" and "model" not in said:
        raise typer.BadParameter("--draft: expected a model beside the others: a name, mtp or ngram")
    return kind(**said)


def _number_or_text(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
