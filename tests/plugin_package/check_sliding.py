"""What somebody else writes to have their benchmark tested."""

import pytest
from proctor_sliding import Sliding, SlidingConfig

from proctor.testing.conformance import BenchmarkConformance


class TestSliding(BenchmarkConformance):
    """Kept."""

    @pytest.fixture
    def benchmark(self):
        return Sliding(SlidingConfig(friction=0.2))


class Drifting(Sliding):
    """Forgets to begin anew, and draws unasked."""

    def make_env(self, task):
        env = super().make_env(task)
        begin, step, drift = env.reset, env.step, [0.0]

        def reset(seed, init_state_id, *, look):
            seen = begin(seed, init_state_id, look=look)
            drift[0] += 0.01
            return seen

        def pushed(action, *, look):
            env._state = env._state + drift[0]
            with env.looking():
                env.render()
            return step(action, look=look)

        env.reset, env.step = reset, pushed
        return env


class TestDrifting(BenchmarkConformance):
    """Broken."""

    @pytest.fixture
    def benchmark(self):
        return Drifting(SlidingConfig())
