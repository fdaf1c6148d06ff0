// The input transform that Winograd's forward and dX begin with.
//
//   x: a strip of T rows                      tmp, in L1                          V[T * T], a plane each
//   [ | | | | | | | ]  -- B^T, down each -->  [ T rows x strip columns x 16 ] --> row i of tmp by B^T, at each tile:
//   tiles share K - 1 columns                   16 channels at a time              planes i * T .. i * T + T - 1
//
// Neighbours share the pass down their common columns: 8 tiles of 6 have 34, not 48. 120 cycles a tile and vector of
// channels, most of them stores (T = 6, AMD EPYC Zen 3). Other orders of the stores, and pairs of vectors at once,
// were no faster.
//
// A plane holds groups of MR tiles as the product reads them, [channels / 16][MR][16]: one stream without gaps, where
// rows of C floats each would be MR short ones, which the prefetcher of L2 loses (C = 256, V in L3: the product went
// from 73 to 96 GFLOP/s, one thread of the same).
#pragma once
#include "tiling.h"
#include "winograd_points.h"

// Tiles of a strip: 8 of 6 x 6 need 13 KB of tmp.
static const int64_t STRIP_TILES = 8;

// A map that is read with `top` rows and `left` columns of zeros in front of it, and as many as needed behind.
struct PaddedMap {
  const float* x;
  int64_t ld, C, H, W, top, left;
};

// Where V lies: planes of `plane` floats, groups of MR tiles of `group`.
struct Planes {
  float* v;
  int64_t plane, group;
  float* at(int64_t slot, int64_t c) const {
    return v + slot / MR * group + slot % MR * LINE + c / LINE * (MR * LINE) + c % LINE;
  }
};

static inline int64_t group_floats(int64_t C, int64_t mr) { return mr * round_up(C, LINE); }

// T rows of a strip, `ld` floats from pixel to pixel; rows first .. end - 1 lie inside of the map.
template <int T>
struct InputRows {
  const float* row[T];
  int64_t ld;
  int first, end;
};

template <int T>
static inline InputRows<T> rows_of_strip(const PaddedMap& in, int64_t image, int64_t h, int64_t c) {
  InputRows<T> s;
  s.ld = in.ld, s.first = int(clamp(-h, 0, T)), s.end = int(clamp(in.H - h, s.first, T));
  for (int i = 0; i < T; i++) s.row[i] = in.x + (image * in.H + clamp(h + i, 0, in.H - 1)) * in.W * in.ld + c;
  return s;
}

// A strip's rows after the pass down: [T][columns at most][16].
template <int T, int M>
static constexpr int64_t STRIP_ROW = ((STRIP_TILES - 1) * M + T) * LINE;

// The pass down columns w .. w + count - 1 of a strip.
template <int T, int M, int VECTORS, bool INSIDE, class Access>
static inline void pass_down(const InputRows<T> s, int64_t w, int64_t count, float* tmp, Access m) {
  int64_t pixel = w * s.ld;
  for (int64_t j = 0; j < count; j++, pixel += s.ld, tmp += LINE) {
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
      vf x[T], y[T];
#pragma GCC unroll 8
      for (int i = 0; i < T; i++)
        if (INSIDE || (i >= s.first && i < s.end)) x[i] = m.get(s.row[i] + pixel + v * WIDTH);
        else x[i] = vf{};
      apply<InputPass<T>>(x, y);
#pragma GCC unroll 8
      for (int i = 0; i < T; i++) store(tmp + i * STRIP_ROW<T, M> + v * WIDTH, y[i]);
    }
  }
}

template <int T, int M, int VECTORS>
static inline void zero_columns(int64_t count, float* tmp) {
  for (int64_t j = 0; j < count; j++, tmp += LINE)
    for (int i = 0; i < T; i++)
      for (int v = 0; v < VECTORS; v++) store(tmp + i * STRIP_ROW<T, M> + v * WIDTH, vf{});
}

// The pass along rows, at each tile of a strip: VECTORS vectors of channels of V.
template <int T, int M, int VECTORS>
static inline void pass_along(const float* tmp, int64_t tiles, const Planes to, int64_t slot, int64_t c) {
  for (int64_t t = 0; t < tiles; t++, tmp += M * LINE) {
    const float* from = tmp;
    float* v = to.at(slot + t, c);
    for (int i = 0; i < T; i++, from += STRIP_ROW<T, M>, v += T * to.plane) {
#pragma GCC unroll 4
      for (int k = 0; k < VECTORS; k++) {
        vf x[T], y[T];
#pragma GCC unroll 8
        for (int j = 0; j < T; j++) x[j] = load(from + j * LINE + k * WIDTH);
        apply<InputPass<T>>(x, y);
#pragma GCC unroll 8
        for (int j = 0; j < T; j++) store(v + j * to.plane + k * WIDTH, y[j]);
      }
    }
  }
}

// `tiles` tiles of a strip whose first column is w, VECTORS vectors of channels from c on.
template <int T, int M, int VECTORS, class Access>
static inline void transform_strip(const InputRows<T>& s, int64_t w, int64_t W, int64_t tiles, const Planes& to,
                                   int64_t slot, int64_t c, Access m) {
  alignas(64) float tmp[T * STRIP_ROW<T, M>];
  const int64_t width = (tiles - 1) * M + T;
  const int64_t begin = clamp(-w, 0, width), end = clamp(W - w, begin, width);
  zero_columns<T, M, VECTORS>(begin, tmp);
  if (s.end - s.first == T) pass_down<T, M, VECTORS, true>(s, w + begin, end - begin, tmp + begin * LINE, m);
  else pass_down<T, M, VECTORS, false>(s, w + begin, end - begin, tmp + begin * LINE, m);
  zero_columns<T, M, VECTORS>(width - end, tmp + end * LINE);
  pass_along<T, M, VECTORS>(tmp, tiles, to, slot, c);
}

// Channels c .. end - 1, at most 16, of a strip.
template <int T, int M>
static void transform_line(const PaddedMap& in, int64_t image, int64_t h, int64_t w, int64_t tiles, const Planes& to,
                           int64_t slot, int64_t c, int64_t end) {
  const InputRows<T> s = rows_of_strip<T>(in, image, h, c);
  if (end - c == LINE) return transform_strip<T, M, LINE / WIDTH>(s, w, in.W, tiles, to, slot, c, Whole{});
  over_columns(end - c, [&](int64_t j, auto m) {
    InputRows<T> part = s;
    for (int i = 0; i < T; i++) part.row[i] += j;
    transform_strip<T, M, 1>(part, w, in.W, tiles, to, slot, c + j, m);
  });
}

// V of `count` tiles from tile `first` on, which take slots 0 .., for channels c .. end - 1; c is a multiple of 16.
// Channels behind the last one are left as they are, up to whole vectors.
template <int T, int M>
static void transform_input(const PaddedMap& in, const Tiling& tiling, int64_t first, int64_t count, int64_t c,
                            int64_t end, const Planes& to) {
  for (int64_t n, slot = 0; slot < count; slot += n) {
    const Place p = tiling.at(first + slot);
    n = least(least(count - slot, tiling.across - p.across), STRIP_TILES);
    const int64_t h = p.down * M - in.top, w = p.across * M - in.left;
    for (int64_t line = c; line < end; line += LINE)
      transform_line<T, M>(in, p.image, h, w, n, to, slot, line, least(line + LINE, end));
  }
}
