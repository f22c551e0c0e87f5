"""What a language model is made of: its layers by kind, its parameters in groups, and the bytes that these take."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from roofline.base.numeric import Numeric
from roofline.base.units import dtype_bytes, dtype_name
from roofline.models.besides import Beside
from roofline.models.checkpoint.running import padded, side_by_side
from roofline.models.checkpoint.stored import NOTHING_QUANTISED, Checkpoint
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.forward import Weights
from roofline.models.layers import Layers
from roofline.models.mixers import Mixer, Span
from roofline.work import op
from roofline.work.splittable import Heads, Share, WeightGroup


class Weighed:
    """The half of a :class:`~roofline.models.llm.LanguageModel` that says what there is, not what it does.

    Attributes
    ----------
    name, hidden, vocab, layers, besides, checkpoint and others
        As the model has them.
    """

    name: str
    hidden: int
    vocab: int
    layers: tuple[Layers, ...]
    tied: bool
    norm: str
    norms_per_layer: int
    norm_weights: int | None
    final_norm: bool
    lm_head_bias: bool
    outputs: int | None
    embedded: int | None
    ends_elsewhere: bool
    causal: bool
    besides: tuple[Beside, ...]
    towers: tuple[Weighed, ...]
    encoder: Weighed | None
    checkpoint: Checkpoint

    # -- Shape ---------------------------------------------------------------------------------------------------

    @cached_property
    def num_layers(self) -> int:
        """Layers of all groups."""
        return sum(group.count for group in self.layers)

    @cached_property
    def head_counts(self) -> tuple[Heads, ...]:
        """The heads of each kind of mixer: what tensor parallelism divides."""
        return tuple(dict.fromkeys(counts for mixer in self._mixers for counts in mixer.head_counts))

    @cached_property
    def _attending(self) -> Heads | None:
        """The heads of the first kind of mixer that attends: that keeps a KV cache, or is an encoder's."""
        attending = (mixer for mixer in self._mixers if mixer.token_bytes(1.0) or not self.causal)
        return next((mixer.head_counts[0] for mixer in attending), None)

    @property
    def heads(self) -> int:
        """Query heads of a layer that attends; 0 for a model without one."""
        return self._attending.heads if self._attending else 0

    @property
    def kv_heads(self) -> int:
        """Key/value heads of such a layer; 1 for latent attention, whose heads share one latent."""
        return self._attending.shared if self._attending else 0

    @property
    def experts(self) -> int:
        """Routed experts of a layer; 0 for a dense model."""
        return max((g.feed_forward.experts for g in self.layers if isinstance(g.feed_forward, Experts)), default=0)

    @cached_property
    def _mixers(self) -> dict[Mixer, dict[Span, int]]:
        """Each kind of mixer, and how many layers that are stored see how far with it."""
        return _mixing([(group.mixer, group.span, group.count) for group in self.layers])

    @cached_property
    def _mixers_run(self) -> dict[Mixer, dict[Span, int]]:
        """The same of layers that a token goes through, which may meet it more than once."""
        return _mixing([(group.mixer, group.span, group.runs) for group in self.layers])

    @cached_property
    def _feed_forwards(self) -> dict[FeedForward | Experts, tuple[int, int]]:
        """Each kind of feed-forward block: in how many layers it is stored, and how often a token goes through it."""
        kinds: dict[FeedForward | Experts, tuple[int, int]] = {}
        for group in self.layers:
            if group.feed_forward is not None:
                stored, runs = kinds.get(group.feed_forward, (0, 0))
                kinds[group.feed_forward] = stored + group.count, runs + group.runs
        return kinds

    @cached_property
    def _norm_counts(self) -> tuple[int, int]:
        """Norms of all layers: how many are stored, and how many a token goes through."""
        half = max(1, self.norms_per_layer // 2)
        each = [(g, self.norms_per_layer if len(g.blocks) == 2 else half) for g in self.layers]
        return sum(g.count * norms for g, norms in each), sum(g.runs * norms for g, norms in each)

    # -- Parameters and memory -----------------------------------------------------------------------------------

    @cached_property
    def weights(self) -> tuple[Weights, ...]:
        """All parameters that take memory, in named groups: those of towers after the language model's own."""
        beside = [
            replace(w, name=f"{tower.name}.{w.name}", scope="model", storage="wide", biases=0, width=0)
            for tower in self.towers
            for w in tower.weights
        ]
        return (*self._own_weights, *beside)

    @cached_property
    def _own_weights(self) -> tuple[Weights, ...]:
        """The language model's parameters, those of its encoder after its own."""
        read = (w for w in self.encoder.weights if w.name != "token_embedding") if self.encoder else ()
        return (*self._decoder_weights, *(replace(w, name=f"encoder.{w.name}") for w in read))

    @cached_property
    def _decoder_weights(self) -> tuple[Weights, ...]:
        embedded = self.embedded or self.hidden
        out = []
        if not self.ends_elsewhere:
            out.append(Weights("token_embedding", self.vocab * embedded, shard="vocab", scope="model", storage="wide"))
        for mixer, spans in self._mixers.items():
            out += mixer.weights(self.hidden, sum(spans.values()))
        for feed_forward, (count, _) in self._feed_forwards.items():
            out += feed_forward.weights(self.hidden, count)
        of_norm = self.norm_weights if self.norm_weights is not None else 2 if self.norm == "layer_norm" else 1
        if of_norm:
            out.append(Weights("norm", of_norm * self.hidden, self._norm_counts[0], storage="wide"))
        if of_norm and self.final_norm:
            out.append(Weights("final_norm", of_norm * self.hidden, scope="model", storage="wide"))
        out += [weights for beside in self.besides for weights in beside.weights()]
        head = (0 if self.tied else self.scored * embedded) + self.lm_head_bias * self.scored
        if head and not self.ends_elsewhere:
            out.append(Weights("lm_head", head, shard="vocab", scope="model", storage="wide"))
        return tuple(out)

    @property
    def scored(self) -> int:
        """Rows of the output projection."""
        return self.vocab if self.outputs is None else self.outputs

    @cached_property
    def params(self) -> int:
        """Parameters, tied embeddings counted once."""
        return sum(w.elements * w.count for w in self._own_weights)

    @property
    def tower_params(self) -> int:
        """Parameters of the towers, and of what hands on to the language model."""
        return sum(tower.params for tower in self.towers)

    @cached_property
    def active_params(self) -> float:
        """Parameters that one token uses: all but the routed experts it does not go to; embeddings included."""
        return sum(w.elements * w.count * w.active for w in self._own_weights)

    @property
    def dtype(self) -> str:
        """The dtype that the checkpoint's matrix arithmetic was made for."""
        return self.checkpoint.narrowest

    @property
    def weight_dtype(self) -> str:
        """The dtype in which the checkpoint stores most of the weights of its linear layers, routed experts apart."""
        return self._usual_dtype("linear", "attention")

    @property
    def expert_dtype(self) -> str:
        """The dtype in which the checkpoint stores most of its routed experts; without any, as `weight_dtype`."""
        return self._usual_dtype("expert") if self.experts else self.weight_dtype

    def _usual_dtype(self, *kinds: str) -> str:
        sizes: dict[str, float] = {}
        for w in self.weights:
            if w.storage in kinds:
                for stored, share in self.checkpoint.mix(w.name, w.storage):
                    name = stored.dtype or self.checkpoint.wide
                    sizes[name] = sizes.get(name, 0.0) + share * w.elements * w.count
        return max(sizes, key=lambda name: sizes[name], default=self.checkpoint.wide)

    @cached_property
    def stored_bytes(self) -> float:
        """Bytes of all weights as the checkpoint stores them, scales and zero points included."""
        return sum(w.elements * w.count * float(self.bytes_per_weight(w, self.checkpoint.wide)) for w in self.weights)

    def bytes_per_weight(
        self, weights: WeightGroup, dtype: str, weight_dtype: str | None = None, chips: Numeric | None = None
    ) -> Numeric:
        """Bytes that one of these weights takes in memory, its share of scales and zero points included.

        Parameters
        ----------
        weights : Weights
            A group of :attr:`weights`.
        dtype : str
            Of the arithmetic.
        weight_dtype : str, optional
            What the user asked for, which all weights but norms, routers, embeddings and the output projection take.
            Default: `dtype`, or the checkpoint's own where that is quantised and narrower (running gpt-oss in bf16
            does not widen its fp4 experts; running Llama in fp64 widens all of it).
        chips : int or array of int, optional
            How many share the weights' width: an engine may pad the share of each. Default: as the checkpoint has it.
        """
        dtype = dtype_name(dtype)
        if weight_dtype is not None:
            asked = dtype_name(weight_dtype)
            return dtype_bytes(self._unquantised(dtype, asked) if weights.storage == "wide" else asked)
        mix = self.checkpoint.mix(weights.name, weights.storage)
        if weights.storage == "wide" and mix is NOTHING_QUANTISED:
            return dtype_bytes(op.wide(dtype))
        matrices: Numeric = 0.0
        for stored, share in mix:
            one: Numeric = self.checkpoint.bytes_per_weight(stored, dtype)
            if chips is not None and stored.pad_inter > 1:
                inter = weights.width / chips
                one = one * padded(inter, stored.pad_inter) * padded(self.hidden, stored.pad_hidden)
            matrices = matrices + share * one
        if not weights.biases or not self.checkpoint.quantised:
            return matrices
        share = weights.biases / weights.elements
        return (1 - share) * matrices + share * dtype_bytes(op.wide(dtype))

    @cached_property
    def shares(self) -> tuple[Share, ...]:
        """What has to be split into whole blocks, as a scale that weights share lies with all of them."""
        found: dict[Share, None] = {}
        for w in self.weights:
            if w.width and self.checkpoint.quantised:
                for stored, _ in self.checkpoint.mix(w.name, w.storage):
                    block = side_by_side(stored, w.shard)
                    if block > 1:
                        found[Share(w.name, w.width, block, w.shard == "experts")] = None
        return tuple(found)

    @staticmethod
    def _unquantised(dtype: str, asked: str | None) -> str:
        """The dtype of what is kept in at least 16 bits, in no less than the arithmetic has."""
        wide = op.wide(dtype)
        return asked if asked and dtype_bytes(asked) > dtype_bytes(wide) else wide


def _mixing(layers: list[tuple[Mixer | None, Span, int]]) -> dict[Mixer, dict[Span, int]]:
    kinds: dict[Mixer, dict[Span, int]] = {}
    for mixer, span, count in layers:
        if mixer is not None:
            spans = kinds.setdefault(mixer, {})
            spans[span] = spans.get(span, 0) + count
    return kinds
