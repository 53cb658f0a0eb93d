#!/usr/bin/env python3
"""Makes the golden data of tests/unit/tokenizer_hard_test.c with the `tokenizers` library.

Hard texts (scripts, emoji, control characters, code, very long words) through every tokenizer of the
other two scripts, and through two more that are made here: tokenizer_o200k.json and
tokenizer_cl100k.json, with the pre-tokenizers that GPT-4o and GPT-4 made known, which Phi-4-mini and
Phi-4 have. tokenizer_hard_cases.json holds the texts, the long ones as [unit, times], and for each
tokenizer and text the number of ids and the first 16 hex digits of the SHA-256 of the ids as u32
little-endian: with specials, without, and of the decoded text. Needs `pip install tokenizers`; the
result is committed, so the tests don't.
"""
import hashlib
import json
import os
import random
import struct

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from make_tokenizer_golden import CORPUS, HERE, added

CASED = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K = "|".join([rf"[^\r\n\p{{L}}\p{{N}}]?{CASED[0]}*{CASED[1]}+{ENDINGS}",
                  rf"[^\r\n\p{{L}}\p{{N}}]?{CASED[0]}+{CASED[1]}*{ENDINGS}",
                  r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"
          r"|\s*[\r\n]|\s+(?!\S)|\s")
STYLES = ["gpt2", "llama3", "qwen2", "smol", "o200k", "cl100k", "spm_llama2", "spm_phi3", "spm_mistral", "spm_never",
          "spm_metaspace", "spm_legacy"]

TEXTS = [
    # emoji: families, skin tones, flags of regions, keycaps, variation selectors, lone joiners
    "👨‍👩‍👧‍👦👩🏽‍🚀🏳️‍🌈🧑🏿‍🤝‍🧑🏻 ok", "🇩🇪🇫🇷🇯🇵🇩", "1️⃣2️⃣#️⃣*️⃣", "👍🏽👍🏿 👍", "☺☺️☹︎", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "\u200d\u200d🙂\u200d",
    # scripts
    "日本語のテキスト。漢字かな混じり文、「引用」！", "中文，測試。繁體字與简体字", "한국어와 English 섞기 ㄱㅏ", "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "العَرَبِيَّةُ لُغَةٌ جَمِيلَة ٠١٢٣٤ ﷺ ﷽", "עִבְרִית נִקּוּד", "हिन्दी में लिखा हुआ पाठ १२३", "ภาษาไทยไม่มีช่องว่าง", "বাংলা ভাষা ৪৫", "ქართული ᲥᲐᲠᲗᲣᲚᲘ",
    "Հայերեն", "አማርኛ", "မြန်မာဘာသာ", "ខ្មែរ", "བོད་ཡིག", "தமிழ் ௧௨", "Ελληνικά ΣΊΣΥΦΟΣ ς", "Ћирилица ѣ ҂ ѩ", "ᚠᚢᚦ 𐍈 𒀀 𓀀", "𠀀𪛖 丽 你",
    # letters that fold, compose or are of no obvious class
    "İıſK Å Ω", "\u017fS 'ſ 'K it'ſ I'LL 'S'T's", "ǅ ß ẞ ŉ ﬁﬂﬀ", "Z̸̢̛̤̗͎a̷͓͝l̵̰̈g̶͎̈́o̶̺̚", "a\u0323\u0307\u0327 \u0307\u0323a \u1e69", "𝒜𝓁𝓅𝒽𝒶 𝟙𝟚𝟛 ½⅓ ①② Ⅷ ᵃᵇ ªº",
    "\u0958 \u0344 \u2126\u212a\u212b \ufb1d \u2adc", "\uac00\u11a8 \uac01 \u1100\uac00",
    # white space, controls, direction, width
    "\x00\x01\x02\x1b[31mred\x1b[0m\x7f", "\u200b\u200c\u200d\u2060\ufeff", "\u202eabc\u202c \u2066x\u2069", "a\u00adb", "\r\r\n\n\r \r\n",
    "\u2028\u2029\x85\x0b\x0c", "\u3000\u3000全角　スペース", "\xa0\xa0nbsp a\u2003b\u2009c\u1680d\u205f", " \t \n \t \n", "a\u180eb", "\ufffe\uffff \U0001ffff", "\ue000\U000f0000",
    # code and what is in files
    "#include <stdio.h>\nint main(void)\n{\n\tprintf(\"%08.3f\\n\", 3.14e-2);\n\treturn 0xFFu & ~0;\n}\n",
    "def f(x: int = 1_000) -> str:\n    return f\"{x!r:>{10}}\" if x else ''  # ok?\n\n\n", "SELECT * FROM \"t\" WHERE a<>b AND c IN (1,2,3);--x\n",
    "{\"a\":[1,2.5,-3e+7,null,true],\"b\":{\"c\":\"d\\u00e9\\n\"}}", "<div class=\"a b\"><!-- c --><br/>&nbsp;&#x41;</div>", "^(?:[a-z]+|\\d{1,3})*?$",
    "C:\\Users\\x\\..\\y //host/share ~/.config/*.{c,h}", "a=b;c+=d?e:f;g->h::i<<=j;;k||l&&!m", "camelCaseXMLHttpRequest snake_case_2 SCREAMING_CASE kebab-case-3",
    "+49 (0)30 123-456.78 12:34:56.789 1,234,567.89 192.168.0.1 2026-11-25T10:00:00Z", "----====____****####~~~~", "\\\\\\\"\"\"'''```",
    "aGVsbG8gd29ybGQ= 550e8400-e29b-41d4-a716-446655440000 sha256:e3b0c44298fc1c149afbf4c8996fb924",
    # what looks like tokens of the models
    "<|eot|><|eot|x|>eot|>", "<|begin_of_text|<|eot|>|>", "<s></s><unk><s >< s>", "▁▁ ▁a▁", "<0x41><0xG0><0x0a>", "[INST]x[/INST] [INST", "<mask><mask> <mask>",
    "sub-sub sub's subs ſub", "<|pad|> \n <|pad|>", "norm normé nörm",
    "don't can't I'LL we'd y'all've O'Reilly's '90s rock'n'roll", "Don’t ‘quote’ “me” — ever… ‽", "naïve café", "x²+y₂≠∞ ∑∫√ ∀∃ ⟨a|b⟩ ℝℂ", "₿€$£¥₹ 5% ‰ №1 ™®©",
]
LONG = [["x", 10000], ["Donaudampfschiffahrt", 500], ["é", 5000], ["字", 8000], ["🙂", 2500], ["a b ", 2500], ["\n", 5000], [" ", 5000], ["-", 4000], ["0", 5000],
        ["ab\u0301", 2000], ["<|eot|>", 300], ["ﷺ", 1000], ["\u0301", 3000], ["aB", 5000], [" \n", 2000], ["1 ", 3000], ["▁", 3000], ["verify ", 1500]]
RANGES = [(0x20, 0x7f)] * 6 + [(0, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x500), (0x5d0, 0x5eb), (0x620, 0x660), (0x905, 0x93a), (0x1100, 0x1113),
          (0x2000, 0x2064), (0x2190, 0x2200), (0x3040, 0x3097), (0x4e00, 0x4f00), (0xac00, 0xad00), (0xff00, 0xff60), (0x1d400, 0x1d455), (0x1f600, 0x1f650)]
PIECES = [" ", "  ", "\n", "'s", "'LL", "1", "123", "the", " the", "<|eot|>", "<s>", "</s>", "[INST]", "<mask>", "<0x0A>", "▁", "\u0301", "\u200d", "\r\n", "é"]


def random_texts(rng, n):
    out = []
    for _ in range(n):
        parts = [rng.choice(PIECES) if rng.random() < 0.3 else chr(rng.randrange(*rng.choice(RANGES)))
                 for _ in range(rng.randrange(1, 40))]
        out.append("".join(parts))
    return out


def make(style):
    t = Tokenizer(models.BPE(ignore_merges=True))
    if style == "o200k":
        split = pre_tokenizers.Split(Regex(O200K), behavior="removed", invert=True)
    else:
        split = pre_tokenizers.Split(Regex(CL100K), behavior="isolated")
    t.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([CORPUS], trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens(added(True))
    t.save(os.path.join(HERE, f"tokenizer_{style}.json"), pretty=False)


def digest(data):
    return hashlib.sha256(data).hexdigest()[:16]


def case(t, text):
    t.encode_special_tokens = False
    ids = t.encode(text, add_special_tokens=False).ids
    t.encode_special_tokens = True
    plain = t.encode(text, add_special_tokens=False).ids
    decoded = t.decode(plain, skip_special_tokens=True)
    packed = [digest(struct.pack(f"<{len(x)}I", *x)) for x in (ids, plain)]
    return [len(ids), packed[0], len(plain), packed[1], digest(decoded.encode())]


def main():
    texts = TEXTS + random_texts(random.Random(5), 150)
    golden = {"texts": texts, "long": LONG}
    for style in ("o200k", "cl100k"):
        make(style)
    for style in STYLES:
        t = Tokenizer.from_file(os.path.join(HERE, f"tokenizer_{style}.json"))
        golden[style] = [case(t, text) for text in texts + [unit * times for unit, times in LONG]]
    with open(os.path.join(HERE, "tokenizer_hard_cases.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
