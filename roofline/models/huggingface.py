"""A Hugging Face ``config.json``, as it is, read as a :class:`~roofline.models.llm.LanguageModel`.

Which family it is of is found out here; what that makes of its fields, a function of ``families.py`` says. The sizes
that make a model (width, layers, vocabulary, feed-forward width) must be there, except in families whose published
files leave them out.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from roofline.base.errors import BadModel, shown
from roofline.base.units import text
from roofline.models.besides import Linear
from roofline.models.checkpoint import files
from roofline.models.checkpoint.reading import checkpoint_of
from roofline.models.families import Layer, Parts, tell
from roofline.models.fields import Fields, read_json
from roofline.models.layers import Layers
from roofline.models.llm import LanguageModel
from roofline.models.readers import further, more_towers
from roofline.models.readers.parts import HIDDEN
from roofline.models.readers.towers import READERS

#: Where a multi-modal file keeps its text model; one may lie inside the other.
_WRAPPED = ("thinker_config", "text_config", "llm_config", "language_config")

#: What stands beside a text model, and is not read.
_TOWERS = {
    "vision_config": "vision tower", "visual": "vision tower", "vision_tower_config": "vision tower",
    "vit_config": "vision tower", "vq_config": "image tokeniser", "audio_config": "audio tower",
    "audio_encoder_config": "audio tower", "talker_config": "speech decoder", "depth_decoder_config": "speech decoder",
    "token2wav_config": "vocoder", "speech_config": "audio tower", "patch_size": "projection of image patches",
}  # fmt: skip


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
        ``_roofline`` may hold ``title``, ``source``, ``aliases``, ``published_params_b``, ``published_active_b`` and
        ``published_source``, and what transformers counts: ``transformers_params``, ``transformers_tower_params``.
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
    if top.get("peft_type"):
        top.fail("peft_type", f"found {shown(top.get('peft_type'))}, an adapter's; read the model that it adapts")
    body = _text_part(top)
    told = tell(body, top)
    made = told.reader(body)
    if made.get("encoder") and told.role != "generator":
        found = shown(top.get("architectures"))
        top.fail("architectures", f"found {found}, expected the class that generates, of an encoder with a decoder")
    layers: list[Layer] = made.pop("layers")
    hidden = body.integer(*HIDDEN, default=made.pop("hidden", None))
    made |= _head(told.role, body, top, made, hidden)
    usable = made.pop("usable", None)
    both_ways = body.get("use_bidirectional_attention") is True or "Bidirectional" in str(top.get("architectures"))
    if both_ways and not made.get("decodes", True):
        made["causal"] = False
    towers, not_read = _towers(top, hidden)
    checkpoint = checkpoint_of(body, top, layers, hidden, beside)
    if made.get("encoder"):
        made["encoder"] = replace(made["encoder"], checkpoint=checkpoint)
    vocab = body.integer("vocab_size", default=made.pop("vocab", None), limit="vocab")
    positions = usable or body.integer(
        "max_position_embeddings", "n_positions", default=made.pop("max_positions", 2048), limit="positions"
    )
    behind: list[Layer] | None = made.pop("mtp", None) or ([layers[-1]] if further.counted(body)[1] else None)
    head = further.head(name, hidden, vocab, behind, made, checkpoint, positions) if behind else None
    published = about.number("published_params_b", default=0.0, low=0.0, high=1e6)
    about.number("published_active_b", default=0.0, low=0.0, high=1e6)
    about.get("published_source", "transformers_params", "transformers_tower_params")
    model = LanguageModel(
        name=name,
        layers=tuple(Layers(count, *layer) for layer, count in Counter(layers).items()),
        hidden=hidden,
        vocab=vocab,
        max_positions=positions,
        checkpoint=checkpoint,
        title=about.text("title", name),
        source=about.text("source", file),
        aliases=_strings(about, "aliases"),
        published_params_b=published or None,
        towers=tuple(towers),
        mtp=head,
        left_out=(*not_read, *_left_out(body, top, {tower.source for tower in towers}, head)),
        **made,
    )
    about.finish("what roofline adds")
    body.finish(told.family)
    if body is not top:
        top.near_misses(told.family)
    return model


def _text_part(top: Fields) -> Fields:
    """The fields of the text model: those of a part of a multi-modal file, or the file's own."""
    found = top
    for key in (*_WRAPPED, *_WRAPPED):
        found = found.table(key) or found
    return found


