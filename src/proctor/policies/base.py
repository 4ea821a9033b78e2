"""A policy is a function from a batch of observations to a batch of action chunks; this is its contract.

There are two kinds. A :class:`Policy` holds weights and lives in the main process, where observations of any episodes,
at any phase, of any task share one forward pass. An :class:`ActionSource` needs no shared weights (a scripted expert,
random actions) and lives inside the worker, beside the simulator, so that no step needs a message.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from proctor.errors import ConfigError, ContractError, note
from proctor.streams import RandomStream
from proctor.types import Array, ArraySpec, Features, Observation, StrEnum

Source = str | Callable[..., Any]
"""Code that makes actions: a module by its name, a function or a class."""


class Randomness(StrEnum):
    """The way that a policy draws random numbers. A plain text (``"per_row"``) may be given in place of a member."""

    NONE = "none"
    """:meth:`Policy.predict` draws no random numbers."""
    PER_ROW = "per_row"
    """It draws the numbers for an observation from that episode's stream, so that episodes may share a pass."""
    GLOBAL = "global"
    """It draws from the global generators of Python, numpy and torch, or holds one episode at a time. Such a policy is
    given one observation at a time, with the episode's generator states swapped in."""


def renamed(features: Features, names: Mapping[str, str]) -> dict[str, ArraySpec]:
    """Return an environment's observations under the names that ``names`` (``--rename_map``) gives some of them.

    If ``names`` has a key that the environment does not observe, a note says so.

    Raises:
        ContractError: two observations would have one name.
    """
    if unknown := sorted(names.keys() - features.observation.keys()):
        note(
            f"The rename_map names {', '.join(unknown)}, which the environment does not give; it gives "
            f"{', '.join(features.observation)}."
        )
    origins: dict[str, str] = {}
    for key in features.observation:
        name = names.get(key, key)
        if (other := origins.setdefault(name, key)) != key:
            raise ContractError(
                f"With this rename_map, {other} and {key} of the environment are both {name}; give one of them a name "
                "that the policy does not use."
            )
    return {name: features.observation[key] for name, key in origins.items()}


class EpisodeMemory:
    """The state that a policy may keep about one episode. It is made at the episode's start and dropped at its end.

    ``stream`` is the episode's randomness. ``state`` belongs to the policy: a temporal ensemble, a recurrent state.
    A policy keeps nothing about an episode anywhere else. If ``whole_chunks`` is true, :meth:`Policy.predict` returns
    all actions that it has predicted, also those beyond ``n_action_steps``: they are executed while a later inference
    is under way (``eval.inference_delay_steps``). It is the same in all episodes of a run. ``n_delay_steps`` is the
    number of control steps after which a chunk takes over: 0 without a delay, None if it is not known.

    ``round_trip`` and ``server`` are those of :class:`~proctor.types.Timings`; a policy behind a server reports its
    replies with :meth:`replied`.
    """

    __slots__ = ("n_delay_steps", "round_trip", "server", "state", "stream", "whole_chunks")

    def __init__(self, stream: RandomStream, *, whole_chunks: bool = False, n_delay_steps: int | None = 0) -> None:
        self.stream = stream
        self.whole_chunks = whole_chunks
        self.n_delay_steps = n_delay_steps
        self.state: dict[str, Any] = {}
        self.round_trip: float | None = None
        self.server: float | None = None

    def replied(self, round_trip: float, server: float | None) -> None:
        """Report the reply of a server to a request for this episode.

        Args:
            round_trip: the seconds from sending the request until the reply had arrived.
            server: the seconds of them that the server states for its own work; None if it states none.
        """
        is_known = server is not None and (self.round_trip is None or self.server is not None)
        self.round_trip = (self.round_trip or 0.0) + round_trip
        self.server = (self.server or 0.0) + (server or 0.0) if is_known else None


@runtime_checkable
class Connecting(Protocol):
    """A source that :meth:`PolicySource.open` connects to another process; :class:`PolicySource` need not have this."""

    def disconnect(self) -> None:
        """Let :meth:`PolicySource.open`, which is under way on another thread, fail soon. It may be called again."""


