// Gradients of max and average pooling, gathered: each pixel of dx adds up what the windows over it send, so chunks
// never write the same pixel. Windows that do not overlap send their tile of dx directly.
#pragma once
#include "pool.h"

// GCC widens bytes lane by lane without the instructions named here: 500 cycles a pixel of 64 channels.
static inline vi get_index(const uint8_t* p, Whole) {
#if defined(__AVX512F__) && STRIATE_WIDTH == 16
  return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));
#elif defined(__AVX2__) && STRIATE_WIDTH == 8
  return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
#elif defined(__SSE2__) && STRIATE_WIDTH == 4
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  const __m128i zero = _mm_setzero_si128();
  return (vi)_mm_unpacklo_epi16(_mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero), zero);
#else
  v8 narrow;
  __builtin_memcpy(&narrow, p, sizeof narrow);
  return __builtin_convertvector(narrow, vi);
#endif
}
static inline vi get_index(const uint16_t* p, Whole) {
  v16 narrow;
  __builtin_memcpy(&narrow, p, sizeof narrow);
  return __builtin_convertvector(narrow, vi);
}
template <class T>
static inline vi get_index(const T* p, Part part) {
  int32_t t[WIDTH] = {};
  for (int64_t i = 0; i < part.n; i++) t[i] = p[i];
  vi index;
  __builtin_memcpy(&index, t, sizeof index);
  return index;
}

static inline void zero_pixels(float* dx, int64_t pixels, int64_t C, int64_t ld) {
  for (int64_t i = 0; i < pixels; i++)
    for (int64_t c = 0; c < C; c++) dx[i * ld + c] = 0.0f;
}

// Windows side by side (stride = kernel, no padding): each row of windows owns KH rows of dx, the last one what is
// left. `send(pixel of dy, c, m)` returns what tap k gets as a function of k. Where C is less than a vector, whole
// vectors spill over the pixels to the right, which are written later, but not over the end of a row of dx nor of dy.
template <class F>
static inline void tile_row(const PoolShape& p, float* dx, int64_t row, bool dense, F& send) {
  const int64_t oh = row % p.OH, down = p.W * p.ld;
  float* to = dx + (row / p.OH * p.H + oh * p.KH) * down;
  const int64_t wide_end = dense ? p.W - (WIDTH + p.C - 1) / p.C : -1;  // of the tile's right column
  const int64_t dy_end = p.N * p.OH * p.OW - (WIDTH + p.C - 1) / p.C;
  for (int64_t ow = 0; ow < p.OW; ow++) {
    const int64_t pixel = row * p.OW + ow;
    float* tile = to + ow * p.KW * p.ld;
    const bool wide = (ow + 1) * p.KW - 1 <= wide_end && pixel <= dy_end;
    if (p.KH * p.KW <= 9) {
      over_channels(p.C, wide, [&](int64_t c, auto m) {
        const auto tap = send(pixel, c, m);
        for (int64_t i = 0; i < p.KH; i++)
          for (int64_t j = 0; j < p.KW; j++) m.put(tile + i * down + j * p.ld + c, tap((int32_t)(i * p.KW + j)));
      });
      continue;
    }
    for (int64_t i = 0; i < p.KH; i++)  // a large tile in the order of memory: twice the speed of the loops above
      for (int64_t j = 0; j < p.KW; j++)
        over_channels(p.C, wide, [&](int64_t c, auto m) {
          m.put(tile + i * down + j * p.ld + c, send(pixel, c, m)((int32_t)(i * p.KW + j)));
        });
  }
  for (int64_t i = 0; i < p.KH; i++) zero_pixels(to + i * down + p.OW * p.KW * p.ld, p.W - p.OW * p.KW, p.C, p.ld);
  if (oh == p.OH - 1) zero_pixels(to + p.KH * down, (p.H - p.OH * p.KH) * p.W, p.C, p.ld);
}

