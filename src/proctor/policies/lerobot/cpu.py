"""Inference on a CPU with less work around the arithmetic: the same bits in two thirds of the time.

Convolutions run near the processor's peak. Around them a ResNet-18 on 480x480 spends a quarter of its 0.23 s: the
allocator gives the memory of every large array back to the system and fetches it again, page by page; max-pooling is
not vectorised in PyTorch's default memory order; a frozen batch norm writes two new arrays of its input's size
(``docs/lab-book.md``). Every convolution brings its weights into oneDNN's own memory order anew, which takes longer
than the arithmetic if the weights are large and the input is small, as in Diffusion's U-Net: here that happens once.
Convolutions of inputs in another memory order would be faster still, but their last bits differ.
"""

from __future__ import annotations

import ctypes
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_ARRAY = 1 << 25  # what glibc takes at most
_KEPT = 1 << 30
_PREPACKED = getattr(torch.ops, "mkldnn_prepacked", None)
"""PyTorch's operators of convolutions whose weights are in oneDNN's memory order already."""


def prepare_for_cpu(model: nn.Module) -> None:
    """Make inference with ``model`` cheaper, to the bit the same. It can no longer be trained."""
    _keep_freed_memory()
    for module in list(model.modules()):
        for layer, following in pairwise(module.children()):
            # Its input is the convolution's output, which nothing else reads.
            if isinstance(layer, nn.Conv2d) and isinstance(following, FrozenBatchNorm2d):
                following.forward = _InPlace(following)
        if type(module) in (nn.Conv1d, nn.Conv2d) and "forward" not in vars(module) and _PREPACKED is not None:
            module.forward = _Prepacked(module)
        for layer in module.children():
            if isinstance(layer, nn.MaxPool2d):
                layer.register_forward_pre_hook(_channels_last)
                layer.register_forward_hook(_channels_first)


def _keep_freed_memory() -> None:
    """Have glibc keep what is freed for the next forward pass. Other allocators are left as they are."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_ARRAY)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


class _InPlace:
    """The arithmetic of ``FrozenBatchNorm2d.forward``, in its order, written over its input."""

    def __init__(self, norm: FrozenBatchNorm2d) -> None:
        weight, bias, variance, mean = (
            tensor.reshape(1, -1, 1, 1) for tensor in (norm.weight, norm.bias, norm.running_var, norm.running_mean)
        )
        self._scale = weight * (variance + norm.eps).rsqrt()
        self._bias = bias - mean * self._scale

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(self._scale).add_(self._bias)


class _Prepacked:
    """The forward pass of a convolution, with weights that are brought into oneDNN's memory order once.

    The order depends on the shape of the input, so weights are kept for each shape, also for each number of threads,
    on which PyTorch's choice of an implementation depends. The packed weights are used only if PyTorch would call
    oneDNN, and if they give the same bits as the convolution itself for the first input of that shape.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d) -> None:
        self._conv, self._stock = conv, conv.forward
        self._packed: dict[tuple[torch.Size, int], Any] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> _Prepacked:
        return self  # copies of a policy share their weights

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not _is_plain(x):
            return self._stock(x)
        place = x.shape, torch.get_num_threads()
        if place not in self._packed:
            self._packed[place] = self._pack(x)
        packed = self._packed[place]
        return self._stock(x) if packed is None else _run(x, packed)

    def _pack(self, x: torch.Tensor) -> Any:
        """Give the weights in the order for such an input; None if they are to stay as they are."""
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
        return packed if torch.equal(_run(x, packed), self._stock(x)) else None


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


def _run(x: torch.Tensor, packed: Any) -> torch.Tensor:
    if x.dim() == 4:
        return torch.ops.mkldnn_prepacked.conv2d_run(x, packed)
    return torch.ops.mkldnn_prepacked.conv2d_run(x.unsqueeze(2), packed).squeeze(2)


def _channels_last(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    return inputs[0].contiguous(memory_format=torch.channels_last)


def _channels_first(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
    return output.contiguous()
