"""Writes a checkpoint as a Hugging Face model folder; each file is replaced in one rename.

    python export.py OUT ../demo
"""

import json
import os
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

import chat
from model import CONFIG

GENERATION = {
    "bos_token_id": CONFIG["bos_token_id"],
    "eos_token_id": [3, 1],
    "pad_token_id": CONFIG["pad_token_id"],
    "do_sample": True,
    "temperature": 0.6,
    "top_p": 0.9,
    "max_length": CONFIG["max_position_embeddings"],
}


def tokenizer_config():
    added = {str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False,
                      "single_word": False, "special": True} for i, t in enumerate(chat.SPECIAL)}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "added_tokens_decoder": added,
        "bos_token": chat.BOS,
        "eos_token": chat.END,
        "pad_token": chat.PAD,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": CONFIG["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
        "chat_template": chat.TEMPLATE,
    }


def replace(path, content):
    new = path.with_name(path.name + ".new")
    new.write_bytes(content)
    os.replace(new, path)


def as_json(value):
    """Indented, with lists of numbers on one line."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    text = re.sub(r"\[\s+([-+\d.e,\s]+?)\s+\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
    return (text + "\n").encode()


def export(out, folder):
    folder.mkdir(parents=True, exist_ok=True)
    state = torch.load(out / "checkpoint.pt", map_location="cpu")
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in sorted(state["model"].items())}
    replace(folder / "config.json", as_json(CONFIG))
    replace(folder / "generation_config.json", as_json(GENERATION))
    replace(folder / "tokenizer.json", (out / "tokenizer.json").read_bytes())
    replace(folder / "tokenizer_config.json", as_json(tokenizer_config()))
    new = folder / "model.safetensors.new"
    save_file(weights, new, metadata={"format": "pt"})
    os.chmod(new, 0o644)
    os.replace(new, folder / "model.safetensors")
    n = sum(w.numel() for w in weights.values())
    print(f"step {state['step']} of {state['steps']}, {state['seconds']:.0f} s of training, {n} parameters")


if __name__ == "__main__":
    export(Path(sys.argv[1]), Path(sys.argv[2]))
