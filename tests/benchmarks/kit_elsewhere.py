"""The conformance kit for a benchmark that runs in an interpreter of its own; ``test_other_environments`` starts it.

``BENCHMARK`` has ``module:Benchmark`` and ``FIELDS`` the configuration as JSON.
"""

import json
import os

import pytest

from proctor.config import structure
from proctor.plugins import load_object
from proctor.testing.conformance import BenchmarkConformance


class TestElsewhere(BenchmarkConformance):
    """What the kit asks of every benchmark."""

    seeds_matter = os.environ.get("SEEDS_MATTER") != "false"

    @pytest.fixture
    def benchmark(self):
        kind = load_object(os.environ["BENCHMARK"])
        return kind(structure(kind.config_class, json.loads(os.environ["FIELDS"]), "env"))

    def test_it_is_deterministic(self, recording):
        """So that nothing above is skipped."""
        assert recording.deterministic
