"""What makes a CPU faster changes no bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")


def backbone(norm: Any) -> Any:
    """A ResNet as policies build it, with statistics that leave no weight unused."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None, norm_layer=norm).eval()
    for name, buffer in model.named_buffers():
        if name.endswith(("running_var", "weight")):
            buffer.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            buffer.uniform_(-0.5, 0.5)
    return torch.nn.Sequential(*list(model.children())[:-2])


@pytest.mark.parametrize("size", [(480, 480), (96, 96), (97, 131)])
@pytest.mark.parametrize("norm", ["frozen", "group"])
def test_a_resnet_gives_the_same_bits_as_torchvisions(norm: str, size: tuple[int, int]) -> None:
    from proctor.policies.lerobot.cpu import prepare_for_cpu

    norms = {
        "frozen": torchvision.ops.FrozenBatchNorm2d,
        "group": lambda planes: torch.nn.GroupNorm(planes // 16, planes),
    }
    stock = backbone(norms[norm])
    ours = copy.deepcopy(stock)
    prepare_for_cpu(ours)
    image = torch.randn(2, 3, *size)
    before = image.clone()
    with torch.inference_mode():
        expected, given = stock(image), ours(image)
    assert torch.equal(expected, given)
    assert expected.std() > 0
    assert given.is_contiguous()
    assert torch.equal(image, before)
