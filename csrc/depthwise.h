// Convolutions of one input and one output channel per group: nothing to multiply as matrices. Forward and dX run over
// the channels, one vector of them at a time, for each output pixel: a load of x, a load of w and a multiply-add per
// tap, so at most half the FMA peak; real layers are bound by memory.
#pragma once

static inline bool is_depthwise(int64_t G, int64_t C, int64_t O) { return G > 1 && C == G && O == G; }

// The weights as (tap, channel): panels hold one channel each, spread over NR lanes.
static inline int64_t depthwise_bytes(int64_t C, int64_t taps) { return round_up(C * taps * 4, 64); }

// Channels a chunk of the transposition takes: a line of floats, so that no two threads write the same.
static const int64_t DEPTHWISE_CHANNELS = 16;

static void spread_weights(const float* wp, int64_t taps, int64_t C, float* w, Team& team) {
  for_chunks(team, ceil_div(C, DEPTHWISE_CHANNELS), [&](int64_t chunk) {
    const int64_t begin = chunk * DEPTHWISE_CHANNELS, end = least(begin + DEPTHWISE_CHANNELS, C);
    for (int64_t t = 0; t < taps; t++)
      for (int64_t c = begin; c < end; c++) w[t * C + c] = wp[(c * taps + t) * NR];
  });
}

// One output pixel, all channels; w is (tap, C).
static void depthwise_pixel(const Job& job, const float* w, int64_t C, const float* image, int64_t ih, int64_t iw,
                            const float* r, float* y) {
  const Map& m = job.in;
  const Reach down(ih, m.KH, m.dh, m.H), across(iw, m.KW, m.dw, m.W);
  const vf zero = {};
  for (int64_t c = 0; c < C; c += WIDTH) {
    const int64_t n = least(C - c, WIDTH);
    vf sum = {};
    for (int64_t r = down.begin; r < down.end; r++)
      for (int64_t s = across.begin; s < across.end; s++) {
        const float *x = image + ((ih + r * m.dh) * m.W + iw + s * m.dw) * m.ld + c, *wt = w + (r * m.KW + s) * C + c;
        if (n == WIDTH) sum += load(x) * load(wt);
        else sum += load_part(x, n) * load_part(wt, n);
      }
    if (job.bias) sum += load_part(job.bias + c, n);
    if (r) sum += load_part(r + c, n);
    if (job.activation == RELU) sum = max(zero, sum);
    if (job.activation == TANH) sum = vtanh(sum);
    if (job.activation == SIGMOID) sum = vsigmoid(sum);
    store_part(y + c, sum, n);
  }
}

static void depthwise_line(const Job& job, const float* w, int64_t C, int64_t line) {
  const Map& m = job.in;
  const int64_t n = line / m.OH, oh = line % m.OH;
  const float* image = m.x + n * m.H * m.W * m.ld;
  for (int64_t ow = 0; ow < m.OW; ow++) {
    const int64_t pixel = (n * job.YH + job.y0 + oh * job.gh) * job.YW + job.x0 + ow * job.gw;
    depthwise_pixel(job, w, C, image, oh * m.sh - m.top, ow * m.sw - m.left, job.r ? job.r + pixel * job.r_ld : nullptr,
                    job.y + pixel * job.ld);
  }
}

// Lines of a chunk of the forward pass: at most MOST_LINE_CHUNKS chunks, so that each can have moments of its own.
static const int64_t MOST_LINE_CHUNKS = 64;
static inline int64_t lines_of_chunk(int64_t lines) { return most(ceil_div(lines, MOST_LINE_CHUNKS), 1); }
static inline int64_t line_chunks(int64_t lines) { return ceil_div(lines, lines_of_chunk(lines)); }

static void depthwise(const Job& job, int64_t C, char* scratch, const Tensor* moments, Team& team) {
  float* w = reinterpret_cast<float*>(scratch);
  spread_weights(job.wp, job.in.KH * job.in.KW, C, w, team);
  const int64_t lines = job.in.N * job.in.OH, per_chunk = lines_of_chunk(lines), OW = job.in.OW;
  for_chunks(team, line_chunks(lines), [&](int64_t chunk) {
    const int64_t begin = chunk * per_chunk, end = least(begin + per_chunk, lines);
    for (int64_t line = begin; line < end; line++) {
      depthwise_line(job, w, C, line);
      if (job.moments) job.moments.add(chunk, (line - begin) * OW, job.y + line * OW * job.ld, job.ld, OW, 0, C);
    }
  });
  const auto rows = [&](int64_t chunk) { return least(lines - chunk * per_chunk, per_chunk) * OW; };
  if (job.moments) finish_moments(job.moments, line_chunks(lines), rows, moments, team);
}
