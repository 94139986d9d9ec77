"""`models import` and `models verify --golden`, as their users call them."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from dicom_node.commands import app
from tests.golden_fixtures import MEAN, STD, write_fixture

FACTS = {
    "architecture": {"quick_gelu": True, "image_heads": 3, "text_heads": 2},
    "preprocessing": {"resize_mode": "shortest", "crop_offset": "round", "interpolation": "bicubic", "mean": list(MEAN), "std": list(STD)},
    "licence": {"usage": "permissive", "name": "MIT"},
}


def run(*arguments: object) -> Result:
    with capture_logs():  # as `dicom-node` does, which shows warnings only
        return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture(scope="module")
def fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture("openai-vit", tmp_path_factory.mktemp("set") / "openai-vit")


def test_an_import_prints_what_it_inferred_and_the_model_then_verifies(fixture: Path, tmp_path: Path) -> None:
    done = run("import", fixture / "ViT.pt", "--as", "small", "--golden", fixture, "--models-folder", tmp_path / "site", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["report"]["inferred"]["image tower"] == "ViT, layers 2, width 24, 32 px"
    assert {array["array"] for array in answer["golden"]["arrays"]} >= {"preprocessed", "token_ids", "image_embeddings", "probabilities"}
    settings = tmp_path / "node.yaml"
    settings.write_text("models: {folders: [site]}\n")
    checks = json.loads(run("verify", "small", "--config", settings, "--json").stdout)
    assert [(check["check"], check["problem"]) for check in checks] == [("weights", ""), ("load", ""), ("golden", "")]


def test_an_import_without_reference_outputs_says_that_nothing_was_proved(fixture: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(FACTS))
    arguments = ("import", fixture / "ViT.pt", "--as", "small", "--facts", tmp_path / "facts.yaml", "--models-folder", tmp_path / "site")
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    assert "Nothing proved" in done.stdout
    assert "facts.yaml" in done.stdout
    again = run(*arguments)
    assert again.exit_code == 1
    assert "is there already" in again.output


def test_an_import_that_is_refused_says_which_fact_is_missing_and_exits_1(fixture: Path, tmp_path: Path) -> None:
    done = run("import", fixture / "ViT.pt", "--as", "small", "--models-folder", tmp_path / "site")
    assert done.exit_code == 1
    assert "architecture.quick_gelu is missing" in done.output


def test_an_import_without_a_place_or_a_usable_name_is_asked_wrongly(fixture: Path, tmp_path: Path) -> None:
    assert run("import", fixture / "ViT.pt", "--as", "small").exit_code == 2
    done = run("import", fixture / "ViT.pt", "--as", "../small", "--models-folder", tmp_path)
    assert done.exit_code == 2
    assert "is no name for a model" in done.output


def test_a_set_of_fixtures_verifies_and_one_wrong_number_exits_1(fixture: Path, tmp_path: Path) -> None:
    shutil.copytree(fixture, tmp_path / "good")
    (tmp_path / "index.json").write_text(json.dumps({"fixtures": [{"fixture": "good"}, {"fixture": "gone"}]}))
    done = run("verify", "--golden", tmp_path, "--json")
    answer = json.loads(done.stdout)
    assert done.exit_code == 1
    assert [(report["fixture"], report["ok"]) for report in answer["fixtures"]] == [("openai-vit", True)]
    assert "cannot be read" in answer["refused"]["gone"]
    told = json.loads((fixture / "golden.json").read_text(encoding="utf-8"))
    told["architecture"]["quick_gelu"] = False
    (tmp_path / "good" / "golden.json").write_text(json.dumps(told))
    wrong = run("verify", "--golden", tmp_path / "good")
    assert wrong.exit_code == 1
    assert "looks like: wrong gelu" in wrong.stdout


def test_a_folder_that_holds_no_reference_outputs_is_asked_wrongly(tmp_path: Path) -> None:
    done = run("verify", "--golden", tmp_path)
    assert done.exit_code == 2
    assert "neither golden.json nor index.json" in done.output
