"""The catalogue of results that can be measured again, read from ``catalogue.toml`` beside this module."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import msgspec

from proctor.errors import ConfigError, did_you_mean

_FILE = "catalogue.toml"


class KnownRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A success rate of a suite, or of all episodes if ``suite`` is None.

    ``pc_success`` is in percent. A recorded result has the exact number ``n_successes`` instead. ``n_episodes`` is None
    if the source does not say how many episodes the rate is of.
    """

    suite: str | None = None
    pc_success: float | None = None
    n_successes: int | None = None
    n_episodes: int | None = None

    @property
    def rate(self) -> float:
        """The rate, 0 to 1."""
        if self.n_successes is not None and self.n_episodes:
            return self.n_successes / self.n_episodes
        return (self.pc_success or 0.0) / 100


class KnownResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A result that was published, or that Proctor's authors have measured (``recorded``).

    ``options`` are those of ``proctor eval`` that measure it again, ``needs`` the extras that they need, ``before``
    says what the user has to do first, and ``differences`` what is known to differ between the protocol of the source
    and these options.
    """

    name: str
    title: str
    source: str
    protocol: str
    options: tuple[str, ...]
    rates: tuple[KnownRate, ...]
    recorded: bool = False
    needs: tuple[str, ...] = ()
    before: str = ""
    differences: tuple[str, ...] = ()


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    results: tuple[KnownResult, ...]


@cache
def known_results() -> dict[str, KnownResult]:
    """Return every result of the catalogue by name, in the order of the file."""
    content = files(__package__).joinpath(_FILE).read_bytes()
    return {result.name: result for result in msgspec.toml.decode(content, type=_Catalogue).results}


def known_result(name: str) -> KnownResult:
    """Return the result of a name.

    Raises:
        ConfigError: the catalogue has no result of this name.
    """
    results = known_results()
    if name not in results:
        listed = ", ".join(results)
        raise ConfigError(
            f"There is no published result '{name}'.{did_you_mean(name, results)} The results are: {listed}."
        )
    return results[name]
