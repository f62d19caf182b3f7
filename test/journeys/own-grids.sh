# From pairs of grids in a file to a model of one's own, and its predictions.
# pairs.jsonl has lines as {"input": [["r", "."], [".", "g"]], "output": [["g", "."], [".", "r"]]}; a tenth is kept to test on.
npx hrm data grid pairs.jsonl -o data/mine --val 0.1 --seed 0

# What is in it: values, sizes, pairs that occur twice, examples drawn.
npx hrm inspect data/mine

# Train; the model remembers what the values were.
npx hrm train data_path=data/mine --preset tiny lr=2e-3 lr_warmup_steps=20 arch.halt_max_steps=2 --max-steps 500 --eval-every 250 \
  --out runs/mine --json > train.jsonl

# Predict: new.jsonl has inputs alone, answers are in the values of the pairs.
npx hrm solve runs/mine/best new.jsonl --json > answers.jsonl
