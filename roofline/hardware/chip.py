"""A chip: a set of named numbers, each with its source, and the variants that a what-if makes of it.

``load_chip`` (in ``catalog/load.py``) makes one from a descriptor file.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.face import TEXT, takes
from roofline.hardware import limits, variants
from roofline.hardware.machine import Machine

if TYPE_CHECKING:
    from roofline.hardware.number import Number, Scenario


@dataclass(frozen=True, eq=False)
class Chip(Machine):
    """A chip description. Nothing of it can be changed: :meth:`what_if` makes changed copies.

    Parameters
    ----------
    name, title, vendor, family, status, note : str
        `family` is one of gpu, tpu, npu, cpu, dataflow; `status` shipping, announced, estimated or retired. The name
        of a variant says what it is: ``h100-sxm[memory.hbm.bandwidth=4.8TB/s]``.
    year : int
        Of availability, or of the estimate.
    aliases : tuple of str
        Other names that load it.
    numbers, defaults, flags : mapping
        Its figures, those of its family, and what is no number: see :class:`~roofline.hardware.machine.Machine`.
    calibration : mapping
        What its efficiency parameters were fitted on.
    default_stack : mapping
        The software best known on this chip, by class of model (`language`, `multi_head`, `fp4_experts`): the stack,
        and why it was chosen. :func:`roofline.estimate` takes it where none is named.
    changes : mapping of str to str
        What makes it a variant of the chip that was loaded: figure -> new value, as its name shows it.
    scenarios : mapping of str to Scenario
        How what is not known may turn out, by name, each with its probability; the figures above are one of these ways.
    unfit : mapping of str to str
        Figures of stacks that cannot follow a what-if of the plain ones, and why: the chip cannot be put on these.

    Examples
    --------
    >>> import roofline as rl
    >>> h100 = rl.load_chip("h100-sxm")
    >>> isinstance(h100, rl.Chip)
    True
    >>> faster = h100.what_if({"memory.hbm.bandwidth": "4.8 TB/s"})
    >>> faster.name
    'h100-sxm[memory.hbm.bandwidth=4.8TB/s]'
    >>> h100.on_stack("vllm").stack
    'vllm'
    """

    title: str
    vendor: str
    status: str
    year: int
    aliases: tuple[str, ...] = ()
    note: str = ""
    calibration: Mapping[str, Any] = field(default_factory=dict)
    default_stack: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    scenarios: Mapping[str, Scenario] = field(default_factory=dict)
    unfit: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Chip {self.name}: {self.title}>"

    def what_if(self, changes: dict[str, Any]) -> Chip:
        """The same chip with some figures changed.

        Parameters
        ----------
        changes : dict
            Path -> new value: text with its unit (``"4.8 TB/s"``), an SI float, or a list or array of either, which
            makes every result an array. ``"x2"`` doubles the present value. Engines follow ``clock`` and
            ``cores.count``, and on-chip bandwidth follows the clock, unless they are changed as well. More cores share
            a cache's bandwidth, each through a port as wide as before. ``power.limit_share`` holds the chip to a share
            of its TDP: the clock, and what follows it, is that which this leaves at full tilt
            (:func:`roofline.hardware.limits.sustained_clock`). An efficiency parameter changes on every software stack
            that has one: before :meth:`on_stack` or after it, the result is the same.

        Returns
        -------
        Chip
            A changed copy, whose name says what was changed.

        Raises
        ------
        UnknownName
            For a figure that the chip does not have.
        BadWorkload
            For a value that is not a positive quantity of that dimension.
        """
        if not isinstance(changes, dict) or not changes:
            raise BadWorkload(f"what-if: expected {{figure: value}}, found {shown(changes)}")
        paths = {self.path(path): value for path, value in changes.items()}
        if len(paths) < len(changes):
            raise BadWorkload(f"what-if: one figure is changed twice, under two names: {', '.join(map(str, changes))}")
        new = {path: variants.changed(path, value, self.number(path)) for path, value in paths.items()}
        below, unfit = variants.under_stacks(paths, self.numbers)
        new |= below
        numbers = {**self.numbers, **new}
        for driver in self.drivers:
            if driver in paths and driver in (*self.numbers, limits.LIMIT):
                value = new[driver].value
                ratio = limits.slower(self, value) if driver == limits.LIMIT else value / self.numbers[driver].value
                for path in self._follows(driver):
                    if path not in new:  # an engine follows both the clock and the cores
                        grows = 1.0 / ratio if path.endswith(".latency") else ratio
                        numbers[path] = variants.followed(path, numbers.get(path, self.number(path)), grows, driver)
        moved = {path for path, number in numbers.items() if number is not self.numbers.get(path)}
        changed = self._variant(numbers, {path: variants.text_of(new[path]) for path in paths})
        if unfit or self.unfit:
            kept = {path: why for path, why in self.unfit.items() if path not in new}
            changed = dataclasses.replace(changed, unfit=kept | unfit)
        return changed._without_forks(moved) if self.scenarios else changed

    def _without_forks(self, paths: set[str]) -> Chip:
        """The chip whose figures of these paths are the same in every scenario: a what-if has settled them."""
        kept = {
            name: dataclasses.replace(one, numbers={p: n for p, n in one.numbers.items() if p not in paths})
            for name, one in self.scenarios.items()
        }
        return dataclasses.replace(self, scenarios=kept if any(one.numbers for one in kept.values()) else {})

    @takes(name=TEXT)
    def scenario(self, name: str) -> Chip:
        """The same chip as it is in one of the ways that what is not known may turn out.

        Parameters
        ----------
        name : str
            One of :attr:`scenarios`.

        Returns
        -------
        Chip
            A changed copy.

        Raises
        ------
        UnknownName
            With the scenarios that the descriptor has.
        """
        if name not in self.scenarios:
            raise UnknownName(f"scenario of {self.name}", name, self.scenarios)
        numbers = {**self.numbers, **self.scenarios[name].numbers}
        return dataclasses.replace(self._variant(numbers, {variants.SCENARIO: name}), scenarios={})

    def _variant(self, numbers: dict[str, Number], changes: dict[str, str]) -> Chip:
        """The chip with other figures, called after what was changed so far."""
        changes = {**self.changes, **changes}
        return dataclasses.replace(
            self,
            name=variants.name_of(self.name.partition("[")[0], changes),
            title=variants.title_of(variants.base_title(self.title, self.changes), changes),
            numbers=numbers,
            changes=changes,
        )

    def to_toml(self) -> str:
        """A descriptor of this chip that stands alone: it loads to the same figures, those inherited or changed too.

        It no longer says what was inherited, so the spreads stand in it as wide as :meth:`spreads` takes them. The name
        of a variant is written in letters that a descriptor's may have.

        Returns
        -------
        str
            The text of a file.

        Raises
        ------
        BadWorkload
            When a what-if or sampling has made a figure an array, or a figure has no source.
        """
        from roofline.hardware.writer import identifier, to_toml

        head = {
            "name": identifier(self.name),
            "title": self.title,
            "aliases": [] if self.changes else list(self.aliases),  # another name of the chip, not of its variants
            "vendor": self.vendor,
            "family": self.family,
            "year": self.year,
            "status": self.status,
            "note": self.note,
        }
        numbers = {
            path: dataclasses.replace(n, value=n.value * self._widening(n)) if "spread" in path else n
            for path, n in self.numbers.items()
        }
        # Figures that a stack was laid on are that software's: another is not to be laid on them.
        default_stack = {} if self.stack else self.default_stack
        return to_toml(head, self.flags, numbers, self.calibration, default_stack, self.scenarios)

    @property
    def stack(self) -> str:
        """The software stack that the chip was put on, ``"plain"`` for its own figures; empty: none was named."""
        return self.changes.get(variants.STACK, "")

    @functools.cached_property
    def stacks(self) -> tuple[str, ...]:
        """The software stacks that the descriptor or its family has figures of."""
        every = (*self.numbers, *self.defaults)
        return tuple(dict.fromkeys(p.split(".")[1] for p in every if p.startswith("stack.")))

    @takes(name=TEXT)
    def on_stack(self, name: str) -> Chip:
        """The same chip under a software stack: its ``[stack.NAME]`` figures in place of the plain ones.

        Figures that the stack does not have stay as they are, those of a class for one dtype too, so stacks can be
        laid one upon the other: ``"trtllm+trtllm_fp4"``. What-ifs hold, made before or after. On a stack that it is on
        the chip stays as it is.

        Parameters
        ----------
        name : str
            One of :attr:`stacks`, or several joined by ``+``; or an engine's version, ``"vllm_0_14"``, which is the
            engine as it has been from then on as far as that is known: ``"vllm+vllm_0_11"``. ``"plain"``, or nothing:
            the chip's own figures, also where :func:`roofline.estimate` would take the chip's best-known stack.

        Returns
        -------
        Chip
            A changed copy.

        Raises
        ------
        UnknownName
            With the stacks that the descriptor has.
        BadWorkload
            For ``"plain"`` when the chip was put on a stack already, and for a stack where a what-if cannot hold.
        """
        wanted = [one.strip() for one in name.split("+")]
        if wanted in ([""], [variants.PLAIN]):
            return self._on_plain()
        wanted = list(dict.fromkeys(part for one in wanted for part in variants.releases(one, self.stacks)))
        laid = [] if self.stack in ("", variants.PLAIN) else self.stack.split("+")
        if laid[-len(wanted) :] == wanted:
            return self
        key = ("stack", *wanted)
        if key not in self.bound_cache:
            figures: dict[str, Number] = {}
            for one in wanted:
                prefix = f"stack.{one}."
                for why in (why for path, why in self.unfit.items() if path.startswith(prefix)):
                    raise BadWorkload(why)
                # What the family knows of the software holds where the chip's own file says nothing else.
                known = {**self.defaults, **self.numbers}
                its = {p.removeprefix(prefix): n for p, n in known.items() if p.startswith(prefix)}
                if not its:
                    raise UnknownName(f"software stack of {self.name}", one, [*self.stacks, variants.PLAIN])
                figures |= its
            # A factor of a what-if was one of this figure too: the name says what it has come to.
            changes = {p: variants.text_of(figures[p]) for p in self.changes if p in figures}
            changes[variants.STACK] = "+".join([*laid, *wanted])
            self.bound_cache[key] = self._variant({**self.numbers, **figures}, changes)
        return self.bound_cache[key]  # type: ignore[no-any-return]

    def _on_plain(self) -> Chip:
        """The chip with its own figures, marked as such where it has a default stack."""
        if self.stack not in ("", variants.PLAIN):
            raise BadWorkload(
                f"{self.name} is on {self.stack} already: expected the chip as it was loaded, "
                f"to put on {variants.PLAIN!r}"
            )
        if self.stack or not self.default_stack:
            return self
        return self._variant(dict(self.numbers), {variants.STACK: variants.PLAIN})

    @property
    def drivers(self) -> tuple[str, ...]:
        """The figures that others follow in a what-if."""
        return ("clock", "cores.count", f"memory.{self.main_level}.channels", limits.LIMIT)

    def _follows(self, driver: str) -> list[str]:
        """The figures that follow the clock (engines, on-chip bandwidth; on-chip latency the other way), the number of
        cores (engines) or of memory channels (main memory's bandwidth), or a limit of power (clock and all with it)."""
        if driver == limits.LIMIT:
            return [p for p in ("clock", *self._follows("clock")) if p in self.numbers]
        engines = [p for p in self.numbers if p.startswith("engines.")]
        if driver == "cores.count":
            # A row keeps as much of the chip busy as before: its rate is that of the cores it has, not of their number.
            # And a core's port to a cache that all share is as wide as it was, though its share is not.
            shared = self.flags[f"memory.{self.cache_level}.per"] != "core"
            kept = (".row_cores", ".port_cores") if shared else (".row_cores",)
            return engines + [p for p in {**self.numbers, **self.defaults} if p.endswith(kept)]
        if driver.endswith(".channels"):  # each as fast as before
            return [f"memory.{self.main_level}.bandwidth"]
        on_chip = [v for v in self.levels[:-1] if self.flags[f"memory.{v}.type"] != "dram"]
        return engines + [
            p for v in on_chip for p in (f"memory.{v}.bandwidth", f"memory.{v}.latency") if p in self.numbers
        ]
