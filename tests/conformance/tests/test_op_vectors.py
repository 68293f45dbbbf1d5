"""The vectors that are checked in are those that other implementations compute."""

from __future__ import annotations

import pytest

from op_vectors.case import VECTORS, families, file_text, vector_file


def test_every_file_has_cases():
    assert sorted(path.stem for path in VECTORS.glob("*.json")) == sorted(families())


@pytest.mark.parametrize("op", sorted(families()))
def test_vectors_are_up_to_date(op):
    assert vector_file(op).read_text() == file_text(families()[op]), f"run `python tests/conformance/op_vectors {op}`"
