// Device by the CUDA runtime.

#include <cuda_runtime.h>

#include <cstdlib>
#include <string>
#include <unordered_set>
#include <vector>

#include "core/error.h"
#include "cuda/device.h"

namespace hrm::cuda {
namespace {

constexpr int kOldestMajor = 8;                    // cp.async, bf16 mma
constexpr int kFirstLoops = 12040;                 // driver whose graphs can loop
constexpr size_t kSharedWithoutAsking = 48 << 10;  // bytes; more only by cudaFuncSetAttribute

/// Its presence says that this build has code for a device.
__global__ void probe() {}

/// The last node of a loop's body.
__global__ void go_on_if(cudaGraphConditionalHandle loop, const uint8_t* again) {
  cudaGraphSetConditional(loop, *again != 0);
}

std::string describe(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

DeviceInfo describe_device(int ordinal) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, ordinal); error != cudaSuccess) {
    cudaGetLastError();
    throw Error("ERR_HRM_NO_DEVICE",
                "[device] GPU " + std::to_string(ordinal) + " does not answer: " + describe(error));
  }
  return {.name = properties.name,
          .major = properties.major,
          .minor = properties.minor,
          .multiprocessors = properties.multiProcessorCount,
          .shared_memory = properties.sharedMemPerBlockOptin,
          .memory = properties.totalGlobalMem};
}

/// The devices that can run the kernels, with the numbers that the runtime has for them.
struct Visible {
  DeviceList list;
  std::vector<int> ordinals;
};

Visible visible_devices() {
  Visible visible;
  // Without a driver every other call would answer that it is too old.
  int driver = 0, runtime = 0, count = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
    cudaGetLastError();
    visible.list.reason = "no NVIDIA driver (libcuda.so.1 not found)";
    return visible;
  }
  cudaRuntimeGetVersion(&runtime);
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) cudaGetLastError();
  if (error == cudaErrorInsufficientDriver || driver / 1000 < runtime / 1000) {
    // CUDA Toolkit release notes, "minor version compatibility": R525 for 12.x, R580 for 13.x.
    visible.list.reason = "the NVIDIA driver, of CUDA " + version_text(driver) + ", is older than CUDA " +
                          version_text(runtime) + " needs: R" + (runtime / 1000 < 13 ? "525" : "580") + " or newer";
    visible.list.unusable = true;
    return visible;
  }
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0)) {
    visible.list.reason = "the NVIDIA driver shows no GPU";
    if (const char* chosen = std::getenv("CUDA_VISIBLE_DEVICES"))
      visible.list.reason += " (CUDA_VISIBLE_DEVICES is '" + std::string(chosen) + "')";
    return visible;
  }
  if (error != cudaSuccess) {
    visible.list.reason = "the NVIDIA driver reports: " + describe(error);
    visible.list.unusable = true;
    return visible;
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    DeviceInfo info;
    try {
      info = describe_device(ordinal);
    } catch (const Error& unreachable) {
      visible.list.reason = unreachable.what();
      continue;
    }
    if (info.major < kOldestMajor) {
      visible.list.reason = info.name + " has compute capability " + std::to_string(info.major) + "." +
                            std::to_string(info.minor) + "; 8.0 or newer is needed";
      continue;
    }
    visible.list.devices.push_back(info);
    visible.ordinals.push_back(ordinal);
  }
  visible.list.unusable = visible.list.devices.empty();
  if (!visible.list.unusable) visible.list.reason.clear();
  return visible;
}

struct ExecutableGraph : Graph {
  explicit ExecutableGraph(cudaGraphExec_t executable) : executable(executable) {}
  ~ExecutableGraph() override { cudaGraphExecDestroy(executable); }
  const cudaGraphExec_t executable;
  const uint8_t* again = nullptr;  // on the device, of a loop that the host has to run
};

struct OwnedGraph {
  ~OwnedGraph() {
    if (graph) cudaGraphDestroy(graph);
  }
  cudaGraph_t graph = nullptr;
};

}  // namespace

DeviceList list_devices() { return visible_devices().list; }

struct Device::State {
  int ordinal = 0;
  DeviceInfo info;
  cudaStream_t stream = nullptr;
  bool capturing = false;
  std::string lost;                        // why, or empty
  std::unordered_set<const void*> loaded;  // kernels, ready for any launch

  ~State() {
    cudaSetDevice(ordinal);
    if (stream) cudaStreamDestroy(stream);
    cudaGetLastError();
  }

