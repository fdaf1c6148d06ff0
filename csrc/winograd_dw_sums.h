// Winograd dW, second half: the sums of one point over the tiles of a slab, and what becomes of them.
//
//                 v: tiles x NR channels        u[o][c] (+)= sum over tiles of z[tile][o] * v[tile][c], a matrix
//                 product
//               k  | . . . . . . . .            whose depth is the tiles. A register tile sums at most TILE_DEPTH
//    z: outputs v  . . . . . . . .              products before they meet others, which keeps the rounding error of
//    x tiles  . .  [ u              ]           long sums small, and keeps its operands in L1.
#pragma once
#include "winograd_dw_tiles.h"

// NR channels and NR outputs of 192 tiles are 24 KiB of L1 with AVX2.
static const int64_t TILE_DEPTH = 3072 / NR;
// Outputs by which the read of u runs ahead at the end.
static const int64_t OUTPUTS_AHEAD = 4;

template <int K, int T>
struct FilterGradientPass {  // G^T
  static constexpr int ROWS = K, COLUMNS = T;
  static constexpr Pass<K, T> pass = make_pass(transposed(filter_matrix<T, K>()));
};

// Transformed tiles of a slab: lines [point][block of channels][tile].
struct Slab {
  float *v, *z;
  int64_t v_step, z_step, block;  // floats from one point, one block of channels to the next
  int64_t tiles;                  // that it holds
};

// Sums [point][block of channels][block of outputs][NR][NR] of some blocks of outputs and channels.
struct Sums {
  float* u;
  int64_t step, row;  // floats from one point to the next; blocks of outputs from one block of channels to the next
  int64_t o0, o1, c0, c1;
  float* at(int64_t point, int64_t o, int64_t c) const {
    return u + point * step + ((c - c0) * row + o - o0) * NR * NR;
  }
};

// What the next slab will be transformed from, asked for while this one is multiplied.
struct NextSlab {
  Ahead x, dy;
  inline __attribute__((always_inline)) void ask() { x.ask(), dy.ask(); }
};

// The register tile, ROWS outputs by VECTORS of channels. As gemm.h's, but all strides are NR: nothing is left of a
// step but its loads and multiply-adds (at a depth of 128 89 % of the FMA peak, one thread of an AMD EPYC Zen 3; 81 %
// with gemm.h's).
template <int ROWS, int VECTORS>
static __attribute__((noinline)) void sum_tiles(const float* z, const float* v, int64_t depth, float* u, bool add) {
  vf sum[ROWS][VECTORS];
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++) __builtin_prefetch(u + i * NR, 1);
  column_sums<NR>(z, v, NR, depth, sum);
#pragma GCC unroll 24
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      float* to = u + i * NR + j * WIDTH;
      store(to, add ? sum[i][j] + load(to) : sum[i][j]);
    }
}

template <int ROWS, int VECTORS>
static inline void sum_rows(int64_t rows, const float* z, const float* v, int64_t depth, float* u, bool add) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return sum_rows<ROWS - 1, VECTORS>(rows, z, v, depth, u, add);
  sum_tiles<ROWS, VECTORS>(z, v, depth, u, add);
}

// One block of outputs times one of channels; half of it where that holds all channels there are.
static inline void sum_block(int64_t outputs, int64_t channels, const float* z, const float* v, int64_t depth, float* u,
                             bool add, NextSlab* next) {
  for (int64_t o = 0, n; o < outputs; o += n) {
    n = tile_rows(outputs - o, channels <= WIDTH ? NARROW_MR : MR);
    if (next) next->ask();
    if (channels <= WIDTH) sum_rows<NARROW_MR, 1>(n, z + o, v, depth, u + o * NR, add);
    else sum_rows<MR, NV>(n, z + o, v, depth, u + o * NR, add);
  }
}

// Lines asked for while others are multiplied.
static inline void fetch_lines(const float* from, int64_t floats) {
  for (int64_t i = 0; i < floats; i += 16) __builtin_prefetch(from + i, 0, 2);
}

// One point of a slab: the sums of C channels and O outputs, as far as `sums` holds them. While one block of channels
// is multiplied, v of the next comes from L3, and with the last block z and v of the next tiles, or of the next point
// where `onward` says that it is next.
static void sum_point(const Slab& slab, const Sums& sums, int64_t C, int64_t O, int64_t point, bool add, bool onward,
                      NextSlab* next = nullptr) {
  const int64_t depth = ceil_div(slab.tiles, ceil_div(slab.tiles, TILE_DEPTH));
  const int64_t share = ceil_div(depth, sums.o1 - sums.o0) * NR;
  const float *v0 = slab.v + point * slab.v_step + sums.c0 * slab.block, *z0 = slab.z + point * slab.z_step;
  for (int64_t first = 0; first < slab.tiles; first += depth, v0 += depth * NR, z0 += depth * NR) {
    const bool more = first + depth < slab.tiles;
    const float* v = v0;
    for (int64_t c = sums.c0; c < sums.c1; c++, v += slab.block) {
      const bool last = c + 1 == sums.c1, fetch = !last || more || onward;
      const float* ahead = !last ? v + slab.block : more ? v0 + depth * NR : v0 - first * NR + slab.v_step;
      for (int64_t o = sums.o0; o < sums.o1; o++) {
        const float* z = z0 + o * slab.block;
        if (fetch) fetch_lines(ahead + (o - sums.o0) * share, share);
        sum_block(least(NR, O - o * NR), C - c * NR, z, v, least(depth, slab.tiles - first), sums.at(point, o, c),
                  add || first > 0, next);
        if (fetch && last) fetch_lines(more ? z + depth * NR : z - first * NR + slab.z_step, depth * NR);
      }
    }
  }
}

// dw of one output and one block of channels; `partials` sums, `partial` floats apart, are added up in their order.
template <int K, int T>
static void write_winograd_dw(const Sums& sums, int64_t partials, int64_t partial, int64_t C, int64_t o, int64_t c,
                              float* dw) {
  typedef FilterGradientPass<K, T> X;
  const int64_t channels = least(NR, C - c * NR);
  const float* u = sums.at(0, o / NR, c) + o % NR * NR;
  alignas(64) float taps[K * K * NR];
  for (int64_t v = 0; v < channels; v += WIDTH) {
    vf half[K][T];
    for (int j = 0; j < T; j++) {
      vf x[T], y[K];
      for (int i = 0; i < T; i++) {
        const float* from = u + (i * T + j) * sums.step + v;
        __builtin_prefetch(from + OUTPUTS_AHEAD * NR);
        x[i] = load(from);
        for (int64_t s = 1; s < partials; s++) x[i] += load(from + s * partial);
      }
      apply<X>(x, y);
      for (int r = 0; r < K; r++) half[r][j] = y[r];
    }
    for (int r = 0; r < K; r++) {
      vf y[K];
      apply<X>(half[r], y);
      for (int s = 0; s < K; s++) store(taps + (r * K + s) * NR + v, y[s]);
    }
  }
  copy_transposed(dw + (o * C + c * NR) * K * K, K * K, taps, NR, K * K, channels);
}
