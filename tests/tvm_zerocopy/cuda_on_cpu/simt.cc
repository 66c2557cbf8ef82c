// Runs CUDA kernels on one CPU thread: one block after another, its threads as coroutines that change at __syncthreads().
//
// With CHECK_THREADS, GCC's instrumentation for ThreadSanitizer tells of every access (that sanitizer's own runtime, which
// knows neither blocks nor barriers, is not linked), and a launch fails with the first one that is
// - a race: another thread has touched the byte, one of the two wrote, and no barrier lies between them. Blocks have no
//   barrier, and warps none but __syncthreads(). Whether a launch has a race does not depend on the threads' order here;
// - outside of all of the kernel's arguments and shared arrays;
// - a read of shared memory that no thread of the block has written.
//
// With CHECK_THREADS or CHECK_ADDRESSES each argument lies in memory of its own while the kernel runs: the memory of the
// program's intermediate results is one piece, in which no neighbour would be out of bounds. Frames whose size is known at run
// time only stay where they are; AddressSanitizer alone sees their ends.
#include "simt.h"
#include <setjmp.h>
#include <stdlib.h>
#include <ucontext.h>
#include <memory>
#include <string>
#include <vector>

extern "C" int skipped_barrier;
int skipped_barrier = -1;  // its line: as if it were not there

