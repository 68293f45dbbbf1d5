"""`anec verify` passes what was converted, catches what was broken, and writes a report that people can read."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from conftest import CONTEXT_LENGTH
from faults import Victim

#: Enough for a batch of prefill and some single tokens.
TOKENS = 80
HEAD_DIM = 64
HIDDEN_SIZE = 256


def verify(anec, directory, checkpoint, report, *options, samples=0):
    tokens = ("--tokens", checkpoint / "eval_tokens.json") if (checkpoint / "eval_tokens.json").is_file() else ()
    arguments = (directory, "--against", checkpoint, "--report", report, "--limit", TOKENS, "--samples", samples)
    return anec.run("verify", *arguments, "--quiet", *tokens, *options)


@pytest.mark.parametrize("numerics", ["f32", "fp16"])
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--lut", 6),
        ("--lut", 4),
        ("--lut", 4, "--channel-scale"),
        ("--int8-embeddings", "--lm-head", "int8"),
    ],
    ids=["plain", "lut6", "lut4", "lut4 with scales", "int8"],
)
def test_every_conversion_passes(anec, checkpoint, tmp_path, options, numerics):
    directory = anec.convert(checkpoint, *options, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    outcome = verify(anec, directory, checkpoint, tmp_path, "--json", "--numerics", numerics)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    report = json.loads(outcome.stdout)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert report["passed"]
    assert all(report[part] for part in ("weights", "tables", "prefill"))


@pytest.fixture
def victim(anec, small_checkpoint, tmp_path):
    def make(*options: object) -> Victim:
        directory = anec.convert(small_checkpoint, *options, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
        return Victim(directory, tmp_path / "victim")

    return make


@pytest.fixture
def failed_checks(anec, small_checkpoint, tmp_path):
    def run(victim: Victim) -> set[str]:
        outcome = verify(anec, victim.directory, small_checkpoint, tmp_path / "report", "--json")
        assert outcome.code == 1, outcome.stdout + outcome.stderr
        report = json.loads(outcome.stdout)
        failed = {check["name"] for check in report["checks"] if not check["passed"]}
        assert failed
        assert not report["passed"]
        assert all(name in outcome.stderr for name in failed)
        return failed

    return run


def test_a_copy_without_a_fault_passes(anec, small_checkpoint, victim, tmp_path):
    outcome = verify(anec, victim().directory, small_checkpoint, tmp_path / "report")
    assert outcome.code == 0, outcome.stdout + outcome.stderr


def test_one_wrong_palette_entry_is_caught(victim, failed_checks):
    broken = victim("--lut", 4)

    def change(lut: np.ndarray) -> np.ndarray:
        # A group in the middle takes the value of a neighbour for one of its entries.
        lut = lut.reshape(-1, 16)
        lut[len(lut) // 2, 7] = lut[len(lut) // 2, 5]
        return lut

    broken.change("layers_1_up_proj_weight_palettized", change, parameter="lut")
    assert "weights.misassigned" in failed_checks(broken)


def test_a_compiled_model_that_is_not_its_package_is_caught(anec, small_checkpoint, failed_checks, tmp_path):
    converted = anec.convert(small_checkpoint, "--lut", 4, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    broken = SimpleNamespace(directory=shutil.copytree(converted, tmp_path / "victim"))
    weights = broken.directory / "combined_lut4_chunk_02of02.mlmodelc" / "weights" / "weight.bin"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    # The copy has its own file, so that the package stays as it was.
    weights.unlink()
    weights.write_bytes(data)
    assert failed_checks(broken) == {"parts.differences"}
    shutil.rmtree(weights.parent)
    assert failed_checks(broken) == {"parts.differences"}


def test_swapped_key_and_value_rows_are_caught(victim, failed_checks):
    broken = victim()
    names = ("layers_2_k_proj_weight", "layers_2_v_proj_weight")
    keys, values = (broken.elements(name) for name in names)
    for name, elements in zip(names, (values, keys), strict=True):
        broken.change(name, lambda _, elements=elements: elements)
    assert {"decode.kl_mean", "weights.snr_db"} <= failed_checks(broken)


def test_two_swapped_key_rows_are_caught(victim, failed_checks):
    broken = victim()

    def change(weight: np.ndarray) -> np.ndarray:
        weight = weight.reshape(-1, HIDDEN_SIZE)
        weight[[10, 11]] = weight[[11, 10]]
        return weight

    broken.change("layers_0_k_proj_weight", change)
    assert "weights.snr_db" in failed_checks(broken)


def test_rotary_tables_that_are_off_by_one_are_caught(victim, failed_checks):
    broken = victim()
    for table in ("rope_cos_table", "rope_sin_table"):
        broken.change(table, lambda table: np.roll(table.reshape(-1, HEAD_DIM), -1, axis=0))
    # A shift of all positions changes nothing in attention: the tables themselves must be looked at.
    assert "tables.error_max" in failed_checks(broken)


def test_a_missing_attention_scale_is_caught(victim, failed_checks):
    broken = victim()
    broken.change("layers_0_attention_scale", np.ones_like)
    assert "decode.kl_mean" in failed_checks(broken)


def test_a_transposed_projection_is_caught(victim, failed_checks):
    broken = victim()
    broken.change("layers_3_o_proj_weight", lambda weight: weight.reshape(HIDDEN_SIZE, -1).T.reshape(-1))
    assert {"decode.kl_mean", "weights.snr_db"} <= failed_checks(broken)


def test_stricter_requirements_fail_by_name(anec, small_checkpoint, tmp_path):
    directory = anec.convert(small_checkpoint, "--lut", 4, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    outcome = verify(anec, directory, small_checkpoint, tmp_path, "--max-kl", "1e-6", "--min-snr", "60")
    assert outcome.code == 1
    assert "2 of " in outcome.stderr or "3 of " in outcome.stderr, outcome.stderr
    assert all(name in outcome.stderr for name in ("decode.kl_mean", "weights.snr_db"))


def test_the_text_that_ships_is_used_where_none_is_given(anec, small_checkpoint, tmp_path):
    directory = anec.convert(small_checkpoint, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    arguments = ("--against", small_checkpoint, "--report", tmp_path, "--limit", 32, "--json", "--quiet")
    outcome = anec.run("verify", directory, *arguments)
    assert outcome.code == 0, outcome.stderr
    assert "ships" in json.loads(outcome.stdout)["tokens"]["source"]


def test_another_checkpoint_is_refused(anec, small_checkpoint, presets, tmp_path):
    directory = anec.convert(small_checkpoint, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    outcome = verify(anec, directory, presets("tiny-llama"), tmp_path)
    assert outcome.code == 1
    assert "logits for" in outcome.stderr
    assert "is this the checkpoint that was converted?" in outcome.stderr


BROWSER = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")


@pytest.fixture
def shown(tmp_path):
    """What a browser makes of a page, without complaints on its console."""
    if BROWSER is None:
        pytest.skip("no browser is installed")

    def show(page: Path, *arguments: str) -> str:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options += ["--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}"]
        command = [BROWSER, *options, *arguments, "--enable-logging=stderr", "--dump-dom", page.as_uri()]
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in outcome.stderr, outcome.stderr
        return outcome.stdout

    return show


def test_the_page_shows_the_report_in_a_browser(anec, small_checkpoint, shown, tmp_path):
    directory = anec.convert(small_checkpoint, "--lut", 4, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    outcome = verify(anec, directory, small_checkpoint, tmp_path, samples=2)
    assert outcome.code == 0, outcome.stdout + outcome.stderr
    page = tmp_path / "report.html"
    document = shown(page)
    assert "Passed" in document
    # Divergence while decoding and after prefill, precision by layer, bytes by part.
    assert document.count("<svg") >= 4
    assert "layers_3_down_proj" in document
    assert section(document, "device") == "", "nothing ran on a device"
    assert "http://" not in page.read_text().replace("http://www.w3.org/", "")
    assert "https://" not in page.read_text()


#: Runs in the page once it is drawn, and leaves what it found in the document.
PROBE = """
<script>
const headings = [...document.querySelectorAll("main h2")].map((heading) => heading.textContent);
const buttons = [...document.querySelectorAll("#weights th button")];
const column = buttons.find((button) => button.textContent === "SNR");
document.querySelector("#weights").closest("details").open = true;
const rows = () => [...document.querySelectorAll("#weights tbody tr")];
const cells = () => rows().map((row) => parseFloat(row.children[4].textContent));
column.click();
const ascending = cells();
column.click();
const found = { headings, ascending, descending: cells(),
  folded: [...document.querySelectorAll("details")].map((fold) => fold.querySelector("summary").textContent),
  open: document.querySelectorAll("details[open]").length,
  overflow: document.documentElement.scrollWidth - window.innerWidth };
