#include "cuda/host/block.h"

#include <bit>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/error.h"
#include "cuda/host/fiber.h"
#include "cuda/host/warp.h"

namespace hrm::cuda::host {

thread_local LaneView* lane __attribute__((tls_model("initial-exec"))) = nullptr;

namespace {

constexpr uint32_t kAll = 0xffffffffu;
constexpr unsigned kWarp = 32;
constexpr size_t kGuard = 4096;          // bytes on both sides of the shared memory
constexpr unsigned kOtherWarpOneIn = 8;  // chance that another warp goes on after a call of a warp

struct Copy {
  void* target;
  const void* source;
  bool valid;
};

struct Lane : LaneView {
  void* stack = nullptr;
  unsigned number = 0;  // in its block
  WarpCall call = WarpCall::synchronise;
  uint32_t mask = 0;
  std::source_location where;
  std::vector<Copy> copies;    // issued, not arrived, in order
  std::vector<size_t> groups;  // ends of the committed groups in `copies`, in order
};

/// Lanes of a warp by what they do, one bit each; all bits 0: it has ended.
struct Warp {
  uint32_t ready = kAll, at_call = 0, at_barrier = 0;
  void* arguments[kWarp] = {};
};

std::string place(const std::source_location& where) {
  const std::string file = where.file_name();
  return file.substr(file.rfind('/') + 1) + ":" + std::to_string(where.line());
}

bool same_place(const std::source_location& a, const std::source_location& b) {
  return a.line() == b.line() && (a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0);
}

const char* name_of(WarpCall call) {
  switch (call) {
    case WarpCall::synchronise:
      return "__syncwarp";
    case WarpCall::shuffle:
      return "a shuffle";
    case WarpCall::load_matrices:
    case WarpCall::load_matrices_transposed:
      return "ldmatrix";
    case WarpCall::multiply_add:
      return "mma";
  }
  return "";
}

/// What `body` threw, or nothing: a fiber that is left for good may not be inside of a catch.
template <typename Body>
std::string broken_rule(const Body& body) {
  try {
    body();
  } catch (const std::string& rule) {
    return rule;
  }
  return {};
}

/// Runs the blocks of one launch on this thread.
class Grid {
 public:
  void run(const Launch& launch, uint64_t seed, const std::function<void()>& thread);

  void call_warp(WarpCall call, uint32_t mask, void* arguments, const std::source_location& where);
  void synchronise_block(const std::source_location& where);
  [[noreturn]] void run_thread();

  Lane& current() { return *static_cast<Lane*>(lane); }
  [[noreturn]] void fail(const std::string& rule);
  const BlockView& view() const { return view_; }

 private:
  void run_block(const Launch& launch);
  uint32_t draw();
  unsigned draw_bit(uint32_t mask);
  /// Goes on with a thread that can; with none left, the block has ended or is stuck.
  void leave(Lane& from);
  void go_on_with(Lane& from, unsigned warp);
  [[noreturn]] void report_stuck();
  std::string name_of_block() const;
  unsigned char* shared_end() const { return shared_ + (view_.shared_size + 1) / 2 * 2; }
  void check_guards() const;

