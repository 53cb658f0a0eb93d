"""The chat format: ChatML turns after one begin-of-text token.

    <|begin_of_text|><|im_start|>user
    What is a nonce?<|im_end|>
    <|im_start|>assistant
    A nonce is ...<|im_end|>

Only the four tokens between <| and |> are special. Everything else, the role names and the line
ends included, is ordinary text.
"""

BOS, EOS, START, END = "<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>"
PAD = "<|pad|>"
RESERVED = ["<|reserved_0|>", "<|reserved_1|>", "<|reserved_2|>"]
SPECIAL = [BOS, EOS, START, END, PAD] + RESERVED  # token ids 0, 1, 2, ... in this order

TEMPLATE = """\
{{- bos_token }}
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('This model knows the roles system, user and assistant.') }}
    {%- endif %}
    {{- '<|im_start|>' + message['role'] + '\\n' }}
    {{- message['content'] | trim }}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def turn(role, content):
    """One finished turn as text."""
    return f"{START}{role}\n{content.strip()}{END}\n"


def render(messages, add_generation_prompt=True):
    """What TEMPLATE renders, written in Python; evaluate.py checks that both agree."""
    text = BOS + "".join(turn(m["role"], m["content"]) for m in messages)
    return text + f"{START}assistant\n" if add_generation_prompt else text
