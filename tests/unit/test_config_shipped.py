"""What ships fits together: routes, the model, its prompts, and what they must never do."""

import hashlib
import json

import pytest
from pydicom.sr.codedict import codes

from config import load
from config.prompt_sets import PromptSet
from config.routes import RouteRule
from inference.damage.degradations import KINDS
from reporting.codes import OWN_SCHEME
from tests.embedded import MODEL

SETTINGS, CATALOGUE = load(None)

# In no table of pydicom; seen with these meanings in several public code lists, to be looked up once in a SNOMED CT browser.
NOT_IN_CODEDICT = {
    *("233604007", "239873007"),
    *("8186001", "46621007", "95436008", "125605004", "309529002"),  # chest and bones
    *("422504002", "393564001", "302820008", "254956000"),  # head
    *("4855003", "312903003", "312904009", "312905005", "59276001", "23986001", "267718000", "37231002", "232006002"),  # eyes
    *("24596005", "68478007", "46085004", "6962006", "32022003", "42059000", "40638003", "8966001", "18944008"),
    *("254701007", "25499005"),  # skin
}


def test_the_weights_are_the_ones_that_the_manifest_pins() -> None:
    manifest = CATALOGUE.manifest(MODEL)
    data = (CATALOGUE.weights_path(manifest) / manifest.weights.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest.weights.sha256


def test_preprocessing_is_what_the_model_says_of_itself() -> None:
    manifest = CATALOGUE.manifest(MODEL)
    own = json.loads((CATALOGUE.weights_path(manifest) / "open_clip_config.json").read_text(encoding="utf-8"))
    preprocessing = manifest.preprocessing
    assert own["preprocess_cfg"] == {
        "size": preprocessing.image_size,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "interpolation": preprocessing.interpolation,
        "resize_mode": preprocessing.resize_mode,
    }
    assert own["model_cfg"]["text_cfg"]["context_length"] == manifest.tokenizer.context_length


def test_the_model_says_that_it_is_a_demonstration_and_not_for_diagnosis() -> None:
    words = CATALOGUE.manifest(MODEL).intended_use
    assert "Demonstration" in words
    assert "Not for diagnosis" in words


def test_kinds_of_image_that_are_of_no_patient_are_named_in_words() -> None:
    foreign = {label.name for label in CATALOGUE.prompt_set("kind-of-image").labels if label.foreign}
    assert foreign == {"phantom", "document", "screenshot", "viewer-screen-capture", "photograph", "texture", "blank"}


def test_every_fault_of_image_quality_says_what_a_report_makes_of_it() -> None:
    for label in CATALOGUE.prompt_set("image-quality").labels:
        assert label.fault is not None, label.name
        assert label.fault.sentence.endswith("."), label.name
        assert label.flag == "none", "no fault of an image raises a study"


def test_only_rotation_blank_and_what_is_not_medical_keep_the_node_from_looking_for_findings() -> None:
    labels = CATALOGUE.prompt_set("image-quality").labels
    assert {label.name: label.fault.abstain for label in labels if label.fault and label.fault.abstain} == {
        "not-a-medical-image": "gate disagrees",
        "rotated-90": "quality",
        "upside-down": "quality",
        "rotated-270": "quality",
        "blank": "quality",
    }


def test_every_degradation_that_is_made_on_purpose_has_its_fault() -> None:
    faults = {label.name for label in CATALOGUE.prompt_set("image-quality").labels}
    assert faults == set(KINDS) | {"not-a-medical-image", "blank"}


@pytest.mark.parametrize("route", [route for route in CATALOGUE.routes if route.prompt_set], ids=lambda route: route.name)
def test_findings_are_only_looked_for_in_the_one_kind_of_image_that_they_were_learnt_on(route: RouteRule) -> None:
    assert len(route.expect) == 1
    assert route.prompt_set is not None
    assert route.prompt_set.startswith("demonstration-")


@pytest.mark.parametrize("prompt_set", CATALOGUE.prompt_sets, ids=lambda prompt_set: prompt_set.name)
def test_every_code_has_a_meaning_of_the_standard(prompt_set: PromptSet) -> None:
    for label in prompt_set.labels:
        for code in filter(None, (label.concept, label.site)):
            if code.scheme == OWN_SCHEME:
                assert len(code.value) <= 16, "Code Value is a short string (PS3.3 table 8.8-1)"
            elif code.value not in NOT_IN_CODEDICT:
                meanings = {getattr(getattr(codes, code.scheme), name).meaning for name in _names(code.scheme, code.value)}
                plain = {meaning.removesuffix(" (body structure)").removesuffix(" (disorder)") for meaning in meanings}
                assert code.meaning in plain, label.name


def _names(scheme: str, value: str) -> list[str]:
    collection = getattr(codes, scheme)
    return [name for name in collection.dir() if getattr(collection, name).value == value]


def test_nothing_ships_that_could_flag_a_study() -> None:
    assert CATALOGUE.calibrations == ()


def test_the_defaults_let_nobody_in() -> None:
    assert SETTINGS.receive.calling_ae_titles == ()
    assert not SETTINGS.receive.any_calling_ae_title
