"""The chat format: marks of the turns, functions on offer and calls in the Hermes format, as template and as text.

Functions stand in the system turn between `<tools>` and `</tools>`, one JSON object a line, as OpenAI's `tools` have
them. The assistant calls one with `<tool_call>`, a line of JSON with `name` and `arguments`, and `</tool_call>`. The
function's result is a turn of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
MARKS = {role: f"<|{role}|>" for role in ("system", "user", "assistant", "tool")}
"""The token that opens a turn of each role."""
SPECIAL = [PAD, BEGIN, END, *MARKS.values()]
TOOLS_BEFORE, TOOLS_AFTER = "You can call these functions:\n<tools>\n", "</tools>"
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}"
    "{% set system = messages[0]['content'] | trim if messages and messages[0]['role'] == 'system' else '' %}"
    "{% if tools %}"
    "{{ '<|system|>' + (system + '\n\n' if system else '') + 'You can call these functions:\n<tools>\n' }}"
    "{% for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}"
    "{{ '</tools><|end|>' }}"
    "{% endif %}"
    "{% for message in messages %}"
    "{% if not (tools and loop.first and message['role'] == 'system') %}"
    "{{ '<|' + message['role'] + '|>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{{ message['content'] or '' }}"
    "{% for call in message['tool_calls'] or [] %}"
    "{% if message['content'] or not loop.first %}{{ '\n' }}{% endif %}"
    "{{ '<tool_call>\n{\"name\": ' + (call['function']['name'] | tojson) + ', \"arguments\": ' }}"
    "{% set arguments = call['function']['arguments'] %}"
    "{{ (arguments if arguments is string else arguments | tojson) + '}\n</tool_call>' }}"
    "{% endfor %}"
    "{% else %}{{ message['content'] | trim }}{% endif %}"
    "{{ '<|end|>' }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def tools_text(tools: Sequence[dict[str, Any]]) -> str:
    """Return the functions on offer as the template writes them."""
    return TOOLS_BEFORE + "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in tools) + TOOLS_AFTER
