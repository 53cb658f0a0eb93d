"""From the text files in data/ and the tables in everyday.py to facts and conversations.

A fact is one answer with all the wordings of its question. A few wordings of each fact are held
out: never trained, only measured. Everything random is drawn from a seed, so the same files give
the same conversations.

`python data.py` prints the counts and a few examples, and stops at a question with two answers.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import everyday

FOLDER = Path(__file__).parent / "data"
FILES = ("project", "attestation", "log", "inference", "smalltalk", "everyday", "unknown")
SPLIT_SEED = 7

ABOUT = ["Explain {}.", "Define {}.", "{}?", "Tell me about {}.", "Describe {}.", "What do you know about {}?",
         "Please define {}.", "Give me a short explanation of {}.", "Can you explain {}?",
         "Could you tell me about {}?", "I have a question about {}.", "{}, what is that?"]
SINGULAR = ["What is {}?", "What's {}?", "What exactly is {}?"] + ABOUT
PLURAL = ["What are {}?", "What exactly are {}?"] + ABOUT
PERSON = ["Who is {}?", "Who was {}?", "Tell me about {}.", "What do you know about {}?", "Where does {} live?",
          "How old is {}?", "Do you know {}?"]
INDIRECT = ["Can you tell me {}?", "Tell me {}.", "Please explain {}.", "Do you know {}?", "Explain to me {}.",
            "I would like to know {}.", "Could you explain {}?", "I want to know {}."]

SYSTEM = ["You are the BlindLlama demo assistant.", "You are a helpful assistant.",
          "You are BlindLlama, a small model that answers short questions.", "Answer briefly.",
          "You are a friendly assistant. Answer in one or two sentences.", "Be polite and brief."]
ONE_WORD = ["Answer with one word.", "Answer in one word only.", "Reply with a single word."]


@dataclass
class Fact:
    topic: str
    answer: str
    trained: list    # wordings that training sees
    held_out: list   # one drawn wording that it never sees
    unseen: list     # hand-written wordings that it never sees
    weight: float = 1.0


def capitalise(text):
    return text[0].upper() + text[1:]


def expand(line):
    """The wordings that one line of a data file stands for."""
    if line.startswith("** "):
        term = line[3:]
        return [capitalise(w.format(term)) for w in PLURAL] + expand(f"~ what {term} are")
    if line.startswith("* "):
        term = line[2:]
        bare = term.split(" ", 1)[1] if term.startswith(("a ", "an ", "the ")) else term
        return ([capitalise(w.format(term)) for w in SINGULAR] + [f"What does {bare} mean?"]
                + expand(f"~ what {term} is"))
    if line.startswith("~ "):
        return [w.format(line[2:]) for w in INDIRECT]
    return [line]


def paragraphs(path):
    """Lists of lines between blank lines, without comments."""
    block = []
    for line in path.read_text(encoding="utf-8").splitlines() + [""]:
        if line.startswith("#"):
            continue
        if line.strip():
            block.append(line.strip())
        elif block:
            yield block
            block = []


def written_facts():
    for topic in FILES:
        for block in paragraphs(FOLDER / f"{topic}.txt"):
            answers = [line[2:] for line in block if line.startswith("= ")]
            if len(answers) != 1:
                raise ValueError(f"{topic}.txt: exactly one answer expected in {block}")
            unseen = [line[2:] for line in block if line.startswith("? ")]
            seen = [w for line in block if line[:2] not in ("= ", "? ") for w in expand(line)]
            yield Fact(topic, answers[0], list(dict.fromkeys(seen)), [], unseen)


def unknown_words():
    """(trained, held out) lists of questions about words that the model knows nothing of."""
    trained, held_out = [], []
    side = trained
    for block in paragraphs(FOLDER / "unknown_words.txt"):
        for line in block:
            if line == "held out":
                side = held_out
            elif line.startswith("* "):
                term = line[2:]
                more = [f"How does {term} work?", f"Where can I find {term}?", f"How do I get {term}?"]
                side.append(expand(line) + more)
            else:
                side.append([w.format(line[2:]) for w in PERSON])
    return trained, held_out


def table_facts():
    for weight, wordings, answer in everyday.weighted():
        yield Fact("tables", answer, list(wordings), [], [], weight)


def load_facts():
    """All facts. One wording moves to `held_out` where at least four others remain."""
    facts = list(written_facts()) + list(table_facts())
    rng = random.Random(SPLIT_SEED)
    for fact in facts:
        if len(fact.trained) >= 5 and fact.topic not in ("smalltalk", "unknown"):
            fact.held_out = [fact.trained.pop(rng.randrange(1, len(fact.trained)))]
    trained, held_out = unknown_words()
    refusal = next(f.answer for f in facts if f.answer.startswith("I do not know that."))
    check_one_answer_each(facts + [Fact("words", refusal, w, [], []) for w in trained + held_out])
    return facts


def check_one_answer_each(facts):
    seen = {}
    for fact in facts:
        for wording in fact.trained + fact.held_out + fact.unseen:
            key = wording.lower().rstrip("?.!")
            if seen.setdefault(key, fact.answer) != fact.answer:
                raise ValueError(f"two answers for: {wording}\n  {seen[key]}\n  {fact.answer}")


def load_dialogues():
    """Conversations from dialogues.txt as message lists."""
    roles = {"S": "system", "U": "user", "A": "assistant"}
    return [[{"role": roles[line[0]], "content": line[2:]} for line in block]
            for block in paragraphs(FOLDER / "dialogues.txt")]


# What a hurried user does to a question.

OPENINGS = ["Hi, ", "Hello! ", "Hey, ", "Please: ", "Quick question: ", "So, ", "And ", "Tell me, ", "Okay, "]
ENDINGS = [" Thanks!", " Please.", " Thank you.", "?", "!"]

SMALL_WORDS = set("a an the is are do does did can could to of please tell in on at it there that".split())
FILLERS = ["please", "exactly", "actually", "just", "really", "then", "now", "again", "maybe"]


def shorten(text, rng):
    """Leaves out some of the small words, as in a search box."""
    words = text.split()
    kept = [w for w in words if w.lower() not in SMALL_WORDS or rng.random() < 0.6]
    return " ".join(kept) if len(kept) > 1 else text


def fill(text, rng):
    words = text.split()
    words.insert(rng.randrange(1, len(words) + 1), rng.choice(FILLERS))
    return " ".join(words)


def misspell(text, rng):
    i = rng.randrange(1, len(text))
    kind = rng.randrange(3)
    if kind == 0:
        return text[:i] + text[i + 1:]
    if kind == 1:
        return text[:i] + text[i] + text[i:]
    return text[: i - 1] + text[i] + text[i - 1] + text[i + 1:]


def vary(question, rng):
    """Half of the questions stay as they are."""
    if rng.random() < 0.5:
        return question
    if rng.random() < 0.3:
        question = question.rstrip("?.!")
    if rng.random() < 0.25:
        question = shorten(question, rng)
    if rng.random() < 0.1:
        question = fill(question, rng)
    if rng.random() < 0.15:
        question = rng.choice(OPENINGS) + question[0].lower() + question[1:]
    if rng.random() < 0.1:
        question += rng.choice(ENDINGS)
    if rng.random() < 0.3:
        question = question.lower()
    if rng.random() < 0.1 and len(question) > 8:
        question = misspell(question, rng)
    return question


class Sampler:
    """Endless conversations for training."""

    def __init__(self):
        self.facts = load_facts()
        self.weights = [f.weight for f in self.facts]
        self.dialogues = load_dialogues()
        self.do_not_know = next(f.answer for f in self.facts if f.answer.startswith("I do not know that."))
        self.unknown = unknown_words()[0]
        self.capitals = everyday.table(everyday.CAPITALS)

    def turns(self, rng):
        """One or more (question, answer) pairs that belong together."""
        if rng.random() < 0.04:
            words = rng.choice(self.dialogues)
            return [(u["content"], a["content"]) for u, a in zip(words[::2], words[1::2])]
        if rng.random() < 0.02:
            chain = rng.sample(self.capitals, 3)
            asks = ["What is the capital of {}?", "And of {}?", "And the capital of {}?"]
            return [(q.format(land), f"The capital of {land} is {city}.") for q, (land, city) in zip(asks, chain)]
        if rng.random() < 0.05:
            return [(vary(rng.choice(rng.choice(self.unknown)), rng), self.do_not_know)]
        fact = rng.choices(self.facts, self.weights)[0]
        return [(vary(rng.choice(fact.trained), rng), fact.answer)]

    def one_word(self, rng):
        """A question from a table, for the system prompt that wants one word."""
        if rng.random() < 0.5:
            land, city = rng.choice(self.capitals)
            return f"What is the capital of {land}?", f"{city}."
        a, b = rng.randint(1, 10), rng.randint(1, 10)
        return f"What is {everyday.number(a)} plus {everyday.number(b)}?", capitalise(everyday.number(a + b)) + "."

    def conversation(self, rng):
        """(system prompt or None, generator of (question, answer) without end)."""
        kind = rng.random()
        if kind < 0.05:
            return rng.choice(ONE_WORD), self.repeat(lambda: [self.one_word(rng)])
        system = rng.choice(SYSTEM) if kind < 0.3 else None
        return system, self.repeat(lambda: self.turns(rng))

    @staticmethod
    def repeat(draw):
        while True:
            yield from draw()


def main():
    facts = load_facts()
    print(f"{len(facts)} facts, {len(set(f.answer for f in facts))} distinct answers, "
          f"{sum(len(f.trained) for f in facts)} trained wordings, "
          f"{sum(len(f.held_out) for f in facts)} held-out wordings, "
          f"{sum(len(f.unseen) for f in facts)} hand-written unseen wordings, "
          f"{len(load_dialogues())} dialogues")
    for topic in FILES + ("tables",):
        print(f"  {topic}: {sum(f.topic == topic for f in facts)} facts")
    rng = random.Random(1)
    for fact in rng.sample(facts, 5):
        print(f"\n{fact.answer}")
        for wording in fact.trained[:6]:
            print(f"  - {wording}")


if __name__ == "__main__":
    main()
