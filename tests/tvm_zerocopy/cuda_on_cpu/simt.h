// CUDA C as C++: what the kernels' generated source takes from CUDA. `simt.cc` runs it.
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <algorithm>
#include <type_traits>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct dim3_ { unsigned x = 1, y = 1, z = 1; };
namespace simt {
struct Argument { const char *name; void **value; int64_t size; };  // a pointer that a kernel takes; bytes, or -1: not known
struct Indices { dim3_ grid, block, block_index, thread_index; };
extern Indices now;
// Runs a kernel whose arguments are in their places. What was wrong with it, or null.
const char *launch(const char *kernel, dim3_ grid, dim3_ block, bool barriers, void (*call)(), const Argument *arguments,
                   int count);
void barrier(int line);
void shared(const char *name, const void *begin, size_t size);
inline unsigned lane() {
  return (now.thread_index.x + now.block.x * (now.thread_index.y + now.block.y * now.thread_index.z)) % 32;
}
#ifdef CHECK_THREADS
void together(bool begin);  // what happens from here on (or no longer), all threads of the warp do together
#else
inline void together(bool) {}
#endif
}  // namespace simt
#define threadIdx simt::now.thread_index
#define blockIdx simt::now.block_index
#define blockDim simt::now.block
#define gridDim simt::now.grid
#define __syncthreads() simt::barrier(__LINE__)
#ifdef CHECK_THREADS
#define SHARED(ALIGNMENT, TYPE, NAME, COUNT) \
  static struct alignas(256) { char before[256]; ALIGNMENT TYPE data[COUNT]; char after[256]; } NAME##_and_margins; \
  auto &NAME = NAME##_and_margins.data; \
  simt::shared(#NAME, NAME, sizeof NAME)
#else
#define SHARED(ALIGNMENT, TYPE, NAME, COUNT) ALIGNMENT static TYPE NAME[COUNT]
#endif

template <typename T, int N> struct alignas(sizeof(T) * N) Vector;
template <typename T> struct alignas(sizeof(T) * 2) Vector<T, 2> { T x, y; };
template <typename T> struct Vector<T, 3> { T x, y, z; };
template <typename T> struct alignas(sizeof(T) * 4 > 16 ? 16 : sizeof(T) * 4) Vector<T, 4> { T x, y, z, w; };
#define VECTORS(T, NAME) \
  using NAME##2 = Vector<T, 2>; using NAME##3 = Vector<T, 3>; using NAME##4 = Vector<T, 4>; \
  inline NAME##2 make_##NAME##2(T x, T y) { return {x, y}; } \
  inline NAME##3 make_##NAME##3(T x, T y, T z) { return {x, y, z}; } \
  inline NAME##4 make_##NAME##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTORS(float, float) VECTORS(double, double) VECTORS(int, int) VECTORS(unsigned, uint) VECTORS(short, short)
VECTORS(unsigned short, ushort) VECTORS(signed char, char) VECTORS(unsigned char, uchar) VECTORS(int64_t, longlong)
VECTORS(uint64_t, ulonglong)

#define CUDART_INF_F INFINITY
using std::max;
using std::min;
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
inline int __float_as_int(float x) { int y; memcpy(&y, &x, 4); return y; }
template <typename T> inline T __ldg(const T *p) { return *p; }

// --- half ----------------------------------------------------------------------------------------------------------------
struct half {
  _Float16 v;
  half() = default;
  half(float x) : v(_Float16(x)) {}
  half(double x) : v(_Float16(float(x))) {}
  half(int x) : v(_Float16(x)) {}
  operator float() const { return float(v); }
};
using __half = half;
inline half __float2half_rn(float x) { return half(x); }
inline float __half2float(half x) { return float(x); }
struct half2 { half x, y; };
struct half4 { half x, y, z, w; };
inline half4 make_half4(half x, half y, half z, half w) { return {x, y, z, w}; }
inline half2 make_half2(half x, half y) { return {x, y}; }
inline unsigned __pack_half2(const half x, const half y) {
  uint16_t a, b;
  memcpy(&a, &x, 2); memcpy(&b, &y, 2);
  return unsigned(b) << 16 | a;
}

// --- tensor cores: the first thread of a warp holds the tile and does the warp's work ---------------------------------------
namespace nvcuda { namespace wmma {
struct row_major {}; struct col_major {}; struct matrix_a {}; struct matrix_b {}; struct accumulator {};
enum layout_t { mem_row_major, mem_col_major };
template <typename U, int M, int N, int K, typename T, typename L = row_major> struct fragment { T x[256]; };
template <typename T> inline float number(T x) { return float(x); }
template <typename U, typename T, typename L>
inline void load_matrix_sync(fragment<U, 16, 16, 16, T, L> &f, const T *p, unsigned stride) {
  if (simt::lane()) return;
  simt::together(true);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j)
      f.x[i * 16 + j] = std::is_same<L, row_major>::value ? p[i * stride + j] : p[j * stride + i];
  simt::together(false);
}
template <typename U, typename T, typename L, typename V>
inline void fill_fragment(fragment<U, 16, 16, 16, T, L> &f, V value) {
  for (auto &x : f.x) x = T(value);
}
template <typename A, typename B, typename C>
inline void mma_sync(C &d, const A &a, const B &b, const C &c) {
  if (simt::lane()) return;
  float sums[256];
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) {
      float sum = number(c.x[i * 16 + j]);
      for (int k = 0; k < 16; ++k) sum += number(a.x[i * 16 + k]) * number(b.x[k * 16 + j]);
      sums[i * 16 + j] = sum;
    }
  for (int i = 0; i < 256; ++i) d.x[i] = sums[i];
}
template <typename T, typename L>
inline void store_matrix_sync(T *p, const fragment<accumulator, 16, 16, 16, T, L> &f, unsigned stride, layout_t) {
  if (simt::lane()) return;
  simt::together(true);
  for (int i = 0; i < 16; ++i)
    for (int j = 0; j < 16; ++j) p[i * stride + j] = f.x[i * 16 + j];
  simt::together(false);
}
}}  // namespace nvcuda::wmma