namespace simt {
Indices now;
namespace {
struct Thread { ucontext_t context; jmp_buf resume; dim3_ index; bool started, done; int line; };
constexpr size_t STACK = 1 << 18;
ucontext_t scheduler_context;
jmp_buf scheduler_resume;
std::vector<Thread> threads;
std::vector<char> stacks;
Thread *current = nullptr;
void (*body)() = nullptr;
std::string failure;  // of this launch

#ifdef CHECK_THREADS
constexpr size_t MARGIN = 4096;
constexpr uint16_t WARP = 1024, SEVERAL_THREADS = 0xffff;
constexpr uint32_t SEVERAL_BLOCKS = 0xffffffff;
struct Touch { uint32_t block = 0; uint16_t interval = 0, thread = 0; };  // blocks from 1 on; 0: nobody
struct Array {
  std::string name;
  const char *begin;
  size_t size, margin;
  bool shared;
  std::vector<Touch> written, read;  // the last ones of each byte
};
std::vector<Array> arrays;  // of this launch
Array *last_array = nullptr;
bool all_known;  // the sizes of all arguments
Touch self;
const char *stack_begin, *stack_end;

void add_array(const char *name, const void *begin, size_t size, size_t margin, bool shared) {
  arrays.push_back({name, (const char *)begin, size, margin, shared, std::vector<Touch>(size), std::vector<Touch>(size)});
  last_array = nullptr;
}
Array *array_of(const char *address) {
  auto holds = [&](const Array &a) { return address + a.margin >= a.begin && address < a.begin + a.size + a.margin; };
  if (last_array && holds(*last_array)) return last_array;
  for (Array &array : arrays)
    if (holds(array)) return last_array = &array;
  return nullptr;
}
std::string name_of(const Touch &touch) {
  if (touch.block == SEVERAL_BLOCKS) return "several blocks";
  std::string block = "block " + std::to_string(touch.block - 1) + ", ";
  if (touch.thread == SEVERAL_THREADS) return block + "several threads";
  if (touch.thread >= WARP) return block + "warp " + std::to_string(touch.thread - WARP);
  return block + "thread " + std::to_string(touch.thread);
}
bool ordered(const Touch &before) {
  if (before.block == 0) return true;
  if (before.block != self.block) return false;
  // what a warp does together is spread over its threads in no known way
  return before.interval != self.interval || (before.thread == self.thread && self.thread < WARP);
}
[[noreturn]] void stop() { _longjmp(scheduler_resume, 1); }
void out_of_bounds(bool write, const Array *array, ptrdiff_t byte) {
  failure = std::string("out-of-bounds ") + (write ? "write" : "read") + " by " + name_of(self);
  if (array) failure += ": byte " + std::to_string(byte) + " of " + array->name + ", which has " + std::to_string(array->size);
}
void race(bool write, bool before_wrote, const Touch &before, const Array &array, ptrdiff_t byte) {
  failure = std::string("race at byte ") + std::to_string(byte) + " of " + array.name + ": " + (write ? "write" : "read") +
            " by " + name_of(self) + " and " + (before_wrote ? "write" : "read") + " by " + name_of(before) +
            ", no barrier between them";
}
void unwritten(const Array &array, ptrdiff_t byte) {
  failure = "read of byte " + std::to_string(byte) + " of " + array.name + " by " + name_of(self) +
            ", which no thread of its block has written";
}
void touch(const void *pointer, size_t size, bool write) {
  const char *address = (const char *)pointer;
  if (address >= stack_begin && address < stack_end) return;
  if (address >= (const char *)&now && address < (const char *)(&now + 1)) return;
  Array *array = array_of(address);
  if (!array && !all_known) return;
  const ptrdiff_t first = array ? address - array->begin : 0;
  if (!array || first < 0 || first + size > array->size) {
    out_of_bounds(write, array, first);
    stop();
  }
  for (ptrdiff_t byte = first; byte < ptrdiff_t(first + size); ++byte) {
    Touch &written = array->written[byte], &read = array->read[byte];
    if (array->shared && written.block != self.block) written = Touch();
    if (array->shared && read.block != self.block) read = Touch();
    const bool after_write = ordered(written);
    if (!after_write || (write && !ordered(read))) {
      race(write, !after_write, after_write ? read : written, *array, byte);
      stop();
    }
    if (write) {
      written = self;
    } else if (array->shared && written.block == 0) {
      unwritten(*array, byte);
      stop();
    } else if (read.block != 0 && read.block != self.block) {
      read.block = SEVERAL_BLOCKS;
    } else if (read.block == 0 || read.interval != self.interval) {
      read = self;
    } else if (read.thread != self.thread) {
      read.thread = SEVERAL_THREADS;
    }
  }
}
#endif

void switch_to(size_t thread, dim3_ index) {
  now.thread_index = index;
#ifdef CHECK_THREADS
  self.thread = thread;
#endif
}
void next_interval() {
#ifdef CHECK_THREADS
  ++self.interval;
#endif
}
void next_block() {
#ifdef CHECK_THREADS
  ++self.block;
  self.interval = 0;
#endif
}
void trampoline() {
  body();
  current->done = true;
#ifdef CHECK_ADDRESSES
  setcontext(&scheduler_context);
#else
  _longjmp(scheduler_resume, 1);  // without the system calls of swapcontext
#endif
}
void resume(Thread &thread) {
  current = &thread;
#ifdef CHECK_ADDRESSES
  swapcontext(&scheduler_context, &thread.context);
#else
  if (_setjmp(scheduler_resume)) return;
  if (thread.started) _longjmp(thread.resume, 1);
  thread.started = true;
  setcontext(&thread.context);
#endif
}
void run_thread() {  // without barriers; a failure ends it
  if (!_setjmp(scheduler_resume)) body();
}
dim3_ index_of(size_t thread) {
  const dim3_ &block = now.block;
  return {unsigned(thread % block.x), unsigned(thread / block.x % block.y), unsigned(thread / block.x / block.y)};
}
void run_block(bool barriers) {
  const size_t count = size_t(now.block.x) * now.block.y * now.block.z;
  next_block();
  if (!barriers) {
    for (size_t i = 0; i < count && failure.empty(); ++i) {
      switch_to(i, index_of(i));
      run_thread();
    }
    return;
  }
  if (threads.size() < count) {
    threads.resize(count);
    stacks.resize(count * STACK);
  }
  for (size_t i = 0; i < count; ++i) {
    Thread &thread = threads[i];
    thread.started = thread.done = false;
    thread.index = index_of(i);
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = &stacks[i * STACK];
    thread.context.uc_stack.ss_size = STACK;
    makecontext(&thread.context, trampoline, 0);
  }
  for (bool left = true; left && failure.empty(); next_interval()) {
    left = false;
    int line = 0;
    for (size_t i = 0; i < count && failure.empty(); ++i) {
      if (threads[i].done) continue;
      switch_to(i, threads[i].index);
      resume(threads[i]);
      if (threads[i].done || !failure.empty()) continue;
      if (left && threads[i].line != line) failure = "threads of a block wait at different barriers";
      left = true;
      line = threads[i].line;
    }
  }
}

// The arguments, each in memory of its own; overlapping ones in one piece.
class Isolated {
 public:
  Isolated(const Argument *arguments, int count) {
#if defined(CHECK_THREADS) || defined(CHECK_ADDRESSES)
    for (int i = 0; i < count; ++i) {
      const Argument &argument = arguments[i];
      if (argument.size < 0) continue;
      char *begin = (char *)*argument.value, *end = begin + argument.size;
      std::string name = argument.name;
      for (size_t k = 0; k < pieces_.size();) {
        if (pieces_[k].end <= begin || end <= pieces_[k].begin) { ++k; continue; }
        begin = std::min(begin, pieces_[k].begin);
        end = std::max(end, pieces_[k].end);
        name = pieces_[k].name + " or " + name;
        pieces_.erase(pieces_.begin() + k);
      }
      pieces_.push_back({name, begin, end, nullptr});
    }
    for (Piece &piece : pieces_) {
      const size_t size = piece.end - piece.begin;
      if (posix_memalign((void **)&piece.memory, 256, size + 2 * EDGE)) abort();
      memcpy(piece.memory + EDGE, piece.begin, size);
    }
    for (int i = 0; i < count; ++i)
      for (Piece &piece : pieces_) {
        char *given = (char *)*arguments[i].value;
        if (arguments[i].size >= 0 && given >= piece.begin && given < piece.end)
          *arguments[i].value = piece.memory + EDGE + (given - piece.begin);
      }
#endif
  }
  ~Isolated() {
    for (Piece &piece : pieces_) {
      memcpy(piece.begin, piece.memory + EDGE, piece.end - piece.begin);
      free(piece.memory);
    }
  }
  struct Piece { std::string name; char *begin, *end, *memory; };
  const std::vector<Piece> &pieces() const { return pieces_; }
#ifdef CHECK_THREADS
  static constexpr size_t EDGE = MARGIN;
#else
  static constexpr size_t EDGE = 0;  // AddressSanitizer's
#endif

