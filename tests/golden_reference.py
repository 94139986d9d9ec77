"""OpenAI's CLIP in plain tensor operations, written from its paper and code: what the adapters' networks are compared with."""

from collections.abc import Callable, Mapping

import torch
from torch.nn import functional

Tensors = Mapping[str, torch.Tensor]
Activation = Callable[[torch.Tensor], torch.Tensor]


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(1.702 * x)


def gelu(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def encode_images(tensors: Tensors, batch: torch.Tensor, heads: int, activation: Activation) -> torch.Tensor:
    tower = _resnet if "visual.layer1.0.conv1.weight" in tensors else vision_transformer
    return functional.normalize(tower(tensors, batch, heads, activation), dim=-1)


def encode_texts(tensors: Tensors, ids: torch.Tensor, heads: int, activation: Activation) -> torch.Tensor:
    length = ids.shape[1]
    x = tensors["token_embedding.weight"][ids] + tensors["positional_embedding"]
    mask = torch.full((length, length), float("-inf")).triu(1)
    x = _layer_norm(_blocks(x, tensors, "transformer.", heads=heads, activation=activation, mask=mask), tensors, "ln_final")
    return functional.normalize(x[torch.arange(len(ids)), ids.argmax(dim=-1)] @ tensors["text_projection"], dim=-1)


def vision_transformer(tensors: Tensors, batch: torch.Tensor, heads: int, activation: Activation) -> torch.Tensor:
    kernel = tensors["visual.conv1.weight"]
    patches = functional.conv2d(batch, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    start = tensors["visual.class_embedding"].expand(len(batch), 1, -1)
    x = _layer_norm(torch.cat([start, patches], dim=1) + tensors["visual.positional_embedding"], tensors, "visual.ln_pre")
    x = _blocks(x, tensors, "visual.transformer.", heads=heads, activation=activation, mask=torch.zeros(()))
    return _layer_norm(x[:, 0], tensors, "visual.ln_post") @ tensors["visual.proj"]


def _blocks(x: torch.Tensor, tensors: Tensors, prefix: str, *, heads: int, activation: Activation, mask: torch.Tensor) -> torch.Tensor:
    index = 0
    while f"{prefix}resblocks.{index}.ln_1.weight" in tensors:
        block = f"{prefix}resblocks.{index}"
        x = x + _attention(_layer_norm(x, tensors, f"{block}.ln_1"), tensors, block, heads, mask)
        hidden = activation(linear(_layer_norm(x, tensors, f"{block}.ln_2"), tensors, f"{block}.mlp.c_fc"))
        x = x + linear(hidden, tensors, f"{block}.mlp.c_proj")
        index += 1
    return x


def _attention(x: torch.Tensor, tensors: Tensors, block: str, heads: int, mask: torch.Tensor) -> torch.Tensor:
    number, length, width = x.shape
    mixed = x @ tensors[f"{block}.attn.in_proj_weight"].T + tensors[f"{block}.attn.in_proj_bias"]
    q, k, v = (part.reshape(number, length, heads, width // heads).transpose(1, 2) for part in mixed.chunk(3, dim=-1))
    shares = torch.softmax(q @ k.transpose(-1, -2) / (width // heads) ** 0.5 + mask, dim=-1)
    return linear((shares @ v).transpose(1, 2).reshape(number, length, width), tensors, f"{block}.attn.out_proj")


def _resnet(tensors: Tensors, batch: torch.Tensor, heads: int, _: Activation) -> torch.Tensor:
    x = batch
    for number in (1, 2, 3):
        stride = 2 if number == 1 else 1
        x = functional.conv2d(x, tensors[f"visual.conv{number}.weight"], stride=stride, padding=1)
        x = torch.relu(_batch_norm(x, tensors, f"visual.bn{number}"))
    x = functional.avg_pool2d(x, 2)
    for stage in (1, 2, 3, 4):
        index = 0
        while f"visual.layer{stage}.{index}.conv1.weight" in tensors:
            x = _bottleneck(x, tensors, f"visual.layer{stage}.{index}", 2 if stage > 1 and index == 0 else 1)
            index += 1
    return _attention_pool(x, tensors, heads)


def _bottleneck(x: torch.Tensor, tensors: Tensors, name: str, stride: int) -> torch.Tensor:
    out = torch.relu(_batch_norm(functional.conv2d(x, tensors[f"{name}.conv1.weight"]), tensors, f"{name}.bn1"))
    out = torch.relu(_batch_norm(functional.conv2d(out, tensors[f"{name}.conv2.weight"], padding=1), tensors, f"{name}.bn2"))
    out = functional.avg_pool2d(out, stride) if stride > 1 else out
    out = _batch_norm(functional.conv2d(out, tensors[f"{name}.conv3.weight"]), tensors, f"{name}.bn3")
    if f"{name}.downsample.0.weight" in tensors:
        x = functional.avg_pool2d(x, stride) if stride > 1 else x
        x = _batch_norm(functional.conv2d(x, tensors[f"{name}.downsample.0.weight"]), tensors, f"{name}.downsample.1")
    return torch.relu(out + x)


def _attention_pool(x: torch.Tensor, tensors: Tensors, heads: int) -> torch.Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + tensors["visual.attnpool.positional_embedding"]
    number, length, width = tokens.shape
    q, k, v = (
        linear(tokens, tensors, f"visual.attnpool.{part}_proj").reshape(number, length, heads, width // heads).transpose(1, 2)
        for part in "qkv"
    )
    shares = torch.softmax(q[:, :, :1] @ k.transpose(-1, -2) / (width // heads) ** 0.5, dim=-1)
    return linear((shares @ v).transpose(1, 2).reshape(number, width), tensors, "visual.attnpool.c_proj")


def _layer_norm(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _batch_norm(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    statistics = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
    return functional.batch_norm(x, *statistics, tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def linear(x: torch.Tensor, tensors: Tensors, name: str) -> torch.Tensor:
    return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])
