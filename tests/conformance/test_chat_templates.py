"""Prompts of `anec run --show-prompt` against `apply_chat_template` of transformers, character by character."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from conftest import Anec
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

SPECIAL_TOKENS = {"bos_token": "<|begin|>", "eos_token": "</s>", "pad_token": "<pad>"}

CHATML = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are helpful.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools>\\n{\\"name\\": <function-name>}<|im_end|>\\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
{%- endif %}
{%- set ns = namespace(last=0, calls=[]) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and not ns.last %}
        {%- set ns.last = messages|length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set content = (message.content or '').split('</think>')[-1].lstrip('\\n') %}
        {{- '<|im_start|>' ~ message.role }}
        {%- if content %}
            {{- '\\n' + content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls or [] %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\\n<tool_call>\\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}{{- message.content }}{{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""

HEADERS = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- A comment that leaves nothing behind. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- if tools is not none and messages|length > 0 %}
    {%- set first_user_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
    {{- '<|start_header_id|>user<|end_header_id|>\\n\\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message + "<|eot_id|>"}}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {%- for arg_name, arg_val in tool_call.arguments | items %}
            {{- arg_name + '="' ~ arg_val ~ '"' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- endif %}
        {%- endfor %}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

INST = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for message in loop_messages | rejectattr("role", "equalto", "tool") | rejectattr("tool_calls", "defined") %}
    {%- if (message["role"] == "user") != (loop.index0 % 2 == 0) %}
        {{- raise_exception("Roles must alternate: user/assistant/user/assistant/...") }}
    {%- endif %}
{%- endfor %}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[AVAILABLE_TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[TOOL_CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
                {{- raise_exception("Tool call IDs should be alphanumeric strings with length 9!") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {%- generation %}
        {{- " " + message["content"] + eos_token }}
        {%- endgeneration %}
    {%- elif message["role"] == "tool" %}
        {{- '[TOOL_RESULTS] {"content": ' + message.content|string + "}[/TOOL_RESULTS]" }}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported!") }}
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
            "description": "The <weather> & \"wind\" of a place: größer > 3 °C 🌦",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string", "enum": ["Köln", "O'Hare"]}, "days": {"type": "integer"}},
                "required": ["place"],
            },
            "return": {"type": "number"},
        },
    },
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
]

TURNS = [
    {"role": "user", "content": " Hello <there> & \"you\"\n"},
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
                "function": {"name": "weather", "arguments": {"place": "Köln", "days": 3, "exact": 1e-5, "deep": [None, True, 2.0]}},
            }
        ],
    },
    {"role": "tool", "content": "17.5"},
    {"role": "user", "content": "Thanks"},
]
MIXED_TURNS = [
    {"role": "user", "content": "one"},
    {"role": "skip", "content": "no"},
    {"role": "assistant", "content": [{"type": "text", "text": "two"}, {"type": "x", "image": 1}], "extra": {"b": 1.5, "a": [None, True]}},
    {"role": "user", "content": "thrée", "extra": {"q\"'": "it's \"x\" \n"}},
    {"role": "end", "content": "no"},
]


@dataclass(frozen=True)
class Case:
    """A template, and what it is filled with."""

    template: object
    messages: list
    tools: list | None = None
    variables: dict = field(default_factory=dict)


NAMED = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": CHATML}]

CASES = {
    "chatml": Case(CHATML, TURNS),
    "chatml-system": Case(CHATML, SYSTEM),
    "chatml-tools": Case(CHATML, SYSTEM, TOOLS),
    "chatml-tool-calls": Case(CHATML, TOOL_TURNS, TOOLS),
    "chatml-variable": Case(CHATML, TURNS, None, {"enable_thinking": False}),
    "headers-with-date": Case(HEADERS, SYSTEM),
    "headers-given-date": Case(HEADERS, TURNS, None, {"date_string": "1 Jan 2000"}),
    "headers-tools": Case(HEADERS, SYSTEM, TOOLS),
    "headers-tool-calls": Case(HEADERS, TOOL_TURNS, TOOLS),
    "headers-too-many-calls": Case(HEADERS, [{"role": "assistant", "content": "", "tool_calls": []}]),
    "inst": Case(INST, TURNS),
    "inst-system": Case(INST, SYSTEM),
    "inst-tools": Case(INST, TOOL_TURNS, TOOLS),
    "inst-wrong-order": Case(INST, TURNS[1:]),
    "mixed": Case(MIXED, MIXED_TURNS),
    "plain": Case(PLAIN, SYSTEM),
    "named": Case(NAMED, TURNS),
    "named-tools": Case(NAMED, TURNS, TOOLS),
}


def transformers_prompt(case: Case) -> str:
    """What transformers renders; its message where the template refuses."""
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
    try:
        before = transformers_prompt(case)
    except Exception as error:  # noqa: BLE001 - what a template raises
        outcome = anec.run("run", tmp_path, *arguments)
        assert outcome.code == 1
        assert f"the chat template refuses the conversation: {error}" in outcome.stderr
        return
    outcome = anec.run("run", tmp_path, *arguments)
    assert outcome.code == 0, outcome.stderr
    # The second prompt is for the day that ended in between.
    assert outcome.stdout in (before, transformers_prompt(case))
