#!/usr/bin/env python3
"""Makes the golden data of tests/unit/tokenizer_spm_test.c with the `tokenizers` library.

Writes tokenizer_spm_<style>.json (small BPE tokenizers over characters, as conversions from
SentencePiece ship them, trained on the text below) and tokenizer_spm_cases.json (texts with what the
library gives; fields as in make_tokenizer_golden.py, and `streams`: ids with what they decode to)
beside this file. Needs `pip install tokenizers`; the result is committed, so the tests don't.
"""
import json
import os
import random

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

from make_tokenizer_golden import CORPUS, HERE, TEXTS as BYTE_LEVEL_TEXTS

MARK = "\u2581"
BYTES = [f"<0x{b:02X}>" for b in range(256)]

TEXTS = [text for text in BYTE_LEVEL_TEXTS if len(text) <= 40] + [
    "<s>", "</s>", "<unk>", "<s>[INST] Hello [/INST] Hi </s><s>[INST] again [/INST]", " <s> x", "a<s>b",
    "<|user|>\nWho are you?<|end|>\n<|assistant|>\n", "<|end|>   next", "a <|end|>\n\n b",
    "<0x0A>", "a<0x41>b", "\n\n", " \n ", "\t\tx", "\u2581", "\u2581\u2581a", "a\u2581b", " \u2581 a",
    "a  b   c    d", "   ", " " * 33 + "x" + " " * 17, "x ", "x  ", "\u00a0x", "🙂🙂 a🙂b", "語🙂語", "ѩ", "xѩѩx ѩ x",
    "\u0378\u0379 a\u0378", "def f(x):\n    return x**2  # \u00e9\n", "{\"k\": [1, 2.5, null]}\r\n",
    "<mask>x <mask> y", "special  <extra> word", "x<extra>", "<extra>", "norm here", "a norm", "norm", "\x00 \x01\x7f",
    "verify" * 30, " the" * 30, "\u2581" * 50, "\U0001f600" * 6, "a\u0301 \u212b",
]


def byte_fallback_model(trained, unk, fuse, with_bytes):
    """The trained vocabulary behind <unk>, <s>, </s> and the bytes, as SentencePiece orders it."""
    model = json.loads(trained.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>"] + (BYTES if with_bytes else [])
    ids = {piece: i for i, piece in enumerate(pieces)}
    for piece, _ in sorted(model["vocab"].items(), key=lambda kv: kv[1]):
        ids.setdefault(piece, len(ids))
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
    return models.BPE(vocab=ids, merges=merges, unk_token=unk, fuse_unk=fuse, byte_fallback=with_bytes)


def trained(split):
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    if split:
        t.normalizer = None
        t.pre_tokenizer = pre_tokenizers.Metaspace()
    texts = [line.lower() for line in CORPUS.splitlines() if all(ord(c) < 0x250 for c in line)]
    # Runs of marks and a mark inside a token: merges across words, when nothing splits them.
    texts += ["a  b    c        d", "in the log of the host", "if (x)\n{\n\n\n}"] * 40
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    return t


def make(style):
    split = style in ("metaspace", "legacy")
    t = Tokenizer(byte_fallback_model(trained(split), "<unk>", style != "metaspace", style != "metaspace"))
    if style in ("llama2", "phi3"):
        t.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    elif style == "mistral":
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    elif style == "never":
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
        t.normalizer = normalizers.NFC()
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    t.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    if style == "metaspace":
        t.decoder = decoders.Metaspace(prepend_scheme="always")
    if style == "never":
        t.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()])
    # Older conversions search for specials in the normalized text.
    older = style == "legacy"
    t.add_special_tokens([AddedToken(s, special=True, normalized=older) for s in ("<unk>", "<s>", "</s>")])
    if style == "phi3":
        t.add_special_tokens([AddedToken(s, special=True, normalized=False, rstrip=True)
                              for s in ("<|user|>", "<|assistant|>", "<|end|>")])
    if style in ("mistral", "llama2"):
        t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("[INST]", "[/INST]")])
    if style != "phi3":
        t.add_tokens([AddedToken("<mask>", normalized=False, lstrip=True),
                      AddedToken("<extra>", normalized=True, rstrip=True),
                      AddedToken("norm", normalized=True, single_word=True)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def save(t, style):
    path = os.path.join(HERE, f"tokenizer_spm_{style}.json")
    root = json.loads(t.to_str())
    if style == "legacy":  # as files had it before there were schemes
        root["pre_tokenizer"] = {"type": "Metaspace", "replacement": MARK, "add_prefix_space": True}
        root["model"]["merges"] = [" ".join(m) for m in root["model"]["merges"]]
    with open(path, "w", encoding="utf-8") as f:
        json.dump(root, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")
    return Tokenizer.from_file(path)


def cases(t):
    out = []
    for text in TEXTS:
        t.encode_special_tokens = False
        ids = t.encode(text, add_special_tokens=False).ids
        post = t.encode(text, add_special_tokens=True).ids
        decoded = t.decode(ids, skip_special_tokens=True)
        t.encode_special_tokens = True
        plain = t.encode(text, add_special_tokens=False).ids
        t.encode_special_tokens = False
        case = {"ids": ids}
        case.update({k: v for k, v, usual in (("post", post, [1] + ids), ("plain", plain, ids),
                                              ("decoded", decoded, text)) if v != usual})
        out.append(case)
    return out


def streams(t, rng):
    """Random tokens, but bytes only as whole characters: a broken one spoils its neighbours there."""
    ids = [i for s, i in t.get_vocab().items() if s not in BYTES]
    out = []
    for _ in range(20):
        picked = []
        for _ in range(rng.randrange(1, 12)):
            char = rng.choice(" \n\té語🙂")
            by_bytes = [t.token_to_id(f"<0x{b:02X}>") for b in char.encode()]
            picked += by_bytes if rng.random() < 0.3 and None not in by_bytes else [rng.choice(ids)]
        out.append({"ids": picked, "decoded": t.decode(picked, skip_special_tokens=True)})
    return out


def main():
    golden = {"texts": TEXTS}
    rng = random.Random(1)
    for style in ("llama2", "phi3", "mistral", "never", "metaspace", "legacy"):
        t = save(make(style), style)
        golden[style] = {"cases": cases(t), "streams": streams(t, rng)}
    with open(os.path.join(HERE, "tokenizer_spm_cases.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
