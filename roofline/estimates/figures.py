"""What every estimate offers, whatever the model: its figures by name, and their intervals."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, TypeAlias, TypeVar, overload

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName
from roofline.base.face import NUMBER, TEXT, optional, takes
from roofline.base.numeric import Numeric, broadcastable
from roofline.catalog.load import Model
from roofline.estimates import grids, inference, questions, replays
from roofline.estimates.inference import Phase
from roofline.estimates.power import Powered
from roofline.estimates.request import Request
from roofline.hardware import uncertainty
from roofline.hardware.chip import Chip
from roofline.hardware.ranges import is_power_or_price
from roofline.hardware.uncertainty import SAMPLES
from roofline.work.workload import Workload

#: What the samples of a part of a grid may take: values of one figure, and bytes of all that they are made of.
MOST_VALUES, MOST_BYTES = 2**20, 2**28


#: What :meth:`Estimate._constant` keeps.
Constant = TypeVar("Constant")


class Made(Mapping[str, Any]):
    """Values by name, each made when it is first asked for, of others perhaps."""

    def __init__(self, makers: Mapping[str, Callable[[Made], Any]]) -> None:
        self._makers, self._made = makers, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._makers[name](self)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


#: Low and high.
Interval: TypeAlias = tuple[Numeric, Numeric]


class Estimate(Powered):
    """What all kinds of estimate share: the figures by name, their intervals, and what they draw and cost."""

    #: The headline figures and their units.
    FIGURES: ClassVar[dict[str, str]] = {}

    #: What :attr:`phases` are called, and the sizes of the request that change what operators are called with alone.
    PHASES: ClassVar[tuple[str, ...]] = ()
    NUMBERS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, model: Model, chip: Chip, request: Request) -> None:
        self.model = model
        self.chip = chip
        self.request = request
        if grids.varied(chip):
            broadcastable(f"{model.name} on {chip.name}", grids.arrays(request, chip))

    def __getstate__(self) -> dict[str, Any]:
        """What another process needs: not what is known from estimates before, nor samples, which are made again."""
        return {name: value for name, value in vars(self).items() if name not in ("_kind", "_known", "_samples")}

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    @property
    def time_s(self) -> Numeric:
        """Time of what was asked (s)."""
        raise NotImplementedError

    @property
    def notes(self) -> tuple[str, ...]:
        """What was taken where nothing was asked, a sentence each, such as the arithmetic of a quantised checkpoint."""
        return self.request.notes

    def _on(self, chip: Chip) -> Self:
        return type(self)(self.model, chip, self.request)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the estimate is made of."""
        raise NotImplementedError

    def work(self, phase: str) -> tuple[Workload, Numeric]:
        """The operators of one of :attr:`PHASES`, as an engine runs them on one chip, and its `scale`."""
        raise NotImplementedError

    @functools.cached_property
    def _kind(self) -> replays.Kind | None:
        """What estimates have in common that differ from this one in sizes alone; None for one of arrays."""
        return replays.kind_of(self)

    def _constant(self, name: str, make: Callable[[], Constant]) -> Constant:
        """What estimates of one kind have in common, made once."""
        return make() if self._kind is None else self._kind.constant(name, make)

    @functools.cached_property
    def _known(self) -> dict[str, Phase]:
        """The phases as far as estimates of the same kind say how they are made."""
        return {} if self._kind is None else self._kind.phases(self)

    def _phase(self, name: str) -> Phase:
        if name in self._known:
            return self._known[name]
        operators, scale = self.work(name)
        return inference.run(operators, self.chip, scale)

    def _figures_with_errors(self, factors: np.ndarray) -> Mapping[str, Any]:
        """The headline figures with model error: `factors` are samples of exp(z) for standard normal z."""
        raise NotImplementedError

    @functools.cached_property
    def _shape(self) -> tuple[int, ...]:
        """The shape of the whole grid: of all arrays that were asked for or that the chip has."""
        return np.broadcast_shapes(*(array.shape for array in grids.arrays(self.request, self.chip).values()))

    def figures(self, *names: str) -> dict[str, Numeric]:
        """Figures by name.

        Parameters
        ----------
        *names : str
            Of :attr:`FIGURES` or :attr:`EXTRA`; default: the headline figures, :attr:`FIGURES`.

        Raises
        ------
        UnknownName
        NotKnown
            For a figure of :attr:`EXTRA` that something is missing for, such as a price; :attr:`unknown` lists them.
        """
        self._refuse(names)
        return {name: getattr(self, name) for name in names or self.FIGURES}

    def _refuse(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.FIGURES and name not in self.EXTRA:
                raise UnknownName("figure", name, [*self.FIGURES, *self.EXTRA])

    @overload
    def interval(self, level: float = 0.9, figure: None = None) -> dict[str, Interval]: ...

    @overload
    def interval(self, level: float = 0.9, figure: str = ...) -> Interval: ...

    @takes(level=NUMBER, figure=optional(TEXT))
    def interval(self, level: float = 0.9, figure: str | None = None) -> Interval | dict[str, Interval]:
        """The central interval that holds the true figure with a probability.

        Two doubts are added: the ranges of the chip's figures (sampled, a Latin hypercube of 256), and the error of
        the model itself on each operator class (log-normal; see :attr:`roofline.estimates.inference.Phase.spread`).
        No sample is faster than the lower bound of its chip, and the expected value is always inside: see
        :func:`roofline.hardware.uncertainty.central`. Watts and dollars have their ranges and the error of the model of
        power (``power.spread``) besides; these move no figure of time.

        Parameters
        ----------
        level : float
            Probability, such as 0.9.
        figure : str, optional
            One of :attr:`FIGURES` or :attr:`EXTRA`; default: all of :attr:`FIGURES`.

        Returns
        -------
        tuple of float, or dict of str to tuple
            (low, high).

        Raises
        ------
        BadWorkload
            For a level outside (0, 1) or an unknown figure.
        NotKnown
            For a figure that something is missing for, such as a price.
        """
        if not 0 < level < 1:
            raise BadWorkload(f"interval: expected a level between 0 and 1, such as 0.9, found {level!r}")
        known = (*self.FIGURES, *self.EXTRA)
        if figure is not None and figure not in known:
            raise BadWorkload(f"interval: no figure {figure!r}; there are {', '.join(known)}")
        out = self.intervals(list(self.FIGURES) if figure is None else [figure], level)
        return out if figure is None else out[figure]

    def explain(self, figure: str | None = None) -> Any:
        """In a few sentences: what bounds each phase, which three changes would help most, and what takes over then.

        See :func:`roofline.explain`; ``str()`` of the result is the text.
        """
        return questions.ANSWERS["explain"]()(self, figure)

    def intervals(self, names: Iterable[str], level: float = 0.9) -> dict[str, Interval]:
        """The central interval of each of these figures; see :meth:`interval`."""
        values = {name: np.asarray(getattr(self, name)) for name in names}
        found = {name: np.empty((2, *value.shape)) for name, value in values.items()}
        for part, est in self._parts():
            if not found.keys() <= self.FIGURES.keys():  # power asks for the work too: one pass makes both
                for phase in est._sampled.phases:
                    phase.also = tuple(dict.fromkeys((*phase.also, "work")))
            for name, value in values.items():
                here = grids.place(value, part)
                samples = est._samples if name in self.FIGURES else est._extra_samples
                drawn = samples[name].reshape(SAMPLES, *value[here].shape)
                found[name][:, *here] = uncertainty.central(drawn, level, value[here])
        return {name: (_plain(low), _plain(high)) for name, (low, high) in found.items()}

    def _parts(self) -> Iterator[tuple[grids.Part, Self]]:
        """The grid in parts whose samples fit into memory, each with its estimate."""
        size = math.prod(self._shape)
        if size == 1:
            yield (slice(None),) * len(self._shape), self
            return
        first = self._part((slice(0, 1),) * len(self._shape))._sampled
        most = min(MOST_VALUES // SAMPLES, MOST_BYTES // sum(phase.nbytes for phase in first.phases))
        for part in grids.parts(self._shape, max(1, most)):
            yield part, self._part(part)

    def _part(self, part: grids.Part) -> Self:
        """The same estimate for a part of its grid."""
        request, chip = grids.cut(self.request, self.chip, part)
        return type(self)(self.model, chip, request)

    @functools.cached_property
    def _sampled(self) -> Self:
        """The same estimate on a chip whose ranges of what makes it fast are samples, along the first axis."""
        return self._on(uncertainty.settled(self.chip, self._luck, len(self._shape), self._speed, scenarios=False))

    @property
    def _speed(self) -> list[str]:
        """The figures in doubt that make the chip fast or slow: no price may move an interval of time."""
        return [path for path in uncertainty.ranged(self.chip) if not is_power_or_price(path)]

    @functools.cached_property
    def _luck(self) -> dict[str, np.ndarray]:
        return uncertainty.luck(uncertainty.chances(self.chip, self._speed, scenarios=False))

    @functools.cached_property
    def _samples(self) -> Mapping[str, np.ndarray]:
        """Samples of every headline figure, along the first axis."""
        factors = uncertainty.error_factors(np.ones(()), SAMPLES).reshape(-1, *(1,) * len(self._shape))
        return self._sampled._figures_with_errors(factors)

    @functools.cached_property
    def _extra_samples(self) -> dict[str, np.ndarray]:
        """Samples of the figures of power and money that are known; each of the same chip as those of its speed."""
        axes = len(self._shape)
        unknown = uncertainty.chances(self.chip, scenarios=False)
        more = uncertainty.luck([name for name in unknown if name not in self._luck], seed=2)
        chip = uncertainty.settled(self.chip, {**self._luck, **more}, axes, scenarios=False)
        factors = uncertainty.error_factors(np.ones(()), SAMPLES, seed=3).reshape(-1, *(1,) * axes)
        return dict(
            self._sampled._sharing(chip=chip, request=self.request)._extra_with_errors(
                self._samples[self.RATE], factors
            )
        )


def _plain(value: np.ndarray) -> Numeric:
    return float(value) if np.ndim(value) == 0 else value


def with_errors(phase: Phase, factors: np.ndarray) -> np.ndarray:
    """The phase's time with model error: `factors` are samples of exp(z) for standard normal z."""
    spread = phase.spread  # first: over a grid, the times come along
    return np.maximum(phase.time_s * np.exp(np.log(factors) * spread), phase.lower_s)
