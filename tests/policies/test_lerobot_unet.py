"""TorchScript gives the bits of LeRobot's U-Net, without Python's lock."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import pytest

from proctor.errors import Note

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("lerobot", reason="lerobot is not installed")


@pytest.fixture(scope="module")
def stock() -> Any:
    """A small U-Net of LeRobot's own class, with convolutions of every kind that it can have."""
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
    from lerobot.policies.diffusion.modeling_diffusion import DiffusionConditionalUnet1d

    torch.manual_seed(0)
    action = PolicyFeature(type=FeatureType.ACTION, shape=(2,))
    config = DiffusionConfig(output_features={"action": action}, device="cpu", down_dims=(32, 64), n_groups=4)
    return DiffusionConditionalUnet1d(config, global_cond_dim=12).eval()


@pytest.fixture(autouse=True)
def no_traces_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have made as many as it makes at most."""
    from proctor.policies.lerobot import unet

    monkeypatch.setattr(unet, "_n_traces", count())


def prepared(stock: Any) -> Any:
    from proctor.policies.lerobot.cpu import prepare_for_cpu

    unet = copy.deepcopy(stock)
    prepare_for_cpu(torch.nn.Sequential(unet))
    return unet


def inputs(step: int, batch: int = 4) -> tuple[Any, Any, Any]:
    draw = torch.Generator().manual_seed(step)
    x, cond = torch.randn(batch, 16, 2, generator=draw), torch.randn(batch, 12, generator=draw)
    return x, torch.full((batch,), step, dtype=torch.long), cond


def traces(unet: Any) -> list[Any]:
    return list(unet.forward._traces.values())


def test_the_bits_are_those_of_the_unet_itself_before_and_after_the_trace_is_proved(stock: Any) -> None:
    """For each shape and each memory order, whatever the step of denoising."""
    unet = prepared(stock)
    with torch.inference_mode():
        for step in range(60):
            for batch in (4, 1):
                x, timestep, cond = inputs(step, batch)
                transposed = x.mT.contiguous().mT
                for given in (x, transposed) if batch == 4 else (x,):
                    assert torch.equal(unet(given, timestep, global_cond=cond), stock(given, timestep, cond))
    assert all(trace.proved() for trace in traces(unet))
    assert len(traces(unet)) == 3


def test_a_proved_trace_takes_the_place_of_the_unet(stock: Any) -> None:
    unet = prepared(stock)
    calls = []
    with torch.inference_mode():
        for step in range(5):
            unet(*inputs(step))
        unet.forward._stock = lambda *given: calls.append(given) or stock(*given)
        assert torch.equal(unet(*inputs(20)), stock(*inputs(20)))
        assert not calls
        unet(*inputs(20, batch=3))
        assert len(calls) == 1


def test_threads_that_come_first_at_the_same_time_get_the_same_bits_of_one_trace(
    stock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unet = prepared(stock)

    def passes(begin: int) -> bool:
        with torch.inference_mode():
            return all(torch.equal(unet(*inputs(n)), stock(*inputs(n))) for n in range(begin, begin + 40))

    made, trace = [], torch.jit.trace
    monkeypatch.setattr(torch.jit, "trace", lambda *given, **how: made.append(1) or trace(*given, **how))
    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(passes, range(0, 160, 40)))
    assert all(trace.proved() for trace in traces(unet))
    assert len(made) == len(traces(unet)) == 1


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_trace_that_once_gives_another_bit_is_never_used(stock: Any, after: int) -> None:
    unet = prepared(stock)
    with torch.inference_mode():
        unet(*inputs(0))
        (trace,) = traces(unet)
        trace._n_equal, traced, calls = after, trace._traced, []

        def wrong_once(*given: Any) -> Any:
            calls.append(given)
            return traced(*given).nextafter(torch.tensor(9.0)) if len(calls) == 1 else traced(*given)

        trace._traced = wrong_once
        for step in range(30):
            assert torch.equal(unet(*inputs(step)), stock(*inputs(step)))
    assert trace.proved() is None
    assert len(calls) == 1


def test_a_trace_may_be_found_to_differ_while_another_thread_compares_with_it(stock: Any) -> None:
    unet = prepared(stock)
    with torch.inference_mode():
        unet(*inputs(0))
        (trace,) = traces(unet)
        traced = trace._traced

        def differs_for_another(*given: Any) -> Any:
            trace._traced = None
            return traced(*given)

        trace._traced = differs_for_another
        for step in range(10):
            assert torch.equal(unet(*inputs(step)), stock(*inputs(step)))
    assert trace.proved() is None


def test_a_process_makes_no_more_traces_than_it_has_memory_for(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch does not free them."""
    from proctor.policies.lerobot import unet as ours

    monkeypatch.setattr(ours, "_MOST_TRACES", 2)
    with torch.inference_mode():
        first, second = prepared(stock), prepared(stock)
        for unet, batch in ((first, 1), (first, 2), (second, 1)):
            for step in range(10):
                assert torch.equal(unet(*inputs(step, batch)), stock(*inputs(step, batch)))
    assert [trace.proved() is not None for trace in traces(first) + traces(second)] == [True, True, False]


def test_a_unet_that_torchscript_cannot_run_runs_as_it_is(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unet = prepared(stock)

    def refuse(*_: Any, **__: Any) -> Any:
        raise RuntimeError("there is no TorchScript")

    monkeypatch.setattr(torch.jit, "trace", refuse)
    with torch.inference_mode():
        with pytest.warns(Note, match="the numbers are the same \\(there is no TorchScript\\)"):
            assert torch.equal(unet(*inputs(0)), stock(*inputs(0)))
        assert torch.equal(unet(*inputs(1)), stock(*inputs(1)))  # it is said once


def test_training_and_mixed_precision_are_left_to_the_unet(stock: Any) -> None:
    unet = prepared(stock)
    x, timestep, cond = inputs(0)
    unet(x.requires_grad_(), timestep, cond).sum().backward()
    assert x.grad is not None
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(unet(*inputs(1)), stock(*inputs(1)))
    assert not traces(unet)


def test_a_unet_with_a_hook_is_left_as_it_is(stock: Any) -> None:
    """TorchScript would not call it."""
    watched, seen = copy.deepcopy(stock), []
    watched.mid_modules[0].register_forward_hook(lambda *given: seen.append(given))
    unet = prepared(watched)
    with torch.inference_mode():
        for step in range(30):
            unet(*inputs(step))
    assert len(seen) == 30


def test_the_weights_are_shared(stock: Any) -> None:
    """A trace costs no second copy of the network; only the packed weights of convolutions are its own."""
    unet = prepared(stock)
    with torch.inference_mode():
        unet(*inputs(0))
    (trace,) = traces(unet)
    assert "mkldnn_prepacked::conv2d_run" in str(trace._traced.inlined_graph)
    own = {each.data_ptr() for each in unet.parameters()}
    assert {each.data_ptr() for each in trace._traced.parameters()} == own
    assert copy.deepcopy(unet).forward is unet.forward
