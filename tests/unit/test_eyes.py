"""Left eye, right eye and patient: from the header, never guessed, and the report says where there is no answer."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from config import Catalogue, load
from config.catalogue import published_model
from config.heads import cannot_answer, heads_of, views_of
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from inference.adapters import ModelLoadError
from inference.analysis import analyse, decode_analysis, encode_analysis
from inference.engine import Engine
from inference.eyes import eye_of
from inference.findings import AbstentionReason, Analysis, Finding, Outcome
from inference.golden import read_golden
from inference.golden.folder import Golden
from inference.importing.install import ImportRequest, install
from inference.selection import SelectedInstance
from reporting import Producer, encode_structured_report
from reporting.readable import readable_text
from tests.golden_fixtures import write_fixture
from tests.phantoms import write_instance

AT = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
EYES = RouteRule(name="fundus", model="ret-clip", prompt_set="eyes", quality=False)
PRODUCER = Producer(manufacturer="m", model_name="n", software_version="1", serial_number="7", ae_title="A", institution="")
OF_THE_PATIENT, OF_THE_LEFT, OF_THE_RIGHT = "retinopathy", "left-retinopathy", "right-retinopathy"


@pytest.mark.parametrize(
    ("of_image", "of_series", "eye"),
    [
        ("L", "", "left"),
        ("R", None, "right"),
        ("", "L", "left"),
        (None, "R", "right"),
        ("R", "R", "right"),
        ("L", "R", None),
        ("B", None, None),
        ("B", "L", None),
        ("U", None, None),
        ("LEFT", None, None),
        (None, None, None),
    ],
)
def test_the_eye_is_what_the_header_says_or_unknown(of_image: str | None, of_series: str | None, eye: str | None) -> None:
    header = Dataset()
    for keyword, value in (("ImageLaterality", of_image), ("Laterality", of_series)):
        if value is not None:
            setattr(header, keyword, value)
    assert eye_of(header) == eye


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Golden:
    return read_golden(write_fixture("ret-clip", tmp_path_factory.mktemp("golden") / "ret-clip"))


def eyes(golden: Golden, **changes: object) -> PromptSet:
    """Text 0 against text 1 of the reference outputs, asked of each head."""
    code = {"value": "4855003", "scheme": "SCT", "meaning": "Diabetic retinopathy"}

    def label(name: str, head: str, site: str) -> dict[str, object]:
        texts = {"positive": golden.texts[:1], "negative": golden.texts[1:2]}
        level = "patient" if head == "patient" else "image"
        return {"name": name, "concept": code, "head": head, "level": level, **texts} | {
            "site": {"value": site, "scheme": "SCT", "meaning": f"{head} eye"}
        }

    labels = [label(OF_THE_PATIENT, "patient", "1"), label(OF_THE_LEFT, "left", "2"), label(OF_THE_RIGHT, "right", "3")]
    facts: dict[str, object] = {"name": "eyes", "version": 1, "recipe": "pair-softmax", "temperature": "model", "language": "zh"}
    return PromptSet.model_validate(facts | {"labels": labels} | changes)


@pytest.fixture(scope="module")
def catalogue(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    site = tmp_path_factory.mktemp("site")
    request = ImportRequest(source=golden.folder / "ret-clip.pt", name="ret-clip", golden=golden.folder, supplement=golden.supplement)
    manifest = install(request, site).manifest
    weights = manifest.weights.model_copy(update={"folder": str(site / "models" / "ret-clip")})
    return replace(load(None)[1], routes=(), manifests=(manifest.model_copy(update={"weights": weights}),), prompt_sets=(eyes(golden),))


@pytest.fixture(scope="module")
def engine(catalogue: Catalogue) -> Engine:
    return Engine(catalogue, device="cpu", batch_size=2, cache_folder=None)


class Clinic:
    """Writes pictures of the reference outputs as images of eyes, and has them analysed."""

    def __init__(self, golden: Golden, catalogue: Catalogue, engine: Engine, folder: Path) -> None:
        self.golden, self.catalogue, self.engine, self.folder = golden, catalogue, engine, folder
        self.frames = golden.frames()

    def image(self, picture: int, laterality: str | None, *, number: int | None = None) -> SelectedInstance:
        found = write_instance(self.folder, self.frames[picture].pixels, modality="OP", body_part="EYE", number=number or picture + 1)
        if laterality is not None:
            found.header.ImageLaterality = laterality
        return found

    def analyse(self, *selected: SelectedInstance) -> Analysis:
        return analyse(
            study_instance_uid="2.25.7",
            revision=1,
            route=EYES,
            selected=selected,
            excluded=(),
            engine=self.engine,
            catalogue=self.catalogue,
            site="s",
            analysed_at=AT,
            maximum_frame_megapixels=400,
        )

    def expected(self, head: str, pair: int) -> float:
        """The pair-softmax of the reference logits."""
        there, absent = self.golden.expected[f"logits_{head}"][pair][:2].astype(float)
        return float(1 / (1 + np.exp(absent - there)))


@pytest.fixture
def clinic(golden: Golden, catalogue: Catalogue, engine: Engine, tmp_path: Path) -> Iterator[Clinic]:
    return Clinic(golden, catalogue, engine, tmp_path)


def by_label(analysis: Analysis) -> dict[str, Finding]:
    assert len({finding.label for finding in analysis.findings}) == len(analysis.findings)
    return {finding.label: finding for finding in analysis.findings}


def refusals(analysis: Analysis) -> list[str]:
    assert {abstention.reason for abstention in analysis.abstentions} <= {AbstentionReason.LATERALITY}
    return [abstention.detail for abstention in analysis.abstentions]


def test_both_eyes_give_a_score_for_the_patient_and_one_for_each_eye(clinic: Clinic) -> None:
    pair = clinic.golden.pairs[0]
    right, left = clinic.image(pair["right"], "R", number=1), clinic.image(pair["left"], "L", number=2)
    analysis = clinic.analyse(right, left)
    found = by_label(analysis)
    assert (analysis.outcome, analysis.abstentions) == (Outcome.SUCCEEDED, ())
    for label, head in ((OF_THE_PATIENT, "patient"), (OF_THE_LEFT, "left"), (OF_THE_RIGHT, "right")):
        assert found[label].score == pytest.approx(clinic.expected(head, 0), abs=1e-4)
    uids = [image.sop_instance_uid for image in found[OF_THE_PATIENT].images]
    assert uids == [left.image.sop_instance_uid, right.image.sop_instance_uid]
    assert [image.sop_instance_uid for image in found[OF_THE_LEFT].images] == [left.image.sop_instance_uid]
    assert [image.sop_instance_uid for image in found[OF_THE_RIGHT].images] == [right.image.sop_instance_uid]
    assert decode_analysis(encode_analysis(analysis)) == analysis
    assert analysis.provenance is not None
    assert "heads=patient+left+right" in analysis.provenance.parameters


def test_exchanged_eyes_give_another_score_for_the_patient(clinic: Clinic) -> None:
    pair = clinic.golden.pairs[0]
    exchanged = by_label(clinic.analyse(clinic.image(pair["left"], "R"), clinic.image(pair["right"], "L")))
    assert abs(exchanged[OF_THE_PATIENT].score - clinic.expected("patient", 0)) > 1e-3


def test_one_eye_has_its_own_score_and_there_is_none_for_the_patient(clinic: Clinic) -> None:
    left = clinic.image(clinic.golden.pairs[0]["left"], "L")
    analysis = clinic.analyse(left)
    found = by_label(analysis)
    assert analysis.outcome is Outcome.PARTIAL
    assert set(found) == {OF_THE_LEFT}
    assert found[OF_THE_LEFT].score == pytest.approx(clinic.expected("left", 0), abs=1e-4)
    (refusal,) = refusals(analysis)
    assert (
        refusal == "no score for the patient, which needs exactly one image of each eye: there is 1 of the left eye, none of the right eye"
    )


def test_an_image_that_does_not_say_which_eye_it_shows_is_not_asked_about(clinic: Clinic) -> None:
    analysis = clinic.analyse(clinic.image(0, "R"), clinic.image(1, None))
    assert set(by_label(analysis)) == {OF_THE_RIGHT}
    unknown, patient = refusals(analysis)
    assert "does not say whether this is the left or the right eye" in unknown
    assert "none of the left eye, 1 of the right eye, 1 that does not say which" in patient


def test_a_header_that_contradicts_itself_is_believed_in_neither(clinic: Clinic) -> None:
    image = clinic.image(0, "R")
    image.header.Laterality = "L"
    analysis = clinic.analyse(image)
    assert analysis.findings == ()
    assert "contradicts itself" in refusals(analysis)[0]


def test_of_several_images_of_one_eye_none_is_taken_for_the_patient(clinic: Clinic) -> None:
    analysis = clinic.analyse(clinic.image(0, "L"), clinic.image(1, "R"), clinic.image(2, "R"))
    assert [finding.label for finding in analysis.findings].count(OF_THE_RIGHT) == 2
    assert OF_THE_PATIENT not in {finding.label for finding in analysis.findings}
    (refusal,) = refusals(analysis)
    assert "1 of the left eye, 2 of the right eye" in refusal


def test_the_report_names_both_images_of_the_patients_score(clinic: Clinic) -> None:
    left, right = clinic.image(0, "L"), clinic.image(1, "R")
    text = report(clinic.analyse(left, right), left, right)
    assert "Diabetic retinopathy, patient eye: undetermined for the patient, from 2 images together" in text
    line = next(line for line in text.splitlines() if left.image.sop_instance_uid in line and right.image.sop_instance_uid in line)
    assert line.startswith("Undetermined")


def test_the_report_of_one_eye_says_why_there_is_no_score_for_the_patient(clinic: Clinic) -> None:
    left = clinic.image(0, "L")
    text = report(clinic.analyse(left), left)
    assert "Not analysed (laterality, 1 image): no score for the patient" in text
    assert "PARTIAL" in text


def report(analysis: Analysis, *images: SelectedInstance) -> str:
    result = encode_structured_report(analysis, [image.header for image in images], producer=PRODUCER, previous=None)
    return readable_text(result.data)


def test_the_heads_that_settings_know_are_those_of_the_model(catalogue: Catalogue, engine: Engine) -> None:
    architecture = catalogue.manifest("ret-clip").architecture
    heads = {head.name: head.views for head in engine.adapter("ret-clip").heads}
    assert heads == {name: views_of(architecture, name) for name in heads_of(architecture)}


def test_a_prompt_set_that_the_model_cannot_answer_is_found_before_it_runs(golden: Golden, catalogue: Catalogue) -> None:
    ret_clip, other = catalogue.manifest("ret-clip"), load(None)[1].manifest("gatekeeper")
    labels = [label.model_dump(mode="json") | {"head": None, "level": None} for label in eyes(golden).labels]
    assert not list(cannot_answer(ret_clip, eyes(golden)))
    assert "must name one of the heads" in next(cannot_answer(ret_clip, eyes(golden, labels=labels)))
    assert "asks head patient" in next(cannot_answer(other, eyes(golden)))
    assert "has level image, but head patient" in next(cannot_answer(ret_clip, eyes(golden, labels=labels, head="patient")))
    alone = [label | {"negative": []} for label in labels]
    clip = published_model("openai-clip-vit-b-32")
    assert clip is not None
    assert "needs a model trained with a bias" in next(cannot_answer(clip, eyes(golden, labels=alone, recipe="sigmoid")))


def test_an_eye_cannot_be_asked_about_as_any_image(clinic: Clinic) -> None:
    rows = clinic.engine.embed("ret-clip", clinic.frames[:1])
    with pytest.raises(ModelLoadError, match=r"no label is answered from image; the model's heads are patient \(sees left and right\)"):
        clinic.engine.score("ret-clip", "eyes", rows, [clinic.frames[0].ref])
