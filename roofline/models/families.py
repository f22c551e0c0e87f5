"""The families of language models that are read: a reader each, by ``model_type``; and how a family is told.

A reader takes the fields of a ``config.json`` and returns its layers and what else makes the model; those of plain
decoders lie in ``readers/``, by kin.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from roofline.base.errors import BadModel, closest, shown
from roofline.models.fields import Fields
from roofline.models.readers import (
    both_halves,
    drafts,
    encoders,
    gemmas,
    hybrids,
    latent,
    llamas,
    looped,
    mambas,
    mixed,
    mixtures,
    nemotrons,
    newer,
    older,
    recurrences,
    sparse,
)
from roofline.models.readers.parts import ENDS, Layer, Parts

__all__ = ["ALSO", "FAMILIES", "Layer", "Parts", "Told", "tell"]

Reader = Callable[[Fields], Parts]

#: The readers, by `model_type`.
FAMILIES: dict[str, Reader] = {
    "llama": llamas.llama, "mistral": llamas.mistral, "ministral": llamas.ministral, "ministral3": llamas.ministral3,
    "hyperclovax": llamas.hyperclovax, "qwen": llamas.qwen, "qwen2": llamas.qwen2, "qwen3": llamas.qwen3,
    "phi3": llamas.phi3, "phi4_multimodal": llamas.phi4_multimodal, "glm": llamas.glm, "glm4": llamas.glm4,
    "granite": llamas.granite, "telechat": llamas.telechat, "solar": llamas.solar, "jais": older.jais,
    "granite_swa": llamas.granite_swa, "exaone": llamas.exaone, "exaone4": llamas.exaone4, "smollm3": llamas.smollm3,
    "seed_oss": llamas.seed_oss, "helium": llamas.helium, "cwm": llamas.cwm, "ernie4_5": llamas.ernie,
    "hunyuan_v1_dense": llamas.hunyuan, "internlm": llamas.internlm, "internlm2": llamas.internlm,
    "internlm3": llamas.internlm3, "baichuan": llamas.baichuan, "nemotron": llamas.nemotron, "arcee": llamas.arcee,
    "apertus": llamas.apertus, "bitnet": llamas.bitnet, "diffllama": llamas.diffllama, "doge": llamas.doge,
    "nanochat": llamas.nanochat, "jais2": llamas.jais2, "olmo": llamas.olmo, "olmo2": llamas.olmo2,
    "olmo3": llamas.olmo3, "cohere": llamas.cohere, "cohere2": llamas.cohere2, "nemotron-nas": llamas.nemotron_nas,
    "gemma": gemmas.gemma, "gemma2": gemmas.gemma2, "vaultgemma": gemmas.vaultgemma, "gemma3": gemmas.gemma3,
    "gemma3n": gemmas.gemma3n, "gemma4": gemmas.gemma4, "gemma4_unified": gemmas.gemma4_unified,
    "mixtral": mixtures.mixtral, "phimoe": mixtures.phimoe, "qwen2_moe": mixtures.qwen2_moe,
    "qwen3_moe": mixtures.qwen3_moe, "glm4_moe": mixtures.glm4_moe, "solar_open": mixtures.solar_open,
    "dots1": mixtures.dots1, "hy_v3": mixtures.hy_v3, "ernie4_5_moe": mixtures.ernie_moe,
    "hunyuan_v1_moe": mixtures.hunyuan_moe, "granitemoe": mixtures.granite_moe,
    "granitemoeshared": mixtures.granite_moe, "granitemoe_swa": mixtures.granite_moe_swa, "olmoe": mixtures.olmoe,
    "flex_olmo": mixtures.flex_olmo, "exaone_moe": mixtures.exaone_moe, "afmoe": mixtures.afmoe,
    "laguna": mixtures.laguna, "mellum": mixtures.mellum, "flint": mixtures.flint, "kolibri1": mixtures.kolibri,
    "aria": mixtures.aria, "cohere2_moe": mixtures.cohere2_moe, "minimax_m2": mixtures.minimax_m2,
    "gpt_oss": mixtures.gpt_oss, "dbrx": mixtures.dbrx, "grok-1": mixtures.grok, "arctic": mixtures.arctic,
    "llama4": mixtures.llama4,
    "deepseek": mixtures.deepseek, "minicpm": llamas.minicpm, "orion": llamas.orion,
    "deepseek_v2": latent.deepseek_v2, "deepseek_v3": latent.deepseek_v3, "glm4_moe_lite": latent.glm4_moe_lite,
    "mistral4": latent.mistral4, "longcat_flash": latent.longcat, "AXK1": latent.axk1,
    "youtu": latent.youtu, "minicpm3": latent.minicpm3,
    "gpt2": older.gpt2, "openai-gpt": older.openai_gpt, "gpt_bigcode": older.gpt_bigcode, "gpt_neo": older.gpt_neo,
    "gpt_neox": older.gpt_neox, "gpt_neox_japanese": older.gpt_neox_japanese, "gptj": older.gptj,
    "codegen": older.gptj, "opt": older.opt, "xglm": older.xglm, "biogpt": older.biogpt, "ctrl": older.ctrl,
    "bloom": older.bloom, "mpt": older.mpt, "phi": older.phi, "persimmon": older.persimmon,
    "stablelm": older.stablelm, "starcoder2": older.starcoder2, "falcon": older.falcon, "chatglm": older.chatglm,
    "qwen3_next": hybrids.qwen3_next, "qwen3_5": hybrids.qwen3_5, "qwen3_5_moe": hybrids.qwen3_5_moe,
    "mamba": mambas.mamba, "falcon_mamba": mambas.mamba, "mamba2": mambas.mamba2_alone, "jamba": mambas.jamba,
    "bamba": mambas.bamba, "granitemoehybrid": mambas.granite_hybrid, "falcon_h1": mambas.falcon_h1,
    "rwkv": recurrences.rwkv, "xlstm": recurrences.xlstm, "recurrent_gemma": recurrences.recurrent_gemma,
    "minimax": recurrences.minimax, "lfm2": recurrences.lfm2, "lfm2_moe": recurrences.lfm2_moe,
    "lfm3": recurrences.lfm3, "zamba": mambas.zamba, "zamba2": mambas.zamba2, "nemotron_h": nemotrons.nemotron_h,
    "kimi_linear": hybrids.kimi_linear, "olmo_hybrid": hybrids.olmo_hybrid, "lara_mini": hybrids.lara_mini,
    "bailing_hybrid": hybrids.bailing_hybrid, "bailing_moe": mixtures.bailing, "beam": mixtures.beam,
    "jetmoe": mixtures.jetmoe,
    "deepseek_v32": sparse.deepseek_v32, "glm_moe_dsa": sparse.glm_moe_dsa, "deepseek_v4": sparse.deepseek_v4,
    "minimax_m3": sparse.minimax_m3, "mimo_v2_flash": mixed.mimo_v2_flash, "step3p5": mixed.step3p5,
    "step3_text": mixed.step3, "PanguEmbedded": llamas.pangu_embedded,
    "moshi": older.moshi, "modernbert-decoder": older.modernbert_decoder,
    "bert": encoders.bert, "roberta": encoders.roberta, "mpnet": encoders.mpnet, "distilbert": encoders.distilbert,
    "nomic_bert": encoders.nomic_bert, "eurobert": encoders.eurobert, "modernbert": encoders.modernbert,
    "t5_encoder": encoders.t5_encoder, "t5": both_halves.t5, "mt5": both_halves.mt5, "umt5": both_halves.umt5,
    "bart": both_halves.bart, "mbart": both_halves.mbart, "blenderbot": both_halves.blenderbot,
    "blenderbot-small": both_halves.blenderbot_small, "pegasus": both_halves.pegasus, "marian": both_halves.marian,
    "m2m_100": both_halves.m2m_100, "trocr": both_halves.trocr, "whisper": both_halves.whisper,
    "mllama": both_halves.mllama,
    "ouro": looped.ouro, "hrm_text": looped.hrm_text, "dory": looped.dory, "inkling2_loop": looped.inkling2_loop,
    "zaya": newer.zaya, "axk2": newer.axk2, "hy_v4": newer.hy_v4, "dots3_note": newer.dots3_note,
    "inkling": newer.inkling, "inkling2": newer.inkling2, "plamo2": newer.plamo2, "plamo3": newer.plamo3,
    "pangu_ultra_moe": newer.pangu_ultra, "PanguProMoE": newer.pangu_pro, "phi3small": newer.phi3small,
    "step1": newer.step1, "bailing_moe_linear": newer.bailing_linear, "rwkv7": recurrences.rwkv7,
    "gte": encoders.gte,
}  # fmt: skip

#: Other model types that are read as one of the families: derivatives of the same layout, and the text parts of
#: multi-modal models, for files that give these no type of their own. A type that ends in ``_text`` needs no line.
ALSO = {
    "kimi_k2": "deepseek_v3", "kimi_k3": "kimi_linear", "minimax_m3_vl": "minimax_m3", "step3p7": "step3p5",
    "deepseek_ref": "deepseek_v4", "sarvam_mla": "deepseek_v3", "sarvam_moe": "glm4_moe", "gpt-sw3": "gpt2",
    "iquestcoder": "llama", "Yi": "llama", "yi": "llama", "aquila": "llama", "emu3": "llama",
    "xverse": "llama", "mimo": "qwen2",
    "RefinedWeb": "falcon", "RefinedWebModel": "falcon", "stablelm_epoch": "stablelm", "hunyuan": "hunyuan_v1_moe",
    "qwen2_vl": "qwen2", "qwen2_5_vl": "qwen2", "qwen3_vl": "qwen3", "qwen3_vl_moe": "qwen3_moe",
    "glm4v": "glm4", "glm4v_moe": "glm4_moe",
    "mistral3": "mistral", "got_ocr2": "qwen2", "moss_transcribe_diarize": "qwen3", "fuyu": "persimmon",
    "xlm-roberta": "roberta", "camembert": "roberta", "data2vec-text": "roberta",
    "axk1": "AXK1", "phi4mm": "phi4_multimodal",
    "bailing_moe_v2": "bailing_moe", "minimax_text_01": "minimax", "minimax_m1": "minimax",
    "hunyuan_dense": "hunyuan_v1_dense", "apertus1p5": "apertus", "mt5_encoder": "t5_encoder",
    "mvp": "bart", "plbart": "bart", "teleflm": "llama", "telechat3": "llama", "new": "gte", "gte_new": "gte",
    "nemotron_h_puzzle": "nemotron_h", "bailing_moe_v2_5": "bailing_moe_linear", "ernie": "bert",
    "pangu_v2_moe": "PanguProMoE", "step_1": "step1",
}  # fmt: skip

#: Families by the name of their class, where this is not the model type in other letters.
CLASSES = {
    "rw": "falcon", "decilm": "nemotron-nas", "hunyuandensev1": "hunyuan_v1_dense", "hunyuanmoev1": "hunyuan_v1_moe",
    "stablelmepoch": "stablelm", "cogvlm": "llama", "grok1model": "grok-1", "grok1": "grok-1",
    "minimaxtext01": "minimax", "minimaxm1": "minimax", "telechat2": "telechat",
    "fairseq2llama": "llama", "gritlm": "mistral", "mistrallarge3": "deepseek_v3",
    "chatglmmodel": "chatglm", "aquilamodel": "llama", "marianmtmodel": "marian",
    "panguultramoe": "pangu_ultra_moe", "pangupromoev2": "PanguProMoE", "nemotronhpuzzle": "nemotron_h",
    "bertspladesparseembeddingmodel": "bert", "llamabidirectional": "llama", "gemma3textmodel": "gemma3",
}  # fmt: skip

#: Classes that hold a language model of another type, which their ``text_config`` names.
WRAPPERS = frozenset({"mistral3", "gotocr2", "emu3", "fuyu", "mosstranscribediarize"})

#: Model types, and families by their class, that real files have together: the type decides, or (second) the class.
BORROWED = frozenset({("exaone", "llama"), ("internlm3", "llama")})
BORROWING = frozenset({("mixtral", "grok-1"), ("t5", "t5_encoder"), ("mt5", "t5_encoder")})

_DISENTANGLED = "attends to positions and contents apart, three products a score; roofline has no operator for it yet"
_SCATTERED = "attends in its encoder to blocks chosen at random or by a pattern; roofline has no operator for it yet"

#: Families that are known and not read, and why.
OUT_OF_REACH = {
    "t5gemma": "reads with one Gemma and answers with another, whose layers attend to both at once; not read yet",
    "led": _SCATTERED,
    "bigbird_pegasus": _SCATTERED,
    "deberta": _DISENTANGLED,
    "deberta-v2": _DISENTANGLED,
    "gemma4_assistant": "is a draft head of Gemma 4; roofline reads those of EAGLE-3",
    "gemma4_unified_assistant": "is a draft head of Gemma 4; roofline reads those of EAGLE-3",
}

#: What a class does, by how its name ends.
_ROLES = (
    (re.compile(r"(.*)ForCausalLM(?:Eagle3?)$|Eagle3?(.*)ForCausalLM(?:Eagle3?)?$"), "draft"),
    (re.compile(r"(.*)(?:ForCausalLM|ForConditionalGeneration|LMHeadModel)$"), "generator"),
    (re.compile(r"(.*)(?:VL|RV)ChatModel$|(Ultravox)Model$"), "generator"),
    (re.compile(r"(.*)ForRewardModel$"), "reward"),
    (re.compile(r"(.*)ForProcessRewardModel$"), "process reward"),
    (re.compile(r"(.*)ForSequenceClassification$"), "classifier"),
    (re.compile(r"(.*)ForTokenClassification$"), "tagger"),
    (re.compile(r"(.*)ForMaskedLM$"), "masked"),
    (re.compile(r"(.*)Model$"), "embedder"),
)


class Told(NamedTuple):
    """What a file is of.

    Attributes
    ----------
    family : str
        A key of :data:`FAMILIES`.
    reader : callable
        Its reader, or that of a head of its kind.
    role : str
        ``"generator"``, ``"classifier"`` (a head of a few labels for a sequence), ``"tagger"`` (for each token),
        ``"masked"`` (the vocabulary for each token), ``"reward"`` and ``"process reward"`` (a score for a sequence, and
        two for each token), ``"embedder"`` (no head) or ``"draft"``.
    """

    family: str
    reader: Reader
    role: str


def tell(body: Fields, top: Fields) -> Told:
    """The family that `architectures` and `model_type` name together, and what the class does.

    Parameters
    ----------
    body, top : Fields
        The text model's fields and the file's, which are the same where nothing is nested.

    Raises
    ------
    BadModel
        Where they name none, or two that are at odds, or a class whose task roofline does not know.
    """
    classes = top.array("architectures") or []
    if not all(isinstance(one, str) for one in classes):
        top.fail("architectures", f"found {shown(classes)}, expected a list of strings")
    name = classes[0] if classes else ""
    stem, role = _role(name, top, body)
    by_class = CLASSES.get(_plain(name)) or CLASSES.get(_plain(stem)) or _known().get(_plain(stem), "")
    inner, outer = body.text("model_type"), top.text("model_type")
    for one in (outer, inner):
        if one in OUT_OF_REACH:
            top.fail("model_type", f"found {shown(one)}, which {OUT_OF_REACH[one]}")
    by_type = _of_type(inner) or ("" if inner and inner != outer and body is not top else _of_type(outer))
    # The type decides where the class is known to hold, or to lend its name to, another family.
    lends = (by_type, by_class) in BORROWED or (body is not top and _plain(stem) in WRAPPERS)
    if by_class and by_type and by_class != by_type and not lends and (by_type, by_class) not in BORROWING:
        where = body if _of_type(inner) else top
        where.fail("model_type", f"found {shown(inner or outer)}, at odds with architectures = {shown(name)}")
    family = (lends and by_type) or by_class or by_type
    if not family:
        _unknown(name, inner or outer, top)
    if _plain(name) in CLASSES:
        role = "generator"
    if role == "draft":
        if family != "llama":
            top.fail("architectures", f"found {shown(name)}; the draft heads that roofline reads are Llama's")
        return Told(family, drafts.eagle3 if "eagle3" in _plain(name) else drafts.eagle, role)
    return Told(family, FAMILIES[family], role)


def _role(name: str, top: Fields, body: Fields) -> tuple[str, str]:
    """The stem of a class's name, and what it does."""
    if not name:
        return "", "generator"
    for pattern, role in _ROLES:
        found = pattern.fullmatch(name)
        if found:
            return next(group for group in found.groups() if group is not None), role
    wraps = body is not top and _of_type(body.text("model_type"))
    if wraps or _plain(name) in _known() or _plain(name) in CLASSES:
        return name, "generator"
    tasks = ("CausalLM", "ConditionalGeneration", "SequenceClassification", "TokenClassification", "MaskedLM")
    ends = ", ".join(f"For{task}" for task in tasks) + " or Model"
    top.fail("architectures", f"found {shown(name)}, a class whose task roofline does not know; expected one in {ends}")


