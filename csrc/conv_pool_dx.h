// dX of a convolution with ReLU and a 2x2 maximum behind it, of few channels, from the gradient of the pooled map.
//
// As in conv_pool_dw.h three quarters of the map's own gradient are zeros that are never written. An output of a pooled
// pixel adds its filter, times its gradient, to the patch of dx that its maximum saw:
//
//     sums of the outputs whose maximum is pixel q:  w (r, s, c) * dy   -->   band of dx, lines r under q
//
// The outputs of a pooled pixel are sorted by the pixel their index names; those that ReLU stopped are left out. Their
// sum is made in registers, and added once to a band in cache that holds an image of dx with its padding. Lanes behind
// a kernel row add zeros to its neighbours, which is a NaN where a gradient is infinite.
//
// LeNet-5's conv2, batch 128, 2 threads of an AMD EPYC Zen 3: 0.32 ms, by max_pool_dx and conv2d_dx_gemm 0.57.
#pragma once
#include "conv_pool_dw.h"

// The outputs of a pooled pixel whose maximum is one of its four pixels: where their filters lie, and their gradients.
static const int64_t MOST_SENT = 32;  // more come in a second turn
struct Senders {
  int64_t filters[MOST_SENT];
  float dy[MOST_SENT];
  int64_t count;
};

// ROWS kernel rows of VECTORS vectors each, summed over the outputs.
template <int ROWS, int VECTORS>
static __attribute__((noinline)) void add_filters(const Senders& sent, const float* w, int64_t run, float* to,
                                                  int64_t line) {
  vf sum[ROWS][VECTORS] = {};
  for (int64_t k = 0; k < sent.count; k++) {
    const float* filter = w + sent.filters[k];
    const vf d = set1(sent.dy[k]);
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[r][v] += d * load(filter + r * run + v * WIDTH);
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
      float* p = to + r * line + v * WIDTH;
      store(p, load(p) + sum[r][v]);
    }
}

template <int ROWS, int VECTORS>
static inline void add_filter_rows(int64_t rows, const Senders& sent, const float* w, int64_t run, float* to,
                                   int64_t line) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return add_filter_rows<ROWS - 1, VECTORS>(rows, sent, w, run, to, line);
  add_filters<ROWS, VECTORS>(sent, w, run, to, line);
}

template <int VECTORS>
static inline void add_filter_columns(const Senders& sent, const float* w, int64_t KH, int64_t run, float* to,
                                      int64_t line) {
  const int ROWS = rows_at_once(VECTORS);
  for (int64_t r = 0, n; r < KH; r += n, w += n * run, to += n * line) {
    n = tile_rows(KH - r, ROWS);
    add_filter_rows<ROWS, VECTORS>(n, sent, w, run, to, line);
  }
}

// The patch of one pixel.
static inline void add_patch(const Senders& sent, const float* w, int64_t KH, int64_t run, float* to, int64_t line) {
  for (int64_t vectors = run / WIDTH, n; vectors > 0; vectors -= n, w += n * WIDTH, to += n * WIDTH) {
    n = least(vectors, 4);
    if (n == 4) add_filter_columns<4>(sent, w, KH, run, to, line);
    else if (n == 3) add_filter_columns<3>(sent, w, KH, run, to, line);
    else if (n == 2) add_filter_columns<2>(sent, w, KH, run, to, line);
    else add_filter_columns<1>(sent, w, KH, run, to, line);
  }
}

// Everything about a conv2d_pool_dx: parameters size, stride, padding. The band is a whole image.
struct PoolDx {
  Map m;  // the convolution, over dx
  int64_t O, high, wide, floats;
  PoolDx(const Tensor& dy, const Tensor& w, const Tensor& dx, const int64_t* i) {
    const int64_t geometry[10] = {w.shape[2], w.shape[3], i[2], i[3], i[4], i[5], i[6], i[7], 1, 1};
    m = forward_map(dx, dy, geometry, dx.shape[1]);
    const Map seen = pooled_map(m);
    O = dy.shape[1];
    high = most((m.OH - 1) * seen.sh + seen.KH, m.top + m.H), wide = most((m.OW - 1) * seen.sw + seen.KW, m.left + m.W);
    floats = round_up(high * wide * m.C, 16);
  }
  int64_t bytes(const Blocking& b) const {
    const int64_t filters = O * kernel_runs(m, b.width);
    return round_up((floats + b.width + filters) * 4 + sent_bytes(m.OH * m.OW, O, b.width), 64);
  }
};