const probe = Object.assign(document.createElement("pre"), { id: "probe", textContent: JSON.stringify(found) });
document.body.append(probe);
</script>
"""


@pytest.mark.parametrize("width", [390, 900, 1600])
def test_the_page_says_first_what_decides_and_folds_the_rest(anec, small_checkpoint, shown, tmp_path, width):
    directory = anec.convert(small_checkpoint, "--lut", 4, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    assert verify(anec, directory, small_checkpoint, tmp_path, samples=2).code == 0
    page = tmp_path / "report.html"
    page.write_text(page.read_text().replace("</body>", PROBE + "</body>"))
    document = shown(page, f"--window-size={width},2000")
    found = json.loads(html.unescape(re.search(r'<pre id="probe">(.*?)</pre>', document, re.DOTALL).group(1)))
    assert "next tokens are the same" in section(document, "verdict")
    headings = found["headings"]
    assert headings.index("Answers side by side") < headings.index("Divergence along positions")
    assert headings.index("Divergence along positions") < next(
        place for place, heading in enumerate(headings) if heading.startswith("Passed checks")
    )
    assert [fold.split(" (")[0] for fold in found["folded"]] == ["Passed checks", "Weights", "RoPE tables"]
    assert found["open"] == 1, "only what the test opened"
    ascending = [value for value in found["ascending"] if value is not None]
    assert ascending == sorted(ascending)
    descending = [value for value in found["descending"] if value is not None]
    assert descending == sorted(descending, reverse=True)
    assert found["overflow"] <= 0


def test_the_page_shows_what_a_device_did(anec, small_checkpoint, shown, tmp_path):
    directory = anec.convert(small_checkpoint, "--lut", 4, "--chunks", 2, "--context-length", CONTEXT_LENGTH)
    assert verify(anec, directory, small_checkpoint, tmp_path, samples=2).code == 0
    page = tmp_path / "report.html"
    report = (tmp_path / "report.json").read_text().rstrip()
    gather = {"op": "gather", "result": "rows", "device": "CPU", "supported": True, "rules": ["runtime-gather"]}
    uses = [
        {"device": name, "operations": count, "share": 0.5, "cost": 0.5} for name, count in (("ANE", 70), ("CPU", 3))
    ]
    plan = {"part": "a", "function": "infer", "devices": uses, "neural_engine": 0.95, "elsewhere": [gather]}
    device = {
        "system": "Version 15.6 <Build 24G84>",
        "units": "cpu-and-ne",
        "agreement": [
            {"role": "chunk 1", "output": "output_hidden_states", "cosine": 0.9999, "psnr_db": 61.5},
            {"role": "LM head", "output": "logits1", "cosine": 1.0},
        ],
        "predictions": 1000,
        "not_finite": 0,
        "differing": 2,
        "plans": [plan, {**plan, "function": "prefill", "neural_engine": None, "devices": [], "elsewhere": []}],
    }
    del device["plans"][1]["neural_engine"]
    with_device = json.dumps({**json.loads(report), "device": device}).replace("<", "\\u003c")
    text = page.read_text()
    data = report.replace("<", "\\u003c")
    assert text.count(data) == 1
    page.write_text(text.replace(data, with_device))
    found = section(shown(page), "device")
    for expected in (
        "Version 15.6 &lt;Build 24G84&gt;",
        "1,000",
        "61.5 dB",
        "equal",
        "ANE 70, CPU 3",
        "95 %",
        "runtime-gather",
    ):
        assert expected in found, (expected, found)


def section(document: str, name: str) -> str:
    """What a section of the page shows; nothing where it is hidden."""
    start = document.index(f'id="{name}"')
    return (
        ""
        if document[start:].startswith(f'id="{name}" hidden')
        else document[start : document.index("</section>", start)]
    )
