// What this GPU can do at most, measured in the run that kernels are judged by: copies within its memory, tensor cores
// through mma.sync, and kernels of a graph that do nothing. Prints one JSON line a figure.
//   nvcc -O3 -std=c++20 -arch=native bench/gpu/ceilings.cu -o ceilings && ./ceilings
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

namespace {

constexpr int kRuns = 9;

void check(cudaError_t status) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "ceilings: %s\n", cudaGetErrorString(status));
  std::exit(1);
}

/// Milliseconds of `run`: the median of several, after one that warms up.
double median_ms(cudaStream_t stream, const std::function<void()>& run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin));
  check(cudaEventCreate(&end));
  std::vector<float> times;
  for (int i = 0; i <= kRuns; ++i) {
    check(cudaEventRecord(begin, stream));
    run();
    check(cudaEventRecord(end, stream));
    check(cudaEventSynchronize(end));
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end));
    if (i > 0) times.push_back(ms);
  }
  check(cudaEventDestroy(begin));
  check(cudaEventDestroy(end));
  std::ranges::sort(times);
  return times[times.size() / 2];
}

void print(const char* name, double value, const char* unit) {
  std::printf("{\"type\":\"ceiling\",\"name\":\"%s\",\"value\":%.4g,\"unit\":\"%s\"}\n", name, value, unit);
}

constexpr int kChains = 8;    // independent accumulators of a warp
constexpr int kSteps = 4096;  // products of each
constexpr int kWarpsOfABlock = 8;

__global__ void products(float* out) {
  const uint32_t a[4] = {0x3f803f80, 0x3f803f80, threadIdx.x, 0x3f803f80}, b[2] = {0x3f803f80, blockIdx.x};
  float d[kChains][4] = {};
  for (int step = 0; step < kSteps; ++step)
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain)
      asm volatile(
          "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
          "{%0, %1, %2, %3};"
          : "+f"(d[chain][0]), "+f"(d[chain][1]), "+f"(d[chain][2]), "+f"(d[chain][3])
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  float sum = 0;
  for (const auto& chain : d) sum += chain[0] + chain[1] + chain[2] + chain[3];
  if (sum == 0.5f) out[0] = sum;
}

__global__ void nothing() {}

}  // namespace

int main() {
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0));

  for (const size_t bytes : {size_t{16} << 20, size_t{1} << 30}) {
    void *source, *target;
    check(cudaMalloc(&source, bytes));
    check(cudaMalloc(&target, bytes));
    const double ms =
        median_ms(stream, [&] { check(cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, stream)); });
    print(bytes > (size_t{1} << 28) ? "copy 1 GiB, read and write" : "copy 16 MiB, read and write",
          2 * static_cast<double>(bytes) / ms * 1e-6, "GB/s");
    check(cudaFree(source));
    check(cudaFree(target));
  }

  float* out;
  check(cudaMalloc(&out, sizeof(float)));
  const int blocks = 4 * device.multiProcessorCount;
  const double flops = 2.0 * 16 * 8 * 16 * kChains * kSteps * kWarpsOfABlock * blocks;
  const double ms = median_ms(stream, [&] { products<<<blocks, 32 * kWarpsOfABlock, 0, stream>>>(out); });
  print("mma.sync bf16", flops / ms * 1e-9, "TFLOP/s");

  constexpr int kNodes = 1000;
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int node = 0; node < kNodes; ++node) nothing<<<1, 32, 0, stream>>>();
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  check(cudaStreamEndCapture(stream, &graph));
  check(cudaGraphInstantiate(&executable, graph, 0));
  print("graph node", median_ms(stream, [&] { check(cudaGraphLaunch(executable, stream)); }) / kNodes * 1000, "us");
  check(cudaDeviceSynchronize());
  check(cudaGetLastError());
  return 0;
}
