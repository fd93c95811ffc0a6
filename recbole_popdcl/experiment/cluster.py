"""A Ray cluster for the time of a search or a comparison."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from typing import Any

from recbole_popdcl.errors import PopDCLError


class Cluster:
    """The cluster at an address, or a local one without a dashboard on loopback, while the block runs.

    Args:
        address: such as ``auto`` or ``HOST:PORT``; None starts a local one.
        cpus, gpus: what one task will ask for.

    Raises:
        PopDCLError: on entry: Ray is missing, there is no cluster at the address, or it has less than a task asks for.
    """

    def __init__(self, address: str | None, cpus: float, gpus: float) -> None:
        self.address, self.cpus, self.gpus = address, cpus, gpus

    def __enter__(self) -> Any:
        terminated = signal.getsignal(signal.SIGTERM)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
                import ray
        except ImportError as error:
            raise PopDCLError("this needs Ray: pip install 'recbole-popdcl[tune]'") from error
        self.ray = ray
        _check_reachable(self.address)
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # no events of Ray's beside a run's own
        os.environ.setdefault(
            "RAY_worker_niceness", "0"
        )  # at Ray's 15 any other job on the machine starves the workers
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # with it an interrupted search ends like a finished one
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # whose tables come whatever the verbosity
        options = {"address": self.address} if self.address else {
            "address": "local",  # not a cluster that somebody started on this machine, nor what is left of one
            "include_dashboard": False, "dashboard_host": "127.0.0.1", "_node_ip_address": "127.0.0.1",
        }  # fmt: skip
        try:
            ray.init(log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=False, **options)
        except Exception as error:  # plain ones too, where Ray's own processes do not start in time
            reason = " ".join(str(error).split())[:200]
            raise PopDCLError(f"cannot use a Ray cluster at {self.address or 'this machine'}: {reason}") from error
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, terminated)  # Ray's import and start put others there
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failures are told by us, in a line each
        resources = ray.cluster_resources()
        for kind, wanted in (("CPU", self.cpus), ("GPU", self.gpus)):
            if wanted > resources.get(kind, 0):
                ray.shutdown()
                raise PopDCLError(
                    f"a task asks for {wanted:g} {kind}s, but the cluster has {resources.get(kind, 0):g}; ask for less"
                )
        return ray

    def __exit__(self, *_: object) -> None:
        from ray.tune import registry

        registry._unregister_all()  # Ray does it at the end of the process, when the cluster is gone, and complains
        self.ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Ray tries an address for minutes; whether anybody listens there shows at once."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise PopDCLError(f"cannot use a Ray cluster at {address}: {error.strerror or error}") from error
