"""Programs of ops that no vector can show: control flow, lists, states, classes, results as long as the values say.

Each is a package by coremltools, with inputs and results of one call or of several.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from op_programs import finish, write

FLOATS = np.array([1.5, -2.0, 0.25], np.float32)


@dataclass(frozen=True)
class FlowProgram:
    """How to write a program, which ops it is about, and what its calls take and give."""

    name: str
    ops: tuple[str, ...]
    write: Callable[[Path], None]
    #: Inputs and results of each call. Text is what a classifier says, a dictionary the probabilities of its classes.
    calls: list[tuple[dict[str, np.ndarray], dict[str, object]]] = field(default_factory=list)


def vector(length: int = 3):
    return mb.placeholder(shape=(length,), dtype=types.fp32)


def branches(path: Path) -> None:
    def body(given: dict) -> list:
        x = given["x"]
        total = mb.reduce_sum(x=x, axes=[0], keep_dims=False)
        chosen = mb.cond(
            pred=mb.greater(x=total, y=0.0),
            _true_fn=lambda: mb.mul(x=x, y=2.0),
            _false_fn=lambda: mb.add(x=x, y=total),
        )
        return [finish(chosen, "result", "ios17")]

    write({"x": vector()}, body, "ios17", path)


def loop(path: Path) -> None:
    """Doubles `x` until its sum is 100 or more, and counts."""

    def body(given: dict) -> list:
        def more(turn, value):
            return mb.less(x=mb.reduce_sum(x=value, axes=[0], keep_dims=False), y=100.0)

        def once(turn, value):
            return mb.add(x=turn, y=1), mb.add(x=value, y=value)

        turns, value = mb.while_loop(_cond=more, _body=once, loop_vars=(np.int32(0), given["x"]))
        return [finish(value, "result", "ios17"), finish(mb.expand_dims(x=turns, axes=[0]), "turns", "ios17")]

    write({"x": vector()}, body, "ios17", path)


def nested(path: Path) -> None:
    """Five turns of a loop that adds or takes away, as the sign says."""

    def body(given: dict) -> list:
        def more(turn, value):
            return mb.less(x=turn, y=5)

        def once(turn, value):
            total = mb.reduce_sum(x=value, axes=[0], keep_dims=False)
            step = mb.cond(
                pred=mb.less(x=total, y=0.0),
                _true_fn=lambda: mb.add(x=value, y=1.0),
                _false_fn=lambda: mb.sub(x=value, y=0.5),
            )
            return mb.add(x=turn, y=1), step

        _, value = mb.while_loop(_cond=more, _body=once, loop_vars=(np.int32(0), given["x"]))
        return [finish(value, "result", "ios16")]

    write({"x": vector()}, body, "ios16", path)


def lists(path: Path) -> None:
    def body(given: dict) -> list:
        ls = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=0, value=given["x"])
        ls = mb.list_write(ls=ls, index=2, value=mb.mul(x=given["x"], y=2.0))
        pair = np.array([[7.0, 8.0, 9.0], [4.0, 5.0, 6.0]], np.float32)
        full = mb.list_scatter(ls=ls, indices=[1, 3], value=pair)
        gathered = mb.list_gather(ls=full, indices=[3, 0, 1])
        length = mb.expand_dims(x=mb.list_length(ls=full), axes=[0])
        return [
            finish(mb.list_read(ls=full, index=2), "read", "ios15"),
            finish(gathered, "gathered", "ios15"),
            finish(length, "length", "ios15"),
        ]

    write({"x": vector()}, body, "ios15", path)


def state(path: Path) -> None:
    """Adds up what it is given, call by call."""

    def body(given: dict) -> list:
        total = mb.add(x=mb.read_state(input=given["total"]), y=given["x"])
        kept = mb.coreml_update_state(state=given["total"], value=total)
        return [finish(kept, "result", "ios18")]

    specs = {
        "x": mb.placeholder(shape=(32,), dtype=types.fp16),
        "total": mb.state_tensor_placeholder((32,), types.fp16),
    }
    write(specs, body, "ios18", path)


def places(path: Path) -> None:
    def body(given: dict) -> list:
        return [finish(mb.non_zero(x=given["x"]), "result", "ios15")]

    write({"x": vector(5)}, body, "ios15", path)


def classes(path: Path) -> None:
    def body(given: dict) -> list:
        return [finish(mb.softmax(x=given["x"], axis=1), "scores", "ios16")]

    specs = {"x": mb.placeholder(shape=(1, 3), dtype=types.fp32)}
    labels = ct.ClassifierConfig(["cat", "dog", "owl"], predicted_feature_name="label")
    write(specs, body, "ios16", path, classifier_config=labels)


def numbered_classes(path: Path) -> None:
    def body(given: dict) -> list:
        return [finish(mb.softmax(x=given["x"], axis=1), "scores", "ios16")]

    specs = {"x": mb.placeholder(shape=(1, 3), dtype=types.fp32)}
    write(specs, body, "ios16", path, classifier_config=ct.ClassifierConfig([10, 20, 30]))


def doubled(x: np.ndarray) -> tuple[np.ndarray, int]:
    turns = 0
    while x.sum() < 100:
        x, turns = x * 2, turns + 1
    return x, turns


def stepped(x: np.ndarray) -> np.ndarray:
    for _ in range(5):
        x = x + 1 if x.sum() < 0 else x - 0.5
    return x


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x.astype(np.float64))
    return powers / powers.sum()


def flow_programs() -> list[FlowProgram]:
    """All of them."""
    positive, negative = np.abs(FLOATS), -np.abs(FLOATS)
    values, turns = doubled(positive)
    pair = np.array([[7.0, 8.0, 9.0], [4.0, 5.0, 6.0]])
    logits = np.array([[0.5, 2.0, -1.0]], np.float32)
    scores = softmax(logits)[0]

    def named(classes: list[str]) -> dict[str, float]:
        return dict(zip(classes, scores, strict=True))

    halves = np.arange(32).astype(np.float16)
    return [
        FlowProgram(
            "a condition",
            ("cond",),
            branches,
            [({"x": positive}, {"result": positive * 2}), ({"x": negative}, {"result": negative + negative.sum()})],
        ),
        FlowProgram(
            "a loop", ("while_loop",), loop, [({"x": positive}, {"result": values, "turns": np.array([turns])})]
        ),
        FlowProgram(
            "a condition in a loop",
            ("cond", "while_loop"),
            nested,
            [({"x": negative}, {"result": stepped(negative)})],
        ),
        FlowProgram(
            "a list",
            ("make_list", "list_write", "list_read", "list_scatter", "list_gather", "list_length"),
            lists,
            [
                (
                    {"x": FLOATS},
                    {"read": FLOATS * 2, "gathered": np.stack([pair[1], FLOATS, pair[0]]), "length": np.array([4])},
                )
            ],
        ),
        FlowProgram(
            "a state",
            ("read_state", "write_state"),
            state,
            [({"x": halves}, {"result": halves}), ({"x": halves}, {"result": halves * 2})],
        ),
        FlowProgram(
            "places of what is not zero",
            ("non_zero",),
            places,
            [({"x": np.array([0, 1, 0, 2, 3], np.float32)}, {"result": np.array([[1], [3], [4]])})],
        ),
        FlowProgram(
            "classes with names",
            ("classify",),
            classes,
            [({"x": logits}, {"label": "dog", "label_probs": named(["cat", "dog", "owl"])})],
        ),
        FlowProgram(
            "classes with numbers",
            ("classify",),
            numbered_classes,
            [({"x": logits}, {"classLabel": 20, "classLabel_probs": named(["10", "20", "30"])})],
        ),
    ]
