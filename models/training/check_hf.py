"""Checks the folder with the transformers library: loading, template, tokens, logits, answers.

    python check_hf.py ../demo            exit status 0 only if everything agrees
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    folder = Path(sys.argv[1])
    golden = json.loads((folder / "golden.json").read_text())
    tok = AutoTokenizer.from_pretrained(folder)
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, torch_dtype=torch.float32, output_loading_info=True)
    assert not any(info.values()), info
    model.eval()

    for g in golden["answers"]:
        text = tok.apply_chat_template(g["messages"], tokenize=False, add_generation_prompt=True)
        assert text == g["prompt"], text
        ids = tok.apply_chat_template(g["messages"], add_generation_prompt=True)
        assert ids == g["prompt_ids"], text
        assert tok.decode(g["answer_ids"], skip_special_tokens=True) == g["answer"]
        with torch.inference_mode():
            out = model.generate(torch.tensor([ids]), do_sample=False, temperature=None, top_p=None,
                                 max_length=None, max_new_tokens=80)[0][len(ids):].tolist()
        assert out == g["answer_ids"], (g["answer"], tok.decode(out))

    for e in golden["encodings"]:
        ids = tok(e["text"], add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ids == e["ids"], e["text"]
        assert tok.decode(ids) == e["text"], e["text"]

    want = golden["logits"]
    with torch.inference_mode():
        rows = model(torch.tensor([want["ids"]])).logits[0]
    gap = max((rows[p, torch.tensor(t["ids"])] - torch.tensor(t["values"])).abs().max().item()
              for p, t in enumerate(want["top"]))
    gap = max(gap, (rows[-1] - torch.tensor(want["last"])).abs().max().item())
    assert gap < 1e-3, gap
    n = sum(p.numel() for p in model.parameters())
    print(f"{len(golden['answers'])} answers agree; logits differ by at most {gap:.2e}; {n} parameters")


if __name__ == "__main__":
    main()
