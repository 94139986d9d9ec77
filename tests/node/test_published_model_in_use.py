"""A published model is imported: the shipped route uses it, unless its terms ask for an acknowledgement that nobody gave."""

import json
from pathlib import Path

from typer.testing import CliRunner

import dicom_node
from config.catalogue import published_model
from config.manifests import PublishedModel
from dicom_node.commands import app
from dicom_node.lifecycle import WorkItemState
from reporting import readable_text
from tests.golden_fixtures import write_fixture
from tests.node.running import running_node

CHEST = Path(dicom_node.__file__).parent / "demo" / "data" / "01-chest-normal-adult"


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def imported(name: str, kind: str, folder: Path) -> tuple[Path, str]:
    """The settings of a node with a small model of this layout under this name, and what the import printed."""
    fixture = write_fixture(kind, folder / kind)
    source = fixture / json.loads((fixture / "golden.json").read_text(encoding="utf-8"))["checkpoint"]["dir"]
    told = run("models", "import", source, "--as", name, "--golden", fixture, "--models-folder", folder / "site")
    settings = folder / "node.yaml"
    settings.write_text("models: {folders: [site]}\n")
    return settings, told


def test_the_route_searches_with_the_imported_model_and_gates_with_its_own(tmp_path: Path) -> None:
    settings, told = imported("whyxrayclip", "open-clip", tmp_path)
    assert "Then it looks for findings on: chest-radiograph" in told
    answer = run("analyse", CHEST, "--config", settings, "--json")
    assert '"model":"whyxrayclip"' in answer
    assert '"prompt_set":"whyxrayclip-chest-radiograph"' in answer
    assert '"seen_by":{' in answer
    assert '"model":"gatekeeper"' in answer
    without = run("analyse", CHEST, "--json")
    assert "whyxrayclip" not in without
    assert '"prompt_set":"demonstration-chest-radiograph"' in without


def test_a_running_node_reports_what_the_imported_model_found(tmp_path: Path) -> None:
    imported("whyxrayclip", "open-clip", tmp_path)
    with running_node(tmp_path / "running", models={"folders": [str(tmp_path / "site")]}) as node:
        node.send(*CHEST.iterdir())
        node.wait_for_states([WorkItemState.DELIVERED])
    (report,) = (node.data / "objects" / "results").rglob("*.dcm")
    text = readable_text(report.read_bytes())
    assert "whyxrayclip" in text
    assert "gatekeeper" in text


def test_a_model_whose_terms_ask_for_it_waits_for_the_acknowledgement(tmp_path: Path) -> None:
    known = published_model("plip")
    assert isinstance(known, PublishedModel)
    settings, told = imported("plip", "hf-clip", tmp_path)
    assert f"it is unlicensed (none stated): read {known.licence.read}, then add plip to models.acknowledged_licences" in told
    waiting = {one["name"]: one for one in json.loads(run("routes", "list", "--json", "--config", settings))}["microscopy"]
    assert {one["model"]: one["state"] for one in waiting["prefer"]}["plip"] == "licence not acknowledged"
    assert "findings_model" not in waiting
    settings.write_text("models: {folders: [site], acknowledged_licences: [plip]}\n")
    using = {one["name"]: one for one in json.loads(run("routes", "list", "--json", "--config", settings))}["microscopy"]
    assert (using["findings_model"], using["prompt_set"]) == ("plip", "plip-tissue")
