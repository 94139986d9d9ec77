"""What ships fits together: routes, the tiny model, its prompts."""

import hashlib
import json

import pytest
from pydicom.sr.codedict import codes

from config import load
from config.schema import PromptSet

SETTINGS, CATALOGUE = load(None)

# In no table of pydicom; to be looked up once in a SNOMED CT browser.
NOT_IN_CODEDICT = {"95436008", "8186001"}


def test_the_weights_are_the_ones_that_the_manifest_pins() -> None:
    manifest = CATALOGUE.manifest("anatomy-tiny")
    data = (CATALOGUE.weights_path(manifest) / manifest.weights.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest.weights.sha256


def test_preprocessing_is_what_the_model_says_of_itself() -> None:
    manifest = CATALOGUE.manifest("anatomy-tiny")
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


def test_the_tiny_model_says_that_it_knows_no_findings() -> None:
    assert "Demonstration; not trained on findings" in CATALOGUE.manifest("anatomy-tiny").intended_use


def test_the_gate_tells_the_six_kinds_apart_that_the_model_was_trained_on() -> None:
    assert {label.name for label in CATALOGUE.prompt_set("anatomy").labels} == {
        "abdomen-ct",
        "chest-ct",
        "head-ct",
        "chest-radiograph",
        "hand-radiograph",
        "breast-mr",
    }


@pytest.mark.parametrize("prompt_set", CATALOGUE.prompt_sets, ids=lambda prompt_set: prompt_set.name)
def test_every_code_has_a_meaning_of_the_standard(prompt_set: PromptSet) -> None:
    for label in prompt_set.labels:
        for code in (label.concept, label.site):
            assert code is not None
            if code.value not in NOT_IN_CODEDICT:
                meanings = {getattr(getattr(codes, code.scheme), name).meaning for name in _names(code.scheme, code.value)}
                assert {meaning.removesuffix(" (body structure)") for meaning in meanings} & {code.meaning}


def _names(scheme: str, value: str) -> list[str]:
    collection = getattr(codes, scheme)
    return [name for name in collection.dir() if getattr(collection, name).value == value]


def test_nothing_ships_that_could_flag_a_study() -> None:
    assert CATALOGUE.calibrations == ()


def test_the_defaults_let_nobody_in() -> None:
    assert SETTINGS.receive.calling_ae_titles == ()
    assert not SETTINGS.receive.any_calling_ae_title
