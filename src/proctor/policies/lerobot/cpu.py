"""Inference on a CPU with less work around the arithmetic: the same bits in two thirds of the time.

Convolutions run near the processor's peak. Around them a ResNet-18 on 480x480 spends a quarter of its 0.23 s: the
allocator gives the memory of every large array back to the system and fetches it again, page by page; max-pooling is
not vectorised in PyTorch's default memory order; a frozen batch norm writes two new arrays of its input's size
(``docs/lab-book.md``). Every convolution brings its weights into oneDNN's own memory order anew, which takes longer
than the arithmetic if the weights are large and the input is small, as in Diffusion's U-Net: here that happens once
(``convolutions.py``). Convolutions of inputs in another memory order would be faster still, but their last bits differ.
Diffusion's U-Net runs without Python's lock (``unet.py``).
"""

from __future__ import annotations

import ctypes
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from proctor.policies.lerobot.convolutions import CAN_PREPACK, Prepacked
from proctor.policies.lerobot.unet import TracedUnet, is_unet

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGEST_ARRAY = 1 << 25  # what glibc takes at most
_KEPT = 1 << 30


def prepare_for_cpu(model: nn.Module) -> None:
    """Make inference with ``model`` cheaper, to the bit the same. It can no longer be trained."""
    _keep_freed_memory()
    for module in list(model.modules()):
        for layer, following in pairwise(module.children()):
            # Its input is the convolution's output, which nothing else reads.
            if isinstance(layer, nn.Conv2d) and isinstance(following, FrozenBatchNorm2d):
                following.forward = _InPlace(following)
        if type(module) in (nn.Conv1d, nn.Conv2d) and "forward" not in vars(module) and CAN_PREPACK:
            module.forward = Prepacked(module)
        if is_unet(module) and "forward" not in vars(module):
            module.forward = TracedUnet(module)
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


def _channels_last(_: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
    return inputs[0].contiguous(memory_format=torch.channels_last)


def _channels_first(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
    return output.contiguous()