def _head(role: str, body: Fields, top: Fields, made: Parts, hidden: int) -> Parts:
    """What stands at the model's end: the vocabulary, a few labels, or nothing.

    An encoder's reader says under ``roles`` what its classes have there besides; without a class it embeds.
    """
    roles: dict[str, Parts] | None = made.pop("roles", None)
    if roles is not None and role == "generator" and top.get("architectures"):
        role = "masked"  # an encoder's class with the vocabulary at its end, whatever it is called
    # A multi-modal file's own word on tied embeddings counts before its text part's.
    tied = made["tied"] if body is top else top.flag("tie_word_embeddings", made["tied"])
    encodes = roles is not None
    if role in ("classifier", "tagger"):
        labels = top.get("id2label")
        count = (
            len(labels) if isinstance(labels, dict) and labels else top.integer("num_labels", default=2, limit="vocab")
        )
        scores = "all" if role == "tagger" else "last"
        found: Parts = {"outputs": count, "tied": False, "lm_head_bias": encodes, "decodes": False, "scores": scores}
    elif role in ("reward", "process reward"):
        outputs, scores = (1, "last") if role == "reward" else (2, "all")
        found = {"outputs": outputs, "tied": False, "lm_head_bias": False, "decodes": False, "scores": scores}
        if body.text("model_type").startswith("qwen2"):  # two layers with biases, and a ReLU in between
            wide = Linear("score_hidden", hidden, hidden, bias=True, scope="model", pooled=scores == "last")
            found |= {"lm_head_bias": True, "besides": (*made.get("besides", ()), wide)}
        return found
    elif role == "masked":
        if not encodes:
            top.fail(
                "architectures",
                f"found {shown(top.get('architectures'))}, but this family decodes; expected "
                "a class that ends in ForCausalLM or Model",
            )
        found = {"tied": tied, "lm_head_bias": True, "decodes": False, "scores": "all"}
    elif role == "embedder" or encodes:
        role, found = "embedder", {"outputs": 0, "tied": True, "lm_head_bias": False, "decodes": False}
    else:
        return {"tied": tied}
    more: Parts = (roles or {}).get(role, {})
    besides = (*made.get("besides", ()), *more.get("besides", ()))
    return found | more | {"besides": besides}


def _towers(top: Fields, width: int) -> tuple[list[LanguageModel], list[str]]:
    """The towers that the file describes, and why others are not read, a line each."""
    found, why = [], []
    for (kind, key), reader in (READERS | more_towers.READERS).items():
        described = top.values.get(key)
        if kind != top.values.get("model_type") or not isinstance(described, dict) or not described:
            continue
        fields = Fields(described, top.file, key)
        try:
            found.append(replace(reader(fields, top, width), source=key))
            fields.near_misses(kind)
        except BadModel as error:
            why.append(f"{key} is not read: {error}")
            found = [tower for tower in found if tower.source != key]
    return found, why


def _left_out(body: Fields, top: Fields, read: set[str], head: LanguageModel | None) -> Iterator[str]:
    """What the file describes and the model does not count, a line each."""
    for key, what in _TOWERS.items():
        for fields in dict.fromkeys((top, body)):
            if fields.get(key) and key not in read:
                yield f"{what} ({fields.inside}{key}): its parameters, memory and time are not counted"
    key, count = further.counted(body)
    if head is not None:
        said = f" ({body.inside}{key} = {count})" if count else ""
        yield (
            f"layers that predict further tokens{said}: not counted, as engines load them only to speculate; one, with "
            f"{head.params / 1e9:.3g} billion parameters, is the model's .mtp"
        )


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
