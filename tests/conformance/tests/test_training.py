"""Programs of a training step: what they give is PyTorch's forward pass and PyTorch's gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

DIM, HIDDEN, HEADS, SEQUENCE = 64, 96, 4, 32
HEAD_DIM = DIM // HEADS
EPSILON = 1e-5
THETA = 10_000.0

#: Relative to the norm of each result.
LIMITS = {"f32": 1e-5, "fp16": 2e-3}

CONFIG = {
    "model_type": "llama",
    "vocab_size": 128,
    "hidden_size": DIM,
    "intermediate_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "rms_norm_eps": EPSILON,
    "rope_theta": THETA,
    "max_position_embeddings": 256,
}


def halves(*shape: int, scale: float = 1.0, seed: int) -> torch.Tensor:
    """Random numbers that fp16 has."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).half().double()


class Step:
    """A layer with its gradients, in double precision; activations are [channels, sequence]."""

    def __init__(self, *, rope: bool) -> None:
        self.rope = rope
        scale = DIM**-0.5
        shapes = {"Wq": (DIM, DIM), "Wk": (DIM, DIM), "Wv": (DIM, DIM), "Wo": (DIM, DIM)}
        shapes |= {"W1": (HIDDEN, DIM), "W2": (DIM, HIDDEN), "W3": (HIDDEN, DIM)}
        self.weights = {name: halves(*shape, scale=scale, seed=i) for i, (name, shape) in enumerate(shapes.items())}
        self.rw = (1 + halves(DIM, 1, scale=0.125, seed=20)).half().double()
        self.x = halves(DIM, SEQUENCE, seed=21)
        self.gradient = halves(DIM, SEQUENCE, seed=22)
        self.mask = torch.triu(torch.full((SEQUENCE, SEQUENCE), -65504.0, dtype=torch.double), 1)
        angles = torch.outer(THETA ** (-torch.arange(0, HEAD_DIM, 2).double() / HEAD_DIM), torch.arange(SEQUENCE))
        self.cos, self.sin = angles.cos().half().double(), angles.sin().half().double()

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x.square().mean(0, keepdim=True) + EPSILON).rsqrt() * self.rw

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        if not self.rope:
            return x
        first, second = x.view(HEADS, HEAD_DIM // 2, 2, SEQUENCE).unbind(2)
        turned = torch.stack(
            [first * self.cos - second * self.sin, first * self.sin + second * self.cos],
            dim=2,
        )
        return turned.reshape(DIM, SEQUENCE)

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What heads mix, and probabilities [heads, queries, keys]."""
        q, k, v = (x.view(HEADS, HEAD_DIM, SEQUENCE) for x in (q, k, v))
        probs = (q.transpose(1, 2) @ k / math.sqrt(HEAD_DIM) + self.mask).softmax(-1)
        return (v @ probs.transpose(1, 2)).reshape(DIM, SEQUENCE), probs

    @torch.enable_grad()
    def expected(self) -> dict[str, tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
        """Of each program: operands by name, and results by name."""
        w = self.weights
        turned = {f"{name}t": weight.T for name, weight in w.items()}
        tables = {"cos": self.cos, "sin": self.sin, "cm": self.mask}
        xnorm = self.norm(self.x)
        q, k, v = self.rotate(w["Wq"] @ xnorm), self.rotate(w["Wk"] @ xnorm), w["Wv"] @ xnorm
        attn_out, _ = self.attend(q, k, v)
        forward = {"o_out": w["Wo"] @ attn_out, "q": q, "k": k, "v": v, "attn_out": attn_out, "xnorm": xnorm}
        h1, h3 = w["W1"] @ xnorm, w["W3"] @ xnorm
        gated = torch.nn.functional.silu(h1) * h3
        ffn = {"y": w["W2"] @ gated, "h1": h1, "h3": h3, "gated": gated, "xnorm": xnorm}

        # Programs of the backward pass are given what fp16 holds of the forward pass.
        given = {name: value.half().double().requires_grad_() for name, value in {"h1": h1, "h3": h3}.items()}
        leaf = (torch.nn.functional.silu(given["h1"]) * given["h3"]).requires_grad_()
        (w["W2"] @ leaf).backward(self.gradient)
        dh1, dh3 = given["h1"].grad, given["h3"].grad
        ffn_bwd = {"dx": w["W1"].T @ dh1 + w["W3"].T @ dh3, "dh1": dh1, "dh3": dh3}

        heads = {name: value.half().double().requires_grad_() for name, value in {"q": q, "k": k, "v": v}.items()}
        mixed, probs = self.attend(heads["q"], heads["k"], heads["v"])
        probs.retain_grad()
        (w["Wo"] @ mixed).backward(self.gradient)
        scores = HEADS * SEQUENCE
        flat = {"probs": probs.detach().reshape(scores, SEQUENCE), "dp": probs.grad.reshape(scores, SEQUENCE)}
        sdpa1 = {"dv": heads["v"].grad, **flat}
        # The second half is given rounded numbers, so its gradients are those of the rounded numbers.
        rounded = {name: value.half().double() for name, value in flat.items()}
        p, dp = (value.view(HEADS, SEQUENCE, SEQUENCE) for value in rounded.values())
        ds = p * (dp - (p * dp).sum(-1, keepdim=True)) / math.sqrt(HEAD_DIM)
        qh, kh = (heads[name].detach().view(HEADS, HEAD_DIM, SEQUENCE) for name in "qk")
        sdpa2 = {"dq": (kh @ ds.transpose(1, 2)).reshape(DIM, SEQUENCE), "dk": (qh @ ds).reshape(DIM, SEQUENCE)}
        for name in "qk":
            error = (sdpa2[f"d{name}"] - heads[name].grad).norm() / heads[name].grad.norm()
            assert error < 2e-3, "the formula of the second half is that of the gradients, but for rounding"

        grads = {f"d{name}": halves(DIM, SEQUENCE, seed=30 + i) for i, name in enumerate("qkv")}
        leaf = xnorm.detach().clone().requires_grad_()
        results = [self.rotate(w["Wq"] @ leaf), self.rotate(w["Wk"] @ leaf), w["Wv"] @ leaf]
        torch.autograd.backward(results, list(grads.values()))
        common = {**w, **turned, **tables, "rw": self.rw, "x": self.x}
        gradient = {"dffn": self.gradient, "dx2": self.gradient}
        cases = {
            "fwdAttn": ({}, forward),
            "fwdFFN": ({}, ffn),
            "ffnBwd": (given, ffn_bwd),
            "sdpaBwd1": (heads, sdpa1),
            "sdpaBwd2": ({**rounded, "q": heads["q"], "k": heads["k"]}, sdpa2),
            "qkvBwd": (grads, {"dx": leaf.grad}),
        }
        return {kind: ({**common, **gradient, **own}, results) for kind, (own, results) in cases.items()}


@pytest.fixture(scope="module")
def programs(anec, tmp_path_factory: pytest.TempPathFactory):
    """Writes the programs of a form, once."""
    directory = tmp_path_factory.mktemp("training")
    (directory / "config.json").write_text(json.dumps(CONFIG))

    def make(*options: str) -> Path:
        output = directory / "-".join(["out", *(option.strip("-") for option in options)])
        if not output.exists():
            command = ["convert", directory / "config.json", "--layout", "training", "--sequence", SEQUENCE]
            outcome = anec.run(*command, "-o", output, *options)
            assert outcome.code == 0, outcome.stderr
        return output

    return make


def pack(program: dict, operands: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The inputs of a program, by its row in `training.json`."""
    arrays = {}
    for tensor in program["inputs"]:
        names = [name for name, _ in tensor["parts"]]
        if len(names) == 1:
            arrays[tensor["name"]] = operands[names[0]].detach().reshape(tensor["shape"])
            continue
        # Packed weights lie so that their rows are those of the activations, square ones transposed.
        packed = any(name.startswith("W") for name in names)
        parts = [turned(name, operands[name].detach(), packed=packed, rows=tensor["shape"][1]) for name in names]
        arrays[tensor["name"]] = torch.cat(parts, 1 if packed else 0).reshape(tensor["shape"])
    return {name: array.numpy().astype(np.float16) for name, array in arrays.items()}


def turned(name: str, part: torch.Tensor, *, packed: bool, rows: int) -> torch.Tensor:
    """A matrix as it lies in an input."""
    is_weight = packed and name.startswith("W")
    return part.T if is_weight and (part.shape[0] == part.shape[1] or part.shape[0] != rows) else part


@pytest.mark.parametrize("numerics", list(LIMITS))
@pytest.mark.parametrize("rope", [False, True], ids=["plain", "rope"])
@pytest.mark.parametrize("form", ["inputs", "packed"])
def test_programs_give_the_gradients_of_pytorch(anec, programs, tmp_path, form, rope, numerics) -> None:
    directory = programs("--training-weights", form, *(["--training-rope"] if rope else []))
    table = json.loads((directory / "training.json").read_text())
    expected = Step(rope=rope).expected()
    for program in table["programs"]:
        operands, results = expected[program["name"]]
        inputs = []
        for name, array in pack(program, operands).items():
            path = tmp_path / f"{program['name']}-{name}.npy"
            np.save(path, array)
            inputs.append(f"--input={name}={path}")
        output = tmp_path / program["name"]
        model = directory / f"{program['name']}.mlpackage"
        command = ["predict", model, *inputs, "-o", output, "--numerics", numerics, "--format", "json"]
        outcome = anec.run(*command)
        assert outcome.code == 0, outcome.stderr
        found = np.array(json.loads((output / "out.json").read_text()), dtype=np.float64)[0, :, 0, :]
        start = 0
        for name, channels in program["output"]["parts"]:
            part, wanted = found[start : start + channels], results[name].detach().numpy()
            start += channels
            error = np.linalg.norm(part - wanted) / np.linalg.norm(wanted)
            assert error <= LIMITS[numerics], f"{program['name']}: {name} is {error:.2e} off"
        assert start == found.shape[0]


def test_programs_pass_lint_and_the_strict_reader(anec, programs) -> None:
    import package_check

    directory = programs("--training-weights", "inputs")
    for package in sorted(directory.glob("*.mlpackage")):
        assert package_check.check(package) == []
        assert anec.run("lint", package).code == 0
        assert anec.run("diff", package, package.with_suffix(".mil")).code == 0


def test_programs_of_the_size_of_stories110m_pass_the_strict_reader_and_are_their_texts(anec, tmp_path) -> None:
    import package_check

    sizes = {"hidden_size": 768, "intermediate_size": 2048, "vocab_size": 32000, "max_position_embeddings": 1024}
    heads = {"num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12}
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **sizes, **heads}))
    output = tmp_path / "out"
    outcome = anec.run("convert", tmp_path / "config.json", "--layout", "training", "-o", output)
    assert outcome.code == 0, outcome.stderr
    table = json.loads((output / "training.json").read_text())
    assert (table["instances"], len(table["programs"])) == (12, 6)
    channels = {program["name"]: program["output"]["shape"] for program in table["programs"]}
    published = {"fwdAttn": 4608, "fwdFFN": 7680, "ffnBwd": 4864, "sdpaBwd1": 6912, "sdpaBwd2": 1536, "qkvBwd": 768}
    assert channels == {name: [1, count, 1, 256] for name, count in published.items()}
    for name in published:
        package = output / f"{name}.mlpackage"
        assert package_check.check(package) == []
        assert anec.run("lint", package).code == 0
        assert anec.run("diff", package, output / f"{name}.mil").code == 0


def test_models_that_the_programs_do_not_compute_are_refused(anec, tmp_path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "num_key_value_heads": 2}))
    outcome = anec.run("convert", tmp_path / "config.json", "--layout", "training", "-o", tmp_path / "out")
    assert outcome.code == 1
    assert "`num_key_value_heads` is 2, expected 4, as many as `num_attention_heads`" in outcome.stderr
    assert not (tmp_path / "out").exists()
