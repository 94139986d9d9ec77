"""A model that cannot be loaded: its studies are reported as not analysed, the others go on."""

import shutil

import yaml
from pydicom import dcmread

from config import load
from dicom_node.demo.archive import Archive
from tests.builders import ct_slice, radiograph_file, uid, write_file
from tests.embedded import MODEL
from tests.node.running import running_node


def broken_model(folder):
    """A manifest whose weights were damaged after it was pinned."""
    catalogue = load(None)[1]
    manifest = catalogue.manifest(MODEL)
    shutil.copytree(catalogue.weights_path(manifest), folder / "weights")
    weights = bytearray((folder / "weights" / manifest.weights.file).read_bytes())
    weights[-1] ^= 1
    (folder / "weights" / manifest.weights.file).write_bytes(weights)
    values = manifest.model_dump(mode="json") | {"name": "damaged"}
    values["weights"]["folder"] = str(folder / "weights")
    (folder / "models").mkdir()
    (folder / "models" / "damaged.yaml").write_text(yaml.safe_dump(values))


def test_a_damaged_model_is_never_used_and_its_studies_are_reported_as_failed(tmp_path):
    broken_model(tmp_path)
    routes = {
        "routes": [
            {"name": "chest", "when": [{"attribute": "Modality", "equals": "DX"}], "model": "damaged", "expect": ["chest-radiograph"]},
            {"name": "ct", "when": [{"attribute": "Modality", "equals": "CT"}]},
            {"name": "rest", "no_analysis": "no route"},
        ]
    }
    chest, ct = uid(), uid()
    with (
        Archive(tmp_path / "archive") as archive,
        running_node(
            tmp_path / "node",
            destinations=[("archive", archive.port, "ARCHIVE")],
            routes=routes,
            models={"folders": [str(tmp_path)]},
            work={"maximum_attempts": 2},
            ready=False,
        ) as node,
    ):
        node.send(radiograph_file(tmp_path / "a.dcm", study_uid=chest), write_file(tmp_path / "b.dcm", ct_slice(study_uid=ct)))
        assert archive.wait_for(lambda objects: len(objects) == 2, timeout_s=120), node.log
        assert "no worker has loaded them yet" in node.page("/readyz")[1]
        assert node.events("models_not_loaded")
    reports = {report.StudyInstanceUID: report for report in (dcmread(one.path) for one in archive.received())}
    assert "failed" in reports[chest].CompletionFlagDescription.lower()
    assert "failed" not in reports[ct].CompletionFlagDescription.lower()
