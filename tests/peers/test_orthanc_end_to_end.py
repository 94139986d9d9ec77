"""Orthanc as the PACS: routes a study to the node and gets the Structured Report back."""

import socket

from tests.builders import radiograph_file, uid
from tests.node.running import running_node
from tests.peers.orthanc import Modality, OrthancPeer
from tests.waiting import eventually


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_a_study_in_orthanc_gets_a_report_by_auto_routing(tmp_path):
    study, port = uid(), free_port()
    modality = Modality(name="node", ae_title="DICOM-NODE", port=port)
    with (
        OrthancPeer(tmp_path / "orthanc", modalities=[modality], route_stable_studies_to="node") as orthanc,
        running_node(tmp_path / "node", destinations=[("pacs", orthanc.dicom_port, "ORTHANC")], receive={"port": port}) as node,
    ):
        orthanc.upload(radiograph_file(tmp_path / "a.dcm", study_uid=study).read_bytes())
        eventually(lambda: orthanc.reports(study), "a report in Orthanc's REST API", timeout_s=90)
        (report,) = orthanc.reports(study)
        tags = orthanc.tags(report)
        assert (tags["VerificationFlag"], tags["PatientID"]) == ("UNVERIFIED", "CANARY-ID")
        node.wait_for_states(["DELIVERED"])
