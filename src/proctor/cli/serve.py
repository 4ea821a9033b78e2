"""``proctor serve``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from proctor.errors import ConfigError, MissingExtraError


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """The policy that is served, and the limits of its clients."""

    policy: dict[str, Any] = field(default_factory=dict)
    """The policy: --policy.path=… for a LeRobot checkpoint, or --policy.type=function; further fields as for
    proctor eval."""

    host: str = "127.0.0.1"
    """The address to listen on. An address other than 127.0.0.1 or ::1 needs --token_env."""

    port: int = 8000
    """The port to listen on; 0 takes a free one."""

    token_env: str | None = None
    """The environment variable that holds the token that clients must send (as Authorization: Api-Key TOKEN)."""

    inference_batch_size: int = 0
    """Rows of a forward pass; 0 leaves the number to the policy. The last bits of results depend on it, so use the
    number of the evaluation that the results are to equal."""

    inference_threads: int = 1
    """CPU threads of one forward pass."""

    batch_wait_timeout_s: float | None = None
    """Seconds that a batch that is not full may wait for more requests. By default the wait is chosen from measured
    arrival times."""

    max_message_mb: int = 64
    """The largest message that a client may send, in MiB."""

    max_clients: int = 256
    """The largest number of connections."""

    idle_timeout_s: float = 600.0
    """Seconds without a request after which a connection is closed."""

    seed: int = 1000
    """The seed of the random numbers of requests without a seed."""

    rename_map: dict[str, str] = field(default_factory=dict)
    """JSON or YAML: observation key of the client → key of the policy."""

    trust_remote_code: bool = False
    """Consent to running code that is not installed here."""


_NOTHING = ServeConfig()


def serve_command(config: Annotated[ServeConfig, Parameter(name="*")] = _NOTHING) -> int:
    """Serve a policy to other programs over openpi's websocket protocol.

    Requests of all clients share forward passes. Results of proctor eval --policy.type=openpi against this server equal
    those of an evaluation of the checkpoint itself. SIGTERM or Ctrl-C ends the server once the requests under way are
    answered.
    """
    from proctor.evaluation.components import load_policy
    from proctor.policies.base import LocalPolicy

    try:
        from proctor.serving.server import PolicyServer, ServerOptions
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve") from None
    options = ServerOptions(
        host=config.host,
        port=config.port,
        token=_token(config.token_env),
        max_message_bytes=config.max_message_mb << 20,
        max_clients=config.max_clients,
        idle_timeout_s=config.idle_timeout_s,
        seed=config.seed,
        inference_threads=config.inference_threads,
        inference_batch_size=config.inference_batch_size,
        batch_wait_timeout_s=config.batch_wait_timeout_s,
    )
    policy = load_policy(config.policy, config.rename_map, trust_remote_code=config.trust_remote_code)
    if isinstance(policy, LocalPolicy):
        raise ConfigError(
            f"--policy.type={config.policy.get('type')} runs in the simulator's process and cannot be served; "
            "serve a checkpoint or a function."
        )
    console = Console()
    with console.status("Loading the policy…") as live:
        PolicyServer(
            policy,
            options,
            on_started=lambda url: console.print(f"{url}  (Ctrl-C ends it)", soft_wrap=True, highlight=False),
            on_tick=live.update,
        ).run()
    return 0


def _token(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (token := os.environ.get(variable)):
        raise ConfigError(f"--token_env: the environment variable {variable} is not set; export it with the token.")
    return token
