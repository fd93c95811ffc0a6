"""A Ray cluster for the time of a search or a comparison.

A local one runs code for whoever can talk to it, so nobody else can: its processes listen on loopback alone, ask for a
token that is new each time, and keep their files and sockets in a folder of this user's own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any

from recbole_popdcl.errors import PopDCLError, reason

# What the process that drives a search has in its environment, where the user has nothing else there.
DRIVER = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # with it an interrupted search ends like a finished one
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no events, tables and settings of Ray's beside a run's own
    "RAY_AIR_NEW_OUTPUT": "0",  # whose tables come whatever the verbosity
}
LOCAL = {
    "RAY_worker_niceness": "0",  # at Ray's 15 any other job on the machine starves the workers
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a task that asks for no GPU sees none
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray asks nobody before it reports to its makers
}
LONGEST_BASE = 107 - len("/ray-12345678/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")


class Cluster:
    """The cluster at an address, or a local one that is closed to everybody else, while the block runs.

    A cluster at an address is the user's: whether and how it asks for a token is in the environment, as Ray reads it.

    Args:
        address: such as ``auto`` or ``HOST:PORT``; None starts a local one.
        cpus, gpus: what one task will ask for.

    Raises:
        PopDCLError: on entry: Ray is missing or in use, there is no cluster at the address, it does not accept us, or
            it has less than a task asks for.
    """

    def __init__(self, address: str | None, *, cpus: float, gpus: float) -> None:
        self.address, self.cpus, self.gpus = address, cpus, gpus

    def __enter__(self) -> Any:
        try:
            import ray
        except ImportError as error:
            raise PopDCLError("this needs Ray: pip install 'recbole-popdcl[tune]'") from error
        if ray.is_initialized():
            raise PopDCLError("this process uses a Ray cluster already; call ray.shutdown() first")
        _check_reachable(self.address)
        with contextlib.ExitStack() as stack:
            stack.enter_context(_environment({name: os.environ.get(name, value) for name, value in DRIVER.items()}))
            local = {} if self.address else stack.enter_context(_closed_to_others())
            stack.callback(ray.shutdown)
            self._connect(ray, local)
            self._opened = stack.pop_all()
        return ray

    def _connect(self, ray: Any, local: dict[str, Any]) -> None:
        place = self.address or "this machine"
        try:
            with _own_signals(), warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # Ray below 2.60 says that OVERRIDE_ON_ZERO will be 0
                context = ray.init(
                    self.address or "local",  # not one that somebody started on this machine, nor what is left of one
                    log_to_driver=False, logging_level=logging.ERROR, **local,
                )  # fmt: skip
        except Exception as error:  # plain ones too, where Ray's own processes do not start in time
            hint = "; if it asks for a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN give it" if self.address else ""
            raise PopDCLError(f"cannot use a Ray cluster at {place}: {reason(error)}{hint}") from error
        if local and not ipaddress.ip_address(context.address_info["node_ip_address"]).is_loopback:
            raise PopDCLError("cannot use a Ray cluster at this machine: this version of Ray does not keep to loopback")
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # we report failures, in a line each
        resources = ray.cluster_resources()
        for kind, wanted in (("CPU", self.cpus), ("GPU", self.gpus)):
            if wanted > resources.get(kind, 0):
                raise PopDCLError(
                    f"a task asks for {wanted:g} {kind}s, but the cluster has {resources.get(kind, 0):g}; ask for less"
                )

    def __exit__(self, *_: object) -> None:
        self._opened.close()


@contextlib.contextmanager
def _closed_to_others() -> Iterator[dict[str, Any]]:
    """Options for ``ray.init``, and what surrounds it, of a cluster that only this user's processes can use."""
    try:
        from ray._private import ray_constants
        from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
    except ImportError as error:
        raise PopDCLError(
            "this version of Ray cannot be closed to others: pip install 'recbole-popdcl[tune]' takes one that can"
        ) from error

    def read_environment() -> None:  # Ray does so when it is loaded, and once
        Config.initialize("")
        AuthenticationTokenLoader.instance().reset_cache()

    # A token in the environment can be seen by this user alone, and comes to Ray's processes as it does to any others.
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    settings = {name: os.environ.get(name, value) for name, value in LOCAL.items()}
    # Ray takes another address of the machine for localhost, and listens on all of them, unless clusters of several
    # machines are switched off: by RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, which it reads when it is loaded.
    several_machines = ray_constants.ENABLE_RAY_CLUSTER
    folder = _temporary_folder()
    try:
        with _environment({**settings, **secret, "RAY_TMPDIR": folder}):
            read_environment()
            ray_constants.ENABLE_RAY_CLUSTER = False
            yield {"_node_ip_address": "localhost", "include_dashboard": False}
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = several_machines
        read_environment()
        shutil.rmtree(folder, ignore_errors=True)


def _temporary_folder() -> str:
    """Make a folder that is shut to others; the one that Ray makes for sockets, logs and objects is open to all."""
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(base)) > LONGEST_BASE:  # for the path of a socket
        base = "/tmp"
    try:
        return tempfile.mkdtemp(prefix="ray-", dir=base)
    except OSError as error:
        raise PopDCLError(
            f"cannot make Ray's temporary folder in {base}: {reason(error)}; RAY_TMPDIR may name another place"
        ) from error


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Have these variables in the environment while the block runs."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Put the handler of SIGTERM back after the block: Ray's ends the process without a word."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _check_reachable(address: str | None) -> None:
    """Ray tries an address for minutes; whether anybody listens there shows at once."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise PopDCLError(f"cannot use a Ray cluster at {address}: {reason(error)}") from error
