"""Joins a Ray cluster, or starts one on this machine.

Any sender of messages to a Ray cluster can run code on it, and Ray itself asks for no proof by default. So a cluster
that other machines can reach is used only if it requires a token, and a cluster that is started here listens on the
loopback interface alone.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from types import ModuleType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from proctor.errors import ConfigError, MissingExtraError

_CONNECT_TIMEOUT_S = 10.0
"""Seconds within which a cluster must accept a connection."""
_LOCAL_OBJECT_STORE_BYTES = 100 << 20
"""Size of the object store of a cluster on this machine; no checkpoint is copied through it."""


def import_ray(address: str | None) -> ModuleType:
    """Import Ray for the cluster at ``address``; None means a cluster that is started on this machine.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address is None or _is_loopback(address):
        # Ray reads this variable when it is imported. Despite its name, "0" makes Ray on Linux, too, listen on the
        # loopback interface; Ray listens on every interface otherwise.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("Ray", "ray", str(error)) from None
    return ray


def connect(ray: ModuleType, address: str | None) -> None:
    """Join the cluster at ``address``; if it is None, start a cluster on this machine that ends with this process.

    Raises:
        ConfigError: there is no such cluster, or other machines can send it orders without a token.
    """
    if address is None:
        options = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": _LOCAL_OBJECT_STORE_BYTES,
        }
    else:
        _require_token(address)
        _require_answer(address)
        options = {"address": address}
    with _keeping_signal_handlers():
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, job_config=_job_config(), **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            where = f"The Ray cluster at {address} cannot be joined" if address else "Ray cannot be started here"
            raise ConfigError(f"{where}: {error}") from None
    # A cluster that was reached through a loopback address may still listen on another interface, so the address that
    # its nodes use is checked too.
    _require_token(ray.get_runtime_context().gcs_address)


def _job_config() -> Any:
    """Return Ray's default, except that its workers do not search the driver's working directory before all else."""
    from ray.job_config import JobConfig

    class WithoutWorkingDirectory(JobConfig):
        def _serialize(self) -> str:
            self._py_driver_sys_path = []  # Ray fills it in `ray.init`, and its workers put what it holds first
            return super()._serialize()

    return WithoutWorkingDirectory()


def _require_answer(address: str) -> None:
    """Refuse an address at which nothing listens; Ray itself would go on trying for minutes."""
    parts = _parts(address)
    try:
        socket.create_connection((parts.hostname, parts.port), _CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"No Ray cluster answers at {address} ({error}); give the host:port that `ray start` printed."
        ) from None


def _require_token(address: str) -> None:
    """Refuse a cluster that other machines can reach and that does not require a token."""
    if os.environ.get("RAY_AUTH_MODE") != "token" and not _is_loopback(address):
        raise ConfigError(
            f"The Ray cluster at {address} can be reached by other machines and would run whatever they send; start it "
            "with RAY_AUTH_MODE=token, and set that variable here too."
        )


def _is_loopback(address: str) -> bool:
    host = _parts(address).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _parts(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"//{address}")


@contextmanager
def _keeping_signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM afterwards: ``ray.init`` replaces that of SIGTERM."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
