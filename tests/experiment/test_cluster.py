"""A search on two Ray nodes: it spreads over both, and survives the loss of one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_popdcl.experiment.tune import tune
from tests.conftest import free_port
from tests.experiment.conftest import wait_until

pytest.importorskip("ray")
psutil = pytest.importorskip("psutil")


class Node:
    """``ray start`` on a loopback address with one CPU, and everything it starts."""

    def __init__(self, folder, address: str, *options: str) -> None:
        command = [os.path.join(os.path.dirname(sys.executable), "ray"), "start", "--block", "--num-cpus=1"]
        command += [f"--node-ip-address={address}", "--disable-usage-stats", *options]
        self.log = open(folder / f"{len(list(folder.iterdir()))}.log", "w")  # noqa: SIM115
        environment = {**os.environ, "RAY_worker_niceness": "0"}
        self.process = subprocess.Popen(
            command, stdout=self.log, stderr=self.log, env=environment, start_new_session=True
        )

    def family(self):
        """All living processes of the node."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def trials(self) -> int:
        """Number of trials that run here."""
        names = []
        for process in self.family():
            try:
                names.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return sum("ImplicitFunc" in name for name in names)

    def told(self) -> str:
        """The end of what it printed."""
        return Path(self.log.name).read_text()[-2000:]

    def kill(self) -> None:
        """End the node without a farewell."""
        family = self.family()
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


ASK = """
import sys
from ray._private.state import GlobalState
from ray._raylet import GcsClientOptions
state = GlobalState()
state._initialize_global_state(GcsClientOptions.from_gcs_address(sys.argv[1]))
print(sum(node["Alive"] for node in state.node_table()))
"""


def registered(port: int) -> int:
    """Number of nodes that the head on a port of loopback knows of; 0 while there is none.

    A process of its own asks: Ray ends one, without a word, whose head is lost.
    """
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)):
            return 0
    command = [sys.executable, "-c", ASK, f"127.0.0.1:{port}"]
    with contextlib.suppress(subprocess.SubprocessError):
        return int(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    return 0


def test_a_search_on_two_nodes_survives_the_loss_of_one(long_faultless, tmp_path):
    port = free_port()
    (tmp_path / "logs").mkdir()
    nodes = [Node(tmp_path / "logs", "127.0.0.1", "--head", f"--port={port}", "--include-dashboard=false")]
    try:
        # first: of nodes that start together on one machine, both take the same socket, and one ends
        assert wait_until(lambda: registered(port) == 1, nodes[0].process), nodes[0].told()
        # an address of its own: the driver belongs to the head, whose loss it would not survive
        nodes.append(Node(tmp_path / "logs", "127.0.0.2", f"--address=127.0.0.1:{port}"))
        assert wait_until(lambda: registered(port) == 2, nodes[1].process), nodes[1].told()
        address = f"--ray_address=127.0.0.1:{port}"
        with long_faultless.started(tmp_path / "s", tmp_path / "log", address) as driver:

            def both_train() -> bool:
                begun = list((tmp_path / "s").glob("trial-*/run/last.pt"))
                return len(begun) >= 2 and all(node.trials() for node in nodes)

            assert wait_until(both_train, driver), (tmp_path / "log").read_text()[-2000:]
            nodes.pop().kill()
            assert driver.wait(timeout=240) == 0, (tmp_path / "log").read_text()[-2000:]
    finally:
        for node in reversed(nodes):
            node.kill()
    long_faultless.check(tune(run_dir=tmp_path / "s", resume=True))
