#!/usr/bin/env python3
"""What ways to store a model cost, on real text: divergence, perplexity and answers, as a table.

    quality_table.py CHECKPOINT... --text FILE [--anec BINARY] [--windows N] [--only NAME]... [--write FILE]

Every way is converted by anec; the weights are read back from the packages and put into transformers' model of the
checkpoint, which runs over all windows of 512 tokens of the text, and over chats that the checkpoint itself gives to
prompts which are not those that anec calibrates with. Figures are means over positions. Of one window, what
`anec verify` says with the packages themselves, and what the evaluator of coremltools' programs (`judge.py`) says,
stand beside it.

coremltools palettizes the same weights, each part of the head as a weight of its own, through its public API.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "judges"))

import quiet  # noqa: E402, F401 - before coremltools

# isort: split

import argparse
import json
import math
import os
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from client import ClientModel
from judge import Agreement
from peer_palettes import palettized
from quality_prompts import PROMPTS
from stored_weights import HEAD, stored

ROOT = Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
WINDOW = 512
#: Tokens of an answer that is evaluated, and of one that is shown.
CHAT_TOKENS, SHOWN_TOKENS = 256, 48
#: Windows that go through the model at a time.
BATCH = 2
PEER = "coremltools"
FULL = "the checkpoint"

#: Options of each way to store a model. Where 32 does not divide all channels, 16 or 8 stand in for it.
WAYS: dict[str, tuple[str, ...]] = {
    "4 bits, plain": ("--lut", "4", "--calibration", "none"),
    f"4 bits, {PEER}": (),
    "4 bits, plain, head fp16": ("--lut-ffn", "4", "--calibration", "none"),
    "4 bits, calibrated, head fp16": ("--lut-ffn", "4"),
    "`--lut 4`": ("--lut", "4"),
    "`--lut 4 --uniform`": ("--lut", "4", "--uniform"),
    "`--lut 4 --group-size 32`": ("--lut", "4", "--uniform", "--group-size", "32"),
    "6 bits, plain": ("--lut", "6", "--calibration", "none"),
    "`--lut 6 --uniform`": ("--lut", "6", "--uniform"),
    "`--lut 6`": ("--lut", "6"),
    "`--bits 4.6`": ("--bits", "4.6"),
    "`--bits 5.1`": ("--bits", "5.1"),
    "`--lut 8`": ("--lut", "8"),
    "`--ffn int8 --lm-head int8`": ("--ffn", "int8", "--lm-head", "int8"),
}
#: Whose answers are shown.
SHOWN = ("4 bits, plain", "`--lut 4`", "`--lut 6`")
#: Whose packages are run op by op, which is slow.
RUN = ("`--lut 4`",)


@dataclass
class Row:
    """One way to store one checkpoint."""

    checkpoint: str
    way: str
    layer_bits: float = 16.0
    head_bits: float = 16.0
    seconds: float = 0.0
    kl: dict[str, float] = field(default_factory=dict)
    perplexity: dict[str, float] = field(default_factory=dict)
    top1: dict[str, float] = field(default_factory=dict)
    #: Divergence on the sampled window, by who says so.
    sampled_kl: dict[str, float] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)


class Judge:
    """transformers' model of a checkpoint, whose weights can be replaced."""

    def __init__(self, checkpoint: Path, seed: int) -> None:
        self.checkpoint, self.seed = checkpoint, seed
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
        # Of a tied head, a copy, so that it can differ from the embeddings.
        self.model.lm_head.weight = torch.nn.Parameter(self.model.lm_head.weight.detach().clone(), requires_grad=False)
        self.parameters = dict(self.model.named_parameters())
        names = [name for name in self.parameters if name.endswith("_proj.weight")] + [HEAD]
        self.own = {name: self.parameters[name].detach().clone() for name in names}
        self.start = self.tokenizer.bos_token_id

    def put(self, weights: dict[str, np.ndarray] | None) -> None:
        """Replaces the weights; puts the checkpoint's own back where there are none."""
        for name, own in self.own.items():
            found = own if weights is None else torch.from_numpy(np.ascontiguousarray(weights[name]))
            self.parameters[name].data.copy_(found)

    def windows(self, tokens: list[int], most: int | None) -> torch.Tensor:
        """Windows of a text, each with the token for the start; at most so many, evenly from all of it."""
        start = [] if self.start is None else [self.start]
        body = WINDOW - len(start)
        found = [start + tokens[at : at + body] for at in range(0, len(tokens) - body + 1, body)]
        if most is not None and most < len(found):
            found = [found[at * len(found) // most] for at in range(most)]
        return torch.tensor(found)

    def text(self, path: Path, most: int | None) -> torch.Tensor:
        return self.windows(self.tokenizer(path.read_text(), add_special_tokens=False).input_ids, most)

    def chats(self) -> torch.Tensor:
        """Answers of the checkpoint to the prompts, with them, one after the other."""
        torch.manual_seed(self.seed)
        sampling = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0}
        found = self.generated(CHAT_TOKENS, **sampling)
        return self.windows([token for answer in found for token in answer], None)

    def generated(self, tokens: int, **sampling) -> list[list[int]]:
        """Prompts with their answers, in one batch."""
        prompts = [self.prompt(prompt) for prompt in PROMPTS]
        longest = max(map(len, prompts))
        padding = self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0
        ids = torch.tensor([[padding] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        output = self.model.generate(
            ids, attention_mask=mask, max_new_tokens=tokens, pad_token_id=padding, **sampling
        ).tolist()
        ends = set(np.atleast_1d(self.model.generation_config.eos_token_id or -1).tolist())
        found = []
        for prompt, row in zip(prompts, output, strict=True):
            answer = row[longest:]
            end = next((at + 1 for at, token in enumerate(answer) if token in ends), len(answer))
            found.append(prompt + answer[:end])
        return found

    def answers(self) -> list[str]:
        """The most likely answers, as text."""
        found = self.generated(SHOWN_TOKENS, do_sample=False)
        lengths = [len(self.prompt(prompt)) for prompt in PROMPTS]
        decode = self.tokenizer.decode
        return [decode(row[length:], skip_special_tokens=True) for row, length in zip(found, lengths, strict=True)]

    def prompt(self, text: str) -> list[int]:
        if self.tokenizer.chat_template is None:
            return self.tokenizer(text).input_ids
        message = [{"role": "user", "content": text}]
        return self.tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True)

    def hidden(self, windows: torch.Tensor) -> torch.Tensor:
        """What the head gets, `[windows, tokens, hidden]`."""
        return torch.cat([self.model.model(part).last_hidden_state for part in windows.split(BATCH)])

    def logits(self, hidden: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        logits = hidden @ head.T
        return logits if not cap else cap * torch.tanh(logits / cap)

    def compared(
        self, windows: torch.Tensor, expected: torch.Tensor, found: torch.Tensor
    ) -> tuple[float, float, float]:
        """Mean divergence, perplexity and share of equal best tokens; `expected` and `found` are what the heads get."""
        kl = nll = top1 = 0.0
        for tokens, reference, model in zip(windows, expected, found, strict=True):
            p = self.logits(reference, self.own[HEAD]).log_softmax(-1)
            q = self.logits(model, self.parameters[HEAD]).log_softmax(-1)
            kl += float((p.exp() * (p - q)).sum(-1).double().sum())
            top1 += float((p.argmax(-1) == q.argmax(-1)).double().sum())
            nll -= float(q[:-1].gather(-1, tokens[1:, None]).double().sum())
        positions = windows.numel()
        return kl / positions, math.exp(nll / (positions - len(windows))), top1 / positions


class Converter:
    """The command."""

    def __init__(self, anec: Path, checkpoint: Path, scratch: Path) -> None:
        self.anec, self.checkpoint, self.scratch = anec, checkpoint, scratch

    def run(self, *arguments: object) -> str:
        command = [str(self.anec), *map(str, arguments)]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

    def convert(self, options: tuple[str, ...]) -> tuple[Path, float]:
        """The converted directory, and how long it took."""
        output = self.scratch / "converted"
        started = time.monotonic()
        fixed = ("--quiet", "--force", "--no-check", "--emit", "mlpackage", "--context-length", str(WINDOW))
        self.run("convert", self.checkpoint, "-o", output, *fixed, *self.fitting(options))
        return output, time.monotonic() - started

    def fitting(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Options with the largest group of at most 32 that divides all channels, where they name 32."""
        if "--group-size" not in options:
            return options
        at = options.index("--group-size") + 1
        for size in ("32", "16", "8"):
            tried = (*options[:at], size, *options[at + 1 :])
            planned = subprocess.run(
                [self.anec, "plan", self.checkpoint, *tried], capture_output=True, text=True, check=False
            )
            if planned.returncode == 0:
                return tried
        return options

    def verified(self, output: Path, tokens: list[int]) -> float:
        """Mean divergence as `anec verify` finds it."""
        ids = self.scratch / "tokens.json"
        ids.write_text(json.dumps([tokens]))
        command = [self.anec, "verify", output, "--against", self.checkpoint, "--tokens", ids, "--json", "--quiet"]
        command += ["--report", self.scratch / "report"]
        # Exit code 1 says that a threshold is not met, and still has the figures.
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        return json.loads(result.stdout)["decode"]["kl_mean"]


def peer(judge: Judge, converter: Converter) -> dict[str, np.ndarray]:
    """coremltools' palettes of 4 bits for groups of 8."""
    parts: dict[str, list[torch.Tensor]] = {name: [weight] for name, weight in judge.own.items() if name != HEAD}
    sizes = json.loads(converter.run("plan", converter.checkpoint, "--json"))["lm_head_sizes"]
    parts[HEAD] = list(judge.own[HEAD].split(sizes))
    flat = {f"{name}/{at}": part[..., None, None] for name, split in parts.items() for at, part in enumerate(split)}
    found = palettized(flat, 4, 8)
    joined = {}
    for name, split in parts.items():
        joined[name] = np.concatenate(
            [found[f"{name}/{at}"].reshape(part.shape).float().numpy() for at, part in enumerate(split)]
        )
    return joined


def rows(arguments: argparse.Namespace, checkpoint: Path, scratch: Path) -> list[Row]:
    judge = Judge(checkpoint, arguments.seed)
    converter = Converter(arguments.anec.resolve(), checkpoint, scratch)
    texts = {"text": judge.text(arguments.text, arguments.windows), "chat": judge.chats()}
    if arguments.keep:
        kept = arguments.keep / f"{checkpoint.name}-chat.json"
        kept.write_text(json.dumps({"windows": texts["chat"].tolist()}))
    expected = {name: judge.hidden(windows) for name, windows in texts.items()}
    sampled = texts["text"][len(texts["text"]) // 2][: arguments.sampled]
    found = [Row(checkpoint.name, FULL, answers=judge.answers())]
    for name, windows in texts.items():
        found[0].perplexity[name] = judge.compared(windows, expected[name], expected[name])[1]
    report(found[0])
    for way in arguments.only or WAYS:
        row = Row(checkpoint.name, way)
        output = None
        if way.endswith(PEER):
            started = time.monotonic()
            weights = peer(judge, converter)
            row.seconds = time.monotonic() - started
            row.layer_bits = row.head_bits = math.nan
        else:
            output, row.seconds = converter.convert(WAYS[way])
            result = stored(output)
            weights, row.layer_bits, row.head_bits = result.weights, result.layer_bits, result.head_bits
        judge.put(weights)
        for name, windows in texts.items():
            row.kl[name], row.perplexity[name], row.top1[name] = judge.compared(
                windows, expected[name], judge.hidden(windows)
            )
        if way in SHOWN:
            row.answers = judge.answers()
        model = judge.hidden(sampled[None])[0]
        q = judge.logits(model, judge.parameters[HEAD])
        judge.put(None)
        reference = judge.logits(judge.hidden(sampled[None])[0], judge.own[HEAD])
        row.sampled_kl["weights"] = Agreement.of(reference, q).mean_kl
        if output is not None:
            row.sampled_kl["anec verify"] = converter.verified(output, sampled.tolist())
            if way in RUN:
                client = ClientModel(output)
                logits = torch.stack([client.logits(token, at) for at, token in enumerate(sampled.tolist())])
                row.sampled_kl["packages"] = Agreement.of(reference, logits).mean_kl
        report(row)
        found.append(row)
        if arguments.json:
            arguments.json.with_suffix(".partial").write_text(json.dumps([asdict(row) for row in found], indent=1))
    return found


def report(row: Row) -> None:
    figures = {name: getattr(row, name) for name in ("kl", "perplexity", "top1", "sampled_kl")}
    bits = f"{row.layer_bits:.2f}/{row.head_bits:.2f} bits"
    print(row.checkpoint, row.way, bits, f"{row.seconds:.0f} s", json.dumps(figures), file=sys.stderr, flush=True)


def table(found: list[Row]) -> str:
    head = [
        "checkpoint", "stored", "bits: layers", "head", "KL: text", "chat", "perplexity: text", "chat",
        "same best: text", "chat",
    ]  # fmt: skip
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    base: dict[str, Row] = {row.checkpoint: row for row in found if row.way == FULL}
    for row in found:
        number = lambda value, digits: "" if math.isnan(value) else f"{value:.{digits}f}"  # noqa: E731
        cells = [row.checkpoint, row.way, number(row.layer_bits, 2), number(row.head_bits, 2)]
        cells += [f"{row.kl[name]:.4f}" if row.kl else "" for name in ("text", "chat")]
        for name in ("text", "chat"):
            ratio = row.perplexity[name] / base[row.checkpoint].perplexity[name]
            cells.append(f"{row.perplexity[name]:.2f}" + (f" ({ratio:.3f} ×)" if row.kl else ""))
        cells += [f"{100 * row.top1[name]:.1f} %" if row.kl else "" for name in ("text", "chat")]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def agreement_table(found: list[Row]) -> str:
    """Divergence on the sampled window, by each judge."""
    names = ("weights", "anec verify", "packages")
    lines = [["checkpoint", "stored", *names], ["---", "---", *["---:"] * len(names)]]
    for row in found:
        if len(row.sampled_kl) > 1:
            cells = [f"{row.sampled_kl[name]:.4f}" if name in row.sampled_kl else "" for name in names]
            lines.append([row.checkpoint, row.way, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def answers_text(found: list[Row]) -> str:
    """The answers side by side, prompt by prompt."""
    lines = []
    for checkpoint in dict.fromkeys(row.checkpoint for row in found):
        shown = [row for row in found if row.checkpoint == checkpoint and row.answers]
        for at, prompt in enumerate(PROMPTS):
            lines.append(f"\n{checkpoint}: {prompt}")
            lines += [f"  {row.way:>24}: {' '.join(row.answers[at].split())}" for row in shown]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="what is evaluated beside chats; not calibrated on")
    parser.add_argument("--anec", type=Path, default=ROOT / "target" / "release" / "anec")
    parser.add_argument("--windows", type=int, help="windows of the text, evenly from all of it; else all")
    parser.add_argument("--sampled", type=int, default=96, help="tokens on which the judges are compared")
    parser.add_argument("--only", action="append", choices=list(WAYS), help="repeat for several")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--json", type=Path, help="where all figures and answers go")
    parser.add_argument("--keep", type=Path, help="directory for the tokens of the chats")
    parser.add_argument("--scratch", type=Path, help="directory to convert below")
    parser.add_argument("--write", type=Path, help="file whose table is replaced")
    arguments = parser.parse_args()
    torch.set_grad_enabled(False)
    # The evaluator takes one thread for itself when it is imported.
    torch.set_num_threads(os.cpu_count() or 1)
    found = []
    for checkpoint in arguments.checkpoints:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
            found += rows(arguments, checkpoint.resolve(), Path(scratch))
    text = table(found)
    print(f"{text}\n\n{agreement_table(found)}\n{answers_text(found)}")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=1))
    if arguments.write:
        before, begin, rest = arguments.write.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            sys.exit(f"{arguments.write}: no markers `{BEGIN}` and `{END}`")
        arguments.write.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
