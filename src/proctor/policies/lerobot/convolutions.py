"""Convolutions on a CPU with weights in oneDNN's own memory order, into which PyTorch brings them in every pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

CAN_PREPACK = hasattr(torch.ops.mkldnn_prepacked, "conv2d_run")
"""Whether this PyTorch has the operators of convolutions whose weights are in oneDNN's memory order already."""


class Prepacked:
    """The forward pass of a convolution, with weights that are brought into oneDNN's memory order once.

    The order depends on the shape of the input, so weights are kept for each shape, also for each number of threads,
    on which PyTorch's choice of an implementation depends. The packed weights are used only if PyTorch would call
    oneDNN, and if they give the same bits as the convolution itself for the first input of that shape.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        self._conv, self.stock = conv, conv.forward
        self._packed: dict[tuple[torch.Size, int], Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Prepacked:
        return self  # copies of a policy share their weights

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        packed = self.packed_for(x)
        return self.stock(x) if packed is None else run_packed(x, packed)

    def packed_for(self, x: torch.Tensor) -> Any:
        """Give the weights in the order for such an input; None if PyTorch's own forward pass is to be used."""
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not _is_plain(x):
            return None
        place = x.shape, torch.get_num_threads()
        if place not in self._packed:
            self._packed[place] = self._pack(x)
        return self._packed[place]

    def _pack(self, x: torch.Tensor) -> Any:
        """Bring the weights into the order for such an input; None if they are to stay as they are."""
        conv = self._conv
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str) or not _calls_onednn(conv, x):
            return None
        first = (1,) if x.dim() == 3 else ()  # oneDNN is given a convolution in two dimensions
        packed = torch.ops.mkldnn_prepacked.conv2d_prepack(
            conv.weight.detach().unsqueeze(2) if first else conv.weight.detach(),
            conv.bias,
            [*first, *conv.stride],
            [*(0 for _ in first), *conv.padding],
            [*first, *conv.dilation],
            conv.groups,
            [*x.shape[:2], *first, *x.shape[2:]],
            "none",
        )
        return packed if torch.equal(run_packed(x, packed), self.stock(x)) else None


def _is_plain(x: torch.Tensor) -> bool:
    """Say whether a batch of float32 is in PyTorch's default memory order."""
    return x.dtype is torch.float32 and x.is_contiguous() and x.layout is torch.strided


def _calls_onednn(conv: nn.Conv1d | nn.Conv2d, x: torch.Tensor) -> bool:
    """Say whether PyTorch computes a convolution of a batch by oneDNN."""
    if x.dim() != conv.weight.dim() or conv.weight.dtype is not torch.float32:
        return False
    chosen = torch._C._select_conv_backend(  # noqa: SLF001 - no public name leads to it
        x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, False, (0,) * len(conv.stride), conv.groups
    )
    return bool(chosen == torch._C._ConvBackend.Mkldnn)  # noqa: SLF001


def run_packed(x: torch.Tensor, packed: Any) -> torch.Tensor:
    """Compute a convolution with weights of :meth:`Prepacked.packed_for`."""
    if x.dim() == 4:
        return torch.ops.mkldnn_prepacked.conv2d_run(x, packed)
    return torch.ops.mkldnn_prepacked.conv2d_run(x.unsqueeze(2), packed).squeeze(2)
