"""Measures in a process of its own: the memory and the accelerator that a policy takes are free again when it ends."""

from __future__ import annotations

from proctor.child.calls import Call, ChildError
from proctor.config import RunConfig
from proctor.errors import ResourceError
from proctor.evaluation.prepared_run import prepare
from proctor.machine.hardware import Hardware
from proctor.tuning.measure import OnProgress, measure
from proctor.tuning.model import Costs


def measure_in_child(config: RunConfig, hardware: Hardware, seconds: float, on_progress: OnProgress) -> Costs:
    """Measure in a clean process: see :func:`~proctor.tuning.measure.measure`. Nothing of it is left when this ends.

    Raises:
        ProctorError: measuring raised it.
        ResourceError: a signal ended the process, as the system does if there is too little memory.
        ChildError: measuring raised something else, which is a bug.
    """
    address = f"{__name__}:measure_here"
    try:
        return Call(address, config, hardware, seconds, result=Costs, on_progress=on_progress).result()
    except ChildError as error:
        if error.status is None or error.status >= 0:
            raise
        raise ResourceError(
            f"The process that measured {error.how}, perhaps because there is too little memory: free some, or try a "
            "smaller benchmark."
        ) from None


def measure_here(config: RunConfig, hardware: Hardware, seconds: float, on_progress: OnProgress) -> Costs:
    """Measure in this process; what :func:`measure_in_child` calls in another one."""
    return measure(prepare(config), hardware, seconds, on_progress)
