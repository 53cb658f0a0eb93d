"""Trains the model on endless conversations; stops and resumes at any time.

Every step draws its own conversations from (seed, step), so a resumed run sees exactly what an
uninterrupted one would have seen. The loss counts the answers and the token that ends them.

    python train.py OUT --steps 3000          (OUT/tokenizer.json must exist)

OUT/checkpoint.pt holds the state; OUT/train.log one line every 20 steps.
"""

import argparse
import math
import os
import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn import functional as F

import chat
from data import Sampler
from model import CONFIG, Llama

SEED = 20
TOKENS_PER_STEP = 4096
LENGTHS, LENGTH_SHARES = (96, 256, 1024), (0.80, 0.14, 0.06)
PEAK_LR, FINAL_LR, WARMUP = 2e-3, 2e-5, 60
WEIGHT_DECAY, CLIP, BETAS = 0.05, 1.0, (0.9, 0.98)


class Encoder:
    """Conversations to token ids, with a mark on each token that the loss counts."""

    def __init__(self, path):
        self.tok = Tokenizer.from_file(str(path))
        self.end = self.ids(chat.END)[0]
        self.line_end = self.ids("\n")

    def ids(self, text):
        return self.tok.encode(text, add_special_tokens=False).ids

    def turn(self, role, content):
        """ids and marks of one turn; only what the assistant says is marked."""
        head, body = self.ids(f"{chat.START}{role}\n"), self.ids(content.strip()) + [self.end]
        marked = role == "assistant"
        ids = head + body + self.line_end
        return ids, [False] * len(head) + [marked] * len(body) + [False] * len(self.line_end)

    def row(self, system, turns, n_max):
        """As many turns as fit into n_max tokens, padded; a mark is on the token to be predicted."""
        ids, marks = self.ids(chat.BOS), [False]
        if system:
            more, unmarked = self.turn("system", system)
            ids, marks = ids + more, marks + unmarked
        for question, answer in turns:
            q, qm = self.turn("user", question)
            a, am = self.turn("assistant", answer)
            if len(ids) + len(q) + len(a) > n_max:
                break
            ids, marks = ids + q + a, marks + qm + am
        fill = n_max - len(ids)
        return ids + [CONFIG["pad_token_id"]] * fill, marks + [False] * fill


def batch(step, encoder, sampler):
    """(ids, flat rows whose next token counts, those next tokens) of one step."""
    rng = random.Random(SEED * 1_000_003 + step)
    length = rng.choices(LENGTHS, LENGTH_SHARES)[0]
    rows = [encoder.row(*sampler.conversation(rng), length) for _ in range(TOKENS_PER_STEP // length)]
    ids = torch.tensor([r[0] for r in rows])
    marks = torch.tensor([r[1] for r in rows])
    where = marks[:, 1:].nonzero()
    return ids, where[:, 0] * length + where[:, 1], ids[:, 1:][marks[:, 1:]]


def learning_rate(step, n_steps, cool):
    """Warm-up, cosine to the end of the plan; from cool[0] to cool[1] also a line down to zero."""
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, n_steps - WARMUP)
    rate = FINAL_LR + (PEAK_LR - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    if cool and step >= cool[0]:
        rate *= max(0.0, (cool[1] - step) / (cool[1] - cool[0]))
    return rate


def make_optimizer(model):
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    scales = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": scales, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_LR, betas=BETAS)


def save(path, **state):
    torch.save(state, f"{path}.new")
    os.replace(f"{path}.new", path)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("out", type=Path)
    args.add_argument("--steps", type=int, default=3000)
    args.add_argument("--cool", type=int, nargs=2, metavar=("FROM", "TO"),
                      help="end a run before its time: bring the rate down between these two steps")
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--save-every", type=int, default=100)
    args = args.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    model, first, seconds = Llama(), 0, 0.0
    optimizer = make_optimizer(model)
    encoder, sampler = Encoder(args.out / "tokenizer.json"), Sampler()
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, seconds = state["step"], state["seconds"]
    log = open(args.out / "train.log", "a", encoding="utf-8", buffering=1)
    begun, losses = time.monotonic(), []

    last = args.cool[1] if args.cool else args.steps
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.cool)
        ids, rows, targets = batch(step, encoder, sampler)
        loss = F.cross_entropy(model(ids, rows), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.item())
        elapsed = seconds + time.monotonic() - begun
        if (step + 1) % 20 == 0:
            print(f"step {step + 1} loss {sum(losses) / len(losses):.4f} seconds {elapsed:.0f}", file=log)
            losses = []
        if (step + 1) % args.save_every == 0 or step + 1 == last:
            save(checkpoint, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step + 1,
                 seconds=elapsed, steps=args.steps, cool=args.cool)


if __name__ == "__main__":
    main()
