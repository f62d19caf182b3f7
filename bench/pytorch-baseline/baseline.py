"""Times the official PyTorch code: a segment and a training step of the 27M Sudoku model, on a CPU or a GPU.

    python3 bench/pytorch-baseline/baseline.py CHECKOUT [--device cpu|cuda] [--mode eager|compile|graphs]
        [--stack hrm|one] [--batches 1,8,32] [--train-batches 8] [--seconds 10] [--threads 2]

CHECKOUT is a checkout of github.com/sapientinc/HRM. Needs torch; what the official code wants besides it (FlashAttention,
pydantic, adam-atan2, newer torch) is replaced here where it is missing. Modes: eager; compile, which is what the official
training does; graphs, compile with CUDA graphs (mode="reduce-overhead"). --stack one passes once over the same eight
blocks in each segment (H_cycles = L_cycles = 1): a plain transformer of equal size in the same trainer.
Prints one JSON line a case, like npm run bench -- --json.
With Debian's OpenBLAS set OPENBLAS_CORETYPE=SkylakeX on CPUs with AVX-512, else it runs three times slower.
"""
import argparse
import contextlib
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
    halt_exploration_prob=0.1,
)
MODES = dict(eager=None, compile='default', graphs='reduce-overhead')


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


def copied(carry):
    """The carry outside the memory that a CUDA graph reuses; as it is where there is none."""
    if not carry.steps.is_cuda:
        return carry
    clone = lambda part: part.clone() if torch.is_tensor(part) else part
    inner = type(carry.inner_carry)(*(clone(part) for part in vars(carry.inner_carry).values()))
    data = {name: clone(tensor) for name, tensor in carry.current_data.items()}
    return type(carry)(inner, clone(carry.steps), clone(carry.halted), data)


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument('checkout')
    words.add_argument('--threads', type=int, default=torch.get_num_threads())
    words.add_argument('--seconds', type=float, default=10)
    words.add_argument('--batches', default='1,8,32')
    words.add_argument('--train-batches', default='8')
    words.add_argument('--device', choices=['cpu', 'cuda'], default='cpu')
    words.add_argument('--mode', choices=list(MODES), default='eager')
    words.add_argument('--stack', choices=['hrm', 'one'], default='hrm')
    options = words.parse_args()
    device, on_gpu = torch.device(options.device), options.device == 'cuda'
    placed = device if on_gpu else contextlib.nullcontext()  # torch below 2 cannot enter a device
    config = dict(CONFIG, forward_dtype='bfloat16' if on_gpu else 'float32')
    if options.stack == 'one':
        config.update(H_cycles=1, L_cycles=1)
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
        with placed:
            return losses.ACTLossHead(
                hrm.HierarchicalReasoningModel_ACTV1({**config, 'batch_size': batch}), 'stablemax_cross_entropy'
            )

    def compiled(model):
        mode = MODES[options.mode]
        return model if mode is None else torch.compile(model, dynamic=False, mode=mode)

    def examples(batch):
        tokens = lambda: torch.randint(1, config['vocab_size'], (batch, config['seq_len']), dtype=torch.int32)
        data = dict(inputs=tokens(), labels=tokens(), puzzle_identifiers=torch.zeros(batch, dtype=torch.int32))
        if not on_gpu:
            data['puzzle_identifiers'] = data['puzzle_identifiers'].long()  # torch below 2 takes no int32 as an index
        return {name: tensor.to(device) for name, tensor in data.items()}

    def timed(run):
        if not on_gpu:
            begin = time.perf_counter()
            run()
            return 1000 * (time.perf_counter() - begin)
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    def measure(name, batch, run):
        for _ in range(3 if options.mode != 'eager' else 1):
            run()
        times, end = [], time.perf_counter() + options.seconds
        while time.perf_counter() < end or len(times) < 3:
            times.append(timed(run))
        times.sort()
        line = dict(type='case', name=name, batch=batch, ms=statistics.median(times), bestMs=times[0], runs=len(times))
        where = torch.cuda.get_device_name() if on_gpu else f'{options.threads} threads'
        print(json.dumps({**line, 'torch': torch.__version__, 'on': where, 'mode': options.mode}), flush=True)

    def label(what):
        return f"{'paper' if options.stack == 'hrm' else 'one stack'} {what}, official PyTorch"

    def batches(text):
        return [int(word) for word in text.split(',') if word]

    for batch in batches(options.batches):
        plain, data = model_of(batch).eval(), examples(batch)
        with torch.inference_mode(), placed:
            model, state = compiled(plain), [plain.initial_carry(data)]

            def segment():
                if on_gpu:
                    torch.compiler.cudagraph_mark_step_begin()
                state[0] = copied(model(carry=state[0], batch=data, return_keys=[])[0])

            measure(label('segment'), batch, segment)

    for batch in batches(options.train_batches):
        plain, data = model_of(batch).train(), examples(batch)
        embedding = plain.model.puzzle_emb
        if not on_gpu:
            embedding._buffers['local_ids'] = embedding.local_ids.long()
        adam = AdamATan2(plain.parameters())
        signs = sparse.CastedSparseEmbeddingSignSGD_Distributed(
            embedding.buffers(), world_size=1, lr=1e-2, weight_decay=0.1
        )
        with placed:
            model, state = compiled(plain), [plain.initial_carry(data)]

        def step():
            if on_gpu:
                torch.compiler.cudagraph_mark_step_begin()
            carry, loss, *_ = model(carry=state[0], batch=data, return_keys=[])
            state[0] = copied(carry)
            (loss / batch).backward()
            signs.step()
            signs.zero_grad()
            adam.step()

        with placed:
            measure(label('training step'), batch, step)


main()
