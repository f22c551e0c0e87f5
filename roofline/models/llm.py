"""A language model: its shape, its parameters, its KV cache, and the operators of one forward step."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property

from roofline.base import numeric
from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric
from roofline.base.units import dtype_bytes, dtype_name
from roofline.models.besides import Beside
from roofline.models.checkpoint.running import READERS, as_stored, padded, side_by_side
from roofline.models.checkpoint.stored import NOTHING_QUANTISED, UNQUANTISED, Checkpoint, Mix
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.forward import Pass, Weights
from roofline.models.layers import Layers
from roofline.models.mixers import Mixer, Span
from roofline.work import op
from roofline.work.op import Op
from roofline.work.sizes import mean
from roofline.work.splittable import Heads, Share, WeightGroup
from roofline.work.workload import Workload


@dataclass(frozen=True)
class LanguageModel:
    """A language model, as far as its cost is concerned: a transformer, a state-space model, a hybrid, an encoder.

    Attributes
    ----------
    name : str
        Short name: ``"llama-3.1-70b"``.
    hidden, vocab : int
        Model width and vocabulary size.
    layers : tuple of Layers
        Groups of equal layers.
    tied : bool
        Whether the output projection is the token embedding, counted and stored once.
    norm : str
        ``"rms_norm"`` or ``"layer_norm"`` (which has a bias).
    norms_per_layer : int
        Of a layer with both halves: 2; 1 where they share one and run side by side; 4 in Gemma 2 and 3. A layer of
        one half has half as many, at least 1.
    norm_weights : int, optional
        Parameters that a norm has for each element: 1 (a scale), 2 (with a bias), 0 (none). Default: 1, for
        ``"layer_norm"`` 2.
    final_norm : bool
        Whether there is a norm after the last layer.
    lm_head_bias : bool
        Whether the output projection adds a bias.
    outputs : int, optional
        Rows of the output projection: a draft head's vocabulary, a classifier's labels, 0: none. Default: `vocab`.
    embedded : int, optional
        Width of the token embedding and of what the output projection takes. Default: `hidden`.
    decodes : bool
        Whether it makes tokens one by one; a model that embeds or classifies answers in one pass.
    causal : bool
        Whether a token sees only itself and what came before; in an encoder each sees all.
    scores : str
        Which positions the output projection scores: ``"last"``, one of each sequence, or ``"all"``.
    besides : tuple of Linear, Table or Few
        What it has beside its layers' halves.
    towers : tuple of LanguageModel
        Encoders of images or sound beside it, each without a vocabulary: ``step(images, patches, patches)`` is what
        they do. Their weights take memory; :attr:`params` are the language model's own.
    left_out : tuple of str
        What the checkpoint has and this model does not count, a line each: a vision tower.
    checkpoint : Checkpoint
        How each part of its weights is stored.
    file_bytes : int, optional
        What the weights' own files say that all tensors take; None where they do not lie beside the configuration.
    max_positions : int
        The longest context that the model was made for, in tokens.
    title, source : str
        For people: the full name, and where the figures come from.
    aliases : tuple of str
        Other names.
    published_params_b : float, optional
        Parameters as published, in 10^9, to compare with :attr:`params`.
    """

    name: str
    hidden: int
    vocab: int
    layers: tuple[Layers, ...]
    tied: bool = False
    norm: str = "rms_norm"
    norms_per_layer: int = 2
    norm_weights: int | None = None
    final_norm: bool = True
    lm_head_bias: bool = False
    outputs: int | None = None
    embedded: int | None = None
    decodes: bool = True
    causal: bool = True
    scores: str = "last"
    besides: tuple[Beside, ...] = ()
    towers: tuple[LanguageModel, ...] = ()
    left_out: tuple[str, ...] = ()
    checkpoint: Checkpoint = UNQUANTISED
    file_bytes: int | None = None
    max_positions: int = 0
    title: str = ""
    source: str = ""
    aliases: tuple[str, ...] = ()
    published_params_b: float | None = None

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
        """Each kind of mixer, and how many layers see how far with it."""
        kinds: dict[Mixer, dict[Span, int]] = {}
        for group in self.layers:
            if group.mixer is not None:
                spans = kinds.setdefault(group.mixer, {})
                spans[group.span] = spans.get(group.span, 0) + group.count
        return kinds

    @cached_property
    def _feed_forwards(self) -> dict[FeedForward | Experts, int]:
        """Each kind of feed-forward block, and how many layers have it."""
        kinds: Counter[FeedForward | Experts] = Counter()
        for group in self.layers:
            if group.feed_forward is not None:
                kinds[group.feed_forward] += group.count
        return dict(kinds)

    @cached_property
    def _norm_count(self) -> int:
        """Norms of all layers."""
        half = max(1, self.norms_per_layer // 2)
        return sum(g.count * (self.norms_per_layer if len(g.blocks) == 2 else half) for g in self.layers)

    def summary(self) -> dict[str, int | float | str]:
        """The model's shape in words and numbers, for people and for JSON."""
        spans: Counter[str] = Counter()
        for group in self.layers:
            if group.mixer is not None and group.mixer.token_bytes(1.0):
                spans["all" if group.span.window is None else f"{group.span.window:,}"] += group.count
        kinds: Counter[str] = Counter()
        for mixer, of_it in self._mixers.items():
            kinds[mixer.about] += sum(of_it.values())
        only = len(kinds) == 1
        routed = [g.feed_forward for g in self.layers if isinstance(g.feed_forward, Experts)]
        dense = [g.feed_forward.inter for g in self.layers if isinstance(g.feed_forward, FeedForward)]
        out: dict[str, int | float | str] = {
            "kind": "language",
            "parameters": self.params,
            "active parameters": round(self.active_params),
            "layers": self.num_layers,
            "hidden": self.hidden,
            "vocabulary": self.vocab,
            "heads": self.heads,
            "attention": "; ".join(kind if only else f"{kind} in {count} layers" for kind, count in kinds.items()),
            "tokens seen": ", ".join(f"{seen} in {count} layers" for seen, count in spans.items()),
        }
        if state := float(self.state_bytes(1)):
            out["state bytes a sequence"] = state
        if dense:
            out["feed-forward width"] = max(dense)
        if routed:
            out["experts"] = f"{routed[0].topk} of {routed[0].experts}, width {routed[0].inter:,}"
        for tower in self.towers:
            out[tower.name] = f"{tower.params:,} parameters, {tower.num_layers} layers of width {tower.hidden:,}"
        for number, what in enumerate(self.left_out, 1):
            out["left out" if len(self.left_out) == 1 else f"left out ({number})"] = what
        return out | {
            "KV cache bytes a token (16 bits)": self.kv_bytes_per_token("bf16"),
            "checkpoint dtypes": f"{self.dtype} arithmetic, {self.weight_dtype} weights"
            + (f", {self.expert_dtype} experts" if routed else ""),
            "quantisation": self.checkpoint.scheme,
            "weights bytes": round(self.stored_bytes),
            "bytes of the files beside": self.file_bytes or "",
            "longest context": self.max_positions,
            "source": self.source,
        }

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
        """The language model's parameters."""
        embedded = self.embedded or self.hidden
        out = [Weights("token_embedding", self.vocab * embedded, shard="vocab", scope="model", storage="wide")]
        for mixer, spans in self._mixers.items():
            out += mixer.weights(self.hidden, sum(spans.values()))
        for feed_forward, count in self._feed_forwards.items():
            out += feed_forward.weights(self.hidden, count)
        of_norm = self.norm_weights if self.norm_weights is not None else 2 if self.norm == "layer_norm" else 1
        if of_norm:
            out.append(Weights("norm", of_norm * self.hidden, self._norm_count, storage="wide"))
        if of_norm and self.final_norm:
            out.append(Weights("final_norm", of_norm * self.hidden, scope="model", storage="wide"))
        out += [weights for beside in self.besides for weights in beside.weights()]
        head = (0 if self.tied else self.scored * embedded) + self.lm_head_bias * self.scored
        if head:
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

    def kv_bytes_per_token(self, kv_dtype: str = "bf16") -> float:
        """Bytes of KV cache that one more token takes while it is inside every layer's window.

        Examples
        --------
        Llama-3.1-8B in bf16: 2 (keys and values) x 32 layers x 8 heads x 128 x 2 B = 131,072 B.
        """
        width = dtype_bytes(kv_dtype)
        return sum(g.count * g.mixer.token_bytes(width) for g in self.layers if g.mixer is not None)

    def kv_bytes(self, batch: Numeric, context: Numeric, kv_dtype: str = "bf16", tp: Numeric = 1) -> Numeric:
        """Bytes of KV cache of `batch` sequences of `context` tokens; layers with a window hold at most the window.

        With `tp`, those of one of as many chips.
        """
        batch, context, width = numeric.as_numeric(batch), numeric.as_numeric(context), dtype_bytes(kv_dtype)
        one: Numeric = sum(
            count * mixer.cache_bytes(context, width, span, tp)
            for mixer, spans in self._mixers.items()
            for span, count in spans.items()
        )
        return batch * one

    def state_bytes(self, batch: Numeric, tp: Numeric = 1) -> Numeric:
        """Bytes of recurrent state of `batch` sequences, however long they are; with `tp`, on one of as many chips."""
        one: Numeric = sum(sum(spans.values()) * mixer.state_bytes(tp) for mixer, spans in self._mixers.items())
        batch = numeric.as_numeric(batch)
        return batch * one

    @cached_property
    def without_windows(self) -> LanguageModel:
        """The same model with every layer seeing, and keeping, the whole context."""
        layers = tuple(replace(g, span=replace(g.span, window=None, chunked=False)) for g in self.layers)
        return replace(self, layers=layers)

    # -- One forward step ----------------------------------------------------------------------------------------

    def step(
        self,
        batch: Numeric,
        q_len: Numeric,
        kv_len: Numeric,
        dtype: str | None = None,
        weight_dtype: str | None = None,
        kv_dtype: str | None = None,
        causal: bool | None = None,
        logits: str | None = None,
        steps: Numeric = 1,
    ) -> Workload:
        """The operators of one forward step on one chip, nothing split.

        Prefill is ``step(batch, prompt, prompt)``; the mean decode step of a reply is
        ``step(batch, 1, prompt + 1, steps=output)``.

        Parameters
        ----------
        batch : number or array
            Sequences.
        q_len : number or array
            New tokens a sequence: the prompt (or a piece of it) in prefill, 1 in decode.
        kv_len : number or array
            Tokens attended to, including the new ones, at the first of `steps`.
        dtype : str, optional
            Of the matrix arithmetic. Default: the checkpoint's.
        weight_dtype : str, optional
            Of the linear layers' weights in memory. Default: `dtype`, or the checkpoint's own where quantised and
            narrower. Norms, routers, embeddings and the output projection are kept in at least 16 bits, and in no
            less than the arithmetic has.
        kv_dtype : str, optional
            Of the KV cache. Default: `dtype`, but at least 16 bits. Attention computes in fp8 when both are fp8.
        causal : bool, optional
            Whether a token sees only itself and what came before. Default: the model's own.
        logits : str, optional
            ``"last"`` for each sequence's last position, ``"all"`` to score every new token. Default: the model's own.
        steps : number or array
            Consecutive decode steps to take the mean of, the context growing by `q_len` each. Windows and chunks are
            averaged exactly (for ``q_len`` of 1).

        Returns
        -------
        Workload

        Raises
        ------
        BadWorkload
            For sizes below one or absurd, `kv_len` below `q_len`, or an unknown dtype or `logits`.
        """
        logits = self.scores if logits is None else logits
        if logits not in ("last", "all"):
            raise BadWorkload(f"{self.name}: logits is 'last' or 'all', found {shown(logits)}")
        sizes = mean(self.name, batch=batch, q_len=q_len, kv_len=kv_len, steps=steps)
        batch, q_len, kv_len, steps = sizes.values()
        dtype = dtype_name(dtype or self.dtype)
        asked = None if weight_dtype is None else dtype_name(weight_dtype)
        run = Pass(
            batch=batch,
            q_len=q_len,
            kv_len=kv_len,
            steps=steps,
            causal=self.causal if causal is None else causal,
            dtype=dtype,
            weight_dtype=asked or dtype,
            unquantised_dtype=self._unquantised(dtype, asked),
            kv_dtype=op.wide(dtype) if kv_dtype is None else dtype_name(kv_dtype),
        )
        m, hidden, wide, embedded = run.tokens, self.hidden, run.wide, self.embedded or self.hidden
        norm = op.rms_norm if self.norm == "rms_norm" else op.layer_norm
        ops: list[Op] = [
            op.token_embedding(
                rows=m, cols=embedded, dtype=run.unquantised_dtype, out_dtype=wide, shard="vocab", scope="model"
            ),
            norm(rows=m, cols=hidden, dtype=wide, name="norm", count=self._norm_count),
        ]
        for mixer, spans in self._mixers.items():
            ops += mixer.ops(run, hidden, spans)
        halves = sum(group.count * len(group.blocks) for group in self.layers)
        ops.append(op.residual_add(rows=m, cols=hidden, dtype=wide, count=halves))
        ops += [one for block, count in self._feed_forwards.items() for one in block.ops(run, hidden, count)]
        ops += [one for beside in self.besides for one in beside.ops(run)]
        if self.final_norm:
            ops.append(norm(rows=m, cols=hidden, dtype=wide, name="final_norm", scope="model"))
        ops += self._output(run, m if logits == "all" else batch)
        if asked is None and self.checkpoint.quantised:
            ops = [part for one in ops for part in as_stored(one, self._mixes.get(one.name), self.checkpoint, dtype)]
        return Workload(tuple(ops))

    def _output(self, run: Pass, scored: Numeric) -> list[Op]:
        """The operators that score `scored` positions, and choose a token where the model makes tokens."""
        if not self.scored:
            return []
        out = [
            op.gemm(
                m=scored,
                n=self.scored,
                k=self.embedded or self.hidden,
                dtype=run.wide,
                weight_dtype=run.unquantised_dtype,
                name="lm_head",
                shard="vocab",
                scope="model",
            )
        ]
        if self.decodes:
            out.append(op.sampling(rows=scored, cols=self.scored, dtype=run.wide, scope="model"))
        return out

    @cached_property
    def _mixes(self) -> dict[str, Mix]:
        """How the weights of each operator are stored, by its name."""
        found = {w.name: self.checkpoint.mix(w.name, w.storage) for w in self.weights}
        by_name = {name: mix for name, mix in found.items() if mix is not NOTHING_QUANTISED}
        by_name |= {w.name: NOTHING_QUANTISED for w in self.weights if w.storage != "wide" and w.name not in by_name}
        return by_name | {reader: by_name[part] for reader, part in READERS.items() if part in by_name}