template <class F>
static inline void send_tiles(Team& team, const PoolShape& shape, const Tensor& dx, bool dense, F body) {
  const int64_t rows = shape.N * shape.OH, per = greater(1, 2 * GRAIN / (shape.KH * shape.W * shape.C));
  for_chunks(team, ceil_div(rows, per), [&](int64_t chunk) {
    const PoolShape p = shape;  // local copies, as in each_window
    F send = body;
    float* to = dx.f32();
    for (int64_t row = chunk * per; row < lesser(rows, (chunk + 1) * per); row++) tile_row(p, to, row, dense, send);
  });
}

// ---- windows that overlap, or leave gaps

// The windows [begin, end) along one axis that reach a pixel, as that moves on: no division a pixel.
struct WindowsOver {
  int64_t out, stride, padding, reach;  // reach: from the first to the last tap
  int64_t begin = 0, end = 0;
  void move_to(int64_t at) {
    while (begin < out && begin * stride + reach < at + padding) begin++;
    while (end < out && end * stride <= at + padding) end++;
  }
};

// to[c] (+)= the sum of what N windows send; one load, addition and store of `to` for all of them.
template <int N, class S>
static inline void add_sent(const S* sent, int64_t C, float* to, bool first) {
  S from[N];
  for (int i = 0; i < N; i++) from[i] = sent[i];
  over_columns(C, [&](int64_t c, auto m) {
    vf sum = from[0](c, m);
    for (int i = 1; i < N; i++) sum += from[i](c, m);
    m.put(to + c, first ? sum : m.get(to + c) + sum);
  });
}
template <class S>
static inline void add_sent(const S* sent, int64_t n, int64_t C, float* to, bool first) {
  if (n == 4) add_sent<4>(sent, C, to, first);
  else if (n == 3) add_sent<3>(sent, C, to, first);
  else if (n == 2) add_sent<2>(sent, C, to, first);
  else if (n == 1) add_sent<1>(sent, C, to, first);
  else if (first) zero_pixels(to, 1, C, C);
}

// dx[pixel] = sum over its windows of `send(pixel of dy, oh, ow, position of the pixel within the window)(c, m)`.
template <class S, class F>
static inline void gather_pixel(const PoolShape& p, int64_t n, int64_t h, int64_t w, const WindowsOver& hs,
                                const WindowsOver& ws, float* to, F& send) {
  S sent[4];
  int64_t waiting = 0;
  bool first = true;
  for (int64_t oh = hs.begin; oh < hs.end; oh++)
    for (int64_t ow = ws.begin; ow < ws.end; ow++) {
      int64_t i = h + p.PH - oh * p.SH, j = w + p.PW - ow * p.SW;  // within the window, in pixels, then in taps
      if (p.DH * p.DW != 1) {
        if (i % p.DH || j % p.DW) continue;
        i /= p.DH, j /= p.DW;
      }
      if (waiting == 4) {
        add_sent<4>(sent, p.C, to, first);
        waiting = 0, first = false;
      }
      sent[waiting++] = send((n * p.OH + oh) * p.OW + ow, oh, ow, (int32_t)(i * p.KW + j));
    }
  add_sent(sent, waiting, p.C, to, first);
}

template <class S, class F>
static inline void gather_windows(Team& team, const PoolShape& shape, const Tensor& dx, F body) {
  const int64_t rows = shape.N * shape.H, per = greater(1, GRAIN / (shape.W * shape.C));
  for_chunks(team, ceil_div(rows, per), [&](int64_t chunk) {
    const PoolShape p = shape;  // local copies, as in each_window
    F send = body;
    float* to = dx.f32() + chunk * per * p.W * p.ld;
    for (int64_t row = chunk * per; row < lesser(rows, (chunk + 1) * per); row++) {
      WindowsOver hs{p.OH, p.SH, p.PH, (p.KH - 1) * p.DH}, ws{p.OW, p.SW, p.PW, (p.KW - 1) * p.DW};
      hs.move_to(row % p.H);
      for (int64_t w = 0; w < p.W; w++, to += p.ld) {
        ws.move_to(w);
        gather_pixel<S>(p, row / p.H, row % p.H, w, hs, ws, to, send);
      }
    }
  });
}

