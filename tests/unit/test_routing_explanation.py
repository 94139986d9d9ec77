"""The node can say why a study goes where it goes, without showing what may be about the patient."""

import pytest
from pydicom.dataset import Dataset

from config import load
from config.routes import Match, RouteRule
from dicom_node.routing.explanation import Outcome, explain, in_words
from dicom_node.routing.rules import RoutableInstance, route_study
from tests.builders import radiograph_header as radiograph

SHIPPED = load(None)[1].routes


def told(dataset: Dataset, *rules: RouteRule) -> list[tuple[str, str, list[tuple[bool, str]]]]:
    instance = RoutableInstance(header=dataset, calling_ae_title="CR1", carried=None)
    return [
        (rule.route.name, found.outcome.value, [(condition.passed, condition.why) for condition in found.conditions])
        for rule in explain([instance], rules or SHIPPED)
        for found in rule.instances
    ]


def test_each_condition_says_whether_it_passed_and_why() -> None:
    _, first, second = told(radiograph("HAND"))
    assert first == (
        "chest-radiograph",
        "does not match",
        [(True, "Modality matched (DX)"), (False, "BodyPartExamined did not match (HAND); StudyDescription did not match")],
    )
    assert second == ("hand-radiograph", "selected", [(True, "Modality matched (DX)"), (True, "BodyPartExamined matched (HAND)")])


def test_values_that_may_be_about_the_patient_are_never_shown() -> None:
    rules = [
        RouteRule.model_validate({"name": f"rule-{number}", "when": [{"attribute": name, "matches": "ZEBRA"}]})
        for number, name in enumerate(["PatientName", "PatientID", "StudyDescription", "BodyPartExamined"])
    ]
    found = told(radiograph("CANARY^PHI"), *rules)
    assert len(found) == 4
    assert "CANARY" not in str(found)


def test_the_sender_and_absent_attributes_are_explained() -> None:
    rule = RouteRule.model_validate({"name": "a", "calling_ae_titles": ["CT1"], "when": [{"attribute": "ProtocolName", "equals": "X"}]})
    assert told(radiograph(), rule) == [("a", "does not match", [(False, "did not match"), (False, "absent or empty")])]


def test_the_explanation_agrees_with_the_routing() -> None:
    instances = [
        RoutableInstance(header=radiograph(part), calling_ae_title="CR1", carried=number)
        for number, part in enumerate(["CHEST", "HAND", "KNEE", "CHEST"])
    ]
    explained = {
        rule.route.name: [found.instance.carried for found in rule.instances if found.outcome is Outcome.SELECTED]
        for rule in explain(instances, SHIPPED)
        if rule.takes
    }
    assert explained == {routed.route.name: [one.carried for one in routed.selected] for routed in route_study(instances, SHIPPED)}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"attribute": "Modality", "equals": "CT"}, "Modality is CT"),
        ({"attribute": "Modality", "one_of": ["CT", "MR"]}, "Modality is one of CT, MR"),
        ({"attribute": ["Modality", "ProtocolName"], "matches": "x+"}, "Modality or ProtocolName matches x+"),
        ({"attribute": "Rows", "range": [1, 512]}, "Rows is between 1 and 512"),
        ({"attribute": "Rows", "present": True}, "Rows is there"),
        ({"attribute": "Rows", "present": False}, "Rows is absent or empty"),
    ],
)
def test_a_condition_reads_as_a_sentence(fields: dict[str, object], words: str) -> None:
    assert in_words(Match.model_validate(fields)) == words
