#!/usr/bin/env python3
"""Makes the golden data of tests/unit/tokenizer_test.c with the `tokenizers` library.

Writes tokenizer_<style>.json (small byte-level BPE tokenizers, trained on the text below) and
tokenizer_cases.json (texts with what the library gives: `ids`; and where they differ from these,
`post` with post-processing, `plain` with encode_special_tokens; `decoded` where it is not the text)
beside this file. Needs `pip install tokenizers`; the result is committed, so the tests don't.
"""
import json
import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

CORPUS = """
The host measures what it runs, and the log remembers. A client that wants to know asks for a quote;
the quote covers a nonce, and the nonce was never seen before. Whoever keeps a copy of the log can
replay it offline, entry by entry, and needs nobody's permission. We don't trust; we verify. They've
verified it, he'll verify it, and I'm sure it's verified. Every answer depends on the request alone.
int main(void)\n{\n    for (int i = 0; i < 100; i++)\n        printf("%d\\n", i * 1234567);\n    return 0;\n}
Der Server beweist, was er ist. Größe, Maß und Übermut; äußerst schön. Le serveur prouve ce qu'il est,
déjà vérifié à l'été. El servidor demuestra qué es, mañana también. Сервер доказывает, что он такое.
Ο διακομιστής αποδεικνύει τι είναι. サーバーは自分が何であるかを証明する。服务器证明它是什么。서버는 자신을 증명한다.
הוא מוכיח. الخادم يثبت. 0 1 12 123 1234 12345 3.14159 2026-11-22 10:30:00 1e9 0xff
Tabs\tand  double  spaces,   triple; trailing   \n\n\nnew lines. "Quotes" 'single' (brackets) [square]
{curly} <angle> a+b=c; x*y/z%w; e-mail@example.org https://example.org/path?query=1&other=2#part
""" * 3

TEXTS = [
    "", " ", "  ", "\n", "\r\n\r\n", "\t", "a", " a", "a ", "Hello, world!", "  leading", "trailing  ",
    "I'm, you'RE, we'Ve, he'LL, 'twas", "don’t", "1", "12", "123", "1234", "1234567890", "3.14 and 1e-9",
    "a\n\n\nb", "a \n b", "x   y", "x\t\ty", "...!!!???", "foo_bar-baz", "snake_case CamelCase",
    "for (int i = 0; i < 10; i++) {\n\treturn x;\n}\n", "https://example.org/a?b=c&d=%20#e",
    "Größe ÄÖÜ ß", "naïve café", "Cafe\u0301 e\u0323\u0301 \u0301", "\u1100\u1161\u11a8", "Å Å Å", "ﬁ ﬀ ½ ² Ⅷ ①",
    "Привет, мир", "Γειά σου", "你好，世界", "こんにちは", "한국어 텍스트", "שלום", "مرحبا ١٢٣", "हिन्दी ४५",
    "🙂", "👩‍👩‍👧", "🇩🇪 flag", "a\u200db\u200c", "\u00a0nbsp\u2003em", "\u180e mongolian", "\ufeffbom",
    "\x00\x01\x1f\x7f", "\x85next\u2028line\u2029para", "e\u0301" * 5, "\u0344 \u0958 \u2126",
    "a\u0323\u0307\u0301 a\u0307\u0323\u0301", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\U0010ffff", "\ud7ff\ue000",
    "<|begin_of_text|>", "text<|eot|>text", "<|eot|", "<|eot|><|eot|>", " <|eot|> ", "a <|pad|> b", "x<|pad|>",
    "<tool_call>{\"a\": 1}</tool_call>", "word  <mask>  next", "a<mask>b", "sub subword sub-way sub",
    "Übersub sub. _sub sub_", "ﬀsub", "left   <left> right", "<right>   tail", "<|long|><|longer|>",
    "<|longer|", "<|long|er|>", "normé <norm\u00e9>", "norme\u0301 <norme\u0301> <norm\u00e9>",
    "a" * 300, " " * 200 + "x", "ab" * 150, "\n" * 100, "1" * 50, "é" * 80, "测试" * 40,
]


def added(special_only):
    tokens = [AddedToken("<|begin_of_text|>", special=True, normalized=False),
              AddedToken("<|eot|>", special=True, normalized=False),
              AddedToken("<|pad|>", special=True, normalized=False, lstrip=True, rstrip=True)]
    if special_only:
        return tokens
    return tokens + [
        AddedToken("<tool_call>", special=False, normalized=False),
        AddedToken("</tool_call>", special=False, normalized=False),
        AddedToken("<mask>", special=False, normalized=True, lstrip=True),
        AddedToken("sub", special=False, normalized=False, single_word=True),
        AddedToken("<left>", special=False, normalized=True, lstrip=True),
        AddedToken("<right>", special=True, normalized=True, rstrip=True),
        AddedToken("<|long|>", special=False, normalized=False),
        AddedToken("<|longer|>", special=True, normalized=False),
        AddedToken("<norm\u00e9>", special=False, normalized=True),
    ]


def make(style):
    model = models.BPE(ignore_merges=style == "llama3")
    t = Tokenizer(model)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=style == "gpt2", use_regex=style == "gpt2")
    if style == "gpt2":
        t.pre_tokenizer = byte_level
    elif style == "smol":
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    else:
        pattern = LLAMA3 if style == "llama3" else QWEN2
        t.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"), byte_level])
    if style == "qwen2":
        t.normalizer = normalizers.NFC()
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator([CORPUS], trainers.BpeTrainer(
        vocab_size=700, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.add_tokens(added(style == "llama3"))
    if style == "llama3":
        t.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin_of_text|> $A <|eot|>",
                special_tokens=[(s, t.token_to_id(s)) for s in ("<|begin_of_text|>", "<|eot|>")])])
    return t


def cases(t):
    out = []
    for text in TEXTS:
        t.encode_special_tokens = False
        ids = t.encode(text, add_special_tokens=False).ids
        post = t.encode(text, add_special_tokens=True).ids
        # The library decodes the e-acute of this added token as a byte; we give the token's content.
        decoded = t.decode(ids, skip_special_tokens=True).replace("<norm\ufffd>", "<norm\u00e9>")
        t.encode_special_tokens = True
        plain = t.encode(text, add_special_tokens=False).ids
        t.encode_special_tokens = False
        case = {"text": text, "ids": ids}
        case.update({k: v for k, v, usual in (("post", post, ids), ("plain", plain, ids),
                                              ("decoded", decoded, text)) if v != usual})
        out.append(case)
    return out


def main():
    golden = {}
    for style in ("gpt2", "llama3", "qwen2", "smol"):
        t = make(style)
        t.save(os.path.join(HERE, f"tokenizer_{style}.json"), pretty=False)
        golden[style] = cases(t)
    with open(os.path.join(HERE, "tokenizer_cases.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
