"""Every model family keeps the promises of `ModelAdapter`; open_clip also reproduces the reference outputs bit for bit enough."""

import hashlib
import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from config import load
from config.schema import ModelManifest
from inference.adapters import ADAPTERS, ModelAdapter, load_adapter
from inference.adapters.open_clip import OpenClipAdapter
from tests.embedded import MODEL
from tests.phantoms import as_frame, chest_radiograph

_, CATALOGUE = load(None)
SHARED = os.environ.get("DICOM_NODE_SHARED")


def installed(family: str) -> ModelAdapter:
    manifest = next(manifest for manifest in CATALOGUE.manifests if manifest.family == family)
    return load_adapter(manifest, CATALOGUE.weights_path(manifest), "cpu")


@pytest.mark.parametrize("family", ADAPTERS)
def test_every_family_of_the_manifests_has_an_adapter_that_can_be_imported(family: str) -> None:
    module, _, attribute = ADAPTERS[family].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))
    assert family in ModelManifest.model_json_schema()["properties"]["family"].get("enum", [family])


@pytest.mark.parametrize("family", ADAPTERS)
def test_a_frame_becomes_the_input_that_the_manifest_describes(family: str) -> None:
    adapter = installed(family)
    side = adapter.manifest.preprocessing.image_size
    grey = chest_radiograph()
    for pixels in (grey, np.stack([grey] * 3, axis=-1), grey[:90], grey[:, :10], grey[:1, :1]):
        tensor = adapter.preprocess(as_frame(pixels))
        assert (tensor.shape, tensor.dtype, tensor.device.type) == ((3, side, side), torch.float32, "cpu")
    assert torch.equal(adapter.preprocess(as_frame(grey)), adapter.preprocess(as_frame(np.stack([grey] * 3, axis=-1))))


@pytest.mark.parametrize("family", ADAPTERS)
def test_images_and_texts_become_unit_vectors_of_one_space(family: str) -> None:
    adapter = installed(family)
    images = adapter.encode_images(torch.stack([adapter.preprocess(as_frame(chest_radiograph()))] * 3))
    texts = adapter.encode_texts(["a chest X-ray", "", "word " * 500])
    for vectors in (images, texts):
        assert (vectors.dtype, vectors.device.type, vectors.requires_grad) == (torch.float32, "cpu", False)
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(3))
    assert images.shape == texts.shape
    assert adapter.logit_scale > 0


@pytest.mark.parametrize("family", ADAPTERS)
def test_pixels_that_are_no_display_values_are_refused(family: str) -> None:
    with pytest.raises(ValueError, match="display values"):
        installed(family).preprocess(as_frame(chest_radiograph() * 3))


@pytest.mark.skipif(SHARED is None, reason="reference outputs are not here; set DICOM_NODE_SHARED")
def test_the_reference_outputs_of_a_plain_open_clip_model_are_reproduced(tmp_path: Path) -> None:
    folder = Path(str(SHARED)) / "golden" / "whylesionclip"
    golden = json.loads((folder / "golden.json").read_text())
    expected = np.load(folder / "expected.npz")
    adapter = OpenClipAdapter(golden_manifest(golden, folder, tmp_path), tmp_path, "cpu")
    frames = [as_frame((np.asarray(Image.open(folder / image["file"])) / 255).astype(np.float32)) for image in golden["inputs"]["images"]]

    batch = torch.stack([adapter.preprocess(frame) for frame in frames])
    np.testing.assert_allclose(batch.numpy(), expected["preprocessed"], rtol=0, atol=golden["tolerance"]["preprocessed_max_abs"])
    np.testing.assert_array_equal(adapter.tokenize(golden["inputs"]["texts"]).numpy(), expected["token_ids"])
    tolerance = golden["tolerance"]["embeddings_max_abs"]
    np.testing.assert_allclose(adapter.encode_images(batch).numpy(), expected["image_embeddings"], rtol=0, atol=tolerance)
    np.testing.assert_allclose(adapter.encode_texts(golden["inputs"]["texts"]).numpy(), expected["text_embeddings"], rtol=0, atol=tolerance)


def golden_manifest(golden: dict[str, dict[str, object]], folder: Path, work: Path) -> ModelManifest:
    """Put the reference checkpoint into `work` as safetensors; return a manifest with its facts."""
    tensors = torch.load(folder / "checkpoint" / "open_clip_pytorch_model.bin", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, work / "open_clip_model.safetensors")
    (work / "open_clip_config.json").write_bytes((folder / "checkpoint" / "open_clip_config.json").read_bytes())
    facts = CATALOGUE.manifest(MODEL).model_dump()
    steps = golden["preprocess"]
    facts |= {
        "name": "reference",
        "quick_gelu": golden["architecture"]["quick_gelu"],
        "context_length": golden["tokenizer"]["context_length"],
        "preprocessing": {key: steps[key] for key in ("image_size", "resize_mode", "interpolation", "mean", "std")},
        "weights": {"folder": str(work), "sha256": hashlib.sha256((work / "open_clip_model.safetensors").read_bytes()).hexdigest()},
        "gate": None,
        "quality": None,
    }
    return ModelManifest.model_validate(facts)
