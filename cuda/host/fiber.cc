#include "cuda/host/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <new>

// Only what a call must preserve is kept: System V ABI for x86-64 (section 3.2.1), AAPCS64 for aarch64 (section 6.1).
#if defined(__x86_64__)
asm(R"(
  .text
  .globl hrm_cuda_switch_fiber
  .hidden hrm_cuda_switch_fiber
  .type hrm_cuda_switch_fiber, @function
hrm_cuda_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size hrm_cuda_switch_fiber, . - hrm_cuda_switch_fiber
)");
#elif defined(__aarch64__)
asm(R"(
  .text
  .globl hrm_cuda_switch_fiber
  .hidden hrm_cuda_switch_fiber
  .type hrm_cuda_switch_fiber, %function
hrm_cuda_switch_fiber:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
  .size hrm_cuda_switch_fiber, . - hrm_cuda_switch_fiber
)");
#else
#error "the CUDA kernels run on the CPU of x86-64 and aarch64 machines; configure with HRM_CUDA_HOST=OFF"
#endif

namespace hrm::cuda::host {
namespace {

constexpr size_t kStack = 256 << 10;  // bytes
constexpr size_t kPage = 64 << 10;    // the largest page in use
// Bytes between the tops of neighbouring stacks, so that they do not share the same few sets of the caches.
constexpr size_t kStagger = 1088, kStaggers = 32;

}  // namespace

FiberStacks::~FiberStacks() {
  if (memory_) munmap(memory_, count_ * kStack);
}

void FiberStacks::reserve(size_t count) {
  if (count <= count_) return;
  if (memory_) munmap(memory_, count_ * kStack);
  memory_ = nullptr;
  count_ = 0;
  void* memory =
      mmap(nullptr, count * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = static_cast<unsigned char*>(memory);
  count_ = count;
  for (size_t i = 0; i < count; ++i) mprotect(memory_ + i * kStack, kPage, PROT_NONE);
}

void* FiberStacks::start(size_t index, void (*entry)()) const {
  unsigned char* top = memory_ + (index + 1) * kStack - index % kStaggers * kStagger;
  auto* frame = reinterpret_cast<uintptr_t*>(top);
#if defined(__x86_64__)
  // Six registers, the address to return to, and an empty one, so that the entry finds its stack as after a call.
  frame -= 8;
  for (int i = 0; i < 8; ++i) frame[i] = 0;
  frame[6] = reinterpret_cast<uintptr_t>(entry);
#else
  frame -= 20;
  for (int i = 0; i < 20; ++i) frame[i] = 0;
  frame[11] = reinterpret_cast<uintptr_t>(entry);  // x30
#endif
  return frame;
}

}  // namespace hrm::cuda::host
