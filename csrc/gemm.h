// The matrix product all convolutions and linear layers come down to: a register tile
// c[MR x NR] += a[MR x depth] * b[depth x NR].
//
//            b: depth x NR, cached                   per step of the depth: NR/WIDTH loads of b, MR broadcasts of a and
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
#include "steps.h"

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

// Bias, residual, what c holds and ReLU, in this order; then the store, of whole vectors or of the columns that exist.
template <bool WHOLE, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void finish_tile(const Tile& t, vf (&sum)[ROWS][VECTORS]) {
  const auto columns = [&](int j) { return WHOLE ? WIDTH : clamp(t.cols - j * WIDTH, 0, WIDTH); };
  const auto get = [&](const float* p, int j) {
    return WHOLE ? load(p + j * WIDTH) : load_part(p + j * WIDTH, columns(j));
  };
  const auto each = [&](auto f) {
#pragma GCC unroll 24
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; j++) f(sum[i][j], i, j);
  };
  if (t.bias)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      const vf bias = get(t.bias, j);
#pragma GCC unroll 24
      for (int i = 0; i < ROWS; i++) sum[i][j] += bias;
    }
  if (t.r) each([&](vf& v, int i, int j) { v += get(t.r + t.r_rows[i], j); });
  if (t.add) each([&](vf& v, int i, int j) { v += get(t.c + t.rows[i], j); });
  if (t.relu) each([&, top = set1(t.top)](vf& v, int, int) { v = ramp(v, top); });
  each([&](vf v, int i, int j) {
    if constexpr (WHOLE) store(t.c + t.rows[i] + j * WIDTH, v);
    else store_part(t.c + t.rows[i] + j * WIDTH, v, columns(j));
  });
}

template <Order ORDER, int ROWS, int VECTORS>
static inline __attribute__((always_inline)) void sum_tile(const Tile& t, vf (&sum)[ROWS][VECTORS]) {
  if constexpr (ORDER == ROW_MAJOR) {
    row_sums(t.a, t.lda, t.b, {t.runs, t.depth, t.run_a, t.run_b}, sum);
  } else if constexpr (ORDER == PANELS) {
    column_sums<MR>(t.a, t.b, t.ldb, t.depth, sum);
  } else {
    const float* a = t.a;
    clear(sum);
    for (const int32_t *step = t.steps, *end = step + t.depth; step < end; step++, a += t.lda)
      multiply_step([&](int i) { return a + i; }, t.b + *step, t.gap, sum);
  }
}

// Lines of memory to be asked for ahead of their use, a few before each tile: `rows` runs of `lines` lines, `pitch`
// floats apart, into L2. Processors with AVX-512 see these rows coming by themselves, and lose 1 to 4 % by being told.
static const bool ASKED = STRIATE_WIDTH < 16;
struct NextRows {
  const float* at;
  int64_t pitch, lines, rows, line, per_tile;
  NextRows* others;  // to be asked for as well, or nullptr
  void ask() {
    for (int64_t i = per_tile; i > 0 && rows > 0; i--) {
      __builtin_prefetch(at + LINE * line, 0, 2);
      if (++line == lines) line = 0, at += pitch, rows--;
    }
    if (others) others->ask();
  }
};

// `rows` rows of `columns` floats, while `tiles` tiles are multiplied.
static inline NextRows next_rows(const float* at, int64_t pitch, int64_t columns, int64_t rows, int64_t tiles) {
  const int64_t lines = ceil_div(columns, LINE);
  return {at, pitch, lines, rows, 0, ceil_div(rows * lines, tiles), nullptr};
}

template <int ROWS, int VECTORS, int WRITE>
static inline __attribute__((always_inline)) void prefetch_rows(const float* p, const int64_t* rows) {
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS * WIDTH; j += LINE) __builtin_prefetch(p + rows[i] + j, WRITE);
}

template <int ROWS, int VECTORS, Order ORDER>
STRIATE_TILE_FUNCTION void multiply_tile(const Tile& t) {
  vf sum[ROWS][VECTORS];
  prefetch_rows<ROWS, VECTORS, 1>(t.c, t.rows);
  if (t.r) prefetch_rows<ROWS, VECTORS, 0>(t.r, t.r_rows);
  sum_tile<ORDER>(t, sum);
  if (t.cols >= VECTORS * WIDTH) finish_tile<true>(t, sum);
  else finish_tile<false>(t, sum);
}

// Tiles below one another, which begin `apart` floats of a apart; each of them meets panels of b side by side, one
// `panel` floats behind the other.
struct Tiles {
  int64_t tiles, apart, panels, panel;
  NextRows* next;
};

template <int ROWS, int VECTORS, Order ORDER>
static __attribute__((noinline)) void multiply_tiles(Tile t, Tiles n) {
  const Tile first = t;
  for (; n.tiles > 0; n.tiles--, t.a += n.apart, t.rows += ROWS) {
    for (int64_t p = 0; p < n.panels; p++) {
      if (ASKED && n.next) n.next->ask();
      multiply_tile<ROWS, VECTORS, ORDER>(t);
      t.b += n.panel, t.c += NR;
      if (t.bias) t.bias += NR;
      if (t.r) t.r += NR;
    }
    t.b = first.b, t.c = first.c, t.bias = first.bias, t.r = first.r;
    if (t.r) t.r_rows += ROWS;
  }
}

// The tiles of `rows` rows, one of the templates 1..ROWS; whole tiles are asked for first.
template <int ROWS, int VECTORS, Order ORDER>
static inline void multiply_rows(int64_t rows, const Tile& t, const Tiles& n = {1, 0, 1, 0, nullptr}) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return multiply_rows<ROWS - 1, VECTORS, ORDER>(rows, t, n);
  multiply_tiles<ROWS, VECTORS, ORDER>(t, n);
}

// A panel with one vector of columns or less (6 outputs of LeNet-5, say) takes taller tiles, to keep the sums many.
constexpr int narrow_mr(int mr) { return mr < 12 ? 2 * mr : 4 * mr / 3; }
static const int NARROW_MR = narrow_mr(MR);

// Rows of the next tile of `left`: the last two share what remains, since a tile of few rows cannot hide the latency.
static inline int64_t tile_rows(int64_t left, int64_t mr) {
  return left >= 2 * mr ? mr : left > mr ? (left + 1) / 2 : left;
}

static inline int64_t tallest_tile(int64_t cols, const Blocking& b) { return cols <= b.width ? narrow_mr(b.mr) : b.mr; }

// Tiles with one vector of columns where more do not exist.
template <Order ORDER>
static inline void multiply(int64_t rows, const Tile& t, const Tiles& n = {1, 0, 1, 0, nullptr}) {
  const int NARROW = ORDER == ROW_MAJOR ? NARROW_MR : MR;
  if (t.cols <= WIDTH) multiply_rows<NARROW, 1, ORDER>(rows, t, n);
  else multiply_rows<MR, NV, ORDER>(rows, t, n);
}

// All rows of a block times `panels` panels; more than one have all their columns.
static void multiply_panels(Tile t, int64_t rows, int64_t panels, int64_t panel, NextRows* next) {
  const int64_t mr = tallest_tile(t.cols, BLOCKING);
  for (int64_t n, tiles; rows > 0; rows -= n * tiles, t.a += n * tiles * t.lda) {
    n = tile_rows(rows, mr), tiles = most(rows / mr - 1, 1);
    multiply<ROW_MAJOR>(n, t, {tiles, n * t.lda, panels, panel, next});
    t.rows += n * tiles;
    if (t.r) t.r_rows += n * tiles;
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
