"""Two evaluations are compared by what their results depend on."""

import pytest

from proctor.errors import FingerprintError
from proctor.results.fingerprint import check_fingerprint
from result_samples import FINGERPRINT


def test_equal_fingerprints_have_no_differences():
    """A tuple that a file turned into a list is no difference."""
    assert check_fingerprint({"a": {"shape": [1, 2]}}, {"a": {"shape": (1, 2)}}, allow_mismatch=False) == []


def test_a_different_fingerprint_is_refused_with_every_difference():
    """Each is named with its old and new value, and the message says what to do."""
    new = {"policy": {"hash": "cd34", "dtype": "float16"}, "seed": 1000}

    with pytest.raises(FingerprintError) as error:
        check_fingerprint(FINGERPRINT, new, allow_mismatch=False)

    assert [line.strip() for line in str(error.value).splitlines()[1:-1]] == [
        'policy.dtype: was absent, now "float16"',
        'policy.hash: was "ab12", now "cd34"',
        "policy.n_action_steps: was 8, now absent",
    ]
    assert "--output_dir" in str(error.value)
    assert "--eval.allow_mismatch=true" in str(error.value)


def test_a_mismatch_can_be_allowed_and_is_returned():
    """The caller has something to warn with."""
    assert check_fingerprint({"seed": 1}, {"seed": 2}, allow_mismatch=True) == ["seed: was 1, now 2"]
