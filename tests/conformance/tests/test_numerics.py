"""A converted model computes what the checkpoint does: exactly without palettes, with them as well as others do."""

import pytest
import torch

from client import ClientModel
from conftest import CONTEXT_LENGTH
from judge import judge
from peer_palettes import palettized

#: Mean divergence in nats. Weights and rotary tables are fp16 in both numerics; in fp16 every result is rounded too.
MAX_KL = {"f32": 1e-6, "fp16": 1e-5}
#: A palette of 64 entries for 8 channels.
MAX_KL_LUT6 = 2e-3
#: Integers of eight bits with a scale for each row, embeddings and head.
MAX_KL_INT8 = 2e-3
#: Palettes of 16 entries for a whole tensor: with a scale for each channel against those without.
MAX_KL_RATIO_CHANNEL_SCALE = 1.0
#: Palettes of 16 entries, against coremltools' own.
MAX_KL_RATIO_LUT4 = 1.05
#: Relative to the value; fp16 has 11 bits.
MAX_STATE_ERROR = {"f32": 4e-3, "fp16": 2e-2}
MAX_PREFILL_STATE_ERROR = {"f32": 1e-4, "fp16": 1e-2}
#: In fp16 the best token may differ only where the reference has two that are this close.
MAX_FLIP_GAP = {"f32": 0.0, "fp16": 0.05}

OPTIONS = ("--context-length", CONTEXT_LENGTH)


@pytest.mark.parametrize("numerics", ["f32", "fp16"])
def test_without_palettes_the_model_is_the_checkpoint(anec, checkpoint, expected, token_ids, numerics):
    model = ClientModel(anec.convert(checkpoint, "--chunks", 2, *OPTIONS), numerics)
    verdict = judge(model, expected, token_ids)
    for agreement in (verdict.decode, verdict.after_prefill):
        assert agreement.mean_kl <= MAX_KL[numerics], verdict
        assert agreement.flip_gap <= MAX_FLIP_GAP[numerics], verdict
    assert verdict.state_error <= MAX_STATE_ERROR[numerics], verdict
    assert verdict.prefill_state_error <= MAX_PREFILL_STATE_ERROR[numerics], verdict
    assert verdict.perplexity == pytest.approx(verdict.reference_perplexity, rel=1e-3), verdict
    assert verdict.overflows == 0, verdict


def test_the_number_of_chunks_does_not_change_the_result(anec, small_checkpoint):
    token_ids = list(range(3, 70))
    results = [
        ClientModel(anec.convert(small_checkpoint, "--chunks", chunks, *OPTIONS), "fp16").feed(token_ids)
        for chunks in (1, 2)
    ]
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))


def test_palettes_of_six_bits_cost_little(anec, checkpoint, expected, token_ids):
    verdict = judge(ClientModel(anec.convert(checkpoint, "--lut", 6, "--chunks", 2, *OPTIONS)), expected, token_ids)
    assert verdict.decode.mean_kl <= MAX_KL_LUT6, verdict
    assert verdict.prefill_state_error <= MAX_PREFILL_STATE_ERROR["f32"], verdict


def test_palettes_of_four_bits_are_as_good_as_those_of_coremltools(anec, checkpoint, expected, token_ids):
    plain = anec.convert(checkpoint, "--chunks", 2, *OPTIONS)
    weights = ClientModel(plain).weights()
    peer_weights = palettized(weights, bits=4, group_size=8)
    peer_model = ClientModel(plain, weight_hook=lambda name, _: peer_weights[name])
    model = ClientModel(anec.convert(checkpoint, "--lut", 4, "--chunks", 2, *OPTIONS))

    found_weights = {name.removesuffix("_palettized"): weight for name, weight in model.weights().items()}
    assert found_weights.keys() == weights.keys()
    worse = {
        name: (error, peer_error)
        for name, weight in weights.items()
        if (error := squared_error(found_weights[name], weight))
        > (peer_error := squared_error(peer_weights[name], weight)) * 1.001
    }
    assert not worse, "a palette with a larger error than that of coremltools"

    verdict, peer = judge(model, expected, token_ids), judge(peer_model, expected, token_ids)
    print(f"mean divergence {verdict.decode.mean_kl:.3e}, coremltools {peer.decode.mean_kl:.3e}")
    assert verdict.decode.mean_kl <= peer.decode.mean_kl * MAX_KL_RATIO_LUT4, (verdict, peer)


def test_int8_embeddings_and_heads_cost_little(anec, checkpoint, expected, token_ids):
    output = anec.convert(checkpoint, "--int8-embeddings", "--lm-head", "int8", "--chunks", 2, *OPTIONS)
    verdict = judge(ClientModel(output), expected, token_ids)
    assert verdict.decode.mean_kl <= MAX_KL_INT8, verdict


def test_scales_for_channels_make_palettes_of_whole_tensors_better(anec, checkpoint, expected, token_ids):
    options = ("--lut", 4, "--group-size", "tensor", "--chunks", 2, *OPTIONS)
    plain, scaled = (
        judge(ClientModel(anec.convert(checkpoint, *options, *more)), expected, token_ids)
        for more in ((), ("--channel-scale",))
    )
    print(f"mean divergence {scaled.decode.mean_kl:.3e}, without scales {plain.decode.mean_kl:.3e}")
    assert scaled.decode.mean_kl <= plain.decode.mean_kl * MAX_KL_RATIO_CHANNEL_SCALE, (scaled, plain)


def test_argmax_heads_choose_the_best_token(anec, small_checkpoint):
    token_ids = list(range(3, 40))
    plain = ClientModel(anec.convert(small_checkpoint, "--chunks", 2, *OPTIONS))
    argmax = ClientModel(anec.convert(small_checkpoint, "--chunks", 2, "--argmax", *OPTIONS))
    assert argmax.files.argmax
    for position, token in enumerate(token_ids):
        assert argmax.best_token(token, position) == int(plain.logits(token, position).argmax())


def squared_error(found: torch.Tensor, weight: torch.Tensor) -> float:
    return float((found - weight).double().square().sum())
