"""Recurrent layers beyond `lstm`."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from op_vectors.case import case, constant, flag, fp32, refused, result, spread, text, vectors

STEPS, BATCH, INPUTS, HIDDEN = 4, 2, 3, 5


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


@vectors("gru", "NumPy and PyTorch")
def gru():
    x, start = fp32(spread(STEPS, BATCH, INPUTS)), fp32(spread(BATCH, HIDDEN, low=-1.0, high=1.0))
    w_ih = fp32(spread(3 * HIDDEN, INPUTS, low=-1.0, high=1.0))
    w_hh = fp32(spread(3 * HIDDEN, HIDDEN, low=-0.75, high=0.75))
    bias = fp32(spread(3 * HIDDEN, low=-0.5, high=0.5))
    for direction, sequence, biased in itertools.product(("forward", "reverse"), (True, False), (True, False)):
        b = bias.values if biased else np.zeros(3 * HIDDEN)
        state, outputs = start.values, np.zeros((STEPS, BATCH, HIDDEN))
        for step in range(STEPS) if direction == "forward" else reversed(range(STEPS)):
            r_x, o_x, z_x = np.split(x.values[step] @ w_ih.values.T + b, 3, axis=1)
            r_h, o_h, z_h = np.split(w_hh.values, 3)
            r, z = sigmoid(r_x + state @ r_h.T), sigmoid(z_x + state @ z_h.T)
            state = (1 - z) * np.tanh(o_x + (r * state) @ o_h.T) + z * state
            outputs[step] = state
        operands = {"x": x, "initial_h": start, "weight_ih": constant(w_ih), "weight_hh": constant(w_hh)}
        if biased:
            operands["bias"] = constant(bias)
        operands |= {"direction": text(direction), "output_sequence": flag(sequence)}
        last = outputs if sequence else state[None]
        name = f"{direction}, sequence {sequence}, bias {biased}"
        yield case(name, operands, result("fp32", last), result("fp32", state), tolerance=1e-5, opset="ios16")
    layer = torch.nn.GRU(INPUTS, HIDDEN).double()
    swap = np.concatenate([np.arange(HIDDEN), np.arange(2 * HIDDEN, 3 * HIDDEN), np.arange(HIDDEN, 2 * HIDDEN)])
    input_bias = fp32(spread(3 * HIDDEN, low=-1.0, high=0.5))
    with torch.no_grad():
        for name, values in (
            ("weight_ih_l0", w_ih),
            ("weight_hh_l0", w_hh),
            ("bias_ih_l0", input_bias),
            ("bias_hh_l0", bias),
        ):
            getattr(layer, name).copy_(values.float[swap])
        outputs, state = layer(x.float, start.float[None])
    operands = {"x": x, "initial_h": start, "weight_ih": constant(w_ih), "weight_hh": constant(w_hh)}
    operands |= {"bias": constant(bias), "input_bias": constant(input_bias), "reset_after": flag(True)}
    operands["output_sequence"] = flag(True)
    yield case("as PyTorch", operands, result("fp32", outputs), result("fp32", state[0]), tolerance=1e-5)
    both = {"x": x, "initial_h": start, "weight_ih": constant(w_ih), "weight_hh": constant(w_hh)}
    yield refused("both directions", both | {"direction": text("bidirectional")}, "parameter `direction`")


@vectors("rnn")
def rnn():
    x, start = fp32(spread(STEPS, BATCH, INPUTS)), fp32(spread(BATCH, HIDDEN, low=-1.0, high=1.0))
    w_ih = fp32(spread(HIDDEN, INPUTS, low=-1.0, high=1.0))
    w_hh = fp32(spread(HIDDEN, HIDDEN, low=-0.75, high=0.75))
    bias = fp32(spread(HIDDEN, low=-0.5, high=0.5))
    for kind, direction, sequence in itertools.product(("tanh", "relu"), ("forward", "reverse"), (True, False)):
        layer = torch.nn.RNN(INPUTS, HIDDEN, nonlinearity=kind).double()
        with torch.no_grad():
            layer.weight_ih_l0.copy_(w_ih.float)
            layer.weight_hh_l0.copy_(w_hh.float)
            layer.bias_ih_l0.copy_(bias.float)
            layer.bias_hh_l0.zero_()
            turned = x.float if direction == "forward" else x.float.flip(0)
            outputs, state = layer(turned, start.float[None])
        outputs = outputs if direction == "forward" else outputs.flip(0)
        operands = {"x": x, "initial_h": start, "weight_ih": constant(w_ih), "weight_hh": constant(w_hh)}
        operands |= {"bias": constant(bias), "direction": text(direction), "output_sequence": flag(sequence)}
        operands["activation"] = text(kind)
        last = outputs if sequence else state
        name = f"{kind}, {direction}, sequence {sequence}"
        yield case(name, operands, result("fp32", last), result("fp32", state[0]), tolerance=1e-5)