  /// Before every call: the thread may be another than the last time, and each has its own current device.
  void enter(const char* op, bool may_be_captured = false) {
    if (!lost.empty()) throw Error("ERR_HRM_CUDA", lost);
    if (capturing && !may_be_captured)
      throw Error("ERR_HRM_CUDA", "[" + std::string(op) + "] expected no capture, got one; do it before or after");
    check(op, cudaSetDevice(ordinal));
  }

  /// Errors of earlier, asynchronous work appear in any later call. Whatever fails besides an allocation leaves the
  /// device in an unknown state.
  void check(const char* op, cudaError_t error) {
    if (error == cudaSuccess) return;
    cudaGetLastError();
    if (error == cudaErrorMemoryAllocation) throw out_of_memory(op, "memory");
    lost = "[" + std::string(op) + "] the CUDA driver reported for " + info.name + ": " + describe(error);
    throw Error("ERR_HRM_CUDA", lost);
  }

  Error out_of_memory(const char* op, const std::string& needed) {
    size_t free = 0, all = 0;
    if (cudaMemGetInfo(&free, &all) != cudaSuccess) cudaGetLastError();
    return Error("ERR_HRM_OUT_OF_MEMORY", "[" + std::string(op) + "] expected " + needed + " free on " + info.name +
                                              ", got " + std::to_string(free) + " bytes; use a smaller batch or model");
  }

  std::unique_ptr<Graph> instantiate(const OwnedGraph& graph) {
    cudaGraphExec_t executable = nullptr;
    check("end_capture", cudaGraphInstantiate(&executable, graph.graph, 0));
    return std::make_unique<ExecutableGraph>(executable);
  }

  /// Loading code is not allowed in a capture unless it is relaxed for it.
  void load(const void* kernel) {
    if (loaded.contains(kernel)) return;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    check("launch", cudaThreadExchangeStreamCaptureMode(&mode));
    cudaFuncAttributes attributes;
    cudaError_t error = cudaFuncGetAttributes(&attributes, kernel);
    if (error == cudaSuccess && info.shared_memory > kSharedWithoutAsking)
      error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(info.shared_memory - attributes.sharedSizeBytes));
    cudaThreadExchangeStreamCaptureMode(&mode);
    check("launch", error);
    loaded.insert(kernel);
  }
};

Device::Device(int index) {
  const Visible visible = visible_devices();
  const auto refuse = [&](const std::string& why) {
    return Error("ERR_HRM_NO_DEVICE", "[device] expected cuda:" + std::to_string(index) + ", but " + why);
  };
  if (visible.ordinals.empty()) throw refuse(visible.list.reason);
  if (index < 0 || static_cast<size_t>(index) >= visible.ordinals.size())
    throw refuse("there are GPUs 0 … " + std::to_string(visible.ordinals.size() - 1));
  auto state = std::make_unique<State>();
  state->ordinal = visible.ordinals[static_cast<size_t>(index)];
  state->info = visible.list.devices[static_cast<size_t>(index)];
  state->enter("device");
  cudaFuncAttributes attributes;
  if (const cudaError_t error = cudaFuncGetAttributes(&attributes, probe); error != cudaSuccess) {
    cudaGetLastError();
    if (error != cudaErrorInvalidDeviceFunction && error != cudaErrorNoKernelImageForDevice &&
        error != cudaErrorUnsupportedPtxVersion)
      throw refuse("the CUDA driver reported for " + state->info.name + ": " + describe(error));
    throw refuse("this build has no code for " + state->info.name + " (compute capability " +
                 std::to_string(state->info.major) + "." + std::to_string(state->info.minor) +
                 "); compile it with HRM_CUDA_ARCHS set");
  }
  state->check("device", cudaStreamCreateWithFlags(&state->stream, cudaStreamNonBlocking));
  state_ = std::move(state);
}

Device::~Device() = default;

const DeviceInfo& Device::info() const { return state_->info; }

size_t Device::free_memory() const {
  state_->enter("free_memory", true);
  size_t free = 0, all = 0;
  state_->check("free_memory", cudaMemGetInfo(&free, &all));
  return free;
}

void* Device::allocate(size_t bytes) {
  state_->enter("allocate");
  void* memory = nullptr;
  if (const cudaError_t error = cudaMalloc(&memory, bytes ? bytes : 1); error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw state_->out_of_memory("allocate", std::to_string(bytes) + " bytes");
  } else {
    state_->check("allocate", error);
  }
  if (const cudaError_t error = cudaMemsetAsync(memory, 0, bytes, state_->stream); error != cudaSuccess) {
    cudaFree(memory);
    state_->check("allocate", error);
  }
  return memory;
}

void Device::release(void* memory) noexcept {
  cudaSetDevice(state_->ordinal);
  cudaFree(memory);  // waits for what was issued
  cudaGetLastError();
}

