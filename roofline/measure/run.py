"""One call that measures the machine it runs on, from its ceilings to the validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roofline.hardware.writer import identifier
from roofline.measure import conclude
from roofline.measure.backend import Backend
from roofline.measure.session import Progress, Session, backend


def measure(
    device: str = "cpu",
    *,
    out: str | Path = "measured",
    name: str = "",
    size: str = "full",
    names: Sequence[str] = (),
    resume: bool = False,
    engine: str = "",
    progress: Progress | None = None,
    using: Backend | None = None,
) -> conclude.Result:
    """Measure the machine this runs on: ceilings, operators, a descriptor, its calibration, a validation.

    Parameters
    ----------
    device : str
        ``"cpu"`` or ``"cuda"`` (needs the extra ``gpu``).
    out : path
        Folder; the files go into ``out/name``.
    name : str, optional
        Of the descriptor; default: made from what the machine calls itself.
    size : str
        ``"full"`` (under ten minutes), ``"quick"`` (under two) or ``"tiny"`` (a trial of the loop).
    names : sequence of str, optional
        Of :data:`roofline.measure.suites.NAMES`; default: all.
    resume : bool
        Go on with the rows of an interrupted run.
    engine : str, optional
        ``"torch"`` measures a processor through PyTorch.
    progress : callable, optional
        Called with (done, total, what) in seconds of work.
    using : Backend, optional
        In place of `device` and `engine`.

    Returns
    -------
    conclude.Result

    Raises
    ------
    BadWorkload
        When the folder holds an earlier run, or the device is not there.
    BadData
        When the files of the run to go on with are damaged, or nothing could be measured.
    """
    machine = using or backend(device, engine)
    name = identifier(name or machine.system.title)
    session = Session(machine, Path(out) / name, name, size, tuple(names), resume, progress)
    session.probe()
    chip = session.chip()
    session.run(chip)
    return conclude.finish(session, session.judge())
