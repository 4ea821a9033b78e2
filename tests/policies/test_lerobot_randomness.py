"""Rows of a batch draw from their own episodes, whatever function draws."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from lerobot_samples import new_memory

from proctor.errors import PolicyError

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402

from proctor.policies.lerobot.randomness import noise, row_draws  # noqa: E402

DRAWS = {
    "randn": lambda n: torch.randn(n, 3),
    "randn, size by name": lambda n: torch.randn(size=(n, 20), dtype=torch.float64),
    "rand": lambda n: torch.rand([n, 2]),
    "randint": lambda n: torch.randint(1000, (n, 5)),
    "randint, from and to": lambda n: torch.randint(5, 1000, (n, 5)),
    "randn_like": lambda n: torch.randn_like(torch.zeros(n, 3)),
    "rand_like": lambda n: torch.rand_like(torch.zeros(n, 3)),
    "normal of a size": lambda n: torch.normal(mean=0.0, std=1.0, size=(n, 30)),
    "normal of tensors": lambda n: torch.normal(torch.zeros(n, 3), torch.ones(n, 3)),
    "normal_": lambda n: torch.zeros(n, 3).normal_(1, 2),
    "uniform_": lambda n: torch.empty(n, 2).uniform_(3, 4),
    "exponential_": lambda n: torch.empty(n, 3).exponential_(),
    "bernoulli": lambda n: torch.bernoulli(torch.full((n, 30), 0.5)),
    "multinomial": lambda n: torch.multinomial(torch.ones(n, 5), 3),
    "multinomial, four rows an episode": lambda n: torch.multinomial(torch.ones(4 * n, 9), 1),
    "Normal": lambda n: torch.distributions.Normal(torch.zeros(n, 3), 1.0).rsample(),
    "MultivariateNormal": lambda n: torch.distributions.MultivariateNormal(torch.zeros(n, 3), torch.eye(3)).rsample(),
    "Categorical": lambda n: torch.distributions.Categorical(probs=torch.ones(n, 9)).sample(),
    "Beta": lambda n: torch.distributions.Beta(torch.tensor(1.5), torch.tensor(1.0)).sample((n,)),
    "Gamma": lambda n: torch.distributions.Gamma(torch.ones(n), torch.ones(n)).sample(),
    "a number for each": lambda n: torch.randn(n),  # noqa: PLW0108 - looked up when it is called
    "gumbel_softmax": lambda n: functional.gumbel_softmax(torch.zeros(n, 3)),
    "an initialiser": lambda n: torch.nn.init.normal_(torch.empty(n, 3)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_row_is_what_the_episode_would_draw_alone(name):
    """From the global generators, with its states in them; twice, for the second draw goes on where the first ended."""
    draw = DRAWS[name]
    outside = torch.get_rng_state()

    with torch.inference_mode(), row_draws([new_memory(seed) for seed in range(3)]):
        together = [draw(3), draw(3)]

    assert torch.equal(torch.get_rng_state(), outside)
    for row in range(3):
        with torch.inference_mode(), new_memory(row).stream.swapped_in():
            alone = [draw(1), draw(1)]
        with torch.inference_mode(), row_draws([new_memory(row)]):
            only_row = [draw(1), draw(1)]
        for mine, same, all_rows in zip(alone, only_row, together, strict=True):
            assert torch.equal(mine, same)
            assert torch.equal(mine, all_rows.chunk(3)[row])


def test_noise_is_what_the_episode_would_draw_alone():
    """Another way to the same numbers."""
    rows = noise([new_memory(seed) for seed in range(3)], (10, 8), torch.device("cpu"))

    with new_memory(2).stream.swapped_in():
        assert torch.equal(rows[2:], torch.normal(mean=0.0, std=1.0, size=(1, 10, 8)))


def test_code_with_a_generator_of_its_own_is_left_alone():
    """It has decided itself."""
    mine, again = (torch.Generator().manual_seed(1) for _ in range(2))

    with row_draws([new_memory(0), new_memory(1)]):
        drawn = torch.randn(3, generator=mine)

    assert torch.equal(drawn, torch.randn(3, generator=again))


INDIVISIBLE = [lambda: torch.randn(3), lambda: torch.randn(()), lambda: torch.randperm(4)]


@pytest.mark.parametrize("draw", INDIVISIBLE)
def test_what_cannot_be_divided_comes_from_the_episode_where_there_is_one(draw):
    with row_draws([new_memory(3)]):
        drawn = draw()

    with new_memory(3).stream.swapped_in():
        assert torch.equal(drawn, draw())


@pytest.mark.parametrize("draw", INDIVISIBLE)
def test_what_cannot_be_divided_is_an_error_where_there_are_several(draw):
    """And not a number that depends on who shares the batch."""
    with row_draws([new_memory(0), new_memory(1)]), pytest.raises(PolicyError, match="inference_batch_size=1"):
        draw()


def test_a_draw_that_is_not_known_is_an_error_and_not_a_secret():
    """A version of torch may have functions that this one has not."""
    with pytest.raises(PolicyError, match="not known here"), row_draws([new_memory(0), new_memory(1)]):
        torch.ops.aten.randn([2])


def test_outside_everything_is_drawn_as_ever():
    """Also after an error, and where one is inside another."""
    with pytest.raises(ZeroDivisionError), row_draws([new_memory(0)]), row_draws([new_memory(1)]):
        raise ZeroDivisionError
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        drawn = torch.randn(5), torch.zeros(2).normal_()
        torch.manual_seed(3)
        assert torch.equal(drawn[0], torch.ops.aten.randn([5]))
        assert torch.equal(drawn[1], torch.ops.aten.normal_(torch.zeros(2)))


def test_other_threads_draw_as_ever():
    """While one computes rows."""
    expected = torch.Generator().manual_seed(3)

    def draw_elsewhere():
        torch.manual_seed(3)
        return torch.randn(5)

    before = torch.get_rng_state()
    with ThreadPoolExecutor(1) as thread, row_draws([new_memory(0), new_memory(1)]):
        drawn = thread.submit(draw_elsewhere).result()
        torch.set_rng_state(before)

    assert torch.equal(drawn, torch.randn(5, generator=expected))


def test_arithmetic_is_left_alone():
    """Dropout that is off, attention."""
    x = torch.arange(24.0).reshape(2, 3, 4)

    with row_draws([new_memory(0), new_memory(1)]):
        attended = functional.scaled_dot_product_attention(x, x, functional.dropout(x, 0.5, training=False))

    assert torch.equal(attended, functional.scaled_dot_product_attention(x, x, x))
