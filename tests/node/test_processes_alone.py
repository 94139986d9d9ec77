"""The same processes without the supervisor, as containers and several hosts run them."""

import os
import signal
import subprocess
from contextlib import ExitStack, contextmanager

from pydicom import dcmread

from dicom_node.demo.archive import Archive
from tests.builders import radiograph_file, uid
from tests.node.running import COMMAND, RunningNode, write_settings
from tests.waiting import eventually


@contextmanager
def process(name, settings_file):
    with (settings_file.parent / "node.log").open("a") as log:
        running = subprocess.Popen(
            [COMMAND, name, "--config", settings_file], stdout=log, stderr=log, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 0


def test_receive_schedule_work_and_deliver_each_run_alone(tmp_path):
    study = uid()
    with Archive(tmp_path / "archive") as archive, ExitStack() as processes:
        settings_file = write_settings(tmp_path / "node", destinations=[("archive", archive.port, "ARCHIVE")])
        started = [processes.enter_context(process(name, settings_file)) for name in ("receive", "schedule", "work", "deliver")]
        log_file = settings_file.parent / "node.log"
        node = RunningNode(folder=settings_file.parent, settings_file=settings_file, log_file=log_file, process=started[0])
        eventually((node.data / "receive.port").exists, "somebody listens", timeout_s=60)
        (sent,) = node.send(radiograph_file(tmp_path / "a.dcm", study_uid=study))
        assert sent.accepted
        assert archive.wait_for(lambda objects: len(objects) == 1, timeout_s=90), node.log
        assert dcmread(archive.received()[0].path).StudyInstanceUID == study
