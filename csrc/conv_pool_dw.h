// dW and db of a convolution with ReLU and a 2x2 maximum behind it, of few channels, from the gradient of the pooled
// map.
//
// Of the four pixels of a window one is the maximum, and the gradient of the others is 0: the map's own gradient, which
// max_pool_dx would write, is zeros for three quarters. Here it never exists. Each output of each pooled pixel adds its
// gradient times the patch of x under the pixel its index names:
//
//     dy: a pooled pixel's output (broadcast)     x: [ . (s,c) (s,c) (s,c) . . ]   under the maximum, line r
//
// a quarter of the multiply-adds, each with a load of its own; the sums of an output stay in registers over a band.
//
// LeNet-5, batch 128, 2 threads of an AMD EPYC Zen 3, against max_pool_dx, conv2d_dw and channel_sum one behind the
// other: conv1 0.23 ms (0.44), conv2 0.24 (0.43). From 16 channels and 32 outputs on they come near each other.
#pragma once
#include "band.h"
#include "dw_in_place.h"
#include "pool_grad.h"

// The gradients of pooled pixels, those that ReLU stopped as 0, and the places 0..3 of their maxima: rows of `ld`.
struct Sent {
  float* dy;
  int32_t* places;
  int64_t ld;
};

static inline int64_t sent_ld(int64_t O, int64_t width) { return round_up(O, width); }
static inline int64_t sent_bytes(int64_t pixels, int64_t O, int64_t width) { return pixels * sent_ld(O, width) * 8; }
static inline Sent sent_at(void* memory, int64_t pixels, int64_t O) {
  const int64_t ld = sent_ld(O, WIDTH);
  float* dy = reinterpret_cast<float*>(memory);
  return {dy, reinterpret_cast<int32_t*>(dy + pixels * ld), ld};
}

// What collect reads: the gradient of the pooled map, where its maxima stood, and the map behind ReLU or none.
struct Pooled {
  const Tensor &dy, &index, &y;

  // A NaN lets its gradient through.
  template <class M>
  void collect(int64_t pixel, int64_t o, const Sent& to, int64_t row, M m) const {
    vf d = m.get(dy.f32() + pixel * dy.ld + o);
    if (y) d = select(m.get(y.f32() + pixel * y.ld + o) <= vf{}, vf{}, d);
    const vi place = get_index(reinterpret_cast<uint8_t*>(index.data) + pixel * index.ld + o, m) & set1i(3);
    store(to.dy + row * to.ld + o, d);
    store(reinterpret_cast<float*>(to.places) + row * to.ld + o, as_float(place));
  }
  // Of `count` pixels from `pixel` on. Whole vectors are read where what lies behind them is a pixel of the same map.
  void collect(int64_t pixel, int64_t count, const Sent& to) const {
    const int64_t O = dy.shape[1], whole = rows_of(dy) - ceil_div(WIDTH, O);
    for (int64_t row = 0; row < count; row++, pixel++)
      for (int64_t o = 0; o < O; o += WIDTH)
        if (pixel < whole) collect(pixel, o, to, row, Whole{});
        else collect(pixel, o, to, row, Part{least(WIDTH, O - o)});
  }
};

// What the pixels of a band walk: where the first tap of each window and of each place in it lies, and the pitch.
struct PatchWalk {
  const float* x;
  const int32_t* steps;
  int64_t places[WINDOW];
  int64_t line, run, all;  // floats of a line of the band, of a kernel row of the sums, of all rows of an output
};

// Sums of OUTS outputs over all pixels of a band: ROWS kernel rows of VECTORS vectors each.
template <int OUTS, int ROWS, int VECTORS>
static __attribute__((noinline)) void add_patches(const PatchWalk& at, const Sent& from, int64_t pixels, float* sums) {
  vf sum[OUTS][ROWS][VECTORS] = {};
  const int64_t line = at.line, ld = from.ld;
  const float* dy = from.dy;
  const int32_t *places = from.places, *steps = at.steps;
  for (int64_t p = 0; p < pixels; p++, dy += ld, places += ld) {
    const float* x = at.x + steps[p];
#pragma GCC unroll 2
    for (int i = 0; i < OUTS; i++) {
      const float* patch = x + at.places[places[i]];
      const vf d = set1(dy[i]);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++) sum[i][r][v] += d * load(patch + r * line + v * WIDTH);
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < OUTS; i++)
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) {
        float* to = sums + i * at.all + r * at.run + v * WIDTH;
        store(to, load(to) + sum[i][r][v]);
      }
}

template <int OUTS, int ROWS, int VECTORS>
static inline void add_rows(int64_t rows, const PatchWalk& at, const Sent& from, int64_t pixels, float* sums) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return add_rows<OUTS, ROWS - 1, VECTORS>(rows, at, from, pixels, sums);
  add_patches<OUTS, ROWS, VECTORS>(at, from, pixels, sums);
}

// Kernel rows whose sums fit into registers, and outputs: a few sums alone would wait for the multiply-adds' latency.
constexpr int rows_at_once(int vectors) { return vectors == 1 ? 6 : vectors == 3 ? 4 : 3; }
constexpr int outputs_at_once(int vectors) { return vectors < 3 ? 2 : 1; }