  const std::function<void()>* thread_ = nullptr;
  BlockView view_{};
  std::vector<Lane> lanes_;
  std::vector<Warp> warps_;
  uint32_t runnable_ = 0;  // warps with a ready lane
  unsigned threads_ = 0, at_barrier_ = 0, ended_ = 0;
  std::source_location barrier_;
  uint64_t random_ = 1;
  void* main_stack_ = nullptr;
  FiberStacks stacks_;
  std::vector<unsigned char> memory_;
  unsigned char* shared_ = nullptr;
  std::string broken_;  // the rule
  std::exception_ptr thrown_;
};

thread_local std::unique_ptr<Grid> own_grid;
thread_local Grid* grid __attribute__((tls_model("initial-exec"))) = nullptr;

void enter_thread() { grid->run_thread(); }

uint32_t Grid::draw() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return static_cast<uint32_t>(random_ >> 32);
}

unsigned Grid::draw_bit(uint32_t mask) {
  const unsigned turn = draw() % kWarp;
  return (static_cast<unsigned>(std::countr_zero(std::rotr(mask, static_cast<int>(turn)))) + turn) % kWarp;
}

std::string Grid::name_of_block() const {
  const Index& block = view_.index;
  return "block (" + std::to_string(block.x) + ", " + std::to_string(block.y) + ", " + std::to_string(block.z) + ")";
}

void Grid::fail(const std::string& rule) {
  Lane& at = current();
  broken_ = name_of_block() + ", thread " + std::to_string(at.number) + ": " + rule;
  hrm_cuda_switch_fiber(&at.stack, main_stack_);
  std::terminate();  // a block that broke a rule is not resumed
}

void Grid::run_thread() {
  Lane& own = current();
  try {
    (*thread_)();
  } catch (...) {
    thrown_ = std::current_exception();
  }
  ++ended_;
  if (thrown_) hrm_cuda_switch_fiber(&own.stack, main_stack_);
  leave(own);
  std::terminate();  // an ended thread is not resumed
}

void Grid::go_on_with(Lane& from, unsigned number) {
  Warp& warp = warps_[number];
  Lane& next = lanes_[number * kWarp + draw_bit(warp.ready)];
  warp.ready &= ~(1u << next.number % kWarp);
  if (!warp.ready) runnable_ &= ~(1u << number);
  if (&next == &from) return;
  lane = &next;
  hrm_cuda_switch_fiber(&from.stack, next.stack);
}

void Grid::leave(Lane& from) {
  const unsigned own = from.number / kWarp;
  if (warps_[own].ready) return go_on_with(from, own);
  if (runnable_) return go_on_with(from, draw_bit(runnable_));
  if (ended_ < threads_) report_stuck();
  hrm_cuda_switch_fiber(&from.stack, main_stack_);
}

void Grid::report_stuck() {
  for (const Lane& at : lanes_) {
    const Warp& warp = warps_[at.number / kWarp];
    if (!(warp.at_call >> at.number % kWarp & 1)) continue;
    lane = const_cast<Lane*>(&at);
    const unsigned missing = static_cast<unsigned>(std::popcount(at.mask & ~warp.at_call));
    fail(std::string(name_of(at.call)) + " at " + place(at.where) + " waits for lanes that never reach it" +
         (missing ? ": " + std::to_string(missing) + " of its warp wait elsewhere or have ended" : ""));
  }
  fail("the barrier at " + place(barrier_) + " is reached by " + std::to_string(at_barrier_) + " of " +
       std::to_string(threads_) + " threads; the others have ended");
}

void Grid::call_warp(WarpCall call, uint32_t mask, void* arguments, const std::source_location& where) {
  Lane& own = current();
  const unsigned number = own.number / kWarp, bit = own.number % kWarp;
  Warp& warp = warps_[number];
  if (!(mask >> bit & 1))
    fail(std::string(name_of(call)) + " at " + place(where) + ": the lane is not in its own mask");
  own.call = call;
  own.mask = mask;
  own.where = where;
  warp.arguments[bit] = arguments;
  warp.at_call |= 1u << bit;
  if ((warp.at_call & mask) != mask) return leave(own);

  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const Lane& other = lanes_[number * kWarp + static_cast<unsigned>(std::countr_zero(rest))];
    if (other.call != call || other.mask != mask || !same_place(other.where, where))
      fail(std::string(name_of(call)) + " at " + place(where) + " while thread " + std::to_string(other.number) +
           " of the same warp is in " + name_of(other.call) + " at " + place(other.where));
  }
  const std::string rule = broken_rule([&] { execute(call, mask, warp.arguments, view_); });
  if (!rule.empty()) fail(std::string(name_of(call)) + " at " + place(where) + ": " + rule);
  warp.at_call &= ~mask;
  warp.ready |= mask;
  runnable_ |= 1u << number;
  if (draw() % kOtherWarpOneIn == 0) return go_on_with(own, draw_bit(runnable_));
  warp.ready &= ~(1u << bit);
  if (!warp.ready) runnable_ &= ~(1u << number);
}

void Grid::synchronise_block(const std::source_location& where) {
  Lane& own = current();
  if (at_barrier_ == 0) barrier_ = where;
  if (!same_place(barrier_, where))
    fail("the barrier at " + place(where) + " while another thread waits at that of " + place(barrier_));
  Warp& warp = warps_[own.number / kWarp];
  warp.at_barrier |= 1u << own.number % kWarp;
  if (++at_barrier_ == threads_) {
    at_barrier_ = 0;
    for (unsigned i = 0; i < warps_.size(); ++i) {
      warps_[i].ready = warps_[i].at_barrier;
      warps_[i].at_barrier = 0;
      runnable_ |= 1u << i;
    }
    return go_on_with(own, draw_bit(runnable_));
  }
  leave(own);
}

void Grid::check_guards() const {
  for (const unsigned char* guard : {shared_ - kGuard, shared_end()})
    if (const std::ptrdiff_t at = first_not_poison(guard, kGuard); at >= 0)
      throw Error("ERR_HRM_CUDA", "[launch] expected writes within " + std::to_string(view_.shared_size) +
                                      " bytes of shared memory, got one at byte " +
                                      std::to_string(guard + at - shared_) + " in " + name_of_block());
}

