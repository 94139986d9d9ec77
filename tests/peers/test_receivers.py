"""Several processes that receive on one port, and other toolkits that send to them."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from pydicom.uid import generate_uid

from dicom_node.emulator import send_files
from dicom_node.ledger import Ledger
from tests.associating import Requestor, echo
from tests.node.running import COMMAND, write_settings
from tests.peers.orthanc import Modality, OrthancPeer
from tests.receiving import CALLED, CALLING, STUDY, ct_slice, receiving, write_file
from tests.waiting import eventually

PIXELMED = Path("/usr/share/java/pixelmed.jar")


def receivers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children()


def test_two_processes_share_a_port_and_one_may_die(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{number}.dcm", ct_slice(generate_uid())) for number in range(40)]
    settings_file = write_settings(tmp_path / "node", receive={"processes": 2, "calling_ae_titles": [CALLING], "network_timeout_s": 20})
    folder, log = settings_file.parent / "node", settings_file.parent / "node.log"
    with log.open("w") as written:
        node = subprocess.Popen([COMMAND, "receive", "--config", settings_file], stderr=written, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    try:
        eventually(lambda: log.read_text().count('"process_ready"') >= 2, "two receivers are ready", timeout_s=60)
        port = int((folder / "receive.port").read_text())
        open_ones = []
        for _ in range(30):
            open_ones.append(peer := Requestor(port))
            peer.associate()
            time.sleep(0.02)  # one by one: within a few milliseconds, one of the two may not get to run at all
        served = Counter(event["pid"] for event in events(log) if event["event"] == "association_accepted")
        assert len(served) == 2, f"both take associations: {served}"
        assert min(served.values()) >= 5, f"they take turns: {served}"
        victim = next(iter(served))
        os.kill(victim, signal.SIGKILL)
        left = served.total() - served[victim]
        assert sum(is_answered(peer) for peer in open_ones) == left, "the associations of the other process go on"
        sent = send_files(paths, host="127.0.0.1", port=port, called=CALLED, calling=CALLING, associations=4)
        assert all(one.accepted for one in sent), "nobody is refused while a receiver is replaced"
        eventually(lambda: log.read_text().count('"process_ready"') >= 3, "the dead one is replaced", timeout_s=60)
        for receiver in receivers_of(node):
            modules = {Path(mapped.path).name.split(".")[0] for mapped in receiver.memory_maps()}
            assert not {"_multiarray_umath", "libtorch", "_gdcmswig"} & modules
            assert receiver.memory_info().rss < 100_000_000
    finally:
        node.send_signal(signal.SIGTERM)
        assert node.wait(timeout=60) == 0
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    assert len(ledger.known_paths()) == 40
    ledger.close()


def events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def is_answered(peer: Requestor) -> bool:
    try:
        peer.say(echo())
        return peer.hear() is not None
    except OSError:
        return False


def test_orthanc_sends_a_study(tmp_path: Path) -> None:
    paths = [write_file(tmp_path / f"{number}.dcm", ct_slice(generate_uid(), rows=64)) for number in range(5)]
    (tmp_path / "orthanc").mkdir()
    with receiving(tmp_path / "node", calling_ae_titles=("ORTHANC",)) as node:
        modalities = [Modality(name="node", ae_title=CALLED, port=node.port)]
        with OrthancPeer(tmp_path / "orthanc", ae_title="ORTHANC", modalities=modalities) as peer:
            for path in paths:
                peer.upload(path.read_bytes())
            peer.send(STUDY, "node")
        assert len(node.kept_data_sets()) == 5


@pytest.mark.skipif(shutil.which("java") is None or not PIXELMED.exists(), reason="PixelMed is not installed")
def test_a_java_toolkit_sends(tmp_path: Path) -> None:
    path = write_file(tmp_path / "slice.dcm", ct_slice(generate_uid(), rows=64))
    with receiving(tmp_path / "node") as node:
        # hostname, port, called and calling AE title, file, level of compression
        arguments = ["127.0.0.1", str(node.port), CALLED, CALLING, str(path), "0"]
        command = ["java", "-cp", "/usr/share/java/*", "com.pixelmed.network.StorageSOPClassSCU", *arguments]
        told = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        assert len(node.kept_data_sets()) == 1, told.stdout + told.stderr
