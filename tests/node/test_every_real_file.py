"""Every real file that there is, through the running node: each one accounted for."""

import os
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.demo.archive import Archive
from dicom_node.emulator import files_in
from tests.node.running import run, running_node
from tests.waiting import eventually

SHARED = os.environ.get("DICOM_NODE_SHARED")


@pytest.mark.skipif(SHARED is None, reason="DICOM_NODE_SHARED names no folder of real files")
def test_every_real_file_is_answered_and_every_study_reported_once(tmp_path):
    files = files_in([Path(SHARED) / "data" / "dicom"])
    with (
        Archive(tmp_path / "archive") as archive,
        running_node(tmp_path / "node", destinations=[("archive", archive.port, "ARCHIVE")], settle={"quiet_s": 10}) as node,
    ):
        sent = node.send(*files, associations=2)
        assert len(sent) == len(files)
        acknowledged = {one.sop_instance_uid for one in sent if one.accepted}
        eventually(
            lambda: all(row.state == "SETTLED" and row.work_items for row in node.studies()) and set(node.states()) == {"DELIVERED"},
            "every study is reported",
            timeout_s=300,
        )
        studies = node.studies()
        assert sum(row.instances for row in studies) == len(acknowledged)
        reported = Counter(dcmread(one.path).StudyInstanceUID for one in archive.received())
        assert reported == Counter({row.study_instance_uid: len(row.work_items) for row in studies})
        account = run("status", "--all", "--config", node.settings_file)
        assert account.returncode == 0
        print(Counter(f"0x{one.status:04X}" if one.status is not None else f"not sent: {one.reason}" for one in sent))
        print(account.stdout[account.stdout.index("Account") :])