static int64_t conv2d_pool_dx_scratch(const Args& a, int threads, const Blocking& b) {
  return threads * PoolDx(a.t[0], a.t[3], a.t[4], a.i).bytes(b);
}

// (o, c, r, s) as kernel rows (o, r, s, c) in whole vectors, zeros behind them.
static void lay_filters(const Map& m, int64_t O, const float* w, float* to) {
  const int64_t taps = m.KH * m.KW, run = kernel_run(m, WIDTH);
  for (int64_t o = 0; o < O; o++)
    for (int64_t r = 0; r < m.KH; r++, to += run) {
      zero_run(to, run);
      copy_transposed(to, m.C, w + o * m.C * taps + r * m.KW, taps, m.C, m.KW);
    }
}

// Outputs o0 .. of one pooled pixel, sorted by the place of their maximum.
static inline void sort_outputs(const Sent& from, int64_t pixel, int64_t o0, int64_t count, int64_t filter,
                                Senders (&shares)[WINDOW]) {
  const float* dy = from.dy + pixel * from.ld + o0;
  const int32_t* places = from.places + pixel * from.ld + o0;
  for (Senders& s : shares) s.count = 0;
  for (int64_t o = 0; o < count; o++) {
    Senders& s = shares[places[o]];
    s.filters[s.count] = (o0 + o) * filter, s.dy[s.count] = dy[o], s.count += dy[o] != 0.0f;
  }
}

// The gradient of an image, into its band.
static void send_image(const PoolDx& job, const Sent& from, const float* w, float* band) {
  const Map& m = job.m;
  const int64_t line = job.wide * m.C, run = kernel_run(m, WIDTH), right = m.sw * m.C;
  zero_run(band, job.floats + WIDTH);
  for (int64_t o = 0; o < job.O; o += MOST_SENT)
    for (int64_t p = 0; p < m.OH * m.OW; p++) {
      Senders shares[WINDOW];
      sort_outputs(from, p, o, least(MOST_SENT, job.O - o), kernel_runs(m, WIDTH), shares);
      float* to = band + 2 * (p / m.OW * m.sh * line + p % m.OW * right);
      for (int64_t q = 0; q < WINDOW; q++)
        if (shares[q].count) add_patch(shares[q], w, m.KH, run, to + q / 2 * m.sh * line + q % 2 * right, line);
    }
}

static void conv2d_pool_dx(const Args& a, Team& team) {
  const Tensor& dx = a.t[4];
  const PoolDx job(a.t[0], a.t[3], dx, a.i);
  const Pooled pooled{a.t[0], a.t[1], a.t[2]};
  const Map& m = job.m;
  const int64_t pixels = m.OH * m.OW;
  float* band = reinterpret_cast<float*>(a.scratch + team.thread * job.bytes(BLOCKING));
  float* w = band + job.floats + WIDTH;
  const Sent sent = sent_at(w + job.O * kernel_runs(m, WIDTH), pixels, job.O);
  const auto fill = [&] { lay_filters(m, job.O, a.t[3].f32(), w); };
  for_chunks(team, m.N, fill, [&](int64_t n) {
    pooled.collect(n * pixels, pixels, sent);
    send_image(job, sent, w, band);
    for (int64_t h = 0; h < m.H; h++) {
      const float* from = band + ((h + m.top) * job.wide + m.left) * m.C;
      float* to = dx.f32() + (n * m.H + h) * m.W * dx.ld;
      if (dx.ld == m.C) copy_exactly(to, from, m.W * m.C);
      else
        for (int64_t x = 0; x < m.W; x++) copy_exactly(to + x * dx.ld, from + x * m.C, m.C);
    }
  });
}