 private:
  std::vector<Piece> pieces_;
};
}  // namespace

const char *launch(const char *kernel, dim3_ grid, dim3_ block, bool barriers, void (*call)(), const Argument *arguments,
                   int count) {
  Isolated isolated(arguments, count);
  now.grid = grid;
  now.block = block;
  body = call;
  failure.clear();
#ifdef CHECK_THREADS
  arrays.clear();
  self = Touch();
  all_known = true;
  for (int i = 0; i < count; ++i) all_known = all_known && arguments[i].size >= 0;
  for (const auto &piece : isolated.pieces())
    add_array(piece.name.c_str(), piece.memory + MARGIN, piece.end - piece.begin, MARGIN, false);
  if (barriers) {
    const size_t needed = size_t(block.x) * block.y * block.z;
    if (threads.size() < needed) {
      threads.resize(needed);
      stacks.resize(needed * STACK);
    }
    stack_begin = stacks.data();
    stack_end = stack_begin + stacks.size();
  } else {
    stack_end = (const char *)__builtin_frame_address(0);
    stack_begin = stack_end - (1 << 20);
  }
#endif
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        now.block_index = {x, y, z};
        run_block(barriers);
        if (!failure.empty()) {
          failure = std::string(kernel) + ": " + failure;
          return failure.c_str();
        }
      }
  return nullptr;
}

void barrier(int line) {
  if (line == skipped_barrier) return;
  Thread *thread = current;
  thread->line = line;
#ifdef CHECK_ADDRESSES  // it knows swapcontext's stacks
  swapcontext(&thread->context, &scheduler_context);
#else
  if (!_setjmp(thread->resume)) _longjmp(scheduler_resume, 1);
#endif
}

void shared(const char *name, const void *begin, size_t size) {
#ifdef CHECK_THREADS
  for (const Array &array : arrays)
    if (array.begin == begin) return;
  add_array(name, begin, size, 256, true);
#endif
}

#ifdef CHECK_THREADS
void together(bool begin) { self.thread = begin ? WARP + self.thread / 32 : (self.thread - WARP) * 32; }
#endif
}  // namespace simt

#ifdef CHECK_THREADS
extern "C" {
#define ACCESS(N) \
  void __tsan_read##N(void *p) { simt::touch(p, N, false); } \
  void __tsan_write##N(void *p) { simt::touch(p, N, true); } \
  void __tsan_unaligned_read##N(void *p) { simt::touch(p, N, false); } \
  void __tsan_unaligned_write##N(void *p) { simt::touch(p, N, true); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void *p, size_t size) { simt::touch(p, size, false); }
void __tsan_write_range(void *p, size_t size) { simt::touch(p, size, true); }
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
#endif
