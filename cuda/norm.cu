// RMSNorm where it is not part of a matrix product: a warp a row.

#include "cuda/launches.h"
#include "cuda/reduce.h"

namespace hrm::cuda {
namespace {

/// The columns of a row that this lane takes, in packets.
template <typename T, typename Function>
__device__ __forceinline__ void for_own_packets(int D, Function function) {
  for (int column = lane_index() * kPacket<T>; column < D; column += 32 * kPacket<T>) function(column);
}

/// x: [rows, D]; out: [rows, D] T or float; rstd: [rows] or null
template <typename T, typename Out>
__global__ void normalise_rows(int64_t rows, Rows<T> x, Out* out, float* rstd) {
  const int64_t row = warp_index();
  if (row >= rows) return;
  const float factor = x.factor(row);
  if (rstd && lane_index() == 0) rstd[row] = factor;
  for_own_packets<T>(x.D, [&](int column) {
    float values[kPacket<T>];
    x.load_normed(row, column, factor, values);
    store(values, out + row * x.D + column);
  });
}

/// y, grad_out, grad_in: [rows, D]; rstd: [rows]
template <typename T>
__global__ void norm_backward_rows(int64_t rows, int D, const T* y, const float* rstd, const T* grad_out, T* grad_in) {
  const int64_t row = warp_index();
  if (row >= rows) return;
  float y_values[kPacket<T>], grads[kPacket<T>];
  float sum = 0.0f;
  for_own_packets<T>(D, [&](int column) {
    load(y + row * D + column, y_values);
    load(grad_out + row * D + column, grads);
#pragma unroll
    for (int i = 0; i < kPacket<T>; ++i) sum = fmaf(grads[i], y_values[i], sum);
  });
  const float mean = warp_sum(sum) / static_cast<float>(D), factor = rstd[row];
  for_own_packets<T>(D, [&](int column) {
    load(y + row * D + column, y_values);
    load(grad_out + row * D + column, grads);
#pragma unroll
    for (int i = 0; i < kPacket<T>; ++i) grads[i] = factor * (grads[i] - y_values[i] * mean);
    store(grads, grad_in + row * D + column);
  });
}

/// z, a, b: [rows, D]; b.x may be null. Rounded where the official code's tensors are (hrm_act_v1.py: z_H +
/// input_embeddings, hidden_states + input_injection).
template <typename T>
__global__ void inject_rows(int64_t rows, Rows<T> z, Rows<T> a, Rows<T> b) {
  const int64_t row = warp_index();
  if (row >= rows) return;
  const float z_factor = z.factor(row), a_factor = a.factor(row), b_factor = b.x ? b.factor(row) : 0.0f;
  for_own_packets<T>(z.D, [&](int column) {
    float values[kPacket<T>], injection[kPacket<T>];
    z.load_normed(row, column, z_factor, values);
    a.load_normed(row, column, a_factor, injection);
    if (b.x) {
      float second[kPacket<T>];
      b.load_normed(row, column, b_factor, second);
#pragma unroll
      for (int i = 0; i < kPacket<T>; ++i) injection[i] = rounded<T>(injection[i] + second[i]);
    }
#pragma unroll
    for (int i = 0; i < kPacket<T>; ++i) values[i] += injection[i];
    store(values, z.x + row * z.D + column);
  });
  __syncwarp();  // all lanes have read z's sums
  z.make_final(row);
}

/// Element first + i of x <- values[i]. The element that begins a group makes its sum final.
template <typename T>
__global__ void narrow_elements(int64_t count, const float* values, int64_t first, T* x, float* sums) {
  const int64_t i = thread_index();
  if (i >= count) return;
  const int64_t at = first + i;
  x[at] = from_float<T>(values[i]);
  if (at % kNormGroup == 0) sums[at / kNormGroup] = -1.0f;
}

}  // namespace

void normalise(Device& device, Format format, const BlockSizes& sizes, Activation x, void* out, float* rstd) {
  with_format(format, [&]<typename T>() {
    device.launch(warp_each(sizes.rows()), normalise_rows<T, T>, sizes.rows(), Rows<T>(x, sizes.D, sizes.norm_eps),
                  static_cast<T*>(out), rstd);
  });
}

void norm_backward(Device& device, Format format, const BlockSizes& sizes, const void* y, const float* rstd,
                   const void* grad_out, void* grad_in) {
  with_format(format, [&]<typename T>() {
    device.launch(warp_each(sizes.rows()), norm_backward_rows<T>, sizes.rows(), static_cast<int>(sizes.D),
                  static_cast<const T*>(y), rstd, static_cast<const T*>(grad_out), static_cast<T*>(grad_in));
  });
}

void inject(Device& device, Format format, const BlockSizes& sizes, Activation z, Activation a, Activation b) {
  with_format(format, [&]<typename T>() {
    const auto rows = [&](Activation x) { return Rows<T>(x, sizes.D, sizes.norm_eps); };
    device.launch(warp_each(sizes.rows()), inject_rows<T>, sizes.rows(), rows(z), rows(a), rows(b));
  });
}

void widen(Device& device, Format format, const BlockSizes& sizes, Activation x, float* values) {
  with_format(format, [&]<typename T>() {
    device.launch(warp_each(sizes.rows()), normalise_rows<T, float>, sizes.rows(), Rows<T>(x, sizes.D, sizes.norm_eps),
                  values, nullptr);
  });
}

void narrow(Device& device, Format format, int64_t D, const float* values, size_t first_element, size_t count,
            Activation x) {
  (void)D;  // a multiple of kNormGroup
  with_format(format, [&]<typename T>() {
    device.launch(thread_each(static_cast<int64_t>(count)), narrow_elements<T>, static_cast<int64_t>(count), values,
                  static_cast<int64_t>(first_element), static_cast<T*>(x.x), x.sums);
  });
}

}  // namespace hrm::cuda
