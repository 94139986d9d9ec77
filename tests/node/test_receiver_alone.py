"""The receiver as a process of its own, over mutual TLS, started with the most careless umask there is."""

import os
import signal
import subprocess

import pytest
import yaml

from tests.certificates import Authority
from tests.node.running import COMMAND, run, write_settings
from tests.waiting import eventually


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    """The settings file of a receiver that runs, in a data folder that somebody made by hand."""
    folder = tmp_path_factory.mktemp("receiver")
    authority = Authority(folder / "authority")
    own = authority.issue("node")
    tls = {"certificate": str(own.certificate), "key": str(own.key), "trusted_certificates": str(authority.certificate)}
    settings_file = write_settings(folder / "node", destinations=[])
    settings = yaml.safe_load(settings_file.read_text())
    settings["receive"]["tls"] = tls
    settings_file.write_text(yaml.safe_dump(settings))
    data = settings_file.parent / "node"
    data.mkdir()
    data.chmod(0o755)
    with (settings_file.parent / "node.log").open("w") as log:
        command = [COMMAND, "receive", "--config", settings_file]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"}, umask=0)
    try:
        eventually((data / "receive.port").exists, "somebody listens", timeout_s=60)
        yield settings_file
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


def test_its_own_probe_reaches_it_and_nothing_it_writes_is_for_others(receiver):
    probed = run("probe", "--config", receiver, "--timeout", 0.2)
    assert "no report on study" in probed.stderr, "nothing analyses here, but the study was taken"
    assert '"instances_stored":1,"instances_refused":0' in (receiver.parent / "node.log").read_text()
    data = receiver.parent / "node"
    modes = {str(path.relative_to(data)): path.stat().st_mode & 0o777 for path in data.rglob("*")}
    assert any(name.endswith(".dcm") for name in modes)
    assert any(name.startswith("ledger.sqlite") for name in modes)
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    assert data.stat().st_mode & 0o777 == 0o750, "a folder that was made by hand keeps its group"
