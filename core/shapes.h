#pragma once
#include <cstdint>

namespace hrm {

// Shape letters, used in every comment of core/, cpu/ and cuda/:
//   B  batch rows (sequences)            P  puzzle positions put before the tokens, ceil(puzzle_emb_ndim / D)
//   T  tokens per sequence (seq_len)     S  P + T, positions per sequence
//   D  hidden size                       NH attention heads     HS head size, D / NH
//   F  SwiGLU inner size                 V  vocabulary size     E  puzzle_emb_ndim (0: no puzzle embedding, P = 0)

/// The sizes of one model. All counts are >= 1 except P and E.
struct Shapes {
  int64_t T, P, D, NH, F, V, E;
  int64_t S() const { return P + T; }
  int64_t HS() const { return D / NH; }
};

}  // namespace hrm
