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


def convolutions() -> Any:
    """Convolutions of a U-Net and of an image, with kernels of several sizes, strides and groups."""
    torch.manual_seed(0)
    return {
        "1d": (torch.nn.Conv1d(128, 256, 5, padding=2), (4, 128, 16)),
        "1d, strided": (torch.nn.Conv1d(64, 64, 3, stride=2, padding=1), (4, 64, 8)),
        "1d, one wide": (torch.nn.Conv1d(64, 32, 1), (4, 64, 8)),
        "2d": (torch.nn.Conv2d(32, 64, 3, padding=1, bias=False), (2, 32, 40, 40)),
        "2d, strided": (torch.nn.Conv2d(3, 64, 7, stride=2, padding=3), (1, 3, 97, 131)),
        "2d, in groups": (torch.nn.Conv2d(32, 64, 3, groups=4, dilation=2), (2, 32, 20, 20)),
        "2d, same": (torch.nn.Conv2d(8, 8, 3, padding="same"), (2, 8, 20, 20)),
        "2d, circular": (torch.nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), (2, 8, 20, 20)),
    }


@pytest.mark.parametrize("name", convolutions())
def test_a_convolution_gives_the_same_bits_as_pytorchs(name: str) -> None:
    from proctor.policies.lerobot.cpu import prepare_for_cpu

    stock, shape = convolutions()[name]
    ours = copy.deepcopy(stock)
    prepare_for_cpu(torch.nn.Sequential(ours))
    assert "forward" in vars(ours)
    for batch in (torch.randn(shape), torch.randn(shape), torch.randn(1, *shape[1:])):
        with torch.inference_mode():
            assert torch.equal(ours(batch), stock(batch))


def prepacked_calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Count the convolutions that are computed with packed weights."""
    from proctor.policies.lerobot import convolutions

    calls: list[Any] = []
    run = convolutions.run_packed
    monkeypatch.setattr(convolutions, "run_packed", lambda x, packed: calls.append(x.shape) or run(x, packed))
    return calls


def test_weights_are_packed_once_for_each_shape_and_for_the_arithmetic_of_inference_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Gradients, mixed precision and another memory order are left to PyTorch."""
    from proctor.policies.lerobot.cpu import prepare_for_cpu

    calls = prepacked_calls(monkeypatch)
    conv, shape = convolutions()["2d"]
    stock = copy.deepcopy(conv)
    prepare_for_cpu(torch.nn.Sequential(conv))
    image = torch.randn(shape)
    with torch.inference_mode():
        conv(image), conv(image)
        assert len(calls) == 3  # the first time also to compare
        for other in (image.to(memory_format=torch.channels_last), image[0]):
            assert torch.equal(conv(other), stock(other))
        with torch.autocast("cpu", torch.bfloat16):
            assert conv(image).dtype == torch.bfloat16
    image.requires_grad_()
    conv(image).sum().backward()
    assert image.grad is not None
    assert len(calls) == 3


def test_packed_weights_that_would_give_other_bits_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from proctor.policies.lerobot import convolutions as ours
    from proctor.policies.lerobot.cpu import prepare_for_cpu

    conv, shape = convolutions()["1d"]
    stock = copy.deepcopy(conv)
    run = ours.run_packed
    monkeypatch.setattr(ours, "run_packed", lambda x, packed: run(x, packed).nextafter(torch.tensor(9.0)))
    prepare_for_cpu(torch.nn.Sequential(conv))
    with torch.inference_mode():
        batch = torch.randn(shape)
        assert torch.equal(conv(batch), stock(batch))
        assert torch.equal(conv(batch), stock(batch))


def test_a_copy_shares_the_packed_weights() -> None:
    from proctor.policies.lerobot.cpu import prepare_for_cpu

    conv, _ = convolutions()["1d"]
    prepare_for_cpu(torch.nn.Sequential(conv))
    assert copy.deepcopy(conv).forward is conv.forward
