// The loop of a register tile: ROWS x VECTORS sums over the depth, from operands that lie in one of three ways.
//
//   row_sums     a[i * lda + k]                             b[k * NR + j]    rows as they are; the depth in runs
//   column_sums  a[k * NEXT + i]                            b[k * ldb + j]   packed rows of the depth
//   line_sums    a[(k / 16 * MR + i) * 16 + k % 16]         b[k * NR + j]    groups of rows, 16 steps at a time
//
// For AVX2's tiles steps_avx2.h overloads them with loops written by hand.
#pragma once
#include "sizes.h"

// The register tile, and its width in vectors.
static const int MR = BLOCKING.mr, NR = BLOCKING.nr, NV = NR / STRIATE_WIDTH;

// Steps of a loop's turn: what moves pointers and counts is 4 of the 24 operations of a step otherwise. With four
// floats a vector a step has twice as many multiply-adds.
static const int UNROLLED = WIDTH == 4 ? 1 : 4;

// A depth that comes in runs of `depth` steps, the next one a_apart and b_apart floats behind the one before.
struct Runs {
  int64_t runs, depth, a_apart, b_apart;
};

// line_sums asks for so many lines from `next` on every 16 steps.
static const int64_t PREFETCHED = 3;

// One step: the outer product of ROWS floats of a, the i-th at row(i), and VECTORS vectors of b.
template <int ROWS, int VECTORS, class Row>
static inline __attribute__((always_inline)) void multiply_step(Row row, const float* b, int64_t gap,
                                                                vf (&sum)[ROWS][VECTORS]) {
  vf bk[VECTORS];
#pragma GCC unroll 4
  for (int j = 0; j < VECTORS; j++) bk[j] = load(b + j * gap);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++) {
    const vf ai = set1(*row(i));
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) add_product(sum[i][j], ai, bk[j]);
  }
}

// STEPS steps, NEXT floats of a and ldb of b apart. Three rows share a pointer: x86 addresses p, p + lda and p + 2 lda
// from two registers, and a pointer a row would not fit.
template <int STEPS, int NEXT, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void multiply_steps(const float* (&a)[(ROWS + 2) / 3], int64_t lda,
                                                                 const float* b, int64_t ldb,
                                                                 vf (&sum)[ROWS][VECTORS]) {
#pragma GCC unroll 4
  for (int k = 0; k < STEPS; k++) {
    const float* step[(ROWS + 2) / 3];
#pragma GCC unroll 8
    for (int i = 0; i < (ROWS + 2) / 3; i++) step[i] = a[i] + k * NEXT;
    multiply_step([&](int i) { return step[i / 3] + i % 3 * lda; }, b + k * ldb, WIDTH, sum);
  }
#pragma GCC unroll 8
  for (int i = 0; i < (ROWS + 2) / 3; i++) a[i] += STEPS * NEXT;
}

template <int NEXT, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void multiply_run(const float* (&a)[(ROWS + 2) / 3], int64_t lda,
                                                               const float* b, int64_t ldb, int64_t depth,
                                                               vf (&sum)[ROWS][VECTORS]) {
  for (; depth >= UNROLLED; depth -= UNROLLED, b += UNROLLED * ldb) multiply_steps<UNROLLED, NEXT>(a, lda, b, ldb, sum);
  for (; depth > 0; depth--, b += ldb) multiply_steps<1, NEXT>(a, lda, b, ldb, sum);
}

template <int ROWS, int VECTORS>
static inline void clear(vf (&sum)[ROWS][VECTORS]) {
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) sum[i][j] = vf{};
}

template <int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void row_sums(const float* a, int64_t lda, const float* b, Runs runs,
                                                           vf (&sum)[ROWS][VECTORS]) {
  const int POINTERS = (ROWS + 2) / 3;
  const float* rows[POINTERS];
#pragma GCC unroll 8
  for (int i = 0; i < POINTERS; i++) rows[i] = a + 3 * i * lda;
  clear(sum);
  for (; runs.runs > 0; runs.runs--, b += runs.b_apart) {
    multiply_run<1>(rows, lda, b, NR, runs.depth, sum);
#pragma GCC unroll 8
    for (int i = 0; i < POINTERS; i++) rows[i] += runs.a_apart - runs.depth;
  }
}

template <int NEXT, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void column_sums(const float* a, const float* b, int64_t ldb,
                                                              int64_t depth, vf (&sum)[ROWS][VECTORS]) {
  const float* rows[(ROWS + 2) / 3];
#pragma GCC unroll 8
  for (int i = 0; i < (ROWS + 2) / 3; i++) rows[i] = a + 3 * i;
  clear(sum);
  multiply_run<NEXT>(rows, 1, b, ldb, depth, sum);
}

// WHOLE: the depth is a multiple of 16.
template <bool WHOLE, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void line_sums(const float* a, const float* b, const float* next,
                                                            int64_t depth, vf (&sum)[ROWS][VECTORS]) {
  clear(sum);
  for (; depth > 0; depth -= LINE, a += LINE * (MR - 1)) {
    for (int64_t i = 0; i < PREFETCHED; i++, next += LINE) __builtin_prefetch(next, 0, 2);
    const float* end = a + (WHOLE || depth > LINE ? LINE : depth);
    for (; end - a >= UNROLLED; a += UNROLLED, b += UNROLLED * NR)
#pragma GCC unroll 4
      for (int k = 0; k < UNROLLED; k++) multiply_step([&](int i) { return a + k + i * LINE; }, b + k * NR, WIDTH, sum);
    for (; a < end; a++, b += NR) multiply_step([&](int i) { return a + i * LINE; }, b, WIDTH, sum);
  }
}

// A tile and the loop over tiles are one function where the steps are written by hand. The compiler runs out of
// registers there, and gets a function a tile. The address sanitizer sees no loads of what is written by hand.
#if defined(__AVX2__) && defined(__FMA__) && STRIATE_WIDTH == 8 && !defined(__SANITIZE_ADDRESS__)
#include "steps_avx2.h"
#define STRIATE_TILE_FUNCTION static inline __attribute__((always_inline))
#else
#define STRIATE_TILE_FUNCTION static __attribute__((noinline))
#endif
