"""Every model family keeps the promises of `ModelAdapter`, shown with a small fixture of its own or with the model that ships."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from config import load
from config.manifests import ModelManifest
from inference.adapters import ADAPTERS, ModelAdapter
from inference.golden import read_golden
from inference.importing import IMPORTERS, FamilyImporter, importer_of
from inference.importing.golden_facts import golden_family
from inference.importing.install import fixture_adapter
from tests.golden_fixtures import KINDS, write_fixture
from tests.hottest import falls
from tests.phantoms import as_frame, chest_radiograph

_, CATALOGUE = load(None)


@pytest.fixture(scope="module", params=KINDS)
def adapter(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelAdapter:
    golden = read_golden(write_fixture(request.param, tmp_path_factory.mktemp("fixture") / request.param))
    return fixture_adapter(golden, tmp_path_factory.mktemp("model"), "cpu")


@pytest.mark.parametrize("family", ADAPTERS)
def test_every_family_of_the_manifests_has_an_adapter_that_can_be_imported(family: str) -> None:
    module, _, attribute = ADAPTERS[family].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    architecture = ModelManifest.model_json_schema()["properties"]["architecture"]
    assert family in architecture["discriminator"]["mapping"]


@pytest.mark.parametrize("family", ADAPTERS)
def test_every_family_can_be_imported_from_published_files(family: str) -> None:
    importer: FamilyImporter = importer_of(family)
    assert callable(importer.recognises)
    assert callable(importer.convert)
    assert importer.GOLDEN_FAMILIES


def test_every_importer_is_of_a_family_that_can_be_loaded() -> None:
    assert set(IMPORTERS) == set(ADAPTERS)


def test_every_family_has_a_small_fixture(tmp_path: Path) -> None:
    def families() -> Iterator[str]:
        for kind in KINDS:
            yield golden_family(read_golden(write_fixture(kind, tmp_path / kind)))

    assert set(families()) == set(ADAPTERS)


def test_a_frame_becomes_the_input_that_the_manifest_describes(adapter: ModelAdapter) -> None:
    side = adapter.manifest.preprocessing.image_size
    grey = chest_radiograph()
    for pixels in (grey, np.stack([grey] * 3, axis=-1), grey[:90], grey[:, :10], grey[:1, :1]):
        tensor = adapter.preprocess(as_frame(pixels))
        assert (tensor.shape, tensor.dtype, tensor.device.type) == ((3, side, side), torch.float32, "cpu")
    assert torch.equal(adapter.preprocess(as_frame(grey)), adapter.preprocess(as_frame(np.stack([grey] * 3, axis=-1))))


def test_images_and_texts_become_unit_vectors_of_one_space(adapter: ModelAdapter) -> None:
    batch = torch.stack([adapter.preprocess(as_frame(chest_radiograph()))] * 3)
    rows, text_rows = adapter.encode_images(batch), adapter.encode_texts(["a chest X-ray", "", "word " * 500])
    for head in adapter.heads:
        images, texts = head.images(*[rows] * len(head.views)), head.texts(text_rows)
        for vectors in (images, texts):
            assert (vectors.dtype, vectors.device.type, vectors.requires_grad) == (torch.float32, "cpu", False)
            torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
        assert images.shape == texts.shape
        assert head.logit_scale > 0
    assert len({head.name for head in adapter.heads}) == len(adapter.heads)


def test_a_model_with_one_head_gives_its_vectors_at_once(adapter: ModelAdapter) -> None:
    if len(adapter.heads) > 1:
        pytest.skip("has several heads")
    rows = adapter.encode_texts(["a chest X-ray"])
    torch.testing.assert_close(rows, adapter.heads[0].texts(rows))
    assert adapter.logit_scale == adapter.heads[0].logit_scale


def test_the_tokens_of_a_text_are_as_many_as_the_tower_reads(adapter: ModelAdapter) -> None:
    tokens = adapter.tokenize(["a chest X-ray", "word " * 500])
    assert tokens.ids.shape == tokens.attended.shape
    assert tokens.ids.shape[1] <= adapter.manifest.tokenizer.context_length
    assert tokens.attended.sum(dim=1).tolist()[1] == adapter.manifest.tokenizer.context_length


def test_pixels_that_are_no_display_values_are_refused(adapter: ModelAdapter) -> None:
    with pytest.raises(ValueError, match="display values"):
        adapter.preprocess(as_frame(chest_radiograph() * 3))


def test_the_hottest_places_of_a_heat_map_matter_more_than_others(adapter: ModelAdapter) -> None:
    """Weights are random numbers here, and faithful is faithful: what the map says is hot must move this model's score."""
    hottest, others = falls(adapter)
    assert hottest > max(0, others)
