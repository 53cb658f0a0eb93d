"""Trains the tokenizer: byte-level BPE on the project's own questions and answers.

All 256 bytes are in the alphabet, so every text can be encoded and comes back unchanged. The
merges are learned from the trained wordings only. Writes OUT/tokenizer.json.

    python tokenizer.py OUT
"""

import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

import chat
import data
from model import CONFIG

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus():
    """Answers count several times, because they are generated token by token."""
    for fact in data.load_facts():
        n = max(1, round(4 * fact.weight))
        yield from [fact.answer] * (4 * n)
        yield from fact.trained
        yield from [w.lower() for w in fact.trained[:n]]
    for role in ("system", "user", "assistant"):
        yield from [f"{role}\n"] * 50
    yield from data.SYSTEM + data.ONE_WORD


def build():
    tok = Tokenizer(models.BPE(byte_fallback=False, fuse_unk=False))
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        min_frequency=2,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in chat.SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tok.train_from_iterator(corpus(), trainer)
    tok.post_processor = processors.TemplateProcessing(
        single=f"{chat.BOS} $A", pair=f"{chat.BOS} $A {chat.BOS} $B:1",
        special_tokens=[(chat.BOS, tok.token_to_id(chat.BOS))])
    return tok


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    tok = build()
    if tok.get_vocab_size() != CONFIG["vocab_size"]:
        sys.exit(f"the corpus gave {tok.get_vocab_size()} tokens, not {CONFIG['vocab_size']}")
    every_byte = bytes(range(256)).decode("latin-1") + "Grüße, 你好 🦙"
    ids = tok.encode(every_byte, add_special_tokens=False).ids
    assert tok.decode(ids, skip_special_tokens=False) == every_byte
    tok.save(str(out / "tokenizer.json"))
    answers = [f.answer for f in data.load_facts()]
    n = sum(len(e.ids) for e in tok.encode_batch(answers, add_special_tokens=False))
    print(f"{tok.get_vocab_size()} tokens; an answer has {n / len(answers):.1f} tokens on average")


if __name__ == "__main__":
    main()
