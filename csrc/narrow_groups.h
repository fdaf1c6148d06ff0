// Convolutions of groups no wider than a vector: depthwise ones, and groups of 2, 4 or 8 channels. A matrix product
// would fill 1 to 8 of its NR columns. Instead a vector holds the outputs of several groups, and four neighbouring
// output pixels of two vectors stay in registers:
//
//     x: pixels . . [ a b c d ] . .        per tap and input of a group: 2 loads of w, 8 of x, 8 multiply-adds;
//                      taps |              lane o meets input i of its own group: x shuffled, for groups of 4
//     y: pixels     [ e f g h ]            x0 x0 x0 x0 x4 x4 x4 x4, then x1 x1 x1 x1 x5 ...
//
// So half the FMA peak at most; depthwise layers are bound by memory, which they read and write once. Reached with one
// thread of an AMD EPYC Zen 3, GFLOP/s: 32 groups of 4 on a 28x28 map 42 (as a product 5), 8 groups of 8 53 (15),
// depthwise 5x5 on 14x14 34 (a pixel at a time 6), 3x3 on 56x56 11 (5).
#pragma once
#include "lanes.h"

static inline bool is_depthwise(int64_t G, int64_t C, int64_t O) { return G > 1 && C == G && O == G; }

static inline bool has_narrow_groups(int64_t G, int64_t C, int64_t O, int64_t width) {
  const int64_t group = C / G;
  return G > 1 && C == O && group <= width && (group == 1 || group == 2 || group == 4 || group == 8);
}

// The weights as (tap, input of the group, channel): panels hold one group each, spread over NR lanes.
static inline int64_t narrow_groups_bytes(int64_t C, int64_t depth) { return round_up(C * depth * 4, 64); }

// Channels a chunk of the transposition takes: a line of floats, so that no two threads write the same.
static const int64_t SPREAD_CHANNELS = 16;

static void spread_weights(const float* wp, int64_t depth, int64_t C, int64_t group, float* w, Team& team) {
  for_chunks(team, ceil_div(C, SPREAD_CHANNELS), [&](int64_t chunk) {
    const int64_t begin = chunk * SPREAD_CHANNELS, end = least(begin + SPREAD_CHANNELS, C);
    for (int64_t k = 0; k < depth; k++)
      for (int64_t c = begin; c < end; c++) w[k * C + c] = wp[(c / group * depth + k) * NR + c % group];
  });
}

// In each lane input I of the lane's group.
template <int GROUP, int I, class Access>
static inline vf load_spread(const float* x, Access m) {
  if constexpr (GROUP == 1) return m.get(x);
  else if constexpr (GROUP == WIDTH) return set1(x[I]);
  else {
#define STRIATE_FROM(lane) (lane) / GROUP* GROUP + I
#define STRIATE_FROM4(lane) STRIATE_FROM(lane), STRIATE_FROM(lane + 1), STRIATE_FROM(lane + 2), STRIATE_FROM(lane + 3)
#if STRIATE_WIDTH == 4
#define STRIATE_LANES STRIATE_FROM4(0)
#elif STRIATE_WIDTH == 8
#define STRIATE_LANES STRIATE_FROM4(0), STRIATE_FROM4(4)
#else
#define STRIATE_LANES STRIATE_FROM4(0), STRIATE_FROM4(4), STRIATE_FROM4(8), STRIATE_FROM4(12)
#endif
    const vf v = m.get(x);
    return STRIATE_SHUFFLE(v, v, STRIATE_LANES);
#undef STRIATE_FROM
#undef STRIATE_FROM4
#undef STRIATE_LANES
  }
}

// The taps that some neighbouring pixels have inside the map, from the first one's first tap on: `down` rows of
// `across`.
struct Taps {
  const float *x, *w;
  int64_t down, across, x_down, x_across, w_down, w_across;  // and their distances
};

// One input of each group of the pixels of a tile: a vector of w is loaded once for all of them.
template <int GROUP, int I, int PIXELS, int VECTORS, class Access>
static inline __attribute__((always_inline)) void group_step(const float* x, int64_t x_step, const float* w, int64_t C,
                                                             vf (&sum)[PIXELS][VECTORS], Access m) {
#pragma GCC unroll 4
  for (int v = 0; v < VECTORS; v++) {
    const vf wv = m.get(w + I * C + v * WIDTH);
#pragma GCC unroll 8
    for (int p = 0; p < PIXELS; p++) sum[p][v] += load_spread<GROUP, I>(x + p * x_step + v * WIDTH, m) * wv;
  }
  if constexpr (I + 1 < GROUP) group_step<GROUP, I + 1>(x, x_step, w, C, sum, m);
}

