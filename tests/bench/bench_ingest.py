"""Instances per second into this node, into Orthanc and into a plain pynetdicom SCP, in one run, sent by DCMTK's storescu.

`python -m tests.bench.bench_ingest [INSTANCES]`. The node writes durably (fsync of file, folder and ledger row) before it
answers. Orthanc runs as it ships. The plain SCP decodes each instance and saves it, as pynetdicom's examples do. Trust the
ratios, not the numbers.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from pynetdicom import AE, AllStoragePresentationContexts, evt

from config.receiving import ReceiveSection
from config.schema import TelemetrySection
from dicom_node.ledger import Ledger
from dicom_node.object_store import ObjectStore
from dicom_node.scp import StorageScp
from dicom_node.telemetry import configure_logging
from tests.builders import ct_slice, uid, write_file
from tests.peers.orthanc import Modality, OrthancPeer

STORESCU = "/usr/bin/storescu"  # pynetdicom puts a program of the same name on the path
ROUNDS = 3


def slices(folder: Path, count: int) -> list[Path]:
    """Write CT slices of 512 x 512 pixels, 525 kB each."""
    folder.mkdir()
    noise = np.random.default_rng(1).integers(0, 2000, (512, 512), dtype=np.uint16)
    study, series = uid(), uid()
    return [
        write_file(folder / f"{number:05}.dcm", ct_slice(study_uid=study, series_uid=series, number=number, pixels=noise))
        for number in range(1, count + 1)
    ]


@contextmanager
def this_node(folder: Path) -> Iterator[int]:
    store, ledger = ObjectStore(folder / "objects"), Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    settings = ReceiveSection(host="127.0.0.1", port=0, calling_ae_titles=("STORESCU",), reserve_mb=0)
    scp = StorageScp(ae_title="ANY", settings=settings, store=store, recorder=ledger, clock=lambda: datetime.now(UTC))
    scp.start()
    yield scp.port
    scp.stop()


@contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    with OrthancPeer(folder, ae_title="ANY", modalities=[Modality(name="sender", ae_title="STORESCU", port=1)]) as peer:
        yield peer.dicom_port


@contextmanager
def plain_pynetdicom(folder: Path) -> Iterator[int]:
    def save(event: evt.Event) -> int:
        event.dataset.save_as(folder / f"{event.request.AffectedSOPInstanceUID}.dcm", enforce_file_format=False)
        return 0x0000

    entity = AE(ae_title="ANY")
    entity.supported_contexts = AllStoragePresentationContexts
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, save)])
    yield server.server_address[1]
    server.shutdown()


RECEIVERS = {"this node": this_node, "Orthanc": orthanc, "plain pynetdicom": plain_pynetdicom}


def instances_per_s(port: int, files: list[Path], associations: int) -> float:
    """Send all files over parallel associations and return the rate."""
    started = time.perf_counter()
    senders = [
        subprocess.Popen([STORESCU, "-aec", "ANY", "127.0.0.1", str(port), *map(str, files[lane::associations])])
        for lane in range(associations)
    ]
    for sender in senders:
        if sender.wait() != 0:
            raise RuntimeError(f"storescu ended with {sender.returncode}")
    return len(files) / (time.perf_counter() - started)


def main(count: int = 200) -> None:
    configure_logging(TelemetrySection(log_level="warning"), process="bench")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = slices(folder / "files", count)
        print(f"\n{count} CT slices of {files[0].stat().st_size / 1000:.0f} kB, median of {ROUNDS} rounds, instances per second")
        print(f"{'receiver':<18}{'1 association':>15}{'4 associations':>16}{'against Orthanc':>18}")
        rates: dict[str, dict[int, float]] = {}
        for name, receiver in RECEIVERS.items():
            measured: dict[int, list[float]] = {1: [], 4: []}
            for round_number in range(ROUNDS):
                for associations, values in measured.items():
                    place = folder / f"{name}-{round_number}-{associations}".replace(" ", "-")
                    place.mkdir()
                    with receiver(place) as port:
                        values.append(instances_per_s(port, files, associations))
            rates[name] = {associations: median(values) for associations, values in measured.items()}
        for name, by_associations in rates.items():
            ratio = " / ".join(f"{rate / rates['Orthanc'][associations]:.2f}" for associations, rate in by_associations.items())
            print(f"{name:<18}{by_associations[1]:>15.0f}{by_associations[4]:>16.0f}{ratio:>18}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
