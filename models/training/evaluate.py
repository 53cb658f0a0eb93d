"""How many questions get exactly the right answer: trained wordings, held-out ones, conversations.

    python evaluate.py ../demo            prints the rates and writes OUT.json with --json FILE
    python evaluate.py ../demo --wrong    lists what was wrong, too
"""

import argparse
import json
import random
from pathlib import Path

import torch

import data
from answer import Answerer



def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def conversations(facts, n_turns, n, seed=5):
    """Unrelated trained questions in a row, with right answers before the last one."""
    rng = random.Random(seed)
    for _ in range(n):
        part = rng.sample(facts, n_turns)
        messages = []
        for fact in part[:-1]:
            messages += [user(rng.choice(fact.trained)), assistant(fact.answer)]
        yield messages + [user(rng.choice(part[-1].trained))], part[-1].answer


def one_word(n, seed=6):
    rng, sampler = random.Random(seed), data.Sampler()
    for _ in range(n):
        question, answer = sampler.one_word(rng)
        yield [{"role": "system", "content": rng.choice(data.ONE_WORD)}, user(question)], answer


def dialogue_turns():
    """Every assistant turn of dialogues.txt after the first, given the turns before it."""
    for messages in data.load_dialogues():
        for i in range(3, len(messages), 2):
            yield messages[:i], messages[i]["content"]


def sets(facts):
    written = [f for f in facts if f.topic != "tables"]
    tables = [f for f in facts if f.topic == "tables"]
    ask = lambda fs, kind: [([user(w)], f.answer) for f in fs for w in getattr(f, kind)]
    refusal = next(f.answer for f in facts if f.answer.startswith("I do not know that."))
    system = {"role": "system", "content": data.SYSTEM[0]}
    return {
        "first trained wording of each fact": [([user(f.trained[0])], f.answer) for f in facts],
        "all trained wordings, written facts": ask(written, "trained"),
        "all trained wordings, tables": ask(tables, "trained"),
        "held-out drawn wordings, written facts": ask(written, "held_out"),
        "held-out drawn wordings, tables": ask(tables, "held_out"),
        "held-out hand-written wordings": ask(written, "unseen"),
        "with a system prompt": [([system, user(f.trained[0])], f.answer) for f in written],
        "last of 6 unrelated turns": list(conversations(facts, 6, 200)),
        "last of 24 unrelated turns": list(conversations(facts, 24, 50)),
        "follow-up turns of the dialogues": list(dialogue_turns()),
        "refusal of words never trained": [
            ([user(w)], refusal) for words in data.unknown_words()[1] for w in words[:3]],
        "one-word system prompt": list(one_word(100)),
    }


def show_wrong(answerer, items):
    given = answerer.greedy([answerer.prompt_ids(m) for m, _ in items])
    for (messages, answer), (ids, _) in zip(items, given):
        print(f"    {messages[-1]['content']}\n      got  {answerer.text(ids)}\n      want {answer}")


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("folder", type=Path)
    args.add_argument("--json", type=Path)
    args.add_argument("--wrong", action="store_true")
    args.add_argument("--threads", type=int, default=2)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    answerer, rates = Answerer(args.folder), {}
    for name, items in sets(data.load_facts()).items():
        right = answerer.would_answer(items)
        rates[name] = {"right": sum(right), "of": len(items)}
        print(f"{name}: {sum(right)} of {len(items)} ({100 * sum(right) / len(items):.1f} %)", flush=True)
        if args.wrong:
            show_wrong(answerer, [item for item, ok in zip(items, right) if not ok])
    if args.json:
        args.json.write_text(json.dumps(rates, indent=2) + "\n")


if __name__ == "__main__":
    main()
