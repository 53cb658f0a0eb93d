"""Greedy answers from an exported folder: weights as stored (bf16), arithmetic in float32."""

import json
from collections import defaultdict

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

import chat
from model import Llama


class Answerer:
    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        self.stop = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
        self.tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = Llama(self.config)
        weights = load_file(folder / "model.safetensors")
        self.model.load_state_dict({k: v.float() for k, v in weights.items()})
        self.model.eval()

    def prompt_ids(self, messages):
        return self.tok.encode(chat.render(messages), add_special_tokens=False).ids

    def text(self, ids):
        return self.tok.decode(ids, skip_special_tokens=True)

    @torch.inference_mode()
    def would_answer(self, items):
        """For each (messages, answer): whether greedy decoding gives exactly this answer.

        One forward pass is enough: greedy decoding gives it if and only if each of its tokens is
        the most likely one after the tokens before it.
        """
        whole = []
        for messages, answer in items:
            prompt = self.prompt_ids(messages)
            wanted = self.tok.encode(answer, add_special_tokens=False).ids + [self.stop[0]]
            whole.append((prompt + wanted, len(prompt)))
        right, order = [False] * len(items), sorted(range(len(items)), key=lambda i: len(whole[i][0]))
        for at in range(0, len(order), 32):
            part = order[at : at + 32]
            n_max = len(whole[part[-1]][0])
            ids = torch.tensor([whole[i][0] + [0] * (n_max - len(whole[i][0])) for i in part])
            best = self.model(ids).argmax(-1)  # padding comes last, so no token sees it
            for i, given, row in zip(part, ids, best):
                first, end = whole[i][1], len(whole[i][0])
                right[i] = torch.equal(row[first - 1 : end - 1], given[first:end])
        return right

    @torch.inference_mode()
    def greedy(self, prompts, n_max=80):
        """For each prompt (ids): (answer ids with the stop token, smallest lead of a chosen token)."""
        answers = [None] * len(prompts)
        groups = defaultdict(list)
        for i, ids in enumerate(prompts):
            groups[len(ids)].append(i)
        for group in groups.values():  # equal lengths, so no padding
            for at in range(0, len(group), 64):
                part = group[at : at + 64]
                for i, result in zip(part, self._greedy([prompts[i] for i in part], n_max)):
                    answers[i] = result
        return answers

    def _greedy(self, prompts, n_max):
        seqs, n_prompt = [list(p) for p in prompts], len(prompts[0])
        leads, live = [float("inf")] * len(seqs), list(range(len(seqs)))
        for _ in range(n_max):
            if not live:
                break
            ids = torch.tensor([seqs[i] for i in live])
            rows = torch.arange(1, len(live) + 1) * ids.shape[1] - 1  # the last row of each
            top = self.model(ids, rows).topk(2)
            for i, token, value in zip(list(live), top.indices[:, 0].tolist(), top.values):
                seqs[i].append(token)
                leads[i] = min(leads[i], (value[0] - value[1]).item())
                if token in self.stop:
                    live.remove(i)
        return [(seq[n_prompt:], lead) for seq, lead in zip(seqs, leads)]
