"""What every op computes on small tensors, by PyTorch, NumPy or coremltools, for the tests of anec's own evaluation.

`python tests/conformance/op_vectors [op ...]` writes `mil/tests/vectors/<op>.json`, of all ops if none is named; Rust
reads them in `mil/tests/mil/op_vectors.rs`. Each module beside `case.py` holds the cases of a family of ops, one
function per op.
"""
