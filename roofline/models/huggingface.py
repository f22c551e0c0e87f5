"""A Hugging Face ``config.json``, as it is, read as a :class:`~roofline.models.llm.LanguageModel`.

Which family it is of is found out here; what that makes of its fields, a function of ``families.py`` says. The sizes
that make a model (width, layers, vocabulary, feed-forward width) must be there, except in families whose published
files leave them out.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from roofline.base.errors import closest, shown
from roofline.base.units import text
from roofline.models.checkpoint import files
from roofline.models.checkpoint.reading import checkpoint_of
from roofline.models.families import ALSO, ARCHITECTURES, FAMILIES, OUT_OF_REACH, Layer
from roofline.models.fields import Fields, read_json
from roofline.models.llm import LanguageModel, Layers


def load(path: str | Path) -> LanguageModel:
    """Read a model from a ``config.json``, another JSON file of that form, or the folder that holds one.

    Raises
    ------
    BadModel
        When there is no such file, or it is no readable model.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    if file.name != "config.json":
        return read(read_json(file), file.stem, str(file))
    folder = file.resolve().parent
    model = read(read_json(file), folder.name, str(file), files.quantiser_file(folder))
    return _with_files(model, files.weight_files(folder))


def read(
    config: dict[str, Any], name: str = "model", file: str = "config.json", beside: Fields | None = None
) -> LanguageModel:
    """Read the content of a ``config.json``.

    Parameters
    ----------
    config : dict
        The file's content. The text part of a multi-modal model (``text_config``) is what counts. An extra key
        ``_roofline`` may hold ``title``, ``source``, ``published_params_b``, ``published_source`` and ``aliases``.
    name : str
        What to call the model.
    file : str
        Named in errors.
    beside : Fields, optional
        The content of a ``hf_quant_config.json`` that lies beside it.

    Raises
    ------
    BadModel
        For an unknown architecture, and for a field that is missing, of the wrong type, out of bounds, misspelt or at
        odds with another.
    """
    top = Fields(config, file)
    about = top.table("_roofline") or Fields({}, file, "_roofline")
    body = top.table("text_config") or top
    made = FAMILIES[_family(body, top)](body)
    layers: list[Layer] = made.pop("layers")
    hidden = body.integer("hidden_size", "n_embd", "n_embed")
    published = about.number("published_params_b", default=0.0, low=0.0, high=1e6)
    about.get("published_source")
    model = LanguageModel(
        name=name,
        layers=tuple(Layers(count, *layer) for layer, count in Counter(layers).items()),
        hidden=hidden,
        vocab=body.integer("vocab_size", default=made.pop("vocab", None), limit="vocab"),
        max_positions=body.integer(
            "max_position_embeddings", "n_positions", default=made.pop("max_positions", 2048), limit="positions"
        ),
        checkpoint=checkpoint_of(body, top, layers, hidden, beside),
        title=about.text("title", name),
        source=about.text("source", file),
        aliases=_strings(about, "aliases"),
        published_params_b=published or None,
        **made,
    )
    for fields in (about, body):
        fields.finish()
    return model


def _family(body: Fields, top: Fields) -> str:
    """The family that `architectures` and `model_type` name: a key of ``FAMILIES``."""
    known = {**{family: family for family in FAMILIES}, **ALSO}
    architecture = next(iter(_strings(top, "architectures")), "")
    stem = architecture
    for suffix in ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel"):
        stem = stem.removesuffix(suffix)
    by_architecture = known.get(ARCHITECTURES.get(stem, ""), "")
    model_type = body.text("model_type") or top.text("model_type")
    by_type = known.get(model_type, "")
    if by_architecture and by_type and by_architecture != by_type:
        top.fail("model_type", f"found {shown(model_type)}, at odds with architectures = {shown(architecture)}")
    family = by_architecture or by_type
    if family:
        return family
    if not architecture and not model_type:
        top.fail("architectures", "is missing, and model_type too; expected one such as 'LlamaForCausalLM'")
    key, found = ("model_type", model_type) if model_type else ("architectures", architecture)
    why = OUT_OF_REACH.get(model_type)
    if why:
        top.fail(key, f"found {shown(found)}, which {why}")
    near = closest(found, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    top.fail(key, f"found {shown(found)}, expected a family that roofline reads: {', '.join(FAMILIES)}{hint}")


def _strings(fields: Fields, key: str) -> tuple[str, ...]:
    values = fields.array(key) or []
    if not all(isinstance(v, str) for v in values):
        fields.fail(key, f"found {shown(values)}, expected a list of strings")
    return tuple(values)


#: The share by which the weights' files may differ from the count unsaid. Scales a tensor, rotary tables and the like
#: come to 0.1 % of a checkpoint at most; a prediction head or a tower, which are not counted, to more than this.
_UNSAID = 0.01


def _with_files(model: LanguageModel, found: files.Files | None) -> LanguageModel:
    """The model with the size of the weights beside it, warning where that is not what was counted."""
    if found is None:
        return model
    counted = model.stored_bytes
    if abs(found.size - counted) > _UNSAID * counted:
        beside = found.beside(model.num_layers)
        warnings.warn(
            f"{model.source}: {found.source} says {text(float(found.size), 'B', 5)} of weights, and "
            f"{text(counted, 'B', 5)} are counted ({found.size / counted - 1:+.1%})"
            + (f"; in the files and not in the count: {files.told(beside)}" if beside else ""),
            stacklevel=2,
        )
    return replace(model, file_bytes=found.size)
