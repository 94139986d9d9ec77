"""What a model's tensors do not reveal about its network, family by family. A missing fact is an error, never a default.

What tensors do reveal (layers, widths, patch and image size, vocabulary) is read from the pinned weights and stands nowhere.
To add a family: a section here with its name as `family`, and the section in `Architecture`.
"""

from typing import Annotated, Literal

from pydantic import Field

from config.section import Section

Activation = Literal["gelu", "quick-gelu", "tanh-gelu"]
Heads = Annotated[int, Field(ge=1, le=256)]
Epsilon = Annotated[float, Field(gt=0, lt=1e-2)]

_QUICK_GELU = "Activation that the weights were trained with: x * sigmoid(1.702 x) if true, else the exact GELU."


class StoredScale(Section):
    """The factor on cosines is exp(logit_scale), as the weights store its logarithm."""

    kind: Literal["stored"] = "stored"


class ClampedScale(Section):
    """The stored logarithm is clamped before exp, as the model's own forward pass does."""

    kind: Literal["clamped"] = "clamped"
    lowest_ln: float = Field(description="Lower bound of the natural logarithm.")
    highest_ln: float = Field(description="Upper bound of the natural logarithm.")


class FixedScale(Section):
    """A fixed factor, as the publisher's recipe has it; the stored one is not used."""

    kind: Literal["fixed"] = "fixed"
    factor: float = Field(gt=0, le=1000, description="Factor on cosines.")


LogitScale = Annotated[StoredScale | ClampedScale | FixedScale, Field(discriminator="kind", description="Factor on cosines.")]


class BertSection(Section):
    """A BERT text tower."""

    heads: Heads = Field(description="Attention heads of a layer.")
    activation: Activation = Field(description="Activation between its layers.")
    layer_norm_eps: Epsilon = Field(description="Epsilon of its layer norms.")


class SwinSection(Section):
    """A Swin image tower. Its heads and windows show in the tables of its position biases."""

    kind: Literal["swin"] = "swin"
    activation: Activation = Field(description="Activation between its layers.")
    layer_norm_eps: Epsilon = Field(description="Epsilon of its layer norms.")


class ResNetSection(Section):
    """torchvision's ResNet of bottlenecks, of which tensors reveal everything."""

    kind: Literal["resnet"] = "resnet"


class OpenAiClip(Section):
    """OpenAI's CLIP: ViT or ModifiedResNet and a causal text tower (also CheXzero, PubMedCLIP, MONET, EyeCLIP)."""

    family: Literal["openai_clip"] = "openai_clip"
    quick_gelu: bool = Field(description=_QUICK_GELU)
    image_heads: Heads = Field(description="Attention heads of a layer of the ViT, or of the attention pool of the ResNet.")
    text_heads: Heads = Field(description="Attention heads of a layer of the text tower.")
    logit_scale: LogitScale


class OpenClip(Section):
    """open_clip's own layout: the architecture stands in the open_clip_config.json beside the weights."""

    family: Literal["open_clip"] = "open_clip"
    quick_gelu: bool = Field(description=_QUICK_GELU)
    logit_scale: LogitScale


class HfClip(Section):
    """Hugging Face's CLIPModel (PLIP, PubMedCLIP, MONET, XrayCLIP)."""

    family: Literal["hf_clip"] = "hf_clip"
    image_activation: Activation = Field(description="Activation of the image tower (hidden_act of vision_config).")
    text_activation: Activation = Field(description="Activation of the text tower (hidden_act of text_config).")
    image_heads: Heads = Field(description="Attention heads of a layer of the image tower.")
    text_heads: Heads = Field(description="Attention heads of a layer of the text tower.")
    image_layer_norm_eps: Epsilon = Field(description="Epsilon of the layer norms of the image tower.")
    text_layer_norm_eps: Epsilon = Field(description="Epsilon of the layer norms of the text tower.")
    logit_scale: LogitScale


class Siglip(Section):
    """Hugging Face's SiglipModel (MedSigLIP, XraySigLIP): sigmoid with a bias."""

    family: Literal["siglip"] = "siglip"
    image_activation: Activation = Field(description="Activation of the image tower.")
    text_activation: Activation = Field(description="Activation of the text tower.")
    image_heads: Heads = Field(description="Attention heads of a layer of the image tower, and of its pooling head.")
    text_heads: Heads = Field(description="Attention heads of a layer of the text tower.")
    layer_norm_eps: Epsilon = Field(description="Epsilon of all layer norms.")
    logit_scale: LogitScale


class UnimedClip(Section):
    """UniMed-CLIP: OpenAI's ViT and a BERT text tower with an MLP."""

    family: Literal["unimed_clip"] = "unimed_clip"
    quick_gelu: bool = Field(description=_QUICK_GELU + " Of the image tower.")
    image_heads: Heads = Field(description="Attention heads of a layer of the ViT.")
    text: BertSection
    logit_scale: LogitScale


class RetClip(Section):
    """RET-CLIP: a ViT for each eye, a Chinese BERT, and the heads patient, left and right."""

    family: Literal["ret_clip"] = "ret_clip"
    quick_gelu: bool = Field(description=_QUICK_GELU + " Of the image tower.")
    image_heads: Heads = Field(description="Attention heads of a layer of the ViT.")
    text: BertSection
    logit_scale: LogitScale


class Flair(Section):
    """FLAIR and KeepFIT: torchvision's ResNet-50 and clinical BERT, hidden states 1, 2 and last, unmasked mean."""

    family: Literal["flair"] = "flair"
    text: BertSection
    logit_scale: LogitScale


class MedClip(Section):
    """MedCLIP: Hugging Face's Swin or torchvision's ResNet-50, and clinical BERT, hidden states 1, 2 and last, unmasked mean."""

    family: Literal["medclip"] = "medclip"
    image: SwinSection | ResNetSection = Field(discriminator="kind", description="Kind of the image tower.")
    text: BertSection
    logit_scale: LogitScale


class Keep(Section):
    """KEEP: timm's ViT with LayerScale and an MLP head, BERT with its pooler."""

    family: Literal["keep"] = "keep"
    image_heads: Heads = Field(description="Attention heads of a layer of the ViT.")
    image_layer_norm_eps: Epsilon = Field(description="Epsilon of the layer norms of the ViT.")
    text: BertSection
    logit_scale: LogitScale


Architecture = Annotated[
    OpenAiClip | OpenClip | HfClip | Siglip | UnimedClip | RetClip | Flair | MedClip | Keep, Field(discriminator="family")
]
