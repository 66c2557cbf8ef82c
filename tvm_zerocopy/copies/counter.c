/* Counts heap allocations and memory copies of a process from outside the program: preloaded (LD_PRELOAD), it stands
 * in front of the C library's malloc family, mmap and the memcpy family. It counts only between tz_count(step) and
 * tz_count(-1), in all threads, for each step by itself, and remembers who called (a backtrace a distinct place).
 *
 * For glibc: the __libc_ names are its own entries of the functions that are replaced here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <wchar.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <errno.h>

enum { ALLOCATION = 0, COPY = 1 };
enum { MAX_STEPS = 32, MAX_SITES = 1024, DEPTH = 12, SKIP = 2 };

struct site {
  int32_t step;
  int32_t kind;
  const char *function; /* malloc, memcpy, ... */
  uint64_t calls;
  uint64_t bytes;
  int32_t depth;
  void *frames[DEPTH];
};

static atomic_int current_step = -1;
static size_t smallest_copy = 1;
static struct site sites[MAX_SITES];
static int site_count = 0;
static atomic_flag sites_lock = ATOMIC_FLAG_INIT;
static atomic_ulong lost = 0;
static __thread int inside __attribute__((tls_model("initial-exec"))) = 0;

static void *(*next_memcpy)(void *, const void *, size_t) = NULL;
static void *(*next_memmove)(void *, const void *, size_t) = NULL;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

__attribute__((constructor)) static void prepare(void) {
  void *frames[DEPTH];
  inside = 1;
  backtrace(frames, DEPTH); /* loads the unwinder now, so that it does not allocate later */
  next_memcpy = (void *(*)(void *, const void *, size_t))dlsym(RTLD_NEXT, "memcpy");
  next_memmove = (void *(*)(void *, const void *, size_t))dlsym(RTLD_NEXT, "memmove");
  inside = 0;
}

__attribute__((noinline)) static void note(int kind, const char *function, size_t bytes) {
  int step = atomic_load_explicit(&current_step, memory_order_relaxed);
  if (step < 0 || inside) return;
  inside = 1;
  void *frames[DEPTH + SKIP];
  int depth = backtrace(frames, DEPTH + SKIP) - SKIP;
  if (depth < 0) depth = 0;
  while (atomic_flag_test_and_set_explicit(&sites_lock, memory_order_acquire)) {
  }
  struct site *found = NULL;
  for (int i = 0; i < site_count && !found; ++i) {
    struct site *s = &sites[i];
    if (s->step != step || s->kind != kind || s->function != function || s->depth != depth) continue;
    int same = 1;
    for (int f = 0; f < depth; ++f) same &= s->frames[f] == frames[f + SKIP];
    if (same) found = s;
  }
  if (!found && site_count < MAX_SITES) {
    found = &sites[site_count++];
    found->step = step;
    found->kind = kind;
    found->function = function;
    found->depth = depth;
    for (int f = 0; f < depth; ++f) found->frames[f] = frames[f + SKIP];
  }
  if (found) {
    found->calls += 1;
    found->bytes += bytes;
  } else {
    atomic_fetch_add(&lost, 1);
  }
  atomic_flag_clear_explicit(&sites_lock, memory_order_release);
  inside = 0;
}

/* --- what the measuring program calls -------------------------------------------------------------------------- */

void tz_count(int step) { atomic_store(&current_step, step < MAX_STEPS ? step : -1); }
void tz_smallest_copy(size_t bytes) { smallest_copy = bytes; }
int tz_site_count(void) { return site_count; }
unsigned long tz_lost(void) { return atomic_load(&lost); }
const struct site *tz_site(int index) { return &sites[index]; }

/* The function that a code address lies in, as its library exports it; empty where unknown. */
void tz_symbol(void *address, char *text, size_t size) {
  Dl_info info;
  int known = dladdr(address, &info);
  snprintf(text, size, "%s", known && info.dli_sname ? info.dli_sname : "");
}

/* --- allocations ------------------------------------------------------------------------------------------------ */

void *malloc(size_t size) {
  note(ALLOCATION, "malloc", size);
  return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  note(ALLOCATION, "calloc", count * size);
  return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
  note(ALLOCATION, "realloc", size);
  return __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size) {
  note(ALLOCATION, "memalign", size);
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
  note(ALLOCATION, "aligned_alloc", size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
  note(ALLOCATION, "posix_memalign", size);
  void *memory = __libc_memalign(alignment, size);
  if (!memory) return ENOMEM;
  *out = memory;
  return 0;
}

void *valloc(size_t size) {
  note(ALLOCATION, "valloc", size);
  return __libc_memalign(sysconf(_SC_PAGESIZE), size);
}

void *pvalloc(size_t size) {
  note(ALLOCATION, "pvalloc", size);
  size_t page = sysconf(_SC_PAGESIZE);
  return __libc_memalign(page, (size + page - 1) / page * page);
}

void *mremap(void *old, size_t old_length, size_t length, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  void *address = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
  va_end(rest);
  note(ALLOCATION, "mremap", length);
  return (void *)syscall(SYS_mremap, old, old_length, length, flags, address);
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
  note(ALLOCATION, "mmap", length);
  return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int file, off64_t offset) {
  note(ALLOCATION, "mmap", length);
  return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

/* --- copies ------------------------------------------------------------------------------------------------------ */

void *memmove(void *to, const void *from, size_t bytes) {
  if (bytes >= smallest_copy) note(COPY, "memmove", bytes);
  if (next_memmove) return next_memmove(to, from, bytes);
  char *t = to;
  const char *f = from;
  if (t < f)
    for (size_t i = 0; i < bytes; ++i) t[i] = f[i];
  else
    for (size_t i = bytes; i-- > 0;) t[i] = f[i];
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t bytes) {
  if (bytes >= smallest_copy) note(COPY, "memcpy", bytes);
  if (next_memcpy) return next_memcpy(to, from, bytes);
  char *t = to;
  const char *f = from;
  for (size_t i = 0; i < bytes; ++i) t[i] = f[i];
  return to;
}

void *mempcpy(void *restrict to, const void *restrict from, size_t bytes) {
  return (char *)memcpy(to, from, bytes) + bytes;
}

void bcopy(const void *from, void *to, size_t bytes) { memmove(to, from, bytes); }

wchar_t *wmemcpy(wchar_t *restrict to, const wchar_t *restrict from, size_t count) {
  return memcpy(to, from, count * sizeof(wchar_t));
}

wchar_t *wmemmove(wchar_t *to, const wchar_t *from, size_t count) {
  return memmove(to, from, count * sizeof(wchar_t));
}

/* What compilers call instead under _FORTIFY_SOURCE; the size check is the caller's. */
void *__memcpy_chk(void *restrict to, const void *restrict from, size_t bytes, size_t room) {
  (void)room;
  return memcpy(to, from, bytes);
}

void *__memmove_chk(void *to, const void *from, size_t bytes, size_t room) {
  (void)room;
  return memmove(to, from, bytes);
}

void *__mempcpy_chk(void *restrict to, const void *restrict from, size_t bytes, size_t room) {
  (void)room;
  return mempcpy(to, from, bytes);
}
