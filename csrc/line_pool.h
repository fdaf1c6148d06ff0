// A convolution of one channel with few outputs, and the 2x2 maximum behind it: LeNet-5's first layer.
//
// A vector of outputs would have 6 of its 8 lanes in use, and each of 25 taps needs a broadcast. So the lanes are
// neighbouring pixels of two lines instead, and the weights are what is broadcast:
//
//     x: line 2h       [ . . . . . . . . ]   under one tap        sums: outputs x 2 x WIDTH pixels
//        line 2h + 1   [ . . . . . . . . ]
//
// Two such tiles are WIDTH windows, pooled while they lie so and transposed then. The lines of x lie padded in a band,
// so each pixel has all taps. 128 images, 1x28x28, 6 outputs, 5x5, 2 threads of an AMD EPYC Zen 3: see
// docs/guide/speed.md.
#pragma once
#include "band.h"
#include "pool_job.h"

static inline bool lanes_are_pixels(const Map& m, int64_t O, int64_t width) {
  return m.C == 1 && m.sw == 1 && O <= width;
}

static BandCut cut_lines(const Map& m, int64_t O) {
  return cut_bands(pooled_map(m), O, double(4 * m.N) * m.OH * m.OW * O * m.KH * m.KW);
}

static int64_t pool_lines_bytes(const Map& m, const BandCut& cut, int64_t nr) {
  return round_up((band_floats(cut, 1, nr) + m.KH * m.KW) * 4, 64);
}
static int64_t pool_lines_scratch(const Map& m, int64_t O, int threads, const Blocking& b) {
  return threads * pool_lines_bytes(m, cut_lines(m, O), b.nr);
}

#if STRIATE_WIDTH == 4
#define STRIATE_EVEN 0, 2, 4, 6
#define STRIATE_ODD 1, 3, 5, 7
#elif STRIATE_WIDTH == 8
#define STRIATE_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define STRIATE_ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define STRIATE_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define STRIATE_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif
// The even lanes of a and b, one behind the other, and the odd ones.
static inline vf even_lanes(vf a, vf b) { return STRIATE_SHUFFLE(a, b, STRIATE_EVEN); }
static inline vf odd_lanes(vf a, vf b) { return STRIATE_SHUFFLE(a, b, STRIATE_ODD); }
#undef STRIATE_EVEN
#undef STRIATE_ODD

// Sums of WIDTH windows: (output, half, line, WIDTH), and their maxima (output, WIDTH).
struct Windows {
  alignas(64) float sums[WIDTH * 4 * WIDTH];
  alignas(64) float values[WIDTH * WIDTH] = {}, places[WIDTH * WIDTH] = {};
  int64_t rows[WIDTH];
};

// `x` is where in the band the first tap of the first pixel lies.
static inline void sum_windows(const PoolJob& job, const float* x, Tile& t, Windows& w) {
  for (int64_t half = 0; half < 2; half++) {
    t.b = x + half * WIDTH, t.c = w.sums + half * 2 * WIDTH;
    for (int64_t o = 0, n; o < job.columns; o += n) {
      n = tile_rows(job.columns - o, MR);
      t.a = job.wp + o, t.rows = w.rows + o;
      multiply_rows<MR, 2, DEPTH_MAJOR>(n, t);
    }
  }
}

// Bias and ReLU come behind the maximum, which they do not move; where ReLU makes all four pixels 0, the first is it.
static inline void pool_lanes(const PoolJob& job, Windows& w) {
  for (int64_t o = 0; o < job.columns; o++) {
    const float* s = w.sums + o * 4 * WIDTH;
    const vf a0 = load(s), b0 = load(s + WIDTH), a1 = load(s + 2 * WIDTH), b1 = load(s + 3 * WIDTH);
    Maximum most{even_lanes(a0, a1), vi{}};
    most.meet(odd_lanes(a0, a1), 1);
    most.meet(even_lanes(b0, b1), 2);
    most.meet(odd_lanes(b0, b1), 3);
    vf y = job.bias ? most.value + set1(job.bias[o]) : most.value;
    if (job.relu) y = ramp(y, set1(__builtin_nanf(""))), most.at = most.at & ~(y <= vf{});
    store(w.values + o * WIDTH, y);
    store(w.places + o * WIDTH, as_float(most.at));
  }
}

// The maxima of `count` windows to pixels of y from `pixel` on. Up to pixel `wide` a whole vector may be written: what
// it spills over the next pixels is written again right after.
static inline void write_windows(const PoolJob& job, const Windows& w, int64_t pixel, int64_t count, int64_t wide) {
  vf v[WIDTH];
  load_transposed(v, w.values, WIDTH, WIDTH, WIDTH);
  for (int64_t i = 0; i < count; i++) {
    float* y = job.y + (pixel + i) * job.ld;
    if (pixel + i < wide) store(y, v[i]);
    else store_part(y, v[i], job.columns);
  }
  if (!job.index) return;
  load_transposed(v, w.places, WIDTH, WIDTH, WIDTH);
  for (int64_t i = 0; i < count; i++) {
    uint8_t* index = job.index + (pixel + i) * job.index_ld;
    if (pixel + i < wide) put_index(index, bits_of(v[i]), Whole{});
    else put_index(index, bits_of(v[i]), Part{job.columns});
  }
}

static void pool_lines(const PoolJob& job, char* scratch, Team& team) {
  const Map &m = job.in, seen = pooled_map(m);
  const BandCut cut = cut_lines(m, job.columns);
  const int64_t line = cut.wide, O = job.columns;
  float* band = reinterpret_cast<float*>(scratch + team.thread * pool_lines_bytes(m, cut, NR));
  int32_t* steps = reinterpret_cast<int32_t*>(band + band_floats(cut, 1, NR));
  const auto fill = [&] {
    for (int64_t tap = 0; tap < m.KH * m.KW; tap++) steps[tap] = int32_t(tap / m.KW * m.dh * line + tap % m.KW * m.dw);
  };
  const bool flat = job.ld == O && (!job.index || job.index_ld == O);
  for_chunks(team, cut.splits, fill, [&](int64_t split) {
    Windows w;
    for (int64_t o = 0; o < WIDTH; o++) w.rows[o] = o * 4 * WIDTH;
    Tile t{};
    t.lda = NR, t.depth = m.KH * m.KW, t.steps = steps, t.gap = m.sh * line, t.cols = 2 * WIDTH;
    const int64_t wide = flat ? end_of_bands(seen, cut, split) * m.OW - ceil_div(WIDTH, O) : -1;
    over_bands(seen, cut, split, band, [&](int64_t n, int64_t oh, int64_t lines) {
      for (int64_t i = 0; i < lines; i++)
        for (int64_t ow = 0; ow < m.OW; ow += WIDTH) {
          sum_windows(job, band + 2 * (m.sh * i * line + ow), t, w);
          pool_lanes(job, w);
          write_windows(job, w, (n * m.OH + oh + i) * m.OW + ow, least(WIDTH, m.OW - ow), wide);
        }
    });
  });
}
