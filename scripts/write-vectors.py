"""Writes vectors/pytorch.json, the values that `hrm doctor` compares this machine with: an HRM with the initial weights of
seed 0, in PyTorch, in float64; and how far float32 is from them. Needs PyTorch, NumPy and a built checkout.

usage: OPENBLAS_CORETYPE=SKYLAKEX python3 scripts/write-vectors.py
"""

import json
import math
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

root = Path(__file__).resolve().parent.parent
target = root / "vectors" / "pytorch.json"

ROWS = 5
SEGMENTS = 2
SAMPLES = 48
config = dict(
    vocabSize=7,
    seqLen=11,
    numPuzzleIdentifiers=3,
    puzzleEmbNdim=64,
    hCycles=2,
    lCycles=2,
    hLayers=1,
    lLayers=2,
    hiddenSize=64,
    numHeads=2,
    expansion=4,
    posEncodings="rope",
    ropeTheta=10000,
    rmsNormEps=1e-5,
    haltMaxSegments=3,
    haltExplorationProb=0.1,
    lossType="stablemax_cross_entropy",
    haltOnly=False,
)


def initial_weights(folder):
    """Tensors of `HRM.create(config, {seed: 0})`, by name."""
    program = f"""
      import {{ HRM }} from {json.dumps((root / "dist/index.js").as_uri())}
      const model = await HRM.create({json.dumps(config)}, {{ seed: 0, device: 'cpu' }})
      await model.save({json.dumps(folder)})
      model.dispose()"""
    subprocess.run(["node", "--input-type=module", "-e", program], check=True)
    data = (Path(folder) / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"]).copy())
    return tensors


def given_tensors(generator):
    """What initialisation leaves at zero, and the loss would not see."""
    normal = lambda *shape: torch.randn(*shape, generator=generator)
    d, puzzles = config["hiddenSize"], config["numPuzzleIdentifiers"]
    return {
        "inner.q_head.weight": normal(2, d) / math.sqrt(d),
        "inner.q_head.bias": normal(2) / 2,
        "inner.puzzle_emb.weights": normal(puzzles, config["puzzleEmbNdim"]) / math.sqrt(d),
    }


class Network:
    """The two levels and their heads, over weights [out, in] by name."""

    def __init__(self, weights):
        self.w = weights
        self.dtype = weights["inner.lm_head.weight"].dtype
        positions = config["seqLen"] + 1
        half = config["hiddenSize"] // config["numHeads"] // 2
        frequencies = config["ropeTheta"] ** -(torch.arange(half, dtype=self.dtype) / half)
        angles = torch.outer(torch.arange(positions, dtype=self.dtype), frequencies)
        self.cos, self.sin = angles.cos(), angles.sin()

    def rotate(self, x):
        """RoPE on [B, heads, S, head size]: pairs are half a head apart."""
        a, b = x.chunk(2, -1)
        return torch.cat((a * self.cos - b * self.sin, b * self.cos + a * self.sin), -1)

    def norm(self, x):
        return x * (x.square().mean(-1, keepdim=True) + config["rmsNormEps"]).rsqrt()

    def block(self, x, prefix):
        b, s, d = x.shape
        heads = config["numHeads"]
        qkv = (x @ self.w[prefix + "self_attn.qkv_proj.weight"].T).view(b, s, 3, heads, d // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = self.rotate(q) @ self.rotate(k).transpose(-1, -2) / math.sqrt(d // heads)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, s, d)
        x = self.norm(x + mixed @ self.w[prefix + "self_attn.o_proj.weight"].T)
        gate, up = (x @ self.w[prefix + "mlp.gate_up_proj.weight"].T).chunk(2, -1)
        return self.norm(x + (F.silu(gate) * up) @ self.w[prefix + "mlp.down_proj.weight"].T)

    def level(self, name, z, injected):
        z = z + injected
        for layer in range(config["hLayers" if name == "H" else "lLayers"]):
            z = self.block(z, f"inner.{name}_level.layers.{layer}.")
        return z

    def embed(self, inputs, puzzle_rows):
        tokens = self.w["inner.embed_tokens.embedding_weight"][inputs]
        return math.sqrt(config["hiddenSize"]) * torch.cat((puzzle_rows.unsqueeze(1), tokens), 1)

    def start(self):
        shape = (ROWS, config["seqLen"] + 1, config["hiddenSize"])
        return tuple(self.w[f"inner.{name}_init"].expand(shape) for name in "HL")

    def segment(self, z_h, z_l, x):
        """One segment; gradient runs through the last update of each level alone. Also logits [B, T, V] and q [B, 2]."""
        with torch.no_grad():
            for update in range(config["hCycles"] * config["lCycles"] - 1):
                z_l = self.level("L", z_l, z_h + x)
                if update % config["lCycles"] == config["lCycles"] - 1:
                    z_h = self.level("H", z_h, z_l)
        z_l = self.level("L", z_l, z_h + x)
        z_h = self.level("H", z_h, z_l)
        logits = (z_h @ self.w["inner.lm_head.weight"].T)[:, 1:]
        q = z_h[:, 0] @ self.w["inner.q_head.weight"].T + self.w["inner.q_head.bias"]
        return z_h, z_l, logits, q


def stablemax_loss(logits, labels):
    """Mean cross-entropy of each row over its labelled tokens."""
    logits = logits.double()
    s = torch.where(logits < 0, 1 / (1 - logits), logits + 1)
    log_p = (s / s.sum(-1, keepdim=True)).log()
    labelled = labels >= 0
    picked = log_p.gather(-1, labels.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    return -(picked * labelled).sum(-1) / labelled.sum(-1).clamp_min(1)


def sample(values):
    """Elements i * 2654435761 mod n of a flat tensor."""
    flat = values.detach().reshape(-1)
    n = flat.numel()
    return flat[[i * 2654435761 % n for i in range(min(n, SAMPLES))]]


def compute(weights, inputs, labels, puzzles, dtype):
    w = {name: value.to(dtype) for name, value in weights.items()}
    trained = [name for name in w if not name.endswith("_init") and name != "inner.puzzle_emb.weights"]
    for name in trained:
        w[name].requires_grad_()
    network = Network(w)
    rows = w["inner.puzzle_emb.weights"][puzzles].requires_grad_()
    values = {}
    with torch.no_grad():
        x = network.embed(inputs, rows)
        z_h, z_l = network.start()
        for segment in range(1, SEGMENTS + 1):
            z_h, z_l, logits, q = network.segment(z_h, z_l, x)
            values[f"segment {segment} logits"] = logits.reshape(-1)
            values[f"segment {segment} q"] = q.reshape(-1)

    x = network.embed(inputs, rows)
    z_h, z_l, logits, q = network.segment(*network.start(), x)
    with torch.no_grad():
        following = network.segment(z_h, z_l, x)[3]
        continue_target = following.max(-1).values.sigmoid()
        labelled = labels >= 0
        right = ((logits.argmax(-1) == labels) | ~labelled).all(-1).to(dtype)
    halting = F.binary_cross_entropy_with_logits(q, torch.stack((right, continue_target), -1), reduction="sum")
    loss = stablemax_loss(logits, labels).sum() + halting / 2
    (loss / ROWS).backward()
    gradients = {name: w[name].grad for name in trained}
    values["loss"] = loss.detach().reshape(1)
    values["gradient norm"] = torch.stack([g.double().square().sum() for g in gradients.values()]).sum().sqrt().reshape(1)
    values["continue target"] = continue_target
    for name, gradient in {**gradients, "inner.puzzle_emb.local_weights": rows.grad}.items():
        values[f"grad.{name}"] = sample(gradient)
    return {name: value.double() for name, value in values.items()}


def main():
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    given = given_tensors(generator)
    with tempfile.TemporaryDirectory() as folder:
        weights = {**initial_weights(folder + "/model"), **given}
    shape = (ROWS, config["seqLen"])
    inputs = torch.randint(1, config["vocabSize"], shape, generator=generator)
    labels = torch.randint(1, config["vocabSize"], shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < 0.2] = -100
    labels[-1] = -100
    puzzles = torch.tensor([0, 1, 2, 1, 0])
    exact = compute(weights, inputs, labels, puzzles, torch.float64)
    single = compute(weights, inputs, labels, puzzles, torch.float32)
    expected = {}
    for name, values in exact.items():
        scale = values.abs().max()
        error = float((single[name] - values).abs().max() / scale)
        expected[name] = {"float32Error": float(f"{error:.3g}"), "values": [float(f"{v:.12g}") for v in values]}
    document = {
        "description": "What PyTorch computes in float64 from the initial weights of seed 0, with the given tensors in place of "
        "their own; of gradients (of the loss over the rows) elements i * 2654435761 mod n. float32Error: the largest "
        "difference of float32 from it over the largest value. Written by scripts/write-vectors.py.",
        "config": config,
        "seed": 0,
        "given": {name: [float(f"{v:.9g}") for v in value.reshape(-1)] for name, value in given.items()},
        "inputs": inputs.reshape(-1).tolist(),
        "labels": labels.reshape(-1).tolist(),
        "puzzleIds": puzzles.tolist(),
        "segments": SEGMENTS,
        "expected": expected,
    }
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(document, indent=1))
    subprocess.run([str(root / "node_modules/.bin/prettier"), "--write", "--log-level", "warn", str(target)], check=True)
    print(f"{target.relative_to(root)}: {target.stat().st_size} bytes, {len(expected)} groups")
    for name, group in expected.items():
        print(f"{group['float32Error']:9.2g}  {name}")


main()
