#!/usr/bin/env python3
"""Whether two builds of anec write the same bytes: records checksums of a matrix of conversions, and compares records.

    same_bytes.py record target/release/anec CHECKPOINTS... -o new.json
    same_bytes.py compare old.json new.json

A record has every file of every conversion, or the message with which anec refused it. Palettes are not calibrated: the
bytes of calibrated ones depend on the kind of processor. Needs only Python.

What a record leaves out, and a comparison therefore does not see:

- the text of the version (`anec --version`), which is replaced before hashing;
- `SHA256SUMS`, which says of the other files what the record says.

Record both builds at one version. Of two versions, `analytics/coremldata.bin` differs, because it hashes the model
message with the version in it; where their texts have different lengths, every file that names the version differs.

`compare` reports files that only the second record has as added. A file that changed or is missing is a difference and
makes the exit code 1; so does a conversion that one refuses and the other makes. The words of a refusal may change.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

#: One choice of each axis makes a conversion. Every axis is a list of names, each with the options it stands for.
STORAGES = {
    "fp16": [],
    "lut4": ["--lut", "4"],
    "lut6": ["--lut", "6"],
    "int8-head": ["--lut", "4", "--lm-head", "int8"],
    "channel-scale": ["--lut", "4", "--group-size", "tensor", "--channel-scale"],
}
FUNCTIONS = {"infer-prefill": [], "single": ["--functions", "single", "--query-length", "16"]}
CACHES = {"slice": ["--kv", "slice"], "mask": ["--kv", "mask"]}
CONTEXTS = {"one-context": ["--context-length", "256"], "two-contexts": ["--context-length", "256,512"]}

#: What stands for the version in what is hashed.
VERSION_MARK = b"<version>"


def layouts(help_text: str) -> dict[str, list[str]]:
    """Both layouts, as this binary spells the option."""
    if "--layout" in help_text:
        return {"anec": ["--layout", "anec"], "anemll": ["--layout", "anemll"]}
    return {"anec": ["--runtime", "default"], "anemll": ["--runtime", "anemll"]}


def matrix(help_text: str) -> Iterator[tuple[str, list[str]]]:
    """The name and the options of every conversion of one checkpoint."""
    axes = [STORAGES, layouts(help_text), FUNCTIONS, CACHES, CONTEXTS]
    for choice in itertools.product(*(axis.items() for axis in axes)):
        yield " ".join(name for name, _ in choice), [option for _, options in choice for option in options]


def checkpoints(places: list[Path]) -> list[Path]:
    """The directories with a config.json among `places` and right below them."""
    found: dict[str, Path] = {}
    for place in places:
        for directory in [place, *sorted(path for path in place.iterdir() if path.is_dir())]:
            if (directory / "config.json").is_file():
                found.setdefault(directory.name, directory)
    return list(found.values())


def sums(output: Path, version: bytes) -> dict[str, str]:
    """Path -> SHA-256 of every file of `output`; a file with several links is read once."""
    seen: dict[int, str] = {}
    result = {}
    for path in sorted(path for path in output.rglob("*") if path.is_file()):
        if path.name == "SHA256SUMS":
            continue
        inode = path.stat().st_ino
        if inode not in seen:
            seen[inode] = hashlib.sha256(path.read_bytes().replace(version, VERSION_MARK)).hexdigest()
        result[path.relative_to(output).as_posix()] = seen[inode]
    return result


def convert(binary: Path, version: bytes, checkpoint: Path, options: list[str]) -> dict:
    """One conversion's entry in the record: its files, or the first line with which it was refused."""
    with tempfile.TemporaryDirectory(prefix="same-bytes-") as directory:
        output = Path(directory) / "out"
        command = [str(binary), "convert", str(checkpoint), "-o", str(output), "--quiet", "--threads", "1", *options]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            return {"files": sums(output, version)}
        if result.returncode != 1 or output.exists():
            raise SystemExit(f"{' '.join(command)}\nended with {result.returncode}\n{result.stderr}")
        return {"refused": result.stderr.strip().splitlines()[0]}


