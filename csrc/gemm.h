// The matrix product all convolutions and linear layers come down to: a register tile
// c[MR x NR] += a[MR x depth] * b[depth x NR].
//
//            b: depth x NR, in L1                    per step of the depth: NR/WIDTH loads of b, MR broadcasts of a and
//          k | . . . . . . . .                       MR * NR/WIDTH multiply-adds, that is 2 + 6 loads beside 12 FMAs
//     a: MR  v . . . . . . . .                       with AVX2 (6x16) and 2 + 12 beside 24 with AVX-512 (12x32): the
//    . . . . [ sum: MR x NR  ]                       pipes, two a cycle, are the limit. 12 and 24 running sums cover
//    . . . . [ in registers  ]                       their latency of 4 cycles and leave registers for a and b.
//
// Aimed for: 90 % of the FMA peak. Reached: 97 % at a depth of 256 and more, 91 % at 64, where writing c shows (AVX2,
// one thread of an AMD EPYC Zen 3, a in L2). Narrower or taller tiles: 4x8 would halve the sums and leave the pipes
// waiting, 8x16 spills.
#pragma once
#include "lanes.h"
#include "sizes.h"

// The register tile, and its width in vectors.
static const int MR = BLOCKING.mr, NR = BLOCKING.nr, NV = NR / STRIATE_WIDTH;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }
static inline int64_t round_up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

// How a tile finds step k of its depth.
enum Order {
  ROW_MAJOR,    // a[i * lda + k], b[k * NR + j]; the depth may come in several runs
  DEPTH_MAJOR,  // a[k * lda + i], b[steps[k] + j]: the rows of a are the steps, as in dW
  PANELS        // a[k * MR + i], b[k * ldb + j]: packed rows of the depth
};

struct Tile {
  const float* a;
  int64_t lda;
  const float* b;  // readable to whole vectors
  int64_t ldb, depth;
  int64_t runs, run_a, run_b;  // runs of `depth` steps, which begin so far apart in a and b
  const int32_t* steps;        // DEPTH_MAJOR: where step k of b begins
  float* c;
  const int64_t* rows;  // row i of the tile lies at c + rows[i]
  int64_t cols;         // how many of the tile's columns exist in c
  const float* bias;    // one per column, or nullptr
  const float* r;       // added like the bias, row i of it at r + r_rows[i]; or nullptr
  const int64_t* r_rows;
  bool add, relu;                  // add to what c holds; relu last
  int64_t gap;                     // DEPTH_MAJOR: from one vector of b to the next
  float top = __builtin_nanf("");  // what relu stops at
};

// A tile whose last columns do not exist.
template <int ROWS, int VECTORS>
static inline void finish_part(const Tile& t, vf (&sum)[ROWS][VECTORS]) {
  const vf top = set1(t.top);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++) {
    float* c = t.c + t.rows[i];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      const int64_t n = clamp(t.cols - j * WIDTH, 0, WIDTH);
      const vf v = t.add ? sum[i][j] + load_part(c + j * WIDTH, n) : sum[i][j];
      store_part(c + j * WIDTH, t.relu ? ramp(v, top) : v, n);
    }
  }
}

template <int ROWS, int VECTORS>
static inline void finish_tile(const Tile& t, vf (&sum)[ROWS][VECTORS]) {
  if (t.bias)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      const vf bias = load_part(t.bias + j * WIDTH, clamp(t.cols - j * WIDTH, 0, WIDTH));
#pragma GCC unroll 24
      for (int i = 0; i < ROWS; i++) sum[i][j] += bias;
    }
  if (t.r)
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; j++)
        sum[i][j] += load_part(t.r + t.r_rows[i] + j * WIDTH, clamp(t.cols - j * WIDTH, 0, WIDTH));
  if (t.cols < VECTORS * WIDTH) return finish_part<ROWS, VECTORS>(t, sum);
  const vf top = set1(t.top);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++) {
    float* c = t.c + t.rows[i];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      vf v = sum[i][j];
      if (t.add) v += load(c + j * WIDTH);
      store(c + j * WIDTH, t.relu ? ramp(v, top) : v);
    }
  }
}

