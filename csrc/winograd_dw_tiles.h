// Winograd dW, first half: patches of x and tiles of dy, transformed and laid out for the matrix products.
//
//   x or dy: a strip of tiles          columns[w][i][c], in L1            lines[i * T + j][c / NR][tile][c % NR]
//   ________________________           each column of the strip           each tile's T x T points, a line of NR
//   |_ _|_ _|_ _|  T rows     ----->   transformed once, also the  -----> channels each; the lines of one point and
//   |___|___|___|  (dy: TILE)          K - 1 that two patches share       one block of channels lie side by side
//
// Rows, columns and channels beyond the map are zeros; so are points of tiles that reach over dy's edge, whatever x
// holds there.
#pragma once
#include "tiling.h"
#include "winograd_points.h"

// Tiles of a row that are transformed together: 34 columns of 6 points are 13 KiB of L1 with AVX2.
static const int64_t TILE_STRIP = 8;

template <int TILE, int T>
struct GradientPass {  // A, transposed output transform: the powers of the points, exact in float32
  static constexpr int ROWS = T, COLUMNS = TILE;
  static constexpr Pass<T, TILE> pass = make_pass(transposed(output_matrix<TILE, T>()));
};

// A map whose patches are transformed; patch 0 begins `top` rows above and `left` columns beside it.
struct Patches {
  const float* x;
  int64_t ld, C, H, W, top, left;
};

// Neighbouring tiles of one row of tiles.
struct Strip {
  int64_t n, down, across, count;
};

// WIDTH channels of `columns` columns of a strip from column w0 on; row r of column w lies at rows[r] + w * pitch[r].
template <class X, class Access>
static inline void transform_columns(const float* const (&rows)[X::COLUMNS], const int64_t (&pitch)[X::COLUMNS],
                                     int64_t w0, int64_t W, int64_t columns, Access access, float* to) {
  const int64_t begin = clamp(-w0, 0, columns), end = clamp(W - w0, begin, columns);
  for (int64_t w = 0; w < columns; w++, to += X::ROWS * NR) {
    vf x[X::COLUMNS] = {}, y[X::ROWS];
    if (w >= begin && w < end)
#pragma GCC unroll 8
      for (int r = 0; r < X::COLUMNS; r++) x[r] = access.get(rows[r] + w * pitch[r]);
    apply<X>(x, y);
#pragma GCC unroll 8
    for (int i = 0; i < X::ROWS; i++) store(to + i * NR, y[i]);
  }
}

// The second pass: row i of the columns of each tile becomes its points (i, 0) .. (i, T - 1), `step` floats apart. One
// row of all tiles after the other: T streams of lines at a time, which the cache follows, not T * T.
template <class X, int TILE, int VECTORS>
static inline void transform_rows(const float* columns, int64_t tiles, int64_t step, float* to) {
  for (int i = 0; i < X::ROWS; i++, to += X::ROWS * step)
    for (int64_t t = 0; t < tiles; t++)
#pragma GCC unroll 4
      for (int64_t v = 0; v < VECTORS * WIDTH; v += WIDTH) {
        vf x[X::COLUMNS], y[X::ROWS];
#pragma GCC unroll 8
        for (int j = 0; j < X::COLUMNS; j++) x[j] = load(columns + ((t * TILE + j) * X::ROWS + i) * NR + v);
        apply<X>(x, y);
#pragma GCC unroll 8
        for (int j = 0; j < X::ROWS; j++) store(to + j * step + t * NR + v, y[j]);
      }
}

// One strip of all channels; `block` floats from one block of channels to the next.
template <class X, int TILE>
static void transform_strip(const Patches& p, const Strip& s, int64_t block, int64_t step, float* to) {
  static const float ZEROS[STRIATE_WIDTH] = {};
  alignas(64) float columns[((TILE_STRIP - 1) * TILE + X::COLUMNS) * X::ROWS * NR];
  const int64_t h0 = s.down * TILE - p.top, w0 = s.across * TILE - p.left, width = (s.count - 1) * TILE + X::COLUMNS;
  for (int64_t c0 = 0; c0 < p.C; c0 += NR, to += block) {
    const int64_t channels = least(round_up(p.C - c0, WIDTH), NR);
    for (int64_t c = c0; c < c0 + channels; c += WIDTH) {
      const float* rows[X::COLUMNS];
      int64_t pitch[X::COLUMNS];
      for (int64_t r = 0; r < X::COLUMNS; r++) {
        const bool inside = h0 + r >= 0 && h0 + r < p.H;
        rows[r] = inside ? p.x + ((s.n * p.H + h0 + r) * p.W + w0) * p.ld + c : ZEROS;
        pitch[r] = inside ? p.ld : 0;
      }
      if (p.C - c < WIDTH) transform_columns<X>(rows, pitch, w0, p.W, width, Part{p.C - c}, columns + c - c0);
      else transform_columns<X>(rows, pitch, w0, p.W, width, Whole{}, columns + c - c0);
    }
    if (channels == NR) transform_rows<X, TILE, NV>(columns, s.count, step, to);
    else
      for (int64_t v = 0; v < channels; v += WIDTH) transform_rows<X, TILE, 1>(columns + v, s.count, step, to + v);
  }
}
