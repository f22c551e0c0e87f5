"""Parameters of language models against ``transformers``: what we count of a config, and what its class has.

The class is built on the meta device, where tensors have a shape and no memory. Counted are its parameters, tied ones
once, and beside them the buffers that a checkpoint stores (the score corrections of DeepSeek's routers are such), since
what a class makes a buffer of another makes a parameter of. Of a multi-modal class the language model and its head are
counted, as we count them; the towers are printed beside.

``python benchmarks/parameters.py`` takes the built-in models, ``--defaults`` every class of transformers for causal
language models as its configuration class makes it, and files or folders the configs in them. ``--write`` keeps what
was compared for the tests, without the fields that change nothing. transformers and torch are needed here and nowhere
else: ``pip install transformers torch``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from roofline.base.errors import RooflineError
from roofline.models import huggingface
from roofline.models.ignored import HARMLESS

BUILT_IN = Path(huggingface.__file__).parent / "configs"

#: What a file is told by, which is kept though no size depends on it.
_TOLD = ("model_type", "max_window_layers", "architectures", "unpadded_vocab_size")

#: What a class needs beside its own defaults to be built at all.
_NEEDED = {
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128, "num_experts": 16, "moe_topk": 2},
    "ministral": {"head_dim": 128},
    "nemotron": {"num_key_value_heads": 8},
    "dots1": {"n_routed_experts": 128, "num_experts_per_tok": 6, "n_shared_experts": 2, "first_k_dense_replace": 1},
    "deepseek_v2": {"num_experts_per_tok": 6},
    # Of experts that return a token as it is the class stores a first matrix, which no checkpoint has.
    "longcat_flash": {"zero_expert_num": 0},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"] * 8},
}

#: Model types that transformers builds under another name, since a checkpoint's own code says the same.
_SAME = {"kimi_k2": "deepseek_v3"}

#: Parts of a multi-modal class that are no language model.
TOWERS = re.compile(
    r"(^|\.)(vision\w*|visual|audio\w*|image\w*|multi_modal_projector|mm_projector|embed_vision|embed_audio|vq\w*"
    r"|embed_tokens_extend|speech\w*|patch_merger)\."
)


class Theirs(NamedTuple):
    """What a class has: parameters, stored buffers, and parameters of its towers."""

    name: str
    params: int
    buffers: int
    towers: int


class Row(NamedTuple):
    """One line of the table."""

    model: str
    name: str
    ours: int | None
    theirs: Theirs | None
    why: str = ""
    config: dict[str, Any] | None = None

    @property
    def agrees(self) -> bool:
        """Whether both are equal to the parameter, with the stored buffers or without."""
        if self.ours is None or self.theirs is None:
            return False
        return self.ours in (self.theirs.params, self.theirs.params + self.theirs.buffers)

    @property
    def nearest(self) -> int:
        """Theirs with the stored buffers or without, whichever is nearer to ours."""
        assert self.theirs is not None
        return min(
            (self.theirs.params, self.theirs.params + self.theirs.buffers), key=lambda n: abs(n - (self.ours or 0))
        )

    def __str__(self) -> str:
        ours = "-" if self.ours is None else f"{self.ours:,}"
        if self.theirs is None:
            return f"{self.model:42} {self.name:34} {ours:>20} {'-':>20}   {self.why}"
        nearest = self.nearest
        difference = "equal" if self.agrees else "" if self.ours is None else f"{self.ours - nearest:+,}"
        towers = f"   towers {self.theirs.towers:,}" if self.theirs.towers else ""
        return f"{self.model:42} {self.name:34} {ours:>20} {nearest:>20,}   {difference}{towers}{self.why}"


def build(config: Any, name: str) -> Theirs:
    """The counts of a class, built on the meta device from a configuration object."""
    import torch
    import transformers

    made, first = None, Exception(f"transformers {transformers.__version__} has no class {name}")
    with torch.device("meta"):
        for kind in (name, "AutoModelForCausalLM", "AutoModelForImageTextToText"):
            one = getattr(transformers, kind, None)
            if one is None:
                continue
            try:
                made = one.from_config(config) if kind.startswith("Auto") else one(config)
                break
            except Exception as error:  # another kind of class may be the one that takes this configuration
                first = error if kind == name else first
    if made is None:
        raise first
    made.tie_weights()
    params = {id(p): (key, p.numel()) for key, p in made.named_parameters()}
    towers = sum(size for key, size in params.values() if TOWERS.search(key))
    stored = made.state_dict(keep_vars=True)
    buffers = sum(
        t.numel()
        for key, t in stored.items()
        if id(t) not in params and t.is_floating_point() and not TOWERS.search(key)
    )
    return Theirs(type(made).__name__, sum(size for _, size in params.values()) - towers, buffers, towers)


def read(config: dict[str, Any], model: str) -> tuple[int | None, str]:
    """What we count, or why not."""
    try:
        return huggingface.read(config, model).params, ""
    except RooflineError as error:
        return None, str(error).removeprefix("config.json: ")[:110]


def compared(config: dict[str, Any], model: str) -> Row:
    """A config as a file has it."""
    from transformers import CONFIG_MAPPING

    name = next(iter(config.get("architectures") or ["-"]))
    ours, why = read(config, model)
    plain = {key: value for key, value in config.items() if key not in ("quantization_config", "auto_map", "_roofline")}
    kind = _SAME.get(plain.get("model_type"), plain.get("model_type"))
    plain["model_type"] = kind
    if kind not in CONFIG_MAPPING:
        return Row(model, name, ours, None, f"transformers has no {kind} {why}")
    try:
        return Row(model, name, ours, build(CONFIG_MAPPING[kind].from_dict(plain), name), why)
    except Exception as error:  # whatever a class raises for a config that it cannot build
        return Row(model, name, ours, None, f"not built: {type(error).__name__}: {error}"[:110] + f" {why}")


def files(paths: list[Path]) -> Iterator[Row]:
    """The configs of files and of folders, or of the folders in a folder."""
    for path in paths:
        found = [path] if path.is_file() else sorted(path.glob("*.json")) or sorted(path.glob("*/config.json"))
        for file in found:
            name = file.parent.name if file.name == "config.json" else file.stem
            yield compared(json.loads(file.read_text(encoding="utf-8-sig")), name)


def defaults() -> Iterator[Row]:
    """Every class of transformers for causal language models, as its configuration class makes it."""
    from transformers import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        try:
            config = CONFIG_MAPPING[kind](**_NEEDED.get(kind, {}))
        except Exception as error:  # classes whose defaults they refuse themselves
            yield Row(kind, name, None, None, f"no defaults: {type(error).__name__}: {error}"[:110])
            continue
        # As a file of the class says it: some are halves of what their type is.
        values = config.to_dict() | {"architectures": [name]}
        ours, why = read(values, kind)
        try:
            yield Row(kind, name, ours, build(config, name), why, values)
        except Exception as error:
            yield Row(
                kind,
                name,
                ours,
                None,
                f"not built: {type(error).__name__}: {error}"[:90].replace("\n", " ") + f" {why}",
            )


def write(file: Path, rows: list[Row]) -> None:
    """Keep the configs that agree, a line each."""
    lines = []
    for row in rows:
        if row.agrees and row.config is not None and not isinstance(row.config.get("text_config"), dict):
            kept = {k: v for k, v in row.config.items() if k not in HARMLESS or k in _TOLD}
            few = {k: v for k, v in kept.items() if v is not None}
            kept = few if read(few, row.model)[0] == row.ours else kept
            one = {"class": row.name, "params": row.ours, "config": kept}
            lines.append(f"{json.dumps(row.model)}: {json.dumps(one)}")
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def note(rows: list[Row]) -> None:
    """Write what transformers counts into the files of built-in models, beside what is published of them."""
    for row in rows:
        file = BUILT_IN / f"{row.model}.json"
        if row.theirs is None or not file.is_file():
            continue
        counted = row.nearest
        lines = f'    "transformers_params": {counted},\n'
        if row.theirs.towers:
            lines += f'    "transformers_tower_params": {row.theirs.towers},\n'
        text = re.sub(r'    "transformers_(tower_)?params": [0-9]+,\n', "", file.read_text())
        file.write_text(text.replace('    "aliases"', f'{lines}    "aliases"'))


def main() -> int:
    """Print the table and how many agree; 1 where a count that can be compared differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("paths", nargs="*", type=Path, help="config files, or folders of them")
    parser.add_argument(
        "--defaults", action="store_true", help="every causal class, as its configuration class makes it"
    )
    parser.add_argument("--differing", action="store_true", help="only what differs or cannot be compared")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the configs that agree, and their counts")
    parser.add_argument("--note", action="store_true", help="write the counts into the files of built-in models")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        print(f"{error}; pip install transformers torch", file=sys.stderr)
        return 2
    transformers.logging.set_verbosity_error()
    rows = []
    print(f"{'model':42} {'class':34} {'ours':>20} {'theirs':>20}")
    for row in defaults() if given.defaults else files(given.paths or [BUILT_IN]):
        rows.append(row)
        if not (given.differing and row.agrees):
            print(row, flush=True)
    known = sum(row.ours is not None for row in rows)
    both = [row for row in rows if row.ours is not None and row.theirs]
    equal = sum(row.agrees for row in both)
    print(f"transformers {transformers.__version__}: {len(rows)} configs, {known} read; {equal} of {len(both)} equal")
    if given.write:
        write(given.write, both)
    if given.note:
        note(both)
    return 0 if equal == len(both) else 1


if __name__ == "__main__":
    sys.exit(main())
