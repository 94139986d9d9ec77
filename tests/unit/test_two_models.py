"""A route whose findings are looked for by another model than the one that tells kind and quality."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from config import Catalogue, load
from config.heads import ANY_IMAGE
from config.manifests import ModelManifest
from config.routes import RouteRule
from inference.analysis import analyse, decode_analysis, encode_analysis
from inference.findings import AbstentionReason, Analysis, ImageRef, Score
from inference.selection import SelectedInstance
from reporting import ENCODERS, Producer
from tests.embedded import FINDINGS, MODEL, with_quality
from tests.fakes import FakeScorer
from tests.phantoms import chest_radiograph, write_instance

FINDER = "chest-clip"
SHIPPED = with_quality(load(None)[1])


def _catalogue(colour: str = "grey") -> Catalogue:
    own = SHIPPED.manifest(MODEL)
    weights = own.weights.model_copy(update={"sha256": "f" * 64})
    finder = own.model_copy(update={"name": FINDER, "gate": None, "quality": None, "weights": weights, "colour": colour})
    return Catalogue(
        routes=SHIPPED.routes, manifests=(*SHIPPED.manifests, ModelManifest.model_validate(finder)), prompt_sets=SHIPPED.prompt_sets
    )


ROUTE = RouteRule(name="chest-radiograph", model=MODEL, findings_model=FINDER, prompt_set=FINDINGS, expect=("chest-radiograph",))


class Recorder(FakeScorer):
    """A scorer that notes which model was asked what."""

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__(catalogue)
        self.models: list[tuple[str, str]] = []

    def score(
        self,
        model: str,
        prompt_set: str,
        embeddings: NDArray[np.float32],
        images: Sequence[ImageRef],
        *,
        views: tuple[str, ...] = ANY_IMAGE,
    ) -> tuple[tuple[Score, ...], ...]:
        self.models.append((model, prompt_set))
        return super().score(model, prompt_set, embeddings, images, views=views)


def analysed(scorer: FakeScorer, catalogue: Catalogue, *selected: SelectedInstance) -> Analysis:
    return analyse(
        study_instance_uid="2.25.7",
        revision=1,
        route=ROUTE,
        selected=selected,
        excluded=(),
        engine=scorer,
        catalogue=catalogue,
        site="our-site",
        analysed_at=datetime(2026, 5, 4, tzinfo=UTC),
        maximum_frame_megapixels=400,
    )


def test_each_model_is_asked_its_own_questions_and_the_report_tells_them_apart(tmp_path: Path) -> None:
    catalogue = _catalogue()
    scorer = Recorder(catalogue)
    analysis = analysed(scorer, catalogue, write_instance(tmp_path, chest_radiograph()))
    assert set(scorer.models) == {(MODEL, "kind-of-image"), (MODEL, "image-quality"), (FINDER, FINDINGS)}
    assert analysis.provenance is not None
    assert analysis.seen_by is not None
    assert (analysis.provenance.model, analysis.provenance.weights_digest) == (FINDER, "f" * 64)
    assert analysis.seen_by.model == MODEL
    assert len(analysis.findings) == 1
    assert decode_analysis(encode_analysis(analysis)) == analysis


def test_what_the_gate_does_not_recognise_is_not_shown_to_the_other_model_for_findings(tmp_path: Path) -> None:
    catalogue = _catalogue()
    scorer = Recorder(catalogue)
    hand = write_instance(tmp_path, chest_radiograph())
    scorer.says(hand.image, kind="hand-radiograph")
    analysis = analysed(scorer, catalogue, hand)
    assert (FINDER, FINDINGS) not in scorer.models
    assert [one.reason for one in analysis.abstentions] == [AbstentionReason.GATE_DISAGREES]
    assert analysis.findings == ()


def test_frames_that_the_finding_model_was_not_made_for_are_refused_by_its_name(tmp_path: Path) -> None:
    catalogue = _catalogue("colour")
    analysis = analysed(Recorder(catalogue), catalogue, write_instance(tmp_path, chest_radiograph()))
    assert [one.detail for one in analysis.abstentions] == [f"grey image; model {FINDER} was made for colour images"]


@pytest.mark.parametrize("number", [1, 40])
def test_every_frame_is_embedded_once_by_each_model_however_many_there_are(tmp_path: Path, number: int) -> None:
    catalogue = _catalogue()
    scorer = Recorder(catalogue)
    images = [write_instance(tmp_path, chest_radiograph() * np.float32(1 - one / 100), number=one) for one in range(1, number + 1)]
    analysis = analysed(scorer, catalogue, *images)
    assert len(scorer.embedded) == 2 * number
    assert len(analysis.findings) == number


def test_the_structured_report_names_both_models(tmp_path: Path) -> None:
    catalogue = _catalogue()
    image = write_instance(tmp_path, chest_radiograph())
    analysis = analysed(Recorder(catalogue), catalogue, image)
    producer = Producer(
        ae_title="NODE", institution="", manufacturer="dicom-node", model_name="dicom-node", serial_number="1", software_version="1"
    )
    data = ENCODERS["sr-findings"](analysis, [image.header], producer=producer, previous=None).data
    assert MODEL.encode() in data
    assert FINDER.encode() in data