void Device::upload(void* target, const void* source, size_t bytes) {
  state_->enter("upload");
  // From pageable memory: the driver has taken its copy when the call returns (CUDA Runtime API, "API synchronization
  // behavior").
  state_->check("upload", cudaMemcpyAsync(target, source, bytes, cudaMemcpyHostToDevice, state_->stream));
}

void Device::download(void* target, const void* source, size_t bytes) {
  state_->enter("download");
  state_->check("download", cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToHost, state_->stream));
  state_->check("download", cudaStreamSynchronize(state_->stream));
}

void Device::copy(void* target, const void* source, size_t bytes) {
  state_->enter("copy", true);
  state_->check("copy", cudaMemcpyAsync(target, source, bytes, cudaMemcpyDeviceToDevice, state_->stream));
}

void Device::wait() {
  state_->enter("wait");
  state_->check("wait", cudaStreamSynchronize(state_->stream));
}

void Device::begin_capture() {
  state_->enter("begin_capture");
  state_->check("begin_capture", cudaStreamBeginCapture(state_->stream, cudaStreamCaptureModeThreadLocal));
  state_->capturing = true;
}

std::unique_ptr<Graph> Device::end_capture() {
  state_->enter("end_capture", true);
  state_->capturing = false;
  OwnedGraph graph;
  state_->check("end_capture", cudaStreamEndCapture(state_->stream, &graph.graph));
  return state_->instantiate(graph);
}

std::unique_ptr<Graph> Device::end_capture_loop(const uint8_t* again) {
  int driver = 0;
  state_->check("end_capture", cudaDriverGetVersion(&driver));
  if (driver < kFirstLoops) {
    auto graph = end_capture();
    static_cast<ExecutableGraph&>(*graph).again = again;
    return graph;
  }
  state_->enter("end_capture", true);
  state_->capturing = false;
  OwnedGraph once, loop;
  state_->check("end_capture", cudaStreamEndCapture(state_->stream, &once.graph));
  state_->check("end_capture", cudaGraphCreate(&loop.graph, 0));
  cudaGraphNodeParams while_node = {};
  while_node.type = cudaGraphNodeTypeConditional;
  while_node.conditional.type = cudaGraphCondTypeWhile;
  while_node.conditional.size = 1;
  cudaGraphConditionalHandle& handle = while_node.conditional.handle;
  state_->check("end_capture", cudaGraphConditionalHandleCreate(&handle, loop.graph, 1, cudaGraphCondAssignDefault));
  cudaGraphNode_t node;
#if CUDART_VERSION >= 13000
  state_->check("end_capture", cudaGraphAddNode(&node, loop.graph, nullptr, nullptr, 0, &while_node));
#else
  state_->check("end_capture", cudaGraphAddNode(&node, loop.graph, nullptr, 0, &while_node));
#endif
  const cudaGraph_t body = while_node.conditional.phGraph_out[0];
  cudaGraphNode_t child;
  state_->check("end_capture", cudaGraphAddChildGraphNode(&child, body, nullptr, 0, once.graph));
  void* arguments[] = {&handle, &again};
  cudaKernelNodeParams last = {};
  last.func = reinterpret_cast<void*>(go_on_if);
  last.gridDim = last.blockDim = dim3(1);
  last.kernelParams = arguments;
  state_->check("end_capture", cudaGraphAddKernelNode(&node, body, &child, 1, &last));
  return state_->instantiate(loop);
}

void Device::abandon_capture() noexcept {
  if (!state_->capturing) return;
  state_->capturing = false;
  cudaSetDevice(state_->ordinal);
  OwnedGraph dropped;
  cudaStreamEndCapture(state_->stream, &dropped.graph);
  cudaGetLastError();
}

void Device::replay(Graph& graph) {
  state_->enter("replay");
  const auto& kept = static_cast<ExecutableGraph&>(graph);
  uint8_t again = 0;
  do {
    state_->check("replay", cudaGraphLaunch(kept.executable, state_->stream));
    if (kept.again) download(&again, kept.again, 1);
  } while (again != 0);
}

void Device::launch_kernel(const Launch& launch, const void* kernel, void** arguments, const size_t*, size_t,
                           void (*)(const void* kernel, void** arguments)) {
  state_->enter("launch", true);
  state_->load(kernel);
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(launch.blocks_x, launch.blocks_y, launch.blocks_z);
  config.blockDim = dim3(launch.threads);
  config.dynamicSmemBytes = launch.shared;
  config.stream = state_->stream;
  state_->check("launch", cudaLaunchKernelExC(&config, kernel, arguments));
}

}  // namespace hrm::cuda
