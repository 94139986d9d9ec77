"""The installed command in a subprocess, as an operator starts it."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from dicom_node.emulator import send_files
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from tests.waiting import eventually

COMMAND = Path(sys.executable).with_name("dicom-node")
CALLING = "XRAY"


def run(*arguments, timeout_s=120):
    """Run `dicom-node ARGUMENTS` to its end."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.run([COMMAND, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=timeout_s, env=environment)


@dataclass(frozen=True, kw_only=True)
class RunningNode:
    """A node under `serve`, its folder and its log."""

    folder: Path
    settings_file: Path
    log_file: Path
    process: subprocess.Popen

    @property
    def port(self):
        return int((self.data / "receive.port").read_text())

    @property
    def data(self):
        return self.folder / "node"

    @property
    def store(self):
        return ObjectStore(self.data / "objects")

    @property
    def log(self):
        return self.log_file.read_text()

    def events(self, name):
        """The log's events of one name, as dictionaries."""
        found = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [event for event in found if event.get("event") == name]

    def page(self, path):
        """Status and body of a page of the health server."""
        port = int((self.data / "health.port").read_text())
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()

    def is_ready(self):
        assert self.process.poll() is None, f"the node stopped:\n{self.log}"
        try:
            return self.page("/readyz")[0] == 200
        except (OSError, ValueError):
            return False

    def send(self, *paths, calling=CALLING, associations=1):
        return send_files(paths, host="127.0.0.1", port=self.port, called="DICOM-NODE", calling=calling, associations=associations)

    def studies(self):
        ledger = Ledger(f"sqlite:///{self.data / 'ledger.sqlite'}")
        try:
            return ledger.study_rows()
        finally:
            ledger.close()

    def states(self, study=None):
        """The states of all work items, or those of one study."""
        return [item.state for row in self.studies() if study in {None, row.study_instance_uid} for item in row.work_items]

    def wait_for_states(self, states, *, timeout_s=90):
        eventually(
            lambda: self.states() == states, f"work items are {states}; they are {self.states()}\n{self.log[-3000:]}", timeout_s=timeout_s
        )


def write_settings(folder, *, destinations=(), routes=None, **sections):
    """Write settings for free loopback ports and return the file; keyword arguments are sections of the settings."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "node": {"data_folder": "node"},
        "receive": {"host": "127.0.0.1", "port": 0, "calling_ae_titles": [CALLING, "ORTHANC"], "reserve_mb": 0},
        "settle": {"quiet_s": 1},
        "schedule": {"settle_every_s": 0.2},
        "work": {"retry_s": 0.2, "lease_s": 5},
        "deliver": {"retry_s": 0.2, "maximum_retry_s": 1},
        "telemetry": {"port": 0},
        "destinations": [
            {"name": name, "kind": "c-store", "host": "127.0.0.1", "port": port, "ae_title": ae_title}
            for name, port, ae_title in destinations
        ],
    }
    for section, values in sections.items():
        settings[section] = settings.get(section, {}) | values
    if routes is not None:
        (folder / "routes.yaml").write_text(yaml.safe_dump(routes))
        settings["routes_file"] = "routes.yaml"
    settings_file = folder / "node.yaml"
    settings_file.write_text(yaml.safe_dump(settings))
    return settings_file


def start(settings_file):
    """Start `dicom-node serve`; its log is added to what an earlier run left."""
    folder = settings_file.parent
    log_file = folder / "node.log"
    for port_file in (folder / "node").glob("*.port"):
        port_file.unlink()
    with log_file.open("a") as log:
        process = subprocess.Popen(
            [COMMAND, "serve", "--config", settings_file], stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    return RunningNode(folder=folder, settings_file=settings_file, log_file=log_file, process=process)


@contextmanager
def running_node(folder, *, ready=True, **settings):
    """Run a node on free loopback ports, settings as in `write_settings`; `ready` False waits for the receiver only."""
    node = start(write_settings(folder, **settings))
    try:
        eventually(node.is_ready if ready else (node.data / "receive.port").exists, "the node is ready", timeout_s=90)
        yield node
    finally:
        node.process.send_signal(signal.SIGTERM)
        node.process.wait(timeout=60)
