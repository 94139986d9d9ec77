"""`dicom-node evaluate`, as a researcher calls it: a folder of labelled images in, figures and a page out."""

import csv
import json
import re

import pytest
from PIL import Image
from typer.testing import CliRunner

from config import load
from config.catalogue import prompt_set_digest
from dicom_node.commands import app
from tests.builders import CANARIES
from tests.embedded import GATE, MODEL, shipped
from tests.labelled import write_folder, write_table
from tests.node.running import run

RUNNER = CliRunner()
QUALITY = "image-quality"


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """One run over 24 drawn images, one file that is no image and one that is missing: the folder, the process, the answer, the page."""
    folder = tmp_path_factory.mktemp("evaluate")
    table = write_folder(folder, GATE)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    (folder / "letter.png").write_text("no picture")
    rows += [rows[1] | {"path": "letter.png"}, rows[1] | {"path": "Doe^John"}]
    write_table(table, rows)
    options = ("--prompt-set", GATE, "--prompt-set", QUALITY, "--degrade", "--output", folder / "out", "--json")
    done = run("evaluate", "--model", MODEL, "--data", table, *options, timeout_s=300)
    assert done.returncode == 0, done.stderr
    return folder, done, json.loads(done.stdout), (folder / "out" / "index.html").read_text(encoding="utf-8")


def gate_of(answer):
    return next(result for result in answer["prompt_sets"] if result["prompt_set"] == GATE)


def test_the_shipped_model_tells_drawn_radiographs_from_drawn_heads(evaluated):
    concepts = {concept["label"]: concept for concept in gate_of(evaluated[2])["concepts"]}
    assert set(concepts) == {"chest-radiograph", "head-ct"}
    for concept in concepts.values():
        assert (concept["images"], concept["positives"], concept["patients"]) == (24, 12, 12)
        assert concept["model_auroc"]["value"] > 0.9
        assert concept["baseline_auroc"]["value"] > 0.9


def test_the_answer_names_model_prompts_and_data_by_digest(evaluated):
    _, _, answer, _ = evaluated
    assert answer["weights_digest"] == shipped().weights.sha256
    assert gate_of(answer)["digest"] == prompt_set_digest(load(None)[1].prompt_set(GATE))
    assert re.fullmatch("[0-9a-f]{64}", answer["data_digest"])
    assert (answer["data"], answer["rows"], answer["images"], answer["patients"]) == ("table.csv", 26, 24, 12)


def test_rows_that_cannot_be_read_are_listed_with_the_reason(evaluated):
    letter, missing = evaluated[2]["left_out"]
    assert (letter["line"], letter["name"]) == (26, "letter.png")
    assert "PNG, JPEG or TIFF" in letter["reason"]
    assert (missing["name"], missing["reason"]) == ("", "the file cannot be read (No such file or directory)")


def test_faults_made_on_purpose_are_measured(evaluated):
    study = evaluated[2]["degradation"]
    assert study["prompt_set"] == QUALITY
    assert study["images"] == 24
    assert {kind["kind"] for kind in study["kinds"]} >= {"rotated-90", "upside-down", "inverted", "blurred", "noisy", "burnt-in-text"}
    assert [step["strength"] for kind in study["kinds"] if kind["kind"] == "noisy" for step in kind["strengths"]] == [0, 0.25, 0.5, 0.75, 1]


def test_the_page_holds_everything_and_asks_for_nothing_from_outside(evaluated):
    _, _, answer, page = evaluated
    assert "not a clinical validation" in page
    for fact in (MODEL, answer["weights_digest"], answer["data_digest"], gate_of(answer)["digest"], "chest-radiograph-"):
        assert fact in page
    assert page.count("<polyline") > 4
    assert page.count("data:image/png;base64,") > 12
    assert re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)[^"']*""", page) == []
    assert "default-src 'none'" in page


def test_the_page_and_the_file_say_the_same(evaluated):
    folder, _, answer, page = evaluated
    assert json.loads((folder / "out" / "evaluation.json").read_bytes()) == answer
    macro = gate_of(answer)["choice"]["macro_accuracy"]["value"]
    assert macro is None or f"{macro:.3f}" in page


def test_no_patient_is_named_anywhere(evaluated):
    """Patients, and the files of DICOM instances, are called CANARY; instances are named by their UID."""
    _, done, _, page = evaluated
    assert not any(canary in text for canary in CANARIES for text in (done.stdout, done.stderr, page))
    assert "2.25.78.1" in page


def test_a_person_gets_tables(evaluated):
    table = evaluated[0] / "table.csv"
    result = RUNNER.invoke(app, ["evaluate", "--model", MODEL, "--data", str(table), "--prompt-set", GATE, "--limit", "6"])
    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert "Not a diagnosis; not a clinical validation." in words
    assert f"{GATE} version" in words
    assert "Shortcut baseline" in words


def test_nothing_that_can_be_shown_is_a_failure(tmp_path):
    table = write_table(tmp_path / "table.csv", [{"path": "absent.png", GATE: "head-ct"}])
    result = RUNNER.invoke(app, ["evaluate", "--model", MODEL, "--data", str(table)])
    assert result.exit_code == 1
    assert f"none of 1 images could be shown to {MODEL}: the file cannot be read" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--model", "no-such-model"], "no model 'no-such-model'; installed: "),
        (["--model", MODEL, "--prompt-set", "no-such-set"], "no prompt set 'no-such-set'; installed: "),
        (["--model", MODEL, "--prompt-set", GATE, "--degrade"], "--degrade needs a prompt set with labels such as rotated-90"),
        (["--model", MODEL, "--prompt-set", QUALITY], "says nothing about the labels of image-quality"),
    ],
    ids=["no such model", "no such prompt set", "nothing to ask of degraded images", "no labels"],
)
def test_what_is_asked_wrongly_is_told(tmp_path, options, told):
    Image.new("L", (32, 32)).save(tmp_path / "a.png")
    table = write_table(tmp_path / "table.csv", [{"path": "a.png", GATE: "head-ct"}])
    result = RUNNER.invoke(app, ["evaluate", "--data", str(table), *options])
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())


def test_a_mistake_in_the_table_is_told_with_its_line(tmp_path):
    table = write_table(tmp_path / "table.csv", [{"path": "a.png", GATE: "chest-radiogram"}])
    result = RUNNER.invoke(app, ["evaluate", "--model", MODEL, "--data", str(table)])
    assert result.exit_code == 1
    assert "table.csv:2: " in result.stderr
    assert "did you mean 'chest-radiograph'?" in " ".join(result.stderr.split())


def test_help_shows_an_example():
    assert "Example:" in RUNNER.invoke(app, ["evaluate", "--help"]).stdout
