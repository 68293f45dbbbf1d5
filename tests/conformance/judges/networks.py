"""Networks that are no language models, with random weights: what PyTorch computes, and packages by coremltools."""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import coremltools as ct
import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Network:
    """A network with inputs by name."""

    module: nn.Module
    inputs: dict[str, torch.Tensor]


class Unet(nn.Module):
    """Two levels down and up, with skip connections, normalization and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([self._block(3, 8), self._block(8, 16)])
        self.bottom = self._block(16, 32)
        self.up = nn.ModuleList([nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)])
        self.join = nn.ModuleList([self._block(32, 16), self._block(16, 8)])
        self.head = nn.Conv2d(8, 2, 1)

    @staticmethod
    def _block(inner: int, outer: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1), nn.GroupNorm(4, outer), nn.LeakyReLU(0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skipped = []
        for block in self.down:
            x = block(x)
            skipped.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.bottom(x)
        for up, join, skip in zip(self.up, self.join, reversed(skipped), strict=False):
            x = join(torch.cat([up(x), skip], dim=1))
        return self.head(x)


class Only(nn.Module):
    """The first result of a module of transformers."""

    def __init__(self, module: nn.Module, call: Callable) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.call(self.module, *inputs)


def _image(size: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(1, 3, size, size)}


def _torchvision(name: str, size: int, **options) -> Network:
    import torchvision

    module = getattr(torchvision.models, name)(weights=None, **options)
    # Statistics of batches that are not those of a fresh network.
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return Network(module, _image(size))


def _vit() -> Network:
    from torchvision.models.vision_transformer import VisionTransformer

    # One op of PyTorch for all of attention, which coremltools does not convert.
    torch.backends.mha.set_fastpath_enabled(False)
    module = VisionTransformer(32, 8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10)
    nn.init.normal_(module.heads.head.weight, std=0.1)
    return Network(module, _image(32))


def _whisper_config():
    from transformers import WhisperConfig

    # Whisper-tiny, but for the length of the sound and the size of the vocabulary.
    return WhisperConfig(
        d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6, decoder_attention_heads=6,
        encoder_ffn_dim=1536, decoder_ffn_dim=1536, max_source_positions=50, max_target_positions=32, vocab_size=1000,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1, attn_implementation="eager",
    )  # fmt: skip


def _whisper_encoder() -> Network:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    module = Only(WhisperEncoder(_whisper_config()), lambda module, x: module(x, return_dict=False)[0])
    return Network(module, {"x": torch.randn(1, 80, 100)})


def _whisper_decoder() -> Network:
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

    def call(module, tokens, sound):
        # Of its own, the module makes the mask in a way that cannot be traced.
        mask = torch.full((1, 1, 8, 8), -1e9).triu(1)
        return module(tokens, mask, encoder_hidden_states=sound, use_cache=False, return_dict=False)[0]

    inputs = {"tokens": torch.randint(0, 1000, (1, 8), dtype=torch.int32), "sound": torch.randn(1, 50, 384)}
    return Network(Only(WhisperDecoder(_whisper_config()), call), inputs)


def _bert() -> Network:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=500, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256,
        max_position_embeddings=64, attn_implementation="eager",
    )  # fmt: skip
    module = Only(BertModel(config), lambda module, tokens, mask: module(tokens, mask, return_dict=False)[0])
    mask = torch.ones(1, 16, dtype=torch.int32)
    mask[0, 12:] = 0
    return Network(module, {"tokens": torch.randint(0, 500, (1, 16), dtype=torch.int32), "mask": mask})


NETWORKS: dict[str, Callable[[], Network]] = {
    "resnet18": lambda: _torchvision("resnet18", 64),
    "mobilenet_v3": lambda: _torchvision("mobilenet_v3_small", 64),
    "vit": _vit,
    "unet": lambda: Network(Unet(), _image(32)),
    "whisper_encoder": _whisper_encoder,
    "whisper_decoder": _whisper_decoder,
    "bert": _bert,
}


def write(name: str, directory: Path) -> tuple[Path, dict[str, Path], np.ndarray]:
    """The package of a network in fp32, a file for each input, and what PyTorch computes of them."""
    torch.manual_seed(0)
    network = NETWORKS[name]()
    module = network.module.eval()
    directory.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        expected = module(*network.inputs.values()).numpy()
        traced = torch.jit.trace(module, tuple(network.inputs.values()), strict=False, check_trace=False)
    inputs = [
        ct.TensorType(name=key, shape=value.shape, dtype=np.int32 if value.dtype == torch.int32 else np.float32)
        for key, value in network.inputs.items()
    ]
    model = ct.convert(
        traced,
        inputs=inputs,
        outputs=[ct.TensorType(name="y")],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    package = directory / f"{name}.mlpackage"
    model.save(str(package))
    files = {}
    for key, value in network.inputs.items():
        files[key] = directory / f"{name}_{key}.npy"
        np.save(files[key], value.numpy())
    return package, files, expected