def _plain(name: str) -> str:
    """A name without what differs between a class and its model type."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _known() -> dict[str, str]:
    """Families by the plain form of every name that they are known by."""
    return {_plain(name): family for name, family in {**ALSO, **{family: family for family in FAMILIES}}.items()}


def _of_type(model_type: str) -> str:
    """The family of a model type, ``""`` where it is none."""
    for name in (model_type, model_type.removesuffix("_text"), model_type.removesuffix("_text_model")):
        family = name if name in FAMILIES else ALSO.get(name, "")
        if family in FAMILIES:
            return family
    return ""


def _unknown(name: str, model_type: str, top: Fields) -> NoReturn:
    """Refuse a file of no family, with a family near its name if the fields are that one's."""
    if not name and not model_type:
        top.fail("architectures", "is missing, and model_type too; expected one such as 'LlamaForCausalLM'")
    key, found = ("model_type", model_type) if model_type else ("architectures", name)
    near = next((family for family in closest(found, FAMILIES, 3) if _fits(family, top)), None)
    hint = f"; did you mean {near!r}?" if near else ""
    such = "llama, qwen3_moe, gpt_oss, deepseek_v3"
    top.fail(
        key, f"found {shown(found)}, expected one of the {len(FAMILIES)} that roofline reads, such as {such}{hint}"
    )


def _fits(family: str, top: Fields) -> bool:
    """Whether a family's reader takes all that the file says."""
    body = Fields(dict(top.values), top.file)
    inner = (body.table("text_config") if isinstance(top.values.get("text_config"), dict) else None) or body
    inner.get(*ENDS, "text_config", "_roofline")
    try:
        FAMILIES[family](inner)
        inner.finish(family)
    except BadModel:
        return False
    return True
