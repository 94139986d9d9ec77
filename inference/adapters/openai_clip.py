"""OpenAI's CLIP, ViT and ModifiedResNet (also CheXzero, PubMedCLIP, MONET, EyeCLIP), as open_clip's `CLIP` builds it.

The architecture is read from the tensors; heads and activation, which they do not reveal, from the manifest.
"""

from dataclasses import asdict

from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from config.architecture import OpenAiClip
from inference.adapters import ModelAdapter
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import DualEncoder
from inference.adapters.shapes import image_tower, text_tower


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model on `device`.

    Raises:
        ModelLoadError: the tensors are no OpenAI CLIP, or contradict the manifest.
    """
    facts = checkpoint.manifest.architecture
    assert isinstance(facts, OpenAiClip)
    tensors = checkpoint.tensors()
    try:
        image, text, dimensions = image_tower(tensors, facts.image_heads), text_tower(tensors, facts.text_heads), tensors["text_projection"]
    except (KeyError, ValueError) as exc:
        raise checkpoint.error(f"{checkpoint.manifest.weights.file} is no OpenAI CLIP ({exc}); check architecture.family") from exc
    where = checkpoint.manifest.weights.file
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, image.image_size, where)
    checkpoint.agree("tokenizer.context_length", checkpoint.manifest.tokenizer.context_length, text.context_length, where)
    network = CLIP(dimensions.shape[1], CLIPVisionCfg(**asdict(image)), CLIPTextCfg(**asdict(text)), quick_gelu=facts.quick_gelu)
    load_strictly(network, tensors, checkpoint, device)
    return DualEncoder(
        checkpoint,
        device,
        encode_images=network.encode_image,
        encode_texts=lambda ids, _: network.encode_text(ids),
        logit_scale_ln=tensors["logit_scale"],
    )
