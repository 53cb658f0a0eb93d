#!/usr/bin/env python3
"""Makes the golden data of tests/unit/families_test.c with `transformers` and PyTorch.

Writes, below families/ beside this file, a folder for each model family with a tiny random model as
`save_pretrained` leaves it (config.json, model.safetensors, or shards and their index) and
expected.safetensors: `tokens`, one prompt, and `logits`, float32, of each of its positions, computed in
float32 on the CPU with eager attention. The weights are those that are stored, but for llama2_f16 and
llama2_bf16: llama2's, rounded, which are held against the logits of llama2's own. The two with longrope
have expected_long.safetensors, too: a prompt for which transformers takes the long factors. One
tokenizer.json serves them all: 64 printable characters. Needs `pip install torch transformers==4.57.1`;
the result is committed, so the tests don't.

Names on the command line: only these are made anew.
"""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
from transformers import (LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Phi3Config,
                          Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "families")
VOCAB = 64
PROMPT = 72  # more than a page of the KV cache, more than any window here
LONG_PROMPT = 120
LONGROPE_ORIGINAL = 96  # between the two

# Sizes that are no multiples of 16; head_dim times heads is not hidden_size where that may be.
COMMON = dict(vocab_size=VOCAB, hidden_size=28, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
              num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
              tie_word_embeddings=False)

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)

# TinyLlama's shape: 32 heads, a key head for 8 of them, nothing tied.
LLAMA2 = LlamaConfig(**{**COMMON, "hidden_size": 64, "intermediate_size": 24, "num_attention_heads": 32,
                        "num_key_value_heads": 4}, head_dim=4, rope_theta=10000.0, rms_norm_eps=1e-5)


def longrope(n_pairs):
    return dict(type="longrope", short_factor=[round(1 + 0.07 * i, 3) for i in range(n_pairs)],
                long_factor=[round(1 + 1.3 * i ** 1.5, 3) for i in range(n_pairs)])


FAMILIES = {
    "llama3": (LlamaForCausalLM, torch.bfloat16,
               LlamaConfig(**COMMON, head_dim=16, rope_theta=500.0, rms_norm_eps=1e-5, rope_scaling=LLAMA3)),
    "llama_bias": (LlamaForCausalLM, torch.float16,
                   LlamaConfig(**COMMON, head_dim=8, attention_bias=True, mlp_bias=True)),
    "smollm2": (LlamaForCausalLM, torch.bfloat16,
                LlamaConfig(**{**COMMON, "hidden_size": 36, "num_attention_heads": 6, "num_key_value_heads": 3,
                               "tie_word_embeddings": True}, rope_theta=100000.0, rms_norm_eps=1e-5)),
    "mistral": (MistralForCausalLM, torch.float16,
                MistralConfig(**COMMON, head_dim=12, sliding_window=21, rms_norm_eps=1e-5)),
    "qwen2": (Qwen2ForCausalLM, torch.float32,
              Qwen2Config(**{**COMMON, "hidden_size": 24, "tie_word_embeddings": True}, use_sliding_window=False,
                          sliding_window=8, max_window_layers=1, rope_theta=1e6)),
    "qwen3": (Qwen3ForCausalLM, torch.bfloat16,
              Qwen3Config(**COMMON, head_dim=20, use_sliding_window=False, rope_theta=1e6)),
    "phi3": (Phi3ForCausalLM, torch.bfloat16,
             Phi3Config(**{**COMMON, "hidden_size": 24}, original_max_position_embeddings=128, pad_token_id=0,
                        sliding_window=40)),
    "llama2": (LlamaForCausalLM, torch.float32, LLAMA2),
    "llama32": (LlamaForCausalLM, torch.bfloat16,
                LlamaConfig(**{**COMMON, "hidden_size": 32, "tie_word_embeddings": True}, head_dim=8, rope_theta=500000.0,
                            rms_norm_eps=1e-5, rope_scaling={**LLAMA3, "factor": 32.0})),
    "phi3_long": (Phi3ForCausalLM, torch.float32,
                  Phi3Config(**{**COMMON, "hidden_size": 48}, original_max_position_embeddings=LONGROPE_ORIGINAL,
                             pad_token_id=0, rope_scaling=longrope(6))),
    "phi4_mini": (Phi3ForCausalLM, torch.bfloat16,
                  Phi3Config(**{**COMMON, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1,
                                "tie_word_embeddings": True}, original_max_position_embeddings=LONGROPE_ORIGINAL,
                             pad_token_id=0, partial_rotary_factor=0.75, sliding_window=2048, rope_scaling=longrope(6))),
}
SHARD_SIZE = {"llama32": "9KB"}


def randomize(model, seed, dtype):
    """Every parameter: transformers starts biases at 0 and norms at 1, which would hide them. Rounded to
    the type that is stored; model.to(dtype) would round the rotary frequencies too."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in sorted(model.named_parameters()):
        r = torch.randn(p.shape, generator=generator)
        if name.endswith(".bias"):
            r = 0.5 * r
        elif p.dim() == 1:
            r = 1 + 0.3 * r
        elif "embed" in name:
            r = 0.7 * r
        else:
            r = 0.25 * r
        p.data.copy_(r.to(dtype))


def expect(model, folder, name, n_tokens, seed):
    tokens = torch.randint(3, VOCAB, (1, n_tokens), generator=torch.Generator().manual_seed(1000 + seed))
    with torch.no_grad():
        logits = model(tokens).logits[0].contiguous()
    os.makedirs(folder, exist_ok=True)
    save_file({"tokens": tokens[0].to(torch.int32), "logits": logits}, os.path.join(folder, name + ".safetensors"))
    print(f"{os.path.basename(folder)}: logits {logits.min():.2f} to {logits.max():.2f}")


def save(model, folder, dtype):
    model.to(dtype).save_pretrained(folder, max_shard_size=SHARD_SIZE.get(os.path.basename(folder), "1GB"))
    os.remove(os.path.join(folder, "generation_config.json"))


def make(name, seed):
    cls, dtype, config = FAMILIES[name]
    config._attn_implementation = "eager"
    folder = os.path.join(OUT, name)
    shutil.rmtree(folder, ignore_errors=True)
    model = cls(config).eval()
    randomize(model, seed, dtype)
    expect(model, folder, "expected", PROMPT, seed)
    if "long_factor" in (getattr(config, "rope_scaling", None) or {}):
        expect(model, folder, "expected_long", LONG_PROMPT, seed)
    save(model, folder, dtype)
    if name == "llama2":
        for short, rounded in (("f16", torch.float16), ("bf16", torch.bfloat16)):
            shutil.rmtree(f"{folder}_{short}", ignore_errors=True)
            save(model, f"{folder}_{short}", rounded)
            model = cls(config).eval()
            randomize(model, seed, dtype)


def tokenizer():
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    return dict(version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=None, pre_tokenizer=byte_level,
                post_processor=None, decoder=byte_level,
                model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                           end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                           vocab={chr(48 + i): i for i in range(VOCAB)}, merges=[]))


def main():
    os.makedirs(OUT, exist_ok=True)
    for i, name in enumerate(FAMILIES):
        if len(sys.argv) == 1 or name in sys.argv[1:]:
            make(name, i)
    with open(os.path.join(OUT, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer(), f)
        f.write("\n")


if __name__ == "__main__":
    main()
