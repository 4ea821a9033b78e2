"""Diffusion's U-Net on a CPU without Python's lock: the same bits, and passes on two cores that do not wait.

A pass of a small U-Net is thousands of short operations, and a thread takes Python's lock after each of them, so that
two passes side by side take a fifth longer than one alone (``docs/lab-book.md``). The interpreter of TorchScript runs
the same operations in the same order, and does not take the lock.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from itertools import count
from threading import Lock
from typing import Any

import torch
from torch import nn

from proctor.errors import note
from proctor.policies.lerobot.convolutions import Prepacked, run_packed
from proctor.policies.lerobot.copies import sharing_weights

_Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
_UNET = "lerobot.policies.diffusion.modeling_diffusion.DiffusionConditionalUnet1d"
_N_COMPARED = 5
"""So many results of a trace are compared with the U-Net's own. TorchScript optimises a trace in its first calls."""
_MOST_TRACES = 30
"""The most traces that a process makes, each of 6 MB: PyTorch keeps their graphs, though not the weights, for good."""
_n_traces = count()


def is_unet(module: nn.Module) -> bool:
    """Say whether a module is LeRobot's U-Net, without a hook: TorchScript would not call it."""
    if f"{type(module).__module__}.{type(module).__name__}" != _UNET:
        return False
    return not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())  # noqa: SLF001


class TracedUnet:
    """The forward pass of LeRobot's ``DiffusionConditionalUnet1d``, traced once for each kind of input.

    Inputs of one kind have the same shapes, types and memory orders, and are computed by as many threads. A trace is
    used once it has given the same bits as the U-Net itself for the first inputs.
    """

    def __init__(self, unet: nn.Module) -> None:
        self._unet, self._stock = unet, unet.forward
        self._traces: dict[Any, _Trace] = {}
        self._one_traces_at_a_time = Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedUnet:
        return self  # copies of a policy share their weights

    def __call__(
        self, x: torch.Tensor, timestep: torch.Tensor | int, global_cond: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Give the noise of ``x`` ``(batch, horizon, action_size)``, as LeRobot's ``forward`` does."""
        if (
            torch.is_grad_enabled()
            or torch.is_autocast_enabled("cpu")
            or torch.compiler.is_compiling()
            or not isinstance(timestep, torch.Tensor)
            or global_cond is None
        ):
            return self._stock(x, timestep, global_cond)
        inputs = x, timestep, global_cond
        trace = self._trace_for(inputs)
        if trace is not None and (proved := trace.proved()) is not None:
            result: torch.Tensor = proved(*inputs)
            return result
        result = self._stock(*inputs)
        if trace is not None:
            trace.compare(inputs, result)
        return result

    def _trace_for(self, inputs: _Inputs) -> _Trace | None:
        """Give the trace for such inputs; None while another thread makes one."""
        kind = torch.get_num_threads(), *((each.shape, each.stride(), each.dtype) for each in inputs)
        if (trace := self._traces.get(kind)) is None and self._one_traces_at_a_time.acquire(blocking=False):
            try:
                trace = self._traces[kind] = _Trace(_traced(self._unet, inputs))
            finally:
                self._one_traces_at_a_time.release()
        return trace


class _Trace:
    """A trace, and how many of its results were equal to the U-Net's own."""

    def __init__(self, traced: Callable[..., Any] | None) -> None:
        self._traced, self._n_equal = traced, 0

    def proved(self) -> Callable[..., Any] | None:
        """Return what may be called in place of the U-Net; None if that is not known to give the same bits."""
        return self._traced if self._n_equal >= _N_COMPARED else None

    def compare(self, inputs: _Inputs, result: torch.Tensor) -> None:
        """Compare with a result of the U-Net's own; a trace that differs once is never used."""
        if (traced := self._traced) is None:  # another thread may have compared meanwhile
            return
        if torch.equal(traced(*inputs), result):
            self._n_equal += 1
        else:
            self._traced = None


def _traced(unet: nn.Module, inputs: _Inputs) -> Callable[..., Any] | None:
    """Trace a U-Net; None if TorchScript cannot, or if this process has made too many traces."""
    if next(_n_traces) >= _MOST_TRACES:
        return None
    try:
        with torch.inference_mode(False), torch.no_grad():
            traced = _trace_of_twin(unet, [each.clone() for each in inputs])
    except Exception as error:  # noqa: BLE001 - the U-Net itself is used, which gives the same numbers
        note(f"TorchScript cannot run the policy's U-Net, so a pass takes longer; the numbers are the same ({error}).")
        return None
    return traced


def _trace_of_twin(unet: nn.Module, inputs: Sequence[torch.Tensor]) -> Callable[..., Any]:
    twin = sharing_weights(unet)
    vars(twin).pop("forward")
    for module in twin.modules():
        if isinstance(forward := vars(module).get("forward"), Prepacked):
            module.forward = _ForOneShape(module, forward)
    twin(*inputs)  # this packs the weights
    # These filters stay: to restore those before would undo what another thread has changed meanwhile. The first is of
    # checks of shapes, which are the same in every pass; and what is to replace torch.jit.trace changes last bits.
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning, module=r"torch\.nn\.functional")
    warnings.filterwarnings("ignore", "`torch.jit.trace", DeprecationWarning, module=r"torch\.jit\._trace")
    traced: Callable[..., Any] = torch.jit.trace(twin, tuple(inputs), check_trace=False)
    return traced


class _ForOneShape:
    """The forward pass of a convolution whose inputs all have the shape of the first.

    TorchScript can only take packed weights that are an attribute of the module.
    """

    def __init__(self, conv: nn.Module, prepacked: Prepacked) -> None:
        self._conv, self._prepacked = conv, prepacked

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_tracing():
            self._conv.packed = self._prepacked.packed_for(x)
        packed: Any = self._conv.packed
        return self._prepacked.stock(x) if packed is None else run_packed(x, packed)
