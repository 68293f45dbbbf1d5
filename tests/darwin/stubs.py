"""Write link stubs for macOS from a list of symbols: `stubs.py OUT symbols.txt`.

A stub names a library and what it exports, and holds no code. A symbol that is not in the list fails the link, so the list
is also the list of everything that the program may ask of the system besides messages to objects.
"""

import sys
from collections import defaultdict
from pathlib import Path

FRAMEWORKS = ["CoreFoundation", "CoreGraphics", "CoreML", "CoreVideo", "Foundation", "IOSurface", "Metal"]
SYSTEM = "/usr/lib/libSystem.B.dylib"


def stub(install_name: str, symbols: list[str]) -> str:
    """Return a text-based stub, version 4."""
    exports = ""
    if symbols:
        names = ", ".join(f"'{symbol}'" for symbol in sorted(symbols))
        exports = f"exports:\n  - targets: [ arm64-macos ]\n    symbols: [ {names} ]\n"
    head = "--- !tapi-tbd\ntbd-version: 4\ntargets: [ arm64-macos ]\n"
    return f"{head}install-name: '{install_name}'\ncurrent-version: 1\ncompatibility-version: 1\n{exports}...\n"


def main() -> None:
    """Write the stubs of all frameworks and libraries."""
    output, listed = Path(sys.argv[1]), Path(sys.argv[2])
    symbols = defaultdict(list)
    for line in listed.read_text().splitlines():
        library, symbol = line.split()
        symbols[library].append(symbol)
    for name in FRAMEWORKS:
        version = "C" if name == "Foundation" else "A"
        directory = output / f"System/Library/Frameworks/{name}.framework"
        directory.mkdir(parents=True, exist_ok=True)
        install_name = f"/System/Library/Frameworks/{name}.framework/Versions/{version}/{name}"
        (directory / f"{name}.tbd").write_text(stub(install_name, symbols[name]))
    libraries = output / "usr/lib"
    libraries.mkdir(parents=True, exist_ok=True)
    for name in ["libSystem", "libc", "libm", "libpthread"]:
        (libraries / f"{name}.tbd").write_text(stub(SYSTEM, symbols["System"]))
    (libraries / "libobjc.tbd").write_text(stub("/usr/lib/libobjc.A.dylib", symbols["objc"]))
    (libraries / "libiconv.tbd").write_text(stub("/usr/lib/libiconv.2.dylib", symbols["iconv"]))


if __name__ == "__main__":
    main()