static inline bool side_by_side(const PoolShape& p) {
  return p.SH == p.KH && p.SW == p.KW && p.PH == 0 && p.PW == 0 && p.DH == 1 && p.DW == 1 && p.OH * p.KH <= p.H &&
         p.OW * p.KW <= p.W;
}

// ---- max: dy goes to the tap its index names; an index that names none sends nothing

// The gradient of pooled values; where they went through ReLU, only that of those above 0 goes back.
template <bool MASKED>
struct PooledGradient {
  const float *dy, *y;
  int64_t ld, y_ld;
  template <class M>
  vf at(int64_t pixel, int64_t c, M m) const {
    const vf d = m.get(dy + pixel * ld + c);
    return MASKED ? select(m.get(y + pixel * y_ld + c) <= set1(0.0f), set1(0.0f), d) : d;  // a NaN lets dy through
  }
};

// What one window sends to the pixel at one of its positions.
template <bool MASKED, class T>
struct MaxSent {
  PooledGradient<MASKED> from;
  const T* index;
  int64_t pixel;
  int32_t position;
  template <class M>
  vf operator()(int64_t c, M m) const {
    return select(get_index(index + c, m) == set1i(position), from.at(pixel, c, m), vf{});
  }
};

template <bool MASKED, class T>
static inline void max_pool_dx_of(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &index = a.t[1], &y = MASKED ? a.t[2] : dy, &dx = a.t[3];
  const PoolShape p = pool_shape(dx, dy, a.i + 2, true);
  const T* positions = reinterpret_cast<const T*>(index.data);
  const PooledGradient<MASKED> from{dy.f32(), y.f32(), dy.ld, y.ld};
  const int64_t index_ld = index.ld;
  const bool dense = is_flat(dx) && is_flat(dy) && is_flat(index) && is_flat(y);
  if (side_by_side(p))
    return send_tiles(team, p, dx, dense, [=](int64_t pixel, int64_t c, auto m) {
      const vf d = from.at(pixel, c, m);
      const vi at = get_index(positions + pixel * index_ld + c, m);
      return [=](int32_t k) { return select(at == set1i(k), d, vf{}); };
    });
  using Sent = MaxSent<MASKED, T>;
  gather_windows<Sent>(team, p, dx, [=](int64_t pixel, int64_t, int64_t, int32_t position) {
    return Sent{from, positions + pixel * index_ld, pixel, position};
  });
}

static void max_pool_dx(const Args& a, Team& team) {
  const bool narrow = a.t[1].dtype == U8, masked = (bool)a.t[2];
  if (narrow && masked) max_pool_dx_of<true, uint8_t>(a, team);
  else if (narrow) max_pool_dx_of<false, uint8_t>(a, team);
  else if (masked) max_pool_dx_of<true, uint16_t>(a, team);
  else max_pool_dx_of<false, uint16_t>(a, team);
}

// ---- average: every real tap gets its share of dy

struct MeanSent {
  const float* dy;
  float share;
  template <class M>
  vf operator()(int64_t c, M m) const {
    return m.get(dy + c) * set1(share);
  }
};

static void avg_pool_dx(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &dx = a.t[1];
  const PoolShape p = pool_shape(dx, dy, a.i + 2, false);
  const bool padding_counts = a.i[8] != 0;
  const float* from = dy.f32();
  const int64_t ld = dy.ld;
  if (side_by_side(p)) {
    const vf each = set1(1.0f / (float)(p.KH * p.KW));
    return send_tiles(team, p, dx, is_flat(dx) && is_flat(dy), [=](int64_t pixel, int64_t c, auto m) {
      const vf share = m.get(from + pixel * ld + c) * each;
      return [=](int32_t) { return share; };
    });
  }
  gather_windows<MeanSent>(team, p, dx, [=](int64_t pixel, int64_t oh, int64_t ow, int32_t) {
    return MeanSent{from + pixel * ld, 1.0f / divisor_of(p, oh, ow, padding_counts)};
  });
}