// VECTORS vectors of every kernel row.
template <int VECTORS>
static inline void add_columns(PatchWalk at, const Sent& all, int64_t KH, int64_t O, int64_t pixels, float* sums) {
  const int ROWS = rows_at_once(VECTORS), OUTS = outputs_at_once(VECTORS);
  for (int64_t r = 0, n; r < KH; r += n, at.x += n * at.line, sums += n * at.run) {
    n = tile_rows(KH - r, ROWS);
    Sent from = all;
    for (int64_t o = 0, outs; o < O; o += outs, from.dy += outs, from.places += outs) {
      outs = least(OUTS, O - o);
      if (outs == OUTS) add_rows<OUTS, ROWS, VECTORS>(n, at, from, pixels, sums + o * at.all);
      else add_rows<1, ROWS, VECTORS>(n, at, from, pixels, sums + o * at.all);
    }
  }
}

static void add_band(PatchWalk at, const Sent& from, int64_t KH, int64_t O, int64_t pixels, float* sums) {
  for (int64_t vectors = at.run / WIDTH, n; vectors > 0; vectors -= n, at.x += n * WIDTH, sums += n * WIDTH) {
    n = least(vectors, 4);
    if (n == 4) add_columns<4>(at, from, KH, O, pixels, sums);
    else if (n == 3) add_columns<3>(at, from, KH, O, pixels, sums);
    else if (n == 2) add_columns<2>(at, from, KH, O, pixels, sums);
    else add_columns<1>(at, from, KH, O, pixels, sums);
  }
}

static inline void add_bias(const Sent& from, int64_t O, int64_t pixels, float* db) {
  for (int64_t o = 0; o < O; o += WIDTH) {
    vf sum = load(db + o);
    for (int64_t p = 0; p < pixels; p++) sum += load(from.dy + p * from.ld + o);
    store(db + o, sum);
  }
}

// Everything about a conv2d_pool_dw: parameters kernel, stride, padding.
struct PoolDw {
  Map m, seen;  // the convolution; with the pooling behind it
  int64_t O, total;
  BandCut cut;
  PoolDw(const Tensor& x, const Tensor& dy, const int64_t* i, int64_t width) {
    const int64_t geometry[10] = {i[0], i[1], i[2], i[3], i[4], i[5], i[6], i[7], 1, 1};
    m = forward_map(x, dy, geometry, x.shape[1]), seen = pooled_map(m);
    O = dy.shape[1], total = O * m.C * m.KH * m.KW;
    cut = cut_bands(seen, 2 * sent_ld(O, width), double(m.N) * m.OH * m.OW * O * m.KH * m.KW * m.C);
  }
  int64_t partial() const { return partial_bytes(cut.splits, total) + partial_bytes(cut.splits, O); }
  int64_t pixels() const { return cut.lines * m.OW; }
  int64_t bytes(const Blocking& b) const {
    const int64_t floats = run_sums(m, O, b.width) + round_up(O, 16) + band_floats(cut, m.C, b.nr);
    return round_up((floats + pixels()) * 4 + sent_bytes(pixels(), O, b.width), 64);
  }
};

static int64_t conv2d_pool_dw_scratch(const Args& a, int threads, const Blocking& b) {
  const PoolDw job(a.t[0], a.t[1], a.i, b.width);
  return job.partial() + threads * job.bytes(b);
}

static void conv2d_pool_dw(const Args& a, Team& team) {
  const Tensor &dw = a.t[4], &db = a.t[5];
  const PoolDw job(a.t[0], a.t[1], a.i, WIDTH);
  const Pooled pooled{a.t[1], a.t[2], a.t[3]};
  const Map& m = job.m;
  const BandCut& cut = job.cut;
  const int64_t O = job.O;
  float *partial = reinterpret_cast<float*>(a.scratch),
        *partial_db = partial + partial_bytes(cut.splits, job.total) / 4;
  float* sums = reinterpret_cast<float*>(a.scratch + job.partial() + team.thread * job.bytes(BLOCKING));
  float *sums_db = sums + run_sums(m, O, WIDTH), *band = sums_db + round_up(O, 16);
  int32_t* steps = reinterpret_cast<int32_t*>(band + band_floats(cut, m.C, NR));
  const Sent sent = sent_at(steps + job.pixels(), job.pixels(), O);
  const int64_t line = cut.wide * m.C, down = m.sh * line, right = m.sw * m.C;
  const PatchWalk at = {band, steps, {0, right, down, down + right}, line, kernel_run(m, WIDTH), kernel_runs(m, WIDTH)};
  const auto fill = [&] { place_pixels(job.seen, cut, steps); };
  for_chunks(team, cut.splits, fill, [&](int64_t split) {
    zero_run(sums, O * at.all);
    zero_run(sums_db, O);
    over_bands(job.seen, cut, split, band, [&](int64_t n, int64_t oh, int64_t lines) {
      pooled.collect((n * m.OH + oh) * m.OW, lines * m.OW, sent);
      add_band(at, sent, m.KH, O, lines * m.OW, sums);
      add_bias(sent, O, lines * m.OW, sums_db);
    });
    write_runs(m, O, sums, cut.splits > 1 ? partial + split * job.total : dw.f32());
    if (db) copy_exactly(cut.splits > 1 ? partial_db + split * O : db.f32(), sums_db, O);
  });
  if (cut.splits == 1) return;
  add_partials(partial, cut.splits, dw.f32(), job.total, team);
  if (db) add_partials(partial_db, cut.splits, db.f32(), O, team);
}