class PolicySource(Protocol):
    """A policy that may not be loaded yet: the facts that the engine needs before it is loaded, and how to load it.

    It is loaded on the inference thread while simulators start. :class:`Policy` explains the attributes. A class need
    not inherit from this one, but must have all of its members: :func:`require_policy` says which are missing.
    """

    @property
    def look_offsets(self) -> tuple[int, ...]: ...

    @property
    def n_action_steps(self) -> int: ...

    @property
    def episodes_per_pass(self) -> int: ...

    @property
    def distributions(self) -> tuple[str, ...]: ...

    @property
    def sources(self) -> tuple[Source, ...]: ...

    @property
    def pinned(self) -> Mapping[str, Any]: ...

    @property
    def unidentified(self) -> str: ...

    def check_contract(self, features: Features) -> None:
        """See :meth:`Policy.check_contract`."""

    def fingerprint(self) -> Mapping[str, Any]:
        """See :meth:`Policy.fingerprint`."""

    @property
    def per_device(self) -> Sequence[PolicySource]:
        """The policy once for each device on which it is to run; itself alone if that is one device."""

    def open(self, n_threads: int) -> Policy:
        """Load it, on the first of its devices. ``n_threads`` is the number of CPU threads of one forward pass."""


_MEMBERS = tuple(name for name in vars(PolicySource) if not name.startswith("_"))


class Policy(ABC):
    """A policy whose inference runs in the main process.

    Attributes:
        n_action_steps: the number of actions that are executed before the policy looks again; a chunk may be shorter.
        look_offsets: the steps that it sees when it looks, relative to the present and ascending: ``(0,)``, or
            ``(-1, 0)``.
        randomness: how it draws random numbers: see :class:`Randomness`.
        place_matters: an observation's place in the batch changes the last bits of its actions. Every episode then has
            one place, which follows from what the episode is; two that have the same place do not share a pass.
        batch_size: the number of observations per forward pass if the user asks for nothing else.
        episodes_per_pass: the number of episodes that can share a forward pass for little more than the cost of one.
            Unless the user sets ``eval.batch_size``, the number of environments is multiplied by it.
        n_slots: the number of forward passes that run well side by side: 1 on an accelerator, one per core on a CPU.
        times_out: :meth:`predict` has a time-out of its own, as that of a policy behind a server. A pass of any other
            policy is given up after ``eval.inference_timeout_s``.
        distributions: the installed packages on whose versions results depend.
        sources: code that makes the actions, besides the policy's class: modules by their name, functions, classes.
            A digest of code that no distribution owns is recorded.
        pinned: fields of ``--policy.*`` that name this very policy, also when a link or a revision has moved on.
        unidentified: the reason why it cannot be known whether another policy is this one, as what it holds: "a random
            generator of its own in predict.rng"; "" if :meth:`fingerprint` identifies it. Nothing is added to the
            results of an unidentified policy once its evaluation has ended.
    """

    n_action_steps: int = 1
    look_offsets: tuple[int, ...] = (0,)
    randomness: str = Randomness.NONE
    place_matters: bool = False
    batch_size: int = 1
    episodes_per_pass: int = 1
    n_slots: int = 1
    times_out: bool = False
    distributions: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    unidentified: str = ""

    @property
    def pinned(self) -> Mapping[str, Any]:
        return {}

    @property
    def runs_alone(self) -> bool:
        """:meth:`predict` is given one observation at a time.

        Raises:
            ConfigError: ``randomness`` is none of the three.
        """
        if self.randomness not in list(Randomness):
            known = ", ".join(f"'{each}'" for each in Randomness)
            raise ConfigError(f"{type(self).__name__}.randomness is {self.randomness!r}; set it to one of {known}.")
        return self.randomness == Randomness.GLOBAL

    @property
    def per_device(self) -> Sequence[PolicySource]:
        """The policy itself: once loaded, it is on one device."""
        return (self,)

    def open(self, n_threads: int) -> Policy:
        """A policy that is loaded already is its own source."""
        return self

    def snapshot(self) -> PolicySource:
        """Give the policy as it is now, for an evaluation in the background: an object that it was made from may be
        trained meanwhile.
        """
        return self

    @abstractmethod
    def predict(self, observations: Sequence[Observation], memories: Sequence[EpisodeMemory]) -> list[Array]:
        """Give one action chunk per observation, in the same order.

        Args:
            observations: one of each episode; every array has a leading time axis as long as ``look_offsets``. Images
                are uint8 ``(looks, height, width, 3)``, vectors ``(looks, size)`` of any real dtype.
            memories: the policy's memory of each of the episodes.

        Returns:
            Arrays ``(steps, action_size)`` of real, finite numbers, with at least one step.

        It may be called from several threads at once unless ``randomness`` is ``"global"``. If it raises, it leaves
        the memories as they were: the observations are then given to it one by one, to find the one that fails.
        """

    def disconnect(self) -> None:
        """Close connections to other processes. The engine calls no method after this one, except :meth:`open`.

        The engine may call it while :meth:`open` or :meth:`predict` runs on another thread; a method that waits for
        another process then raises soon.
        """

    def check_contract(self, features: Features) -> None:
        """Compare what the policy expects with what the environment gives, before the first episode.

        Raises:
            ContractError: they do not fit; the message shows both sides.
        """

    def fingerprint(self) -> Mapping[str, Any]:
        """Give what identifies the policy in a result: two policies with equal fingerprints give equal results.

        A policy that does not override this counts as unidentified.
        """
        return {"type": type(self).__name__}


