"""Times the official PyTorch code on the CPU: one segment and one training step of the 27M Sudoku model.

    python3 bench/peers/pytorch.py CHECKOUT [--threads 2] [--seconds 10] [--batches 1,8,32]

CHECKOUT is a checkout of github.com/sapientinc/HRM. Needs torch; what the official code wants besides it (FlashAttention,
pydantic, newer torch) is replaced here by what a CPU has. Prints one JSON line a case, like npm run bench -- --json.
With Debian's OpenBLAS set OPENBLAS_CORETYPE=SkylakeX on CPUs with AVX-512, else it runs three times slower.
"""
import argparse
import importlib
import json
import math
import statistics
import sys
import time
import types

import torch
from torch import nn
import torch.nn.functional as F

CONFIG = dict(
    batch_size=8, seq_len=81, puzzle_emb_ndim=512, num_puzzle_identifiers=1, vocab_size=11, H_cycles=2, L_cycles=2,
    H_layers=4, L_layers=4, hidden_size=512, expansion=4, num_heads=8, pos_encodings='rope', halt_max_steps=16,
    halt_exploration_prob=0.1, forward_dtype='float32',
)


def attention(q, k, v, causal=False):
    """[B, S, heads, head size], as FlashAttention takes them."""
    assert not causal
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    if hasattr(F, 'scaled_dot_product_attention'):
        out = F.scaled_dot_product_attention(q, k, v)
    else:
        out = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v
    return out.transpose(1, 2).contiguous()


class PlainModel:
    """A configuration without checks, where pydantic is missing."""

    def __init__(self, **values):
        self.__dict__.update(values)


def provide(name, **members):
    try:
        importlib.import_module(name)
    except ImportError:
        module = types.ModuleType(name)
        module.__dict__.update(members)
        sys.modules[name] = module


def prepare_torch():
    """nn.Buffer and @torch.no_grad without parentheses, which torch below 2.5 lacks."""
    if hasattr(nn, 'Buffer'):
        return

    class Buffer:
        def __init__(self, tensor, persistent=True):
            self.tensor, self.persistent = tensor, persistent

    plain_setattr, plain_no_grad = nn.Module.__setattr__, torch.no_grad

    def setattr_(module, name, value):
        if isinstance(value, Buffer):
            module.register_buffer(name, value.tensor, persistent=value.persistent)
        else:
            plain_setattr(module, name, value)

    class NoGrad(plain_no_grad):
        def __new__(cls, function=None):
            return plain_no_grad()(function) if function is not None else super().__new__(cls)

        def __init__(self, function=None):
            super().__init__()

    nn.Module.__setattr__, nn.Buffer, torch.no_grad = setattr_, Buffer, NoGrad
    sys.modules['torch.optim.optimizer'].ParamsT = object


class AdamATan2:
    """theta <- (1 - lr wd) theta - lr / (1 - b1^t) atan2(m, sqrt(v) / sqrt(1 - b2^t)), as imoneoi/adam-atan2."""

    def __init__(self, parameters, lr=1e-4, weight_decay=0.1, betas=(0.9, 0.95)):
        self.parameters = list(parameters)
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.lr, self.weight_decay, self.betas, self.t = lr, weight_decay, betas, 0

    def step(self):
        self.t += 1
        b1, b2 = self.betas
        rate, scale = self.lr / (1 - b1**self.t), 1 / math.sqrt(1 - b2**self.t)
        with torch.inference_mode(False), torch.autograd.grad_mode.set_grad_enabled(False):
            for p, m, v in zip(self.parameters, self.m, self.v):
                p.mul_(1 - self.lr * self.weight_decay)
                m.lerp_(p.grad, 1 - b1)
                v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                p.sub_(torch.atan2(m, v.sqrt().mul_(scale)), alpha=rate)
                p.grad = None


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument('checkout')
    words.add_argument('--threads', type=int, default=torch.get_num_threads())
    words.add_argument('--seconds', type=float, default=10)
    words.add_argument('--batches', default='1,8,32')
    words.add_argument('--train-batch', type=int, default=8)
    options = words.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    prepare_torch()
    provide('flash_attn', flash_attn_func=attention)
    provide('pydantic', BaseModel=PlainModel)
    sys.path.insert(0, options.checkout)
    hrm = importlib.import_module('models.hrm.hrm_act_v1')
    losses = importlib.import_module('models.losses')
    sparse = importlib.import_module('models.sparse_embedding')

    def model_of(batch):
        return losses.ACTLossHead(
            hrm.HierarchicalReasoningModel_ACTV1({**CONFIG, 'batch_size': batch}), 'stablemax_cross_entropy'
        )

    def examples(batch):
        tokens = lambda: torch.randint(1, CONFIG['vocab_size'], (batch, CONFIG['seq_len']), dtype=torch.int32)
        return dict(inputs=tokens(), labels=tokens(), puzzle_identifiers=torch.zeros(batch, dtype=torch.long))

    def measure(name, batch, run):
        run()
        times, end = [], time.perf_counter() + options.seconds
        while time.perf_counter() < end or len(times) < 3:
            begin = time.perf_counter()
            run()
            times.append(1000 * (time.perf_counter() - begin))
        times.sort()
        line = dict(type='case', name=name, batch=batch, ms=statistics.median(times), bestMs=times[0], runs=len(times))
        print(json.dumps({**line, 'torch': torch.__version__, 'threads': options.threads}), flush=True)

    for batch in (int(text) for text in options.batches.split(',')):
        model, data = model_of(batch).eval(), examples(batch)
        with torch.inference_mode():
            state = [model.initial_carry(data)]

            def segment():
                state[0] = model(carry=state[0], batch=data, return_keys=[])[0]

            measure('paper segment, official PyTorch', batch, segment)

    batch = options.train_batch
    model, data = model_of(batch).train(), examples(batch)
    embedding = model.model.puzzle_emb
    embedding._buffers['local_ids'] = embedding.local_ids.long()  # torch below 2 takes no int32 as an index
    adam = AdamATan2(model.parameters())
    signs = sparse.CastedSparseEmbeddingSignSGD_Distributed(
        embedding.buffers(), world_size=1, lr=1e-2, weight_decay=0.1
    )
    state = [model.initial_carry(data)]

    def step():
        state[0], loss, *_ = model(carry=state[0], batch=data, return_keys=[])
        (loss / batch).backward()
        signs.step()
        signs.zero_grad()
        adam.step()

    measure('paper training step, official PyTorch', batch, step)


main()