void Grid::run_block(const Launch& launch) {
  poison(shared_ - kGuard, static_cast<size_t>(shared_end() - shared_) + 2 * kGuard);
  warps_.assign(launch.threads / kWarp, Warp());
  runnable_ = warps_.size() == kWarp ? kAll : (1u << warps_.size()) - 1;
  at_barrier_ = ended_ = 0;
  for (Lane& each : lanes_) {
    each.stack = stacks_.start(each.number, enter_thread);
    each.copies.clear();
    each.groups.clear();
  }
  // The first switch is from this function's own stack, which main_stack_ keeps.
  const unsigned number = draw_bit(runnable_);
  Lane& first = lanes_[number * kWarp + draw_bit(kAll)];
  warps_[number].ready &= ~(1u << first.number % kWarp);
  lane = &first;
  hrm_cuda_switch_fiber(&main_stack_, first.stack);
  lane = nullptr;
  if (thrown_) std::rethrow_exception(thrown_);
  if (!broken_.empty()) throw Error("ERR_HRM_CUDA", "[launch] " + broken_);
  check_guards();
}

void Grid::run(const Launch& launch, uint64_t seed, const std::function<void()>& thread) {
  thread_ = &thread;
  threads_ = launch.threads;
  broken_.clear();
  thrown_ = nullptr;
  stacks_.reserve(launch.threads);
  lanes_.resize(launch.threads);
  for (unsigned i = 0; i < launch.threads; ++i) {
    lanes_[i].number = i;
    lanes_[i].thread = {i, 0, 0};
    lanes_[i].block = &view_;
  }
  const size_t needed = launch.shared + 2 * kGuard + 1024;
  if (memory_.size() < needed) memory_.resize(needed);
  const uintptr_t start = reinterpret_cast<uintptr_t>(memory_.data()) + kGuard;
  shared_ = memory_.data() + kGuard + (-start & 1023);
  view_.size = {launch.threads, 1, 1};
  view_.grid = {launch.blocks_x, launch.blocks_y, launch.blocks_z};
  view_.shared = shared_;
  view_.shared_size = launch.shared;
  uint64_t block = 0;
  for (unsigned z = 0; z < launch.blocks_z; ++z)
    for (unsigned y = 0; y < launch.blocks_y; ++y)
      for (unsigned x = 0; x < launch.blocks_x; ++x) {
        view_.index = {x, y, z};
        random_ = (seed + ++block) * 0x9e3779b97f4a7c15u | 1;
        draw();
        run_block(launch);
      }
}

}  // namespace

void run_grid(const Launch& launch, uint64_t seed, const std::function<void()>& thread) {
  if (!own_grid) own_grid = std::make_unique<Grid>();
  grid = own_grid.get();
  grid->run(launch, seed, thread);
}

void call_warp(WarpCall call, uint32_t mask, void* arguments, std::source_location where) {
  grid->call_warp(call, mask, arguments, where);
}

void synchronise_block(std::source_location where) { grid->synchronise_block(where); }

void copy_async(void* shared, const void* global, bool valid, std::source_location where) {
  const std::string rule = broken_rule([&] {
    require_shared(grid->view(), shared, 16);
    if (valid && reinterpret_cast<uintptr_t>(global) % 16 != 0)
      throw std::string("the source is not aligned to 16 bytes");
  });
  if (!rule.empty()) grid->fail("cp.async at " + place(where) + ": " + rule);
  poison(shared, 16);
  grid->current().copies.push_back({shared, global, valid});
}

void copy_async_commit() {
  Lane& own = grid->current();
  own.groups.push_back(own.copies.size());
}

void copy_async_wait(size_t pending) {
  Lane& own = grid->current();
  if (own.groups.size() <= pending) return;
  const size_t arriving = own.groups.size() - pending, copies = own.groups[arriving - 1];
  for (size_t i = 0; i < copies; ++i) {
    const Copy& copy = own.copies[i];
    if (copy.valid)
      std::memcpy(copy.target, copy.source, 16);
    else
      std::memset(copy.target, 0, 16);
  }
  own.copies.erase(own.copies.begin(), own.copies.begin() + static_cast<std::ptrdiff_t>(copies));
  own.groups.erase(own.groups.begin(), own.groups.begin() + static_cast<std::ptrdiff_t>(arriving));
  for (size_t& end : own.groups) end -= copies;
}

}  // namespace hrm::cuda::host
