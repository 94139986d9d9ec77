"""RET-CLIP: one ViT for both eyes as open_clip builds it, transformers' BERT for Chinese, and a head each for patient, left and right.

The patient's head sees the left eye, then the right one. Nothing here knows which eye a frame shows.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import nn

from config.architecture import RetClip
from inference.adapters import Head, ModelAdapter
from inference.adapters.bert import Tensors, bert, check_tokenizer
from inference.adapters.checkpoint import Checkpoint, load_strictly
from inference.adapters.dual_encoder import logit_factor, tokenizer, unit
from inference.adapters.vit import vision_transformer
from inference.preprocessing import preprocessor

PATIENT, LEFT, RIGHT = "patient", "left", "right"


class Network(nn.Module):
    """Both towers and the layers of the three heads, not loaded yet."""

    def __init__(self, tensors: Tensors, facts: RetClip) -> None:
        """Raises KeyError, ValueError or IndexError where the tensors are no RET-CLIP."""
        super().__init__()
        self.visual = vision_transformer(tensors, facts.image_heads, quick_gelu=facts.quick_gelu)
        self.bert = bert(tensors, "bert.", facts.text, pooler=False)
        width, dimensions = self.bert.config.hidden_size, tensors["visual.proj"].shape[1]
        self.global_feature_mapping = nn.Linear(2 * dimensions, dimensions, bias=False)
        self.left_feature_mapping = nn.Linear(dimensions, dimensions, bias=False)
        self.right_feature_mapping = nn.Linear(dimensions, dimensions, bias=False)
        self.text_projection = _projection(width, dimensions)
        self.text_projection_left = _projection(width, dimensions)
        self.text_projection_right = _projection(width, dimensions)
        self.logit_scale = nn.Parameter(torch.zeros(()))
        self.logit_scale_left = nn.Parameter(torch.zeros(()))
        self.logit_scale_right = nn.Parameter(torch.zeros(()))


class RetClipAdapter:
    """A `ModelAdapter` with the heads patient, left and right."""

    def __init__(self, checkpoint: Checkpoint, network: Network, device: str) -> None:
        """`network` is loaded. Its towers move to `device`; the heads, a layer or two each, stay on the CPU in full precision.

        Raises:
            ModelLoadError: the tokenizer's files contradict the manifest.
        """
        self.manifest = checkpoint.manifest
        self.preprocess = preprocessor(self.manifest.preprocessing)
        self.tokenize = tokenizer(checkpoint)
        self._device = torch.device(device)
        self._visual: nn.Module = network.visual.to(self._device)
        self._bert: nn.Module = nn.Module.to(network.bert, self._device)

        def head(name: str, views: tuple[str, ...], mapping: nn.Module, projection: nn.Module, scale_ln: torch.Tensor) -> Head:
            factor = logit_factor(self.manifest.architecture.logit_scale, scale_ln)
            return Head(
                name=name, logit_scale=factor, logit_bias=0.0, views=views, images=_side_by_side(mapping), texts=_unit_of(projection)
            )

        self.heads: tuple[Head, ...] = (
            head(PATIENT, (LEFT, RIGHT), network.global_feature_mapping, network.text_projection, network.logit_scale),
            head(LEFT, (LEFT,), network.left_feature_mapping, network.text_projection_left, network.logit_scale_left),
            head(RIGHT, (RIGHT,), network.right_feature_mapping, network.text_projection_right, network.logit_scale_right),
        )

    @property
    def logit_scale(self) -> float:
        """The factor on cosines of the patient's head."""
        return self.heads[0].logit_scale

    def encode_images(self, batch: torch.Tensor) -> torch.Tensor:
        """Return float32 `(n, d)` on the CPU: what the image tower gives for one eye each, not normalised."""
        with torch.no_grad():  # torch.compile cannot follow inference_mode
            return cast("torch.Tensor", self._visual(batch.to(self._device, non_blocking=True))).float().cpu()

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Return float32 `(n, width)` on the CPU: BERT's last [CLS], not normalised."""
        tokens = self.tokenize(texts)
        with torch.inference_mode():
            states = self._bert(input_ids=tokens.ids.to(self._device), attention_mask=tokens.attended.to(self._device)).last_hidden_state
            return cast("torch.Tensor", states[:, 0]).float().cpu()


def network(checkpoint: Checkpoint) -> Network:
    """Return the loaded network on the CPU.

    Raises:
        ModelLoadError: the tensors are no RET-CLIP, or contradict the manifest.
    """
    tensors, facts = checkpoint.tensors(), checkpoint.manifest.architecture
    assert isinstance(facts, RetClip)
    where = checkpoint.manifest.weights.file
    if checkpoint.manifest.weights.checkpoints > 1:
        raise checkpoint.error("weights.checkpoints is more than 1, and no recipe averages several RET-CLIPs; import one file alone")
    try:
        built = Network(tensors, facts)
    except (KeyError, ValueError, IndexError) as exc:
        raise checkpoint.error(f"{where} is no RET-CLIP, or architecture does not fit it ({exc}); check architecture") from exc
    checkpoint.agree("preprocessing.image_size", checkpoint.manifest.preprocessing.image_size, built.visual.image_size[0], where)
    check_tokenizer(checkpoint, built.bert)
    load_strictly(built, tensors, checkpoint, "cpu")
    return built


def load(checkpoint: Checkpoint, device: str) -> ModelAdapter:
    """Return the model, its towers on `device`.

    Raises:
        ModelLoadError: the tensors are no RET-CLIP, or contradict the manifest.
    """
    return RetClipAdapter(checkpoint, network(checkpoint), device)


def _projection(width: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, dimensions))


def _side_by_side(mapping: nn.Module) -> Callable[..., torch.Tensor]:
    """What makes a unit vector of the rows of one eye, or of those of the left and the right eye of each patient."""

    def images(*views: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return unit(mapping(torch.cat(views, dim=-1)))

    return images


def _unit_of(projection: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    def texts(rows: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return unit(projection(rows))

    return texts