class ActionSource(Protocol):
    """A policy that lives in the worker. It is constructed there, without arguments."""

    def reset(self, env: Any, stream: RandomStream) -> None:
        """Begin an episode in ``env`` (a SimEnv that has just been reset)."""

    def act(self) -> Array:
        """Give the next action, ``(action_size,)`` of the action space's dtype."""


class LocalPolicy:
    """A policy that runs inside the workers. ``source`` is the address of its :class:`ActionSource`,
    ``module:attribute``.
    """

    unidentified: str = ""
    distributions: tuple[str, ...] = ()

    def __init__(self, source: str) -> None:
        self.source = source

    @property
    def sources(self) -> tuple[Source, ...]:
        """See :class:`Policy`."""
        return (self.source.partition(":")[0],)

    @property
    def pinned(self) -> Mapping[str, Any]:
        """See :class:`Policy`."""
        return {}

    def fingerprint(self) -> Mapping[str, Any]:
        """See :meth:`Policy.fingerprint`."""
        return {"type": self.source}


AnyPolicy = PolicySource | LocalPolicy


def is_policy(value: Any) -> bool:
    """Say whether ``value`` is a :class:`LocalPolicy`, or has all members of a :class:`PolicySource`."""
    return isinstance(value, LocalPolicy) or not (isinstance(value, type) or _missing(value))


def require_policy(value: Any, subject: str) -> AnyPolicy:
    """Give ``value`` if it is a policy. ``subject`` begins the sentence if it is not: "my_module:load returned".

    Raises:
        ConfigError: it is not; the message says what it lacks.
    """
    if is_policy(value):
        policy: AnyPolicy = value
        return policy
    what = f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"
    lacking = "" if isinstance(value, type) else f", which lacks {', '.join(_missing(value))}"
    raise ConfigError(
        f"{subject} {what}{lacking}; a policy is a proctor.Policy, or an object with all members of "
        "proctor.policies.base.PolicySource."
    )


def _missing(value: Any) -> list[str]:
    """List the members of a policy that ``value`` does not have; all of them if it cannot be opened."""
    lacking = [name for name in _MEMBERS if not hasattr(value, name)]
    return ["open"] if "open" in lacking else lacking


def why_unidentified(policy: AnyPolicy) -> str:
    """Give the reason why it cannot be known whether another policy is this one; "" if its fingerprint identifies it.

    :class:`Policy` explains the attribute.
    """
    if isinstance(policy, Policy) and type(policy).fingerprint is Policy.fingerprint:
        return f"a {type(policy).__name__} without a fingerprint of its own"
    return policy.unidentified
