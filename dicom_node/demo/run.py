"""The demo: a node, an archive and a modality on free loopback ports; real studies in, reports out, a worklist at the end."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml
from pydicom import dcmread

from config import load
from dicom_node.delivery import utc_now
from dicom_node.demo.archive import Archive, ArchivedObject
from dicom_node.demo.heat_maps import heat_maps_of
from dicom_node.demo.page import thumbnail_png, write_page
from dicom_node.demo.studies import DEMO_STUDIES, DemoStudy
from dicom_node.demo.worklist import DemoRow, ShownReport, StoreStatus, ranked, worklist_json
from dicom_node.emulator import Sent, send_files
from dicom_node.keeping.object_store import ObjectStore
from dicom_node.ledger import Ledger
from dicom_node.ledger.overview import StudyRow
from inference.analysis import decode_analysis
from inference.frames import UndecodableError, read_frames
from reporting import readable_html

MODALITY_AE_TITLE = "DEMO-MODALITY"
NODE_AE_TITLE = "DICOM-NODE"
SUCCESS = "0x0000"
MARKER = ".dicom-node-demo"
START_S = 120.0
REPORTS_S = 240.0
POLL_S = 0.1


class DemoError(Exception):
    """The demo could not go on; the message says why and where to look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the node answered to one instance ("0x0000"; or why it was not sent), and when."""

    status: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoProgress:
    """Called with (done, total) while files are sent and while reports come back."""

    sending: Callable[[int, int], None]
    reporting: Callable[[int, int], None]


def run_demo(folder: Path, progress: DemoProgress) -> tuple[DemoRow, ...]:
    """Run everything once and leave the page, the reports and the node's log in `folder`; return the ranked worklist.

    Raises:
        DemoError: the node did not start, or reports are missing after the time allowed.
    """
    _prepare(folder)
    with Archive(folder / "archive", ae_title="ARCHIVE") as archive:
        settings_file = _write_settings(folder, archive.port)
        settings, catalogue = load(settings_file)
        data = settings.node.data_folder
        with _running_node(settings_file, data, folder / "node.log"):
            sent = _send(int((data / "receive.port").read_text()), progress.sending)
            if not any(answer.status == SUCCESS for answer in sent.values()):
                raise DemoError(f"the node took none of {len(sent)} instances; its log is {folder / 'node.log'}")
            ledger = Ledger(f"sqlite:///{data / 'ledger.sqlite'}")
            try:
                studies = _wait_for_reports(ledger, folder / "node.log", progress.reporting)
            finally:
                ledger.close()
        store = ObjectStore(data / "objects")
        rows = ranked([_row(study, sent, studies, archive.received(), store) for study in DEMO_STUDIES])
    files = {row.study_instance_uid: study.files for row in rows for study in DEMO_STUDIES if study.title == row.title}
    heat_maps = heat_maps_of(rows, files, settings=settings, catalogue=catalogue)
    _write_reports(folder, archive.received())
    write_page(folder / "index.html", rows, heat_maps=heat_maps)
    (folder / "worklist.json").write_text(worklist_json(rows), encoding="utf-8")
    return rows


def _prepare(folder: Path) -> None:
    """Start from nothing, so that two runs are alike; but never remove what is not a demo's."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise DemoError(f"{folder} holds something else than a demo's output; name another folder with --output")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def _write_settings(folder: Path, archive_port: int) -> Path:
    settings = {
        "node": {"ae_title": NODE_AE_TITLE, "site": "demo", "data_folder": "node"},
        "receive": {"host": "127.0.0.1", "port": 0, "calling_ae_titles": [MODALITY_AE_TITLE], "reserve_mb": 100},
        "settle": {"quiet_s": 2, "urgent_quiet_s": 1},
        "schedule": {"settle_every_s": 0.2},
        "telemetry": {"host": "127.0.0.1", "port": 0},
        "destinations": [{"name": "archive", "kind": "c-store", "host": "127.0.0.1", "port": archive_port, "ae_title": "ARCHIVE"}],
    }
    path = folder / "node.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


