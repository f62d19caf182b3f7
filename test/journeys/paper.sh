# From nothing to a page about a run, with the options in the spelling of the official repository.
# Puzzles: 4x4 ones here; `hrm data sudoku sudoku-extreme/ …` takes the 9x9 ones of the paper in the same way.
npx hrm data sudoku --size 4 --holes 2 --generate 4000 --test 64 --grids 240 --seed 0 -o data/sudoku-4x4

# Train with what the official pretrain.py takes, on top of a preset that a CPU can do.
npx hrm train data_path=data/sudoku-4x4 arch.L_cycles=2 arch.halt_max_steps=2 global_batch_size=64 epochs=200 eval_interval=4 \
  lr=2e-3 lr_warmup_steps=20 weight_decay=0.1 puzzle_emb_lr=1e-2 +run_name=first --preset tiny --max-steps 300 \
  --out runs/first --json > train.jsonl

# Score the best checkpoint by the official rule: all segments, the share of puzzles that are right in every cell.
npx hrm eval runs/first/best data/sudoku-4x4 --json > eval.json

# All of it in one file.
npx hrm report runs/first
