"""What coremltools' own palettization makes of the same weights.

coremltools refuses to palettize models with several functions, so the convolution weights of an unquantized conversion
are put into one plain model, palettized there through its public API, and handed to the evaluator in place of
the originals. The divergence of that model is what palettes of the same size are expected to cost.
"""

from __future__ import annotations

import quiet  # noqa: F401 - before coremltools

# isort: split

import tempfile
from pathlib import Path

import coremltools as ct
import coremltools.optimize as cto
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from mil_eval import Package


def palettized(weights: dict[str, torch.Tensor], bits: int, group_size: int | None) -> dict[str, torch.Tensor]:
    """Every weight through k-means palettes of `bits` bits, shared by `group_size` output channels, or by all."""
    names = sorted(weights)
    width = max(weight.shape[1] for weight in weights.values())

    @mb.program(input_specs=[mb.TensorSpec((1, width, 1, 1), types.fp16)], opset_version=ct.target.iOS18)
    def program(x):
        results = []
        for index, name in enumerate(names):
            weight = weights[name].half().numpy()
            channels = mb.slice_by_size(x=x, begin=[0, 0, 0, 0], size=[1, weight.shape[1], 1, 1])
            results.append(mb.conv(x=channels, weight=weight, name=f"result_{index}"))
        return tuple(results)

    model = ct.convert(
        program,
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    )
    grouping = {"granularity": "per_grouped_channel", "group_size": group_size} if group_size else {}
    config = cto.coreml.OpPalettizerConfig(
        mode="kmeans",
        nbits=bits,
        **grouping,
        num_kmeans_workers=1,
        weight_threshold=0,
    )
    model = cto.coreml.palettize_weights(model, cto.coreml.OptimizationConfig(global_config=config))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "peer.mlpackage")
        model.save(str(path))
        function = Package(path).functions["main"]
    by_result = {step.results[0][0]: step.constants["weight"] for step in function.steps if "weight" in step.constants}
    return {name: by_result[f"result_{index}"] for index, name in enumerate(names)}
