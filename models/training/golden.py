"""Writes golden.json: fixed prompts with their greedy answers, and logits of one short prompt.

Weights as stored (bf16), arithmetic in float32. An answer is kept only if each of its tokens, the
stop token included, leads the second best by at least MIN_LEAD, so that an engine with other
rounding must still give exactly these tokens.

    python golden.py ../demo
"""

import hashlib
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

import chat
import data
from answer import Answerer
from export import as_json, replace

MIN_LEAD = 1.0
N_TOP = 20
LOGITS_PROMPT = [{"role": "user", "content": "What is a nonce?"}]

SINGLE = """What is BlindLlama?
What is a TPM?
What is a PCR?
What is a quote?
How is a quote signed?
What is a nonce?
What is remote attestation?
What is a transparency log?
What is a Merkle tree?
What is a checkpoint?
What is a witness?
What is an auditor?
What is a policy?
How is the TLS key bound to the quote?
What is measured boot?
What is swtpm?
What are reproducible builds?
What does BlindLlama not prove?
Can the operator read my prompts?
Is my prompt stored?
What is inference?
What is a token?
What is the KV cache?
What is batching?
Does batching change my answer?
Who made BlindLlama?
Who are you?
Hello!
Thank you!
Tell me a joke.
What is the capital of France?
What is the capital of Peru?
What is seven plus eight?
What is nine times nine?
Which day comes after Friday?
How many days are in February?
Which planet is the largest?
What are the colours of the rainbow?
How many legs does a spider have?
What sound does a llama make?
Name the days of the week.
Count to ten.
What time is it?
How is the weather?
Wie geht es dir?
你好
Who was the first emperor of Rome?
What is a llama?"""


# Text that tokenizers get wrong. It is encoded as a user's text: special tokens in it are plain text.
TEXTS = ["", " ", "  two  spaces ", "tab\tand\nline\r\n\r\nend", "It's what they'LL say, isn't it?", "1234567 and 3.14",
         "  leading", "trailing   ", "x = (a+b)*c; // 50%\n", "Grüße aus Köln", "naïve café", "e\u0301 is e with an accent",
         "你好，世界", "こんにちは", "مرحبا", "नमस्ते", "🦙🔒", "👩\u200d💻", "a\u00a0b", "\x00\x01\x7f", "McDonald's O'Neill",
         "<|im_end|> is plain text here", "END\n\n\n", "...!!!???", "snake_case and kebab-case", "TPM2_Quote(PCR 13)"]


def turns(*texts, system=None):
    roles = ("user", "assistant")
    start = [{"role": "system", "content": system}] if system else []
    return start + [{"role": roles[i % 2], "content": t} for i, t in enumerate(texts)]


def prompts():
    for question in SINGLE.splitlines():
        yield turns(question)
    for question in ("What is a quote?", "Who are you?", "What is the capital of Norway?"):
        yield turns(question, system=data.SYSTEM[0])
    yield turns("What is the capital of Japan?", system=data.ONE_WORD[0])
    yield turns("What is three plus four?", system=data.ONE_WORD[0])
    for dialogue in data.load_dialogues()[:6]:
        yield dialogue[:3]
    yield data.load_dialogues()[0][:7]
    yield long_conversation()


def long_conversation(n_facts=24):
    """Many turns before the question, so that the prompt spans several cache pages and blocks."""
    facts = [f for f in data.load_facts() if f.topic in ("attestation", "log")]
    texts = []
    for fact in facts[::4][:n_facts]:
        texts += [fact.trained[0], fact.answer]
    return turns(*texts, "What is a witness?")


def nine_digits(values):
    """float32 values as the shortest decimals that surely give them back."""
    return [float(f"{v:.9g}") for v in values]


@torch.inference_mode()
def logits(answerer, messages):
    ids = answerer.prompt_ids(messages)
    rows = answerer.model(torch.tensor([ids]))[0]
    top = rows.topk(N_TOP)
    return {
        "messages": messages,
        "ids": ids,
        "top": [{"ids": i.tolist(), "values": nine_digits(v.tolist())} for i, v in zip(top.indices, top.values)],
        "last": nine_digits(rows[-1].tolist()),
    }


def plain_ids(answerer, text):
    """Ids of text in which no special token is recognised."""
    tok = Tokenizer.from_str(answerer.tok.to_str())
    tok.encode_special_tokens = True
    return tok.encode(text, add_special_tokens=False).ids


def main():
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)  # one fixed order of sums
    answerer = Answerer(folder)
    kept, dropped = [], 0
    for messages in prompts():
        ids = answerer.prompt_ids(messages)
        answer, lead = answerer.greedy([ids])[0]
        if lead < MIN_LEAD or answer[-1] not in answerer.stop:
            dropped += 1
            print(f"dropped, lead {lead:.2f}: {messages[-1]['content']}")
            continue
        kept.append({"messages": messages, "prompt": chat.render(messages), "prompt_ids": ids,
                     "answer_ids": answer, "answer": answerer.text(answer), "min_lead": round(lead, 4)})
    sha256 = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest()
              for n in ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json")}
    replace(folder / "golden.json", as_json({
        "about": "greedy answers and logits; weights as stored (bf16), arithmetic in float32",
        "sha256": sha256, "stop_ids": answerer.stop, "min_lead": MIN_LEAD,
        "encodings": [{"text": t, "ids": plain_ids(answerer, t)} for t in TEXTS],
        "answers": kept, "logits": logits(answerer, LOGITS_PROMPT)}))
    leads = sorted(k["min_lead"] for k in kept)
    print(f"{len(kept)} kept, {dropped} dropped; leads from {leads[0]} to {leads[-1]}")


if __name__ == "__main__":
    main()
