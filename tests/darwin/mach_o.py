"""Check that a file is a program for Apple Silicon that loads Core ML: `mach_o.py FILE`."""

import struct
import sys
from pathlib import Path

MAGIC_64 = 0xFEEDFACF
CPU_ARM64 = 0x0100000C
EXECUTABLE = 2
TWO_LEVEL_NAMES = 0x80
LOAD_DYLIB = 0xC
BUILD_VERSION = 0x32
CODE_SIGNATURE = 0x1D
WANTED = ["CoreML", "CoreVideo", "Foundation", "IOSurface", "libSystem.B.dylib", "libobjc.A.dylib"]


def commands(data: bytes) -> list[tuple[int, bytes]]:
    """Return the load commands: number and content."""
    found, offset = [], 32
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        number, size = struct.unpack_from("<II", data, offset)
        found.append((number, data[offset : offset + size]))
        offset += size
    return found


def main() -> None:
    """Check the header, the libraries, the oldest system and that there is a signature."""
    data = Path(sys.argv[1]).read_bytes()
    magic, cpu, _, kind = struct.unpack_from("<IIII", data)
    flags = struct.unpack_from("<I", data, 24)[0]
    assert (magic, cpu, kind) == (MAGIC_64, CPU_ARM64, EXECUTABLE), "not a program for Apple Silicon"
    assert flags & TWO_LEVEL_NAMES, "symbols are not bound to libraries"
    found = commands(data)
    libraries = [
        body[struct.unpack_from("<I", body, 8)[0] :].split(b"\0")[0].decode().rsplit("/", 1)[-1]
        for number, body in found
        if number == LOAD_DYLIB
    ]
    missing = [name for name in WANTED if name not in libraries]
    assert not missing, f"does not load {missing}, only {libraries}"
    versions = [struct.unpack_from("<I", body, 12)[0] for number, body in found if number == BUILD_VERSION]
    assert versions == [15 << 16], f"oldest system {versions}, expected macOS 15"
    assert any(number == CODE_SIGNATURE for number, _ in found), "not signed"
    print(f"{sys.argv[1]}: arm64, macOS 15, {len(data) / 1e6:.1f} MB, loads {', '.join(libraries)}")


if __name__ == "__main__":
    main()
