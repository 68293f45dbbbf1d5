"""Networks that are no language models: converted by coremltools, compiled and run by anec, judged by PyTorch."""

import numpy as np
import pytest

import networks

#: Largest norm of the difference beside the norm, in f32.
RELATIVE = 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_a_compiled_network_computes_what_pytorch_does(anec, tmp_path, name):
    if name in ("resnet18", "mobilenet_v3", "vit"):
        pytest.importorskip("torchvision")
    package, files, expected = networks.write(name, tmp_path)
    compiled = tmp_path / f"{name}.mlmodelc"
    outcome = anec.run("compile", package, "-o", compiled, "--unproven")
    assert outcome.code == 0, outcome.stderr
    again = tmp_path / "again.mlpackage"
    outcome = anec.run("package", compiled, "-o", again)
    assert outcome.code == 0, outcome.stderr
    for model in (package, compiled, again):
        results = tmp_path / f"{model.name}.results"
        inputs = [f"--input={key}={path}" for key, path in files.items()]
        outcome = anec.run("predict", model, *inputs, "-o", results)
        assert outcome.code == 0, outcome.stderr
        found = np.load(results / "y.npy")
        assert found.shape == expected.shape
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert error < RELATIVE, f"{model.name}: {error}"
    assert anec.run("lint", compiled).code == 0
    assert anec.run("diff", package, again).code == 0
