"""The layers of a language model in a few words, for people and for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.layers import Layers


def mixed(layers: Sequence[Layers]) -> dict[str, str]:
    """What mixes their tokens, in how many, and how far those that keep a cache see."""
    spans: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for group in layers:
        if group.mixer is None:
            continue
        again = f", each run {group.passes} times" if group.passes > 1 else ""
        kinds[group.mixer.about + again] += group.count
        if group.mixer.token_bytes(1.0):
            spans["all" if group.span.window is None else f"{group.span.window:,}"] += group.count
    only = len(kinds) == 1
    return {
        "attention": "; ".join(kind if only else f"{kind} in {count} layers" for kind, count in kinds.items()),
        "tokens seen": ", ".join(f"{seen} in {count} layers" for seen, count in spans.items()),
    }


def fed_forward(layers: Sequence[Layers]) -> dict[str, int | str]:
    """Widths of their feed-forward blocks, and their experts."""
    routed = [g.feed_forward for g in layers if isinstance(g.feed_forward, Experts)]
    dense = [g.feed_forward.inter for g in layers if isinstance(g.feed_forward, FeedForward)]
    out: dict[str, int | str] = {}
    if dense:
        out["feed-forward width"] = max(dense)
    if routed:
        out["experts"] = f"{routed[0].topk} of {routed[0].experts}, width {routed[0].inter:,}"
    return out


def numbered(key: str, lines: Sequence[str]) -> dict[str, str]:
    """Several lines under one key, numbered where there is more than one."""
    return {key if len(lines) == 1 else f"{key} ({number})": line for number, line in enumerate(lines, 1)}