// VECTORS vectors of channels of PIXELS neighbours. 4 x 2 sums cover the latency of the multiply-adds.
template <int GROUP, int PIXELS, int VECTORS, class Access>
static inline void group_tile(const Job& job, const Taps& t, int64_t C, int64_t c, const float* r, float* y, Access m) {
  const int64_t x_step = job.in.sw * job.in.ld, y_step = job.gw * job.ld, r_step = job.gw * job.r_ld;
  vf sum[PIXELS][VECTORS] = {};
  for (int64_t i = 0; i < t.down; i++) {
    const float *x = t.x + i * t.x_down + c, *w = t.w + i * t.w_down + c;
    for (int64_t j = 0; j < t.across; j++, x += t.x_across, w += t.w_across)
      group_step<GROUP, 0>(x, x_step, w, C, sum, m);
  }
#pragma GCC unroll 8
  for (int p = 0; p < PIXELS; p++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++) {
      vf s = sum[p][v];
      if (job.bias) s += m.get(job.bias + c + v * WIDTH);
      if (r) s += m.get(r + p * r_step + c + v * WIDTH);
      m.put(y + p * y_step + c + v * WIDTH, activated(s, job.activation));
    }
}

// All channels of PIXELS neighbours.
template <int GROUP, int PIXELS>
static inline void group_pixels(const Job& job, const Taps& t, int64_t C, const float* r, float* y) {
  int64_t c = 0;
  for (; c + 2 * WIDTH <= C; c += 2 * WIDTH) group_tile<GROUP, PIXELS, 2>(job, t, C, c, r, y, Whole{});
  for (; c + WIDTH <= C; c += WIDTH) group_tile<GROUP, PIXELS, 1>(job, t, C, c, r, y, Whole{});
  if (c < C) group_tile<GROUP, PIXELS, 1>(job, t, C, c, r, y, Part{C - c});
}

// Neighbours of a tile.
static const int64_t NEIGHBOURS = 4;

// One output line; w is (tap, GROUP, C). Pixels are taken together where they have all their taps inside the map.
template <int GROUP>
static void group_line(const Job& job, const float* w, int64_t C, int64_t line) {
  const Map& m = job.in;
  const int64_t n = line / m.OH, oh = line % m.OH, ih = oh * m.sh - m.top;
  const int64_t pixel = (n * job.YH + job.y0 + oh * job.gh) * job.YW + job.x0;
  const Reach down(ih, m.KH, m.dh, m.H);
  const float* x = m.x + (n * m.H + ih + down.begin * m.dh) * m.W * m.ld;
  Taps t{};
  t.down = down.end - down.begin, t.x_down = m.dh * m.W * m.ld, t.x_across = m.dw * m.ld;
  t.w_down = m.KW * GROUP * C, t.w_across = GROUP * C;
  for (int64_t ow = 0, count; ow < m.OW; ow += count) {
    const int64_t iw = ow * m.sw - m.left, last = iw + (NEIGHBOURS - 1) * m.sw + (m.KW - 1) * m.dw;
    const bool together = iw >= 0 && last < m.W && ow + NEIGHBOURS <= m.OW;
    const Reach across(iw, m.KW, m.dw, m.W);
    t.across = across.end - across.begin, t.x = x + (iw + across.begin * m.dw) * m.ld;
    t.w = w + (down.begin * m.KW + across.begin) * GROUP * C;
    const float* r = job.r ? job.r + (pixel + ow * job.gw) * job.r_ld : nullptr;
    float* y = job.y + (pixel + ow * job.gw) * job.ld;
    if (together) group_pixels<GROUP, NEIGHBOURS>(job, t, C, r, y);
    else group_pixels<GROUP, 1>(job, t, C, r, y);
    count = together ? NEIGHBOURS : 1;
  }
}

using GroupLine = void (*)(const Job&, const float* w, int64_t C, int64_t line);

static inline GroupLine group_line_of(int64_t group) {
  if constexpr (WIDTH >= 8)
    if (group == 8) return group_line<8>;
  return group == 1 ? group_line<1> : group == 2 ? group_line<2> : group_line<4>;
}

// Lines of a chunk of the forward pass: at most MOST_LINE_CHUNKS chunks, so that each can have moments of its own.
static const int64_t MOST_LINE_CHUNKS = 64;
static inline int64_t lines_of_chunk(int64_t lines) { return most(ceil_div(lines, MOST_LINE_CHUNKS), 1); }
static inline int64_t line_chunks(int64_t lines) { return ceil_div(lines, lines_of_chunk(lines)); }

static void multiply_groups(const Job& job, int64_t C, char* scratch, const Tensor* moments, Team& team) {
  float* w = reinterpret_cast<float*>(scratch);
  spread_weights(job.wp, job.depth, C, job.in.C, w, team);
  const GroupLine compute_line = group_line_of(job.in.C);
  const int64_t lines = job.in.N * job.in.OH, per_chunk = lines_of_chunk(lines), OW = job.in.OW;
  for_chunks(team, line_chunks(lines), [&](int64_t chunk) {
    const int64_t begin = chunk * per_chunk, end = least(begin + per_chunk, lines);
    for (int64_t line = begin; line < end; line++) {
      compute_line(job, w, C, line);
      if (job.moments) job.moments.add(chunk, (line - begin) * OW, job.y + line * OW * job.ld, job.ld, OW, 0, C);
    }
  });
  const auto rows = [&](int64_t chunk) { return least(lines - chunk * per_chunk, per_chunk) * OW; };
  if (job.moments) finish_moments(job.moments, line_chunks(lines), rows, moments, team);
}