def digest(entry: dict) -> str:
    """One hash over all that an entry says."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def record(arguments: argparse.Namespace) -> int:
    binary = arguments.binary.resolve()
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    help_text = subprocess.run([binary, "convert", "--help"], capture_output=True, text=True, check=True).stdout
    # Older builds have no calibration to switch off.
    plain = ["--calibration", "none"] if "--calibration" in help_text else []
    found = checkpoints(arguments.checkpoints)
    if not found:
        raise SystemExit(f"no checkpoint in {', '.join(map(str, arguments.checkpoints))}: none has a config.json")
    jobs = [
        (f"{checkpoint.name} {name}", checkpoint, [*options, *plain])
        for checkpoint in found
        for name, options in matrix(help_text)
    ]
    conversions = {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        entries = pool.map(lambda job: convert(binary, version.encode(), job[1], job[2]), jobs)
        for (name, _, _), entry in zip(jobs, entries, strict=True):
            conversions[name] = entry
            if "refused" in entry:
                print(f"refused           {name}: {entry['refused']}", flush=True)
            else:
                print(f"{digest(entry)}  {name}", flush=True)
    arguments.output.write_text(json.dumps({"version": version, "conversions": conversions}, indent=1) + "\n")
    refused = sum("refused" in entry for entry in conversions.values())
    print(f"{len(conversions)} conversions, {refused} of them refused -> {arguments.output}")
    return 0


def compare(arguments: argparse.Namespace) -> int:
    old, new = (json.loads(path.read_text()) for path in (arguments.old, arguments.new))
    versions = old["version"], new["version"]
    if versions[0] != versions[1]:
        print(f"versions {versions[0]} and {versions[1]}: analytics, and what names the version, may differ for that")
    differences, added, words = [], {}, []
    for name in sorted(old["conversions"].keys() | new["conversions"].keys()):
        before, after = old["conversions"].get(name), new["conversions"].get(name)
        if before is None or after is None:
            differences.append(f"{name}: only in {arguments.new if before is None else arguments.old}")
        elif ("refused" in before) != ("refused" in after):
            differences.append(f"{name}: {before.get('refused', 'converted')} -> {after.get('refused', 'converted')}")
        elif "refused" in before:
            if before["refused"] != after["refused"]:
                words.append(f"{name}: {before['refused']} -> {after['refused']}")
        else:
            changed = [path for path, sum_ in before["files"].items() if after["files"].get(path) != sum_]
            if changed:
                state = "changed" if changed[0] in after["files"] else "missing"
                differences.append(
                    f"{name}: {changed[0]} {state}; {len(changed)} of {len(before['files'])} files differ"
                )
            for path in after["files"].keys() - before["files"].keys():
                file = Path(path).name
                added[file] = added.get(file, 0) + 1
    for file, count in sorted(added.items()):
        print(f"added: {file}, {count} times")
    for line in words:
        print(f"refused in other words: {line}")
    for line in differences[: arguments.limit]:
        print(f"different: {line}")
    total = len(old["conversions"])
    print(
        f"{total} conversions compared, {len(differences)} different"
        if differences
        else f"{total} conversions: same bytes"
    )
    return 1 if differences else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    record_parser = commands.add_parser("record", help="convert everything and write the checksums")
    record_parser.add_argument("binary", type=Path)
    record_parser.add_argument("checkpoints", type=Path, nargs="+", help="checkpoints, or directories of them")
    record_parser.add_argument("-o", "--output", type=Path, required=True, help="the record, JSON")
    record_parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count(), help="conversions at a time")
    record_parser.set_defaults(run=record)
    compare_parser = commands.add_parser("compare", help="name what differs between two records")
    compare_parser.add_argument("old", type=Path)
    compare_parser.add_argument("new", type=Path)
    compare_parser.add_argument("--limit", type=int, default=20, help="differences to print")
    compare_parser.set_defaults(run=compare)
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
