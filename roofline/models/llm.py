"""A language model: its shape, its parameters, its KV cache, and the operators of one forward step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from roofline.base import numeric
from roofline.base.errors import BadWorkload, shown
from roofline.base.numeric import Numeric
from roofline.base.units import dtype_bytes, dtype_name
from roofline.models.across import CrossAttention
from roofline.models.besides import Beside
from roofline.models.checkpoint.running import READERS, as_stored
from roofline.models.checkpoint.stored import NOTHING_QUANTISED, UNQUANTISED, Checkpoint, Mix
from roofline.models.forward import Pass
from roofline.models.intake import Intake
from roofline.models.layers import Layers
from roofline.models.weighed import Weighed
from roofline.models.words import fed_forward, mixed, numbered
from roofline.work import op
from roofline.work.op import Op
from roofline.work.sizes import mean
from roofline.work.workload import Workload


@dataclass(frozen=True)
class LanguageModel(Weighed):
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
    ends_elsewhere : bool
        Whether token embedding and output projection are those of another model, which reads them anyway (a head of
        multi-token prediction): they take time and no memory, and are none of :attr:`params`.
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
    encoder : LanguageModel, optional
        What reads the prompt where the layers attend across to its states (T5, BART, Whisper); its parameters are among
        :attr:`params`. Its token embedding is the model's own, and its weights are stored as the model's.
    intake : Intake, optional
        Of a tower: how large an image, or how long a piece of sound, makes how many of its tokens.
    mtp : LanguageModel, optional
        The layer of multi-token prediction, as a draft model beside this one: one guess is ``mtp.step(batch, 1, n)``.
        Embedding and output projection are this model's, which it reads and does not store.
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
    ends_elsewhere: bool = False
    decodes: bool = True
    causal: bool = True
    scores: str = "last"
    besides: tuple[Beside, ...] = ()
    towers: tuple[LanguageModel, ...] = ()
    encoder: LanguageModel | None = None
    intake: Intake | None = None
    mtp: LanguageModel | None = None
    left_out: tuple[str, ...] = ()
    checkpoint: Checkpoint = UNQUANTISED
    file_bytes: int | None = None
    max_positions: int = 0
    title: str = ""
    source: str = ""
    aliases: tuple[str, ...] = ()
    published_params_b: float | None = None

    def summary(self) -> dict[str, int | float | str]:
        """The model's shape in words and numbers, for people and for JSON."""
        state, routed = float(self.state_bytes(1)), self.experts
        beside = [*((("encoder", self.encoder),) if self.encoder else ()), *((t.name, t) for t in self.towers)]
        return {
            "kind": "language",
            "parameters": self.params,
            "active parameters": round(self.active_params),
            "layers": self.num_layers,
            "hidden": self.hidden,
            "vocabulary": self.vocab,
            "heads": self.heads,
            **mixed(self.layers),
            **({"state bytes a sequence": state} if state else {}),
            **fed_forward(self.layers),
            **{name: f"{m.params:,} parameters, {m.num_layers} layers of width {m.hidden:,}" for name, m in beside},
            **numbered("left out", self.left_out),
            "KV cache bytes a token (16 bits)": self.kv_bytes_per_token("bf16"),
            "checkpoint dtypes": f"{self.dtype} arithmetic, {self.weight_dtype} weights"
            + (f", {self.expert_dtype} experts" if routed else ""),
            "quantisation": self.checkpoint.scheme,
            "weights bytes": round(self.stored_bytes),
            "bytes of the files beside": self.file_bytes or "",
            "longest context": self.max_positions,
            "source": self.source,
        }

    def kv_bytes_per_token(self, kv_dtype: str = "bf16") -> float:
        """Bytes of KV cache that one more token takes while it is inside every layer's window.

        Examples
        --------
        Llama-3.1-8B in bf16: 2 (keys and values) x 32 layers x 8 heads x 128 x 2 B = 131,072 B.
        """
        width = dtype_bytes(kv_dtype)
        return sum(g.runs * g.mixer.token_bytes(width) for g in self.layers if g.mixer is not None)

    def kv_bytes(self, batch: Numeric, context: Numeric, kv_dtype: str = "bf16", tp: Numeric = 1) -> Numeric:
        """Bytes of KV cache of `batch` sequences of `context` tokens; layers with a window hold at most the window.

        With `tp`, those of one of as many chips.
        """
        batch, context, width = numeric.as_numeric(batch), numeric.as_numeric(context), dtype_bytes(kv_dtype)
        one: Numeric = sum(
            count * mixer.cache_bytes(context, width, span, tp)
            for mixer, spans in self._mixers_run.items()
            for span, count in spans.items()
        )
        return batch * one

    def state_bytes(self, batch: Numeric, tp: Numeric = 1) -> Numeric:
        """Bytes of recurrent state of `batch` sequences, however long they are; with `tp`, on one of as many chips."""
        one: Numeric = sum(sum(spans.values()) * mixer.state_bytes(tp) for mixer, spans in self._mixers_run.items())
        batch = numeric.as_numeric(batch)
        return batch * one

    def source_bytes(self, batch: Numeric, source: Numeric, kv_dtype: str = "bf16", tp: Numeric = 1) -> Numeric:
        """Bytes of keys and values of `source` states that layers attend across to, for each of `batch` sequences."""
        width = dtype_bytes(kv_dtype)
        one: Numeric = sum(
            sum(spans.values()) * mixer.source_bytes(width, tp)
            for mixer, spans in self._mixers.items()
            if isinstance(mixer, CrossAttention)
        )
        batch, source = numeric.as_numeric(batch), numeric.as_numeric(source)
        return batch * source * one

    @cached_property
    def attends_across(self) -> bool:
        """Whether layers attend to states that are not the model's own tokens: an encoder's, or an image's."""
        return any(isinstance(mixer, CrossAttention) for mixer in self._mixers)

    @cached_property
    def alone(self) -> LanguageModel:
        """The model as it runs where there is nothing to attend across to: layers that do nothing else are skipped."""
        kept = [g for g in self.layers if not isinstance(g.mixer, CrossAttention) or g.mixer.own]
        return replace(self, layers=tuple(kept))

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
        source: Numeric | None = None,
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
        source : number or array, optional
            States that layers attend across to, of a model that does: of its encoder, or of the images of each
            sequence; their keys and values are there, see :meth:`reading`. Default: `kv_len` with an encoder, else 0.

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
        source = (kv_len if self.encoder else 0) if source is None else source
        if self.attends_across and self.encoder is None and not numeric.anywhere(source > 0):
            kv_dtype = kv_dtype or op.wide(dtype_name(dtype or self.dtype))
            return self.alone.step(batch, q_len, kv_len, dtype, weight_dtype, kv_dtype, causal, logits, steps)
        sizes = mean(self.name, batch=batch, q_len=q_len, kv_len=kv_len, steps=steps)
        if self.attends_across:
            sizes |= mean(self.name, source=source)
        causal = self.causal if causal is None else causal
        run = self._run(sizes, causal, dtype, weight_dtype, kv_dtype)
        m, hidden, wide, embedded = run.tokens, self.hidden, run.wide, self.embedded or self.hidden
        norm = op.rms_norm if self.norm == "rms_norm" else op.layer_norm
        ops: list[Op] = []
        if self.vocab:
            ops.append(
                op.token_embedding(
                    rows=m, cols=embedded, dtype=run.unquantised_dtype, out_dtype=wide, shard="vocab", scope="model"
                )
            )
        ops.append(norm(rows=m, cols=hidden, dtype=wide, name="norm", count=self._norm_counts[1]))
        for mixer, spans in self._mixers_run.items():
            ops += mixer.ops(run, hidden, spans)
        ops.append(op.residual_add(rows=m, cols=hidden, dtype=wide, count=self._halves))
        ops += [one for block, (_, count) in self._feed_forwards.items() for one in block.ops(run, hidden, count)]
        ops += [one for beside in self.besides for one in beside.ops(run)]
        if self.final_norm:
            ops.append(norm(rows=m, cols=hidden, dtype=wide, name="final_norm", scope="model"))
        ops += self._output(run, m if logits == "all" else run.batch)
        return self._as_stored(ops, run, weight_dtype)

    def reading(
        self,
        batch: Numeric,
        source: Numeric,
        dtype: str | None = None,
        weight_dtype: str | None = None,
        kv_dtype: str | None = None,
    ) -> Workload:
        """What is done once for a sequence before layers can attend across to `source` states of it.

        That is the projection of the states to keys and values in each such layer, and their way into the cache. The
        pass that makes the states is one of :attr:`encoder`, or of a tower.
        """
        sizes = mean(self.name, batch=batch, q_len=1, kv_len=1, steps=1, source=source)
        run = self._run(sizes, False, dtype, weight_dtype, kv_dtype)
        across = ((m, sum(spans.values())) for m, spans in self._mixers.items() if isinstance(m, CrossAttention))
        ops = [one for mixer, count in across for one in mixer.reading(run, count)]
        return self._as_stored(ops, run, weight_dtype)

    def _run(
        self, sizes: dict[str, Numeric], causal: bool, dtype: str | None, weight_dtype: str | None, kv_dtype: str | None
    ) -> Pass:
        """A pass with its dtypes filled in."""
        dtype = dtype_name(dtype or self.dtype)
        asked = None if weight_dtype is None else dtype_name(weight_dtype)
        return Pass(
            causal=causal,
            dtype=dtype,
            weight_dtype=asked or dtype,
            unquantised_dtype=self._unquantised(dtype, asked),
            kv_dtype=op.wide(dtype) if kv_dtype is None else dtype_name(kv_dtype),
            **sizes,
        )

    @cached_property
    def _halves(self) -> int:
        """Blocks of all layers, each with a residual addition behind it."""
        both = (g.runs for g in self.layers if isinstance(g.mixer, CrossAttention) and g.mixer.own)
        return sum(both) + sum(group.runs * len(group.blocks) for group in self.layers)

    def _as_stored(self, ops: list[Op], run: Pass, weight_dtype: str | None) -> Workload:
        """Operators with weights as the checkpoint stores them, where nobody asked for another dtype."""
        if weight_dtype is None and self.checkpoint.quantised:
            ops = [p for one in ops for p in as_stored(one, self._mixes.get(one.name), self.checkpoint, run.dtype)]
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
