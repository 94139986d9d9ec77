"""What a route makes of an image that a check calls non-diagnostic."""

from datetime import UTC, datetime

import numpy as np

from config import load
from config.routes import RouteRule
from inference.analysis import analyse
from inference.damage.artefacts import spoil
from inference.findings import AbstentionReason, QualityGrade
from tests.embedded import FINDINGS, MODEL, with_quality
from tests.fakes import FakeScorer
from tests.phantoms import sharp_chest_radiograph, write_instance

CATALOGUE = with_quality(load(None)[1])


def analysed(folder, gate):
    page = spoil(sharp_chest_radiograph(), "text-page", 0.5, np.random.default_rng(5))
    return analyse(
        study_instance_uid="2.25.7",
        revision=1,
        route=RouteRule(name="chest-radiograph", model=MODEL, prompt_set=FINDINGS, quality_gate=gate),
        selected=[write_instance(folder, page)],
        excluded=(),
        engine=FakeScorer(CATALOGUE),
        catalogue=CATALOGUE,
        site="our-site",
        analysed_at=datetime(2026, 5, 4, tzinfo=UTC),
        maximum_frame_megapixels=400,
    )


def test_by_default_a_page_of_text_is_searched_and_called_non_diagnostic(tmp_path):
    analysis = analysed(tmp_path, "qualify")
    assert analysis.findings
    assert analysis.grade is QualityGrade.NON_DIAGNOSTIC
    assert not [one for one in analysis.abstentions if one.reason is AbstentionReason.QUALITY]


def test_a_route_that_abstains_does_not_search_it_and_says_why(tmp_path):
    analysis = analysed(tmp_path, "abstain")
    assert not analysis.findings
    assert analysis.grade is QualityGrade.NON_DIAGNOSTIC
    (abstention,) = [one for one in analysis.abstentions if one.reason is AbstentionReason.QUALITY]
    assert abstention.detail.startswith("the frame is made of flat areas and hard edges")
    assert abstention.detail.endswith("the model was not asked")
