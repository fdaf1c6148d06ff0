// dW where every group has one input and one output channel: dw[c][r][s] = sum over pixels of dy[p][c] * x[p, r, s][c],
// four vectors of channels at a time, which are four running sums and a whole line of cache a pixel. A chunk sums some
// lines of the output; each line's sum is added to the tap's, and the chunks' in their order.
#pragma once

static const int DEPTHWISE_VECTORS = 4;
// Output lines below which a chunk of its own is not worth its partial sums.
static const int64_t LEAST_LINES = 8;

struct DepthwiseCut {
  int64_t channels, blocks, splits, lines;  // of a chunk; lines of a split
};

static DepthwiseCut cut_depthwise(int64_t C, int64_t taps, int64_t lines, int64_t OW, const Blocking& b) {
  DepthwiseCut cut{};
  cut.channels = DEPTHWISE_VECTORS * b.width;
  cut.blocks = ceil_div(C, cut.channels);
  const int64_t wanted = wanted_chunks(double(C) * taps * lines * OW * b.mr);  // slower than a matrix product by a tile
  cut.splits = clamp(wanted / cut.blocks, 1, most(lines / LEAST_LINES, 1));
  cut.lines = ceil_div(lines, cut.splits);
  return cut;
}

static inline int64_t depthwise_sums(const DepthwiseCut& cut, int64_t taps) { return cut.channels * taps; }

// Products of one output line with the input line of tap (r, s), added to `sums`; count channels, VECTORS vectors of
// them.
template <int VECTORS>
static inline void depthwise_products(const Map& m, const float* x, const float* dy, int64_t ld, int64_t s,
                                      int64_t count, float* sums) {
  const int64_t begin = clamp(ceil_div(m.left - s * m.dw, m.sw), 0, m.OW);
  const int64_t end = clamp(ceil_div(m.W + m.left - s * m.dw, m.sw), begin, m.OW);
  vf sum[VECTORS] = {};
  for (int64_t ow = begin; ow < end; ow++) {
    const float *a = x + (ow * m.sw - m.left + s * m.dw) * m.ld, *b = dy + ow * ld;
    if (VECTORS == 1 && count < WIDTH) sum[0] += load_part(a, count) * load_part(b, count);
    else
#pragma GCC unroll 4
      for (int v = 0; v < VECTORS; v++) sum[v] += load(a + v * WIDTH) * load(b + v * WIDTH);
  }
  for (int v = 0; v < VECTORS; v++) store(sums + v * WIDTH, load(sums + v * WIDTH) + sum[v]);
}

// All taps of one output line; sums is (tap, channel).
static void depthwise_dw_line(const Map& m, const float* dy, int64_t ld, int64_t line, int64_t count, float* sums,
                              int64_t channels) {
  const int64_t n = line / m.OH, ih = line % m.OH * m.sh - m.top;
  const float* out = dy + line * m.OW * ld;
  const Reach down(ih, m.KH, m.dh, m.H);
  for (int64_t r = down.begin; r < down.end; r++) {
    const float* in = m.x + (n * m.H + ih + r * m.dh) * m.W * m.ld;
    for (int64_t s = 0; s < m.KW; s++) {
      float* to = sums + (r * m.KW + s) * channels;
      if (count == DEPTHWISE_VECTORS * WIDTH) depthwise_products<DEPTHWISE_VECTORS>(m, in, out, ld, s, count, to);
      else
        for (int64_t c = 0; c < count; c += WIDTH)
          depthwise_products<1>(m, in + c, out + c, ld, s, least(count - c, WIDTH), to + c);
    }
  }
}

static DepthwiseCut cut_depthwise(const Args& a, const Blocking& b) {
  const Tensor& dy = a.t[1];
  return cut_depthwise(dy.shape[1], a.i[0] * a.i[1], dy.shape[0] * dy.shape[2], dy.shape[3], b);
}

static int64_t depthwise_dw_scratch(const Args& a, int threads, const Blocking& b) {
  const int64_t taps = a.i[0] * a.i[1];
  const DepthwiseCut cut = cut_depthwise(a, b);
  return partial_bytes(cut.splits, a.t[1].shape[1] * taps) + threads * depthwise_sums(cut, taps) * 4;
}

static void depthwise_dw(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &dy = a.t[1], &dw = a.t[2];
  const int64_t C = x.shape[1], taps = a.i[0] * a.i[1], lines = dy.shape[0] * dy.shape[2];
  const DepthwiseCut cut = cut_depthwise(a, BLOCKING);
  const Map in = forward_map(x, dy, a.i, 1);
  float* partial = reinterpret_cast<float*>(a.scratch);
  float* sums = reinterpret_cast<float*>(a.scratch + partial_bytes(cut.splits, C * taps)) +
                team.thread * depthwise_sums(cut, taps);
  for_chunks(team, cut.blocks * cut.splits, [&](int64_t chunk) {
    const int64_t c = chunk % cut.blocks * cut.channels, split = chunk / cut.blocks, count = least(cut.channels, C - c);
    Map m = in;
    m.x += c;
    zero_run(sums, depthwise_sums(cut, taps));
    for (int64_t line = split * cut.lines; line < least((split + 1) * cut.lines, lines); line++)
      depthwise_dw_line(m, dy.f32() + c, dy.ld, line, count, sums, cut.channels);
    copy_transposed((cut.splits > 1 ? partial + split * C * taps : dw.f32()) + c * taps, taps, sums, cut.channels, taps,
                    count);
  });
  if (cut.splits > 1) add_partials(partial, cut.splits, dw.f32(), C * taps, team);
}
