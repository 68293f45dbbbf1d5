"""Prompts of `anec run --show-prompt` against `apply_chat_template` of transformers, character by character."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from conftest import Anec

SPECIAL_TOKENS = {"bos_token": "<|begin|>", "eos_token": "</s>", "pad_token": "<pad>"}

#: Tags around every turn; tools and calls as JSON; what an assistant thought is left out of earlier turns.
TAGS = """\
{%- set seen = namespace(question=-1) %}
{%- for turn in messages[::-1] %}
    {%- if turn.role == 'user' and seen.question < 0 %}
        {%- set seen.question = messages|length - loop.index %}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- '<turn system>\\n' ~ (messages[0].content if messages[0].role == 'system' else 'Use tools.') ~ '\\n[tools' }}
    {%- for tool in tools %}{{ '\\n' ~ tool|tojson }}{% endfor %}
    {{- "]</turn>\\n" }}
{%- elif messages[0]['role'] == 'system' %}
    {{- '<turn system>\\n' + messages[0]['content'] + '</turn>\\n' }}
{%- endif %}
{%- for turn in messages if turn.role != 'system' %}
    {%- set before = loop.previtem.role if not loop.first else '' %}
    {%- set text = (turn.content or '').split('</think>')[-1].lstrip('\\n') %}
    {%- if turn.role == 'tool' %}
        {{- ('<turn results>' if before != 'tool') ~ '\\n[' ~ turn.content ~ ']' }}
        {{- '</turn>\\n' if loop.last or loop.nextitem.role != 'tool' }}
    {%- else %}
        {%- set earlier = loop.revindex > messages|length - seen.question %}
        {{- '<turn ' ~ turn.role ~ '>\\n' ~ (text if earlier else turn.content) }}
        {%- for call in turn.tool_calls or [] %}
            {%- if call.function is defined %}{% set call = call.function %}{% endif %}
            {{- '\\n{"call": "' + call.name + '", "with": ' + call.arguments|tojson + '}' }}
        {%- endfor %}
        {{- '</turn>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<turn assistant>\\n' }}
    {%- if thinks is defined and thinks is false %}{{ '<think></think>\\n' }}{% endif %}
{%- endif %}
"""

#: A date, trimmed texts, indented JSON, mappings that are walked, and a refusal.
DATED = """\
{{- bos_token }}
{#- A comment that leaves nothing behind. #}
{%- if day is not defined %}
    {%- set day = strftime_now("%d %b %Y") if strftime_now is defined else "no day" %}
{%- endif %}
{{- "== " + day + " ==\\n\\n" }}
{%- if tools is not none %}
    {%- for tool in tools %}{{ tool|tojson(indent=4) }}{{ ";\\n" }}{% endfor -%}
{%- endif %}
{%- set turns = messages[1:] if messages[0].role == 'system' else messages %}
{%- if turns|length < messages|length %}{{ "(" ~ messages[0].content|trim ~ ")\\n" }}{% endif %}
{%- for turn in turns %}
    {%- if 'tool_calls' in turn %}
        {%- set calls = turn.tool_calls|length %}
        {%- if calls != 1 %}{{ raise_exception("expected one call, not " ~ calls) }}{% endif %}
        {%- for name, value in turn.tool_calls[0].function.arguments|items %}
            {{- name + '="' ~ value ~ '"' ~ (", " if not loop.last) }}
        {%- endfor %}
        {{- ".\\n" }}
    {%- elif turn.content is mapping or (turn.content is iterable and turn.content is not string) %}
        {{- turn.content|tojson }}
    {%- else %}
        {{- turn['role']|upper + ": " + turn['content']|trim + "\\n" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "ASSISTANT:" }}{% endif %}
"""

#: Filters with tests, JSON that is put together by hand and cut, blocks for training, and three refusals.
STRICT = """\
{%- set rest = messages|rejectattr("role", "equalto", "system")|list %}
{%- set asked = rest|selectattr("role", "equalto", "user")|list %}
{%- for turn in rest|rejectattr("role", "equalto", "tool")|rejectattr("tool_calls", "defined") if tools is none %}
    {%- if (loop.index0 % 2 == 0) != (turn.role == "user") %}
        {{- raise_exception("turn " ~ loop.index ~ " is not due") }}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for turn in rest %}
    {%- if turn.role == "user" %}
        {%- if tools is not none and turn == asked[-1] %}
            {%- for tool in tools %}
                {{- "{" if loop.first else ", " }}{{ tool.function.name|tojson }}: {
                {%- for key, value in tool.function.items() if key != "name" %}
                    {%- if value is string %}{{ '"' + key + '": "' + value + '"' }}
                    {%- else %}{{ key|tojson ~ ': ' ~ value|tojson }}{% endif %}
                    {%- if not loop.last %}{{ ", " }}{% endif %}
                {%- endfor %}
                {{- "}" ~ ("}" if loop.last) }}
            {%- endfor %}
        {%- endif %}
        {{- "Q " + turn.content }}
    {%- elif turn.tool_calls is defined and turn.tool_calls is not none %}
        {%- for call in turn.tool_calls %}
            {%- if call.id is not defined or call.id|length != 9 %}
                {{- raise_exception("a call without an id of nine") }}
            {%- endif %}
            {%- set text = call.function|tojson %}
            {{- text[:-1] + ', "as": "' + call.id + '"}' ~ (eos_token if loop.last) }}
        {%- endfor %}
    {%- elif turn.role == "tool" %}
        {{- "R " + turn.content|string }}
    {%- elif turn.role == "assistant" %}
        {%- generation %}
        {{- "A " + turn.content + eos_token }}
        {%- endgeneration %}
    {%- else %}
        {{- raise_exception(turn.role + " has no place here") }}
    {%- endif %}
{%- endfor %}
"""

MIXED = """\
{% macro render(content) %}
{% if content is string %}{{ content.strip() }}{% else %}
{% for part in content %}
{% if part.type == 'text' %}{{ part.text | upper }}{% elif 'image' in part %}<image>{% endif %}
{% endfor %}
{% endif %}
{% endmacro %}
{% for message in messages %}
{% if message.role == 'skip' %}{% continue %}{% endif %}
{% if message.role == 'end' %}{% break %}{% endif %}
{{ loop.index }}/{{ loop.length }} {{ message.role.title() }}{{ ' after ' + loop.previtem.role if loop.previtem }}
  {% set extra = message.extra | default({}) %}
{% generation %}
{{ render(message.content) }}
{% endgeneration %}
{{ message.content }}
{{ extra | tojson }} {{ extra }} {{ extra.missing }}|{{ none }}|{{ true }}|{{ 1 / 2 }}|{{ 7 // 2 }}|{{ 2 ** 3 }}
{% for key, value in extra | dictsort %}{{ key }}={{ value }};{% endfor %}
{{ message.content | length }} {{ message.content[0] }} {{ [1, 'a', none, false, 1.0, 'it\\'s'] }} {{ {'k': ('v', 1)} }}
{{ "%s is %d" | format("x", 3) }} {{ ['a', 'b'] | join('-') }} {{ 'a,b'.split(',') | last }} {{ "ab"[::-1] }}
{{ 'abc'.replace('b', 'x') }} {{ 'abc'.startswith('ab') }} {{ 'Abc'.lower() }} {{ ' x '.rstrip() }}| {{ 'x' * 3 }}
{{ range(3) | list }} {{ [3, 1, 2] | sort }} {{ [1, 2] + [3] }} {{ (1, 2) }} {{ 'b' in 'abc' }} {{ 'x' not in ['x'] }}
{% endfor %}
{{ additional_special_tokens is defined }} {{ pad_token }} {{ tools is none }} {{ documents is none }}

"""

PLAIN = "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}{{ eos_token }}\n{% endfor %}\n"

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'The <weather> & "wind" of a place: größer > 3 °C 🌦',
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "enum": ["Köln", "O'Hare"]}, "days": {"type": "integer"}},
                "required": ["place"],
            },
            "return": {"type": "number"},
        },
    },
    {
        "type": "function",
        "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}},
    },
]

TURNS = [
    {"role": "user", "content": ' Hello <there> & "you"\n'},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHello! 👋"},
    {"role": "user", "content": "Ça va?  \n"},
]
SYSTEM = [{"role": "system", "content": "  Be brief. "}, *TURNS]
TOOL_TURNS = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "type": "function",
                "id": "abcdefghi",
                "function": {
                    "name": "weather",
                    "arguments": {"place": "Köln", "days": 3, "exact": 0.125, "deep": [None, True, 2.0]},
                },
            }
        ],
    },
    {"role": "tool", "content": "17.5"},
    {"role": "user", "content": "Thanks"},
]
MIXED_TURNS = [
    {"role": "user", "content": "one"},
    {"role": "skip", "content": "no"},
    {
        "role": "assistant",
        "content": [{"type": "text", "text": "two"}, {"type": "x", "image": 1}],
        "extra": {"b": 1.5, "a": [None, True]},
    },
    {"role": "user", "content": "thrée", "extra": {"q\"'": 'it\'s "x" \n'}},
    {"role": "end", "content": "no"},
]


@dataclass(frozen=True)
class Case:
    """A template, and what it is filled with."""

    template: object
    messages: list
    tools: list | None = None
    variables: dict = field(default_factory=dict)


NAMED = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": TAGS}]

CASES = {
    "tags": Case(TAGS, TURNS),
    "tags-system": Case(TAGS, SYSTEM),
    "tags-tools": Case(TAGS, SYSTEM, TOOLS),
    "tags-tool-calls": Case(TAGS, TOOL_TURNS, TOOLS),
    "tags-variable": Case(TAGS, TURNS, None, {"thinks": False}),
    "dated": Case(DATED, SYSTEM),
    "dated-given": Case(DATED, TURNS, None, {"day": "1 Jan 2000"}),
    "dated-tools": Case(DATED, SYSTEM, TOOLS),
    "dated-tool-calls": Case(DATED, TOOL_TURNS, TOOLS),
    "strict": Case(STRICT, TURNS),
    "strict-system": Case(STRICT, SYSTEM),
    "strict-tools": Case(STRICT, TOOL_TURNS, TOOLS),
    "mixed": Case(MIXED, MIXED_TURNS),
    "plain": Case(PLAIN, SYSTEM),
    "named": Case(NAMED, TURNS),
    "named-tools": Case(NAMED, TURNS, TOOLS),
}

REFUSED = {
    "dated-too-many-calls": Case(DATED, [{"role": "assistant", "content": "", "tool_calls": []}]),
    "strict-wrong-order": Case(STRICT, TURNS[1:]),
}


def transformers_prompt(case: Case) -> str:
    """What transformers renders."""
    template = case.template
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()), chat_template=template, **SPECIAL_TOKENS
    )
    return tokenizer.apply_chat_template(
        case.messages, tools=case.tools, add_generation_prompt=True, tokenize=False, **case.variables
    )


def write(directory: Path, case: Case, *, own_file: bool) -> list[str]:
    """The files of the model, and the arguments that go with them."""
    config: dict[str, object] = dict(SPECIAL_TOKENS)
    if own_file:
        config["chat_template"] = "the file of its own goes first"
        (directory / "chat_template.jinja").write_text(str(case.template), encoding="utf-8", newline="")
    else:
        config["chat_template"] = case.template
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "messages.json").write_text(json.dumps(case.messages), encoding="utf-8")
    arguments = ["--show-prompt", "--messages", str(directory / "messages.json")]
    if case.tools is not None:
        (directory / "tools.json").write_text(json.dumps(case.tools), encoding="utf-8")
        arguments += ["--tools", str(directory / "tools.json")]
    for name, value in case.variables.items():
        arguments += ["--set", f"{name}={json.dumps(value)}"]
    return arguments


@pytest.mark.parametrize("own_file", [False, True], ids=["config", "file"])
@pytest.mark.parametrize("name", CASES)
def test_prompts_are_those_of_transformers(anec: Anec, tmp_path: Path, name: str, own_file: bool) -> None:
    case = CASES[name]
    if own_file and isinstance(case.template, list):
        pytest.skip("a file holds one template")
    arguments = write(tmp_path, case, own_file=own_file)
    before = transformers_prompt(case)
    outcome = anec.run("run", tmp_path, *arguments)
    assert outcome.code == 0, outcome.stderr
    # The second prompt is for the day that ended in between.
    assert outcome.stdout in (before, transformers_prompt(case))


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_are_those_of_transformers(anec: Anec, tmp_path: Path, name: str) -> None:
    case = REFUSED[name]
    with pytest.raises(TemplateError) as refusal:
        transformers_prompt(case)
    outcome = anec.run("run", tmp_path, *write(tmp_path, case, own_file=False))
    assert outcome.code == 1
    assert f"the chat template refuses the conversation: {refusal.value}" in outcome.stderr
