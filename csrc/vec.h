// One vector of WIDTH floats, over the compiler's vector extensions; included inside the namespace of an instruction
// set, which defines STRIATE_WIDTH (4, 8 or 16) first. Whole-vector operations only: subscripting a lane makes GCC
// spill every accumulator around it.
typedef float vf __attribute__((vector_size(STRIATE_WIDTH * 4)));
typedef int32_t vi __attribute__((vector_size(STRIATE_WIDTH * 4)));
typedef uint32_t vu __attribute__((vector_size(STRIATE_WIDTH * 4)));
static const int64_t WIDTH = STRIATE_WIDTH;

static inline vf load(const float* p) {
  vf v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(float* p, vf v) { __builtin_memcpy(p, &v, sizeof v); }
static inline vf set1(float x) { return x - vf{}; }
static inline vf max(vf a, vf b) { return a > b ? a : b; }  // b where either is NaN
static inline vf min(vf a, vf b) { return a < b ? a : b; }

// Lanes of a and b, numbered one behind the other.
#if defined(__clang__)
#define STRIATE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define STRIATE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, vi{__VA_ARGS__})
#endif

// sum += a * b, the sum staying in its register. Of the three forms of a multiply-add GCC 12 else takes those that
// overwrite a or b where these end, and pays with copies of sums and with the stack once a loop holds several steps.
static inline __attribute__((always_inline)) void add_product(vf& sum, vf a, vf b) {
#if (defined(__FMA__) && STRIATE_WIDTH == 8) || (defined(__AVX512F__) && STRIATE_WIDTH == 16)
  __asm__("vfmadd231ps\t%2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
  sum += a * b;
#endif
}

// The first n (0..WIDTH) floats; the rest are zero, and memory behind them is not touched.
static inline vf load_part(const float* p, int64_t n) {
#if defined(__AVX512F__) && STRIATE_WIDTH == 16
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#elif defined(__AVX2__) && STRIATE_WIDTH == 8
  const vi lane = {0, 1, 2, 3, 4, 5, 6, 7};
  return (vf)_mm256_maskload_ps(p, (__m256i)(lane < (int32_t)n));
#elif STRIATE_WIDTH == 4
  // A loop becomes a call of memcpy, around which every accumulator of a register tile would lie in memory.
  if (n == WIDTH) return load(p);
  return n == 3 ? vf{p[0], p[1], p[2], 0} : n == 2 ? vf{p[0], p[1], 0, 0} : n == 1 ? vf{p[0], 0, 0, 0} : vf{};
#else
  float t[WIDTH] = {};
  for (int64_t i = 0; i < n; i++) t[i] = p[i];
  return load(t);
#endif
}
static inline void store_part(float* p, vf v, int64_t n) {
#if defined(__AVX512F__) && STRIATE_WIDTH == 16
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
#elif defined(__AVX2__) && STRIATE_WIDTH == 8
  // In pieces of 4, 2 and 1: a masked store of AVX2 is microcode on AMD (dW's tail 5 times slower, EPYC Zen 3).
  if (n == WIDTH) return store(p, v);
  __m128 low = _mm256_castps256_ps128((__m256)v);
  if (n & 4) {
    _mm_storeu_ps(p, low);
    low = _mm256_extractf128_ps((__m256)v, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi((__m64*)p, low);
    low = _mm_movehl_ps(low, low);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, low);
#elif STRIATE_WIDTH == 4
  typedef double pairs __attribute__((vector_size(16)));
  if (n == WIDTH) return store(p, v);
  double pair = ((pairs)v)[0];
  if (n & 2) {
    __builtin_memcpy(p, &pair, 8);
    pair = ((pairs)v)[1];
    p += 2;
  }
  if (n & 1) __builtin_memcpy(p, &pair, 4);
#else
  float t[WIDTH];
  store(t, v);
  for (int64_t i = 0; i < n; i++) p[i] = t[i];
#endif
}