@contextmanager
def _running_node(settings_file: Path, data: Path, log: Path) -> Iterator[None]:
    """Run `dicom-node serve` meanwhile."""
    with log.open("w") as output:
        command = (sys.executable, "-m", "dicom_node", "serve", "--config", os.fspath(settings_file))
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_until_ready(process, data, log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], data: Path, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not _ready(data):
        if process.poll() is not None:
            raise DemoError(f"the node stopped with exit code {process.returncode}; its log is {log}")
        if time.monotonic() > deadline:
            raise DemoError(f"the node is not ready after {START_S:g} s; its log is {log}")
        time.sleep(POLL_S)


def _ready(data: Path) -> bool:
    try:
        port = int((data / "health.port").read_text())
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP OK
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _send(port: int, report: Callable[[int, int], None]) -> dict[Path, Answer]:
    files = [path for study in DEMO_STUDIES for path in study.files]
    answers: dict[Path, Answer] = {}

    def answered(sent: Sent) -> None:
        answers[sent.path] = Answer(status=f"0x{sent.status:04X}" if sent.status is not None else sent.reason, at=utc_now())
        report(len(answers), len(files))

    send_files(files, host="127.0.0.1", port=port, called=NODE_AE_TITLE, calling=MODALITY_AE_TITLE, associations=2, progress=answered)
    return answers


def _wait_for_reports(ledger: Ledger, log: Path, report: Callable[[int, int], None]) -> dict[str, StudyRow]:
    deadline = time.monotonic() + REPORTS_S
    while True:
        rows = ledger.study_rows()
        finished = sum(map(_finished, rows))
        report(finished, len(rows))
        if rows and finished == len(rows):
            return {row.study_instance_uid: row for row in rows}
        if time.monotonic() > deadline:
            raise DemoError(f"{len(rows) - finished} of {len(rows)} studies have no report after {REPORTS_S:g} s; the log is {log}")
        time.sleep(POLL_S)


def _finished(study: StudyRow) -> bool:
    ended = {"DELIVERED", "SUPERSEDED", "FAILED"}
    return study.state == "SETTLED" and bool(study.work_items) and all(item.state in ended for item in study.work_items)


def _row(
    study: DemoStudy, sent: dict[Path, Answer], known: dict[str, StudyRow], archived: tuple[ArchivedObject, ...], store: ObjectStore
) -> DemoRow:
    header = dcmread(study.files[0], stop_before_pixels=True, force=True)
    uid = str(header.StudyInstanceUID)
    reports = [one for one in archived if str(dcmread(one.path, stop_before_pixels=True).StudyInstanceUID) == uid]
    row = known.get(uid)
    return DemoRow(
        title=study.title,
        shows=study.shows,
        study_instance_uid=uid,
        modality=str(header.get("Modality", "")),
        instances=len(study.files),
        analyses=tuple(
            decode_analysis(store.absolute(item.analysis_path).read_bytes())
            for item in (row.work_items if row else ())
            if item.analysis_path is not None
        ),
        seconds_to_report=_seconds([sent[path] for path in study.files], reports),
        thumbnail=_thumbnail(study),
        reports=tuple(ShownReport(file_name=_report_name(one), html=readable_html(one.path.read_bytes())) for one in reports),
        statuses=tuple(
            StoreStatus(status=status, count=count) for status, count in sorted(Counter(sent[path].status for path in study.files).items())
        ),
    )


def _seconds(answers: Sequence[Answer], reports: Sequence[ArchivedObject]) -> float | None:
    """From the last acknowledgement to the last report."""
    acknowledged = [answer.at for answer in answers if answer.status == SUCCESS]
    if not acknowledged or not reports:
        return None
    return (max(report.received_at for report in reports) - max(acknowledged)).total_seconds()


def _thumbnail(study: DemoStudy) -> bytes | None:
    middle = study.files[len(study.files) // 2]
    try:
        return thumbnail_png(next(iter(read_frames(middle, [1], maximum_megapixels=100))).pixels)
    except (UndecodableError, StopIteration):
        return None


def _report_name(report: ArchivedObject) -> str:
    return f"{report.sop_instance_uid}.dcm"


def _write_reports(folder: Path, archived: tuple[ArchivedObject, ...]) -> None:
    (folder / "reports").mkdir()
    for report in archived:
        shutil.copyfile(report.path, folder / "reports" / _report_name(report))