// One step: the outer product of ROWS floats of a, the i-th at row(i), and VECTORS vectors of b.
template <int ROWS, int VECTORS, class Row>
static inline __attribute__((always_inline)) void multiply_outer(Row row, const float* b, int64_t gap,
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

// Three rows share a pointer: x86 addresses p, p + lda and p + 2 lda from two registers, and a pointer a row would not
// fit.
template <int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void multiply_step(const float* const (&a)[(ROWS + 2) / 3], int64_t lda,
                                                                const float* b, int64_t gap, vf (&sum)[ROWS][VECTORS]) {
  multiply_outer([&](int i) { return a[i / 3] + i % 3 * lda; }, b, gap, sum);
}

// Rows so close that one pointer reaches them, APART floats from one another.
template <int APART, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void multiply_line(const float* a, const float* b,
                                                                vf (&sum)[ROWS][VECTORS]) {
  multiply_outer([&](int i) { return a + i * APART; }, b, WIDTH, sum);
}

// Steps of a loop's turn: what moves pointers and counts is 4 of the 24 operations of a step otherwise, and a core that
// another machine's thread shares decodes 18 in the time of 12 multiply-adds. With four floats a vector a step has
// twice as many multiply-adds.
static const int UNROLLED = WIDTH == 4 ? 1 : 4;

// STEPS steps, each NEXT floats of a behind the one before it.
template <int STEPS, int NEXT, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void multiply_steps(const float* (&a)[(ROWS + 2) / 3], int64_t lda,
                                                                 const float* b, int64_t ldb,
                                                                 vf (&sum)[ROWS][VECTORS]) {
#pragma GCC unroll 4
  for (int k = 0; k < STEPS; k++) {
    const float* step[(ROWS + 2) / 3];
#pragma GCC unroll 8
    for (int i = 0; i < (ROWS + 2) / 3; i++) step[i] = a[i] + k * NEXT;
    multiply_step<ROWS, VECTORS>(step, lda, b + k * ldb, WIDTH, sum);
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

template <int ROWS, int VECTORS, Order ORDER>
static __attribute__((noinline)) void multiply_tile(const Tile& t) {
  const int POINTERS = (ROWS + 2) / 3;
  vf sum[ROWS][VECTORS] = {};
  const float *a[POINTERS], *b = t.b;
  const int64_t lda = t.lda, row = ORDER == ROW_MAJOR ? lda : 1;
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++) __builtin_prefetch(t.c + t.rows[i], 1);
  if (t.r)
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++) __builtin_prefetch(t.r + t.r_rows[i]);
#pragma GCC unroll 8
  for (int i = 0; i < POINTERS; i++) a[i] = t.a + 3 * i * row;
  if constexpr (ORDER == ROW_MAJOR) {
    for (int64_t run = t.runs; run > 0; run--, b += t.run_b) {
      multiply_run<1>(a, lda, b, NR, t.depth, sum);
#pragma GCC unroll 8
      for (int i = 0; i < POINTERS; i++) a[i] += t.run_a - t.depth;
    }
  } else if constexpr (ORDER == PANELS) {
    multiply_run<MR>(a, 1, b, t.ldb, t.depth, sum);
  } else {
    for (const int32_t *step = t.steps, *end = step + t.depth; step < end; step++) {
      multiply_step<ROWS, VECTORS>(a, 1, b + *step, t.gap, sum);
#pragma GCC unroll 8
      for (int i = 0; i < POINTERS; i++) a[i] += lda;
    }
  }
  finish_tile<ROWS, VECTORS>(t, sum);
}

// The tile of `rows` rows, one of the templates 1..ROWS; whole tiles are asked for first.
template <int ROWS, int VECTORS, Order ORDER>
static inline void multiply_rows(int64_t rows, const Tile& t) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return multiply_rows<ROWS - 1, VECTORS, ORDER>(rows, t);
  multiply_tile<ROWS, VECTORS, ORDER>(t);
}

// A panel with one vector of columns or less (6 outputs of LeNet-5, say) takes taller tiles, to keep the sums many.
constexpr int narrow_mr(int mr) { return mr < 12 ? 2 * mr : mr; }
static const int NARROW_MR = narrow_mr(MR);

// Rows of the next tile of `left`: the last two share what remains, since a tile of few rows cannot hide the latency.
static inline int64_t tile_rows(int64_t left, int64_t mr) {
  return left >= 2 * mr ? mr : left > mr ? (left + 1) / 2 : left;
}

static inline int64_t tallest_tile(int64_t cols, const Blocking& b) { return cols <= b.width ? narrow_mr(b.mr) : b.mr; }

// One tile, with one vector of columns where more do not exist.
template <Order ORDER>
static inline void multiply(int64_t rows, const Tile& t) {
  const int NARROW = ORDER == ROW_MAJOR ? NARROW_MR : MR;
  if (t.cols <= WIDTH) multiply_rows<NARROW, 1, ORDER>(rows, t);
  else multiply_rows<MR, NV, ORDER>(rows, t);
}

// Lines of memory to be asked for ahead of their use, a few after each tile: `rows` runs of `lines` lines, `pitch`
// floats apart, into L2.
struct NextRows {
  const float* at;
  int64_t pitch, lines, rows, line, per_tile;
  void ask() {
    for (int64_t i = per_tile; i > 0 && rows > 0; i--) {
      __builtin_prefetch(at + LINE * line, 0, 2);
      if (++line == lines) line = 0, at += pitch, rows--;
    }
  }
};

// `rows` rows of `columns` floats, while `tiles` tiles are multiplied.
static inline NextRows next_rows(const float* at, int64_t pitch, int64_t columns, int64_t rows, int64_t tiles) {
  const int64_t lines = ceil_div(columns, LINE);
  return {at, pitch, lines, rows, 0, ceil_div(rows * lines, tiles)};
}

// All rows of a block times one panel.
static void multiply_panel(Tile t, int64_t rows, NextRows& next) {
  for (int64_t n; rows > 0; rows -= n, t.a += n * t.lda, t.rows += n, t.r_rows += n) {
    n = tile_rows(rows, tallest_tile(t.cols, BLOCKING));
    multiply<ROW_MAJOR>(n, t);
    next.ask();
  }
}

// tanh or sigmoid of rows that have just been written and are still in L1.
static void activate_rows(float* c, const int64_t* rows, int64_t count, int64_t cols, int64_t activation) {
  for (int64_t i = 0; i < count; i++)
    over_columns(cols, [&](int64_t j, auto m) {
      float* p = c + rows[i] + j;
      m.put(p, activated(m.get(p), activation));
    });
}
