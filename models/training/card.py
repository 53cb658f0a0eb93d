"""Writes the model card from what was measured: OUT/evaluation.json, OUT/checkpoint.pt, golden.json.

    python card.py OUT ../demo
"""

import json
import sys
from pathlib import Path

import torch

import data
import train
from export import replace
from model import CONFIG

CARD = """---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# BlindLlama demo model

A very small Llama that answers short English questions about BlindLlama and about a few everyday
subjects. It exists so that the server can be shown, tested and measured with a real model whose
bytes are in the repository. It is the smallest thing that has everything which the engine has to get
right: grouped queries, rotary positions, byte-level BPE, a chat template, special tokens, a stop list.

## What it is not

It is not useful as an assistant. It has learned {n_answers} answers by heart and picks one of them. A
question that it was not taught it may refuse or answer wrongly, and a known question in an unusual
wording often gets another question's answer (see the results). It knows no news and no language but
English, and it does no reasoning; the small sums are learned by heart, too. A verified answer of this
model is still only an answer of this model.

## Architecture

`LlamaForCausalLM`, {n_parameters:,} parameters, stored as bf16 in `model.safetensors`.

| | |
|---|---|
| layers | {num_hidden_layers} |
| hidden size | {hidden_size} |
| feed-forward size | {intermediate_size} (SwiGLU) |
| heads | {num_attention_heads} query, {num_key_value_heads} key and value, {head_dim} wide |
| vocabulary | {vocab_size}, byte-level BPE, input and output matrix shared |
| positions | rotary, theta {rope_theta:.0f}, up to {max_position_embeddings} tokens |
| norm | RMSNorm, eps {rms_norm_eps} |

## Chat format

ChatML turns after one begin-of-text token; `chat_template` in `tokenizer_config.json` renders it:

    <|begin_of_text|><|im_start|>user
    What is a nonce?<|im_end|>
    <|im_start|>assistant

Ids: `<|begin_of_text|>` 0, `<|end_of_text|>` 1, `<|im_start|>` 2, `<|im_end|>` 3, `<|pad|>` 4, and three
reserved ones up to 7. An answer ends with `<|im_end|>`; the stop list is [3, 1]. The rendered template
already begins with `<|begin_of_text|>`, so encode it without adding special tokens. A system message is
optional. Role names and line ends are ordinary text.

## Data

{n_facts} question groups with {n_trained:,} trained wordings, {n_dialogues} longer dialogues, and
{n_words} words for "I do not know that". All of it was written for this project, or is generated from
small tables; nothing was collected anywhere. It lies in `models/training/data` and `everyday.py`.

## Training

Random initialisation, seed {seed}. {steps} steps of about {tokens} tokens: conversations of one or more
turns in rows of {lengths} tokens, each question in a random wording, half of them with small changes
(case, punctuation, small words left out, a greeting, a typing error). Loss on the answers only. AdamW,
weight decay {decay}, gradient norm at most {clip}, no dropout. The rate rises to {peak} in {warmup} steps
and follows a cosine to {final} at step {plan}{cool}.
It took {minutes:.0f} minutes on two CPU cores. The commands are in
`models/training/README.md`.

## Results

Greedy answers, weights as stored, arithmetic in float32. An answer is right only if the whole text is
exactly the expected one. *Held-out* wordings were never trained; the *drawn* ones come from the same
patterns as the trained ones, the *hand-written* ones do not. All other rows, except for the refusals,
ask in trained wordings.

| questions | right | of | |
|---|---|---|---|
{results}

`golden.json` holds {n_golden} prompts with their greedy answers, in which every token leads the second
best by at least {min_lead} (the smallest lead is {least}), and the logits of one prompt.
"""


def results(evaluation):
    return "\n".join(f"| {name} | {r['right']} | {r['of']} | {100 * r['right'] / r['of']:.1f} % |"
                     for name, r in evaluation.items())


def cooling(state):
    if not state["cool"]:
        return ""
    return (";\nthe plan was cut short, with a line down to zero from step {} to step {}"
            .format(*state["cool"]))


def main():
    out, folder = Path(sys.argv[1]), Path(sys.argv[2])
    state = torch.load(out / "checkpoint.pt", map_location="cpu")
    golden = json.loads((folder / "golden.json").read_text())
    facts = data.load_facts()
    card = CARD.format(
        **CONFIG,
        n_parameters=sum(w.numel() for w in state["model"].values()),
        n_facts=len(facts), n_answers=len({f.answer for f in facts}),
        n_trained=sum(len(f.trained) for f in facts), n_dialogues=len(data.load_dialogues()),
        n_words=len(data.unknown_words()[0]), seed=train.SEED, steps=state["step"],
        plan=state["steps"], cool=cooling(state),
        tokens=train.TOKENS_PER_STEP, lengths=", ".join(map(str, train.LENGTHS)), peak=train.PEAK_LR,
        final=train.FINAL_LR, warmup=train.WARMUP, decay=train.WEIGHT_DECAY, clip=train.CLIP,
        minutes=state["seconds"] / 60, results=results(json.loads((out / "evaluation.json").read_text())),
        n_golden=len(golden["answers"]), min_lead=golden["min_lead"],
        least=min(g["min_lead"] for g in golden["answers"]))
    replace(folder / "README.md", card.encode())


if __name__ == "__main__":
    main()
