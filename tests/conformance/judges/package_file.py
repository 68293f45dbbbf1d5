"""Opens an `.mlpackage` without changing it.

coremltools' own `MLModel` and `load_spec` rewrite `Manifest.json` when they open a package, so nothing here uses them:
the manifest, the model message and the weight file are read as plain files.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from coremltools.proto import Model_pb2

MANIFEST = "Manifest.json"
WEIGHTS_PREFIX = "@model_path/weights/"

#: Layout of a weight file: a header of 64 bytes, then per value 64 bytes of metadata and the data, all 64-aligned.
BLOB_ALIGNMENT = 64
BLOB_SENTINEL = 0xDEADBEEF
BLOB_VERSION = 2


class PackageError(Exception):
    """A package that cannot even be opened."""


@dataclass(frozen=True)
class BlobEntry:
    """The metadata of one value in a weight file."""

    offset: int
    dtype: int
    size: int
    data_offset: int
    padding_bits: int
    reserved: tuple[int, ...]

    @property
    def end(self) -> int:
        return self.data_offset + self.size


class WeightFile:
    """A weight file, read entry by entry."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        self._file = path.open("rb")

    def header(self) -> tuple[int, int, bytes]:
        """Count of values, version and the reserved rest."""
        raw = self._read(0, BLOB_ALIGNMENT)
        count, version = struct.unpack_from("<II", raw)
        return count, version, raw[8:]

    def entry(self, offset: int) -> BlobEntry:
        """The entry whose metadata starts at `offset`."""
        sentinel, dtype, size, data_offset, padding, *reserved = struct.unpack("<IIQQQQQQQ", self._read(offset, 64))
        if sentinel != BLOB_SENTINEL:
            raise PackageError(f"no value starts at offset {offset}")
        return BlobEntry(offset, dtype, size, data_offset, padding, tuple(reserved))

    def data(self, entry: BlobEntry) -> bytes:
        """The bytes of a value."""
        return self._read(entry.data_offset, entry.size)

    def _read(self, offset: int, size: int) -> bytes:
        if offset + size > self.size:
            raise PackageError(f"bytes {offset}..{offset + size} lie beyond the end at {self.size}")
        self._file.seek(offset)
        return self._file.read(size)


class PackageFile:
    """The files of a package."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.manifest_bytes = (self.path / MANIFEST).read_bytes()
            self.manifest = json.loads(self.manifest_bytes)
            items = self.manifest["itemInfoEntries"]
            self.model_path = self.path / "Data" / items[self.manifest["rootModelIdentifier"]]["path"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PackageError(f"{self.path}: manifest: {error!r}") from error
        weights = [item["path"] for item in items.values() if item.get("name") == "weights"]
        self.weights_directory = self.path / "Data" / weights[0] if weights else None

    @cached_property
    def model_bytes(self) -> bytes:
        return self.model_path.read_bytes()

    @cached_property
    def spec(self) -> Model_pb2.Model:
        """The model message."""
        spec = Model_pb2.Model()
        try:
            spec.ParseFromString(self.model_bytes)
        except Exception as error:  # noqa: BLE001 - protobuf raises several kinds
            raise PackageError(f"{self.model_path}: {error}") from error
        return spec

    @cached_property
    def weights(self) -> WeightFile | None:
        if self.weights_directory is None:
            return None
        return WeightFile(self.weights_directory / "weight.bin")

    def described_functions(self) -> dict:
        """Descriptions by function name; a single-function model describes `main` at the top."""
        description = self.spec.description
        if description.functions:
            return {function.name: function for function in description.functions}
        return {"main": description}
