// Gradients of max and average pooling, gathered: each pixel of dx adds up what the windows over it send, so chunks
// never write the same pixel. Windows that do not overlap send their tile of dx directly.
#pragma once
#include "pool.h"

static inline vi get_index(const uint8_t* p, Whole) {
  v8 narrow;
  __builtin_memcpy(&narrow, p, sizeof narrow);
  return __builtin_convertvector(narrow, vi);
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
    over_channels(p.C, (ow + 1) * p.KW - 1 <= wide_end && pixel <= dy_end, [&](int64_t c, auto m) {
      const auto tap = send(pixel, c, m);
      for (int64_t i = 0; i < p.KH; i++)
        for (int64_t j = 0; j < p.KW; j++) m.put(tile + i * down + j * p.ld + c, tap((int32_t)(i * p.KW + j)));
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

// The windows [begin, end) along one axis that reach the pixel `at`.
static inline Span windows_over(int64_t at, int64_t out, int64_t kernel, int64_t stride, int64_t padding,
                                int64_t dilation) {
  const int64_t reach = at + padding - (kernel - 1) * dilation;
  return {reach > 0 ? ceil_div(reach, stride) : 0, lesser(out, (at + padding) / stride + 1)};
}

// dx[pixel] = sum over its windows of `send(pixel of dy, oh, ow, position of the pixel within the window)(c, m)`.
template <class F>
static inline void gather_pixel(const PoolShape& p, int64_t n, int64_t h, int64_t w, Span hs, float* to, F& send) {
  const Span ws = windows_over(w, p.OW, p.KW, p.SW, p.PW, p.DW);
  bool first = true;
  for (int64_t oh = hs.begin; oh < hs.end; oh++)
    for (int64_t ow = ws.begin; ow < ws.end; ow++) {
      int64_t i = h + p.PH - oh * p.SH, j = w + p.PW - ow * p.SW;  // within the window, in pixels, then in taps
      if (p.DH * p.DW != 1) {
        if (i % p.DH || j % p.DW) continue;
        i /= p.DH, j /= p.DW;
      }
      const auto sent = send((n * p.OH + oh) * p.OW + ow, oh, ow, (int32_t)(i * p.KW + j));
      over_columns(p.C, [&](int64_t c, auto m) { m.put(to + c, first ? sent(c, m) : m.get(to + c) + sent(c, m)); });
      first = false;
    }
  if (first) zero_pixels(to, 1, p.C, p.ld);
}

template <class F>
static inline void gather_windows(Team& team, const PoolShape& shape, const Tensor& dx, F body) {
  const int64_t rows = shape.N * shape.H, per = greater(1, GRAIN / (shape.W * shape.C));
  for_chunks(team, ceil_div(rows, per), [&](int64_t chunk) {
    const PoolShape p = shape;  // local copies, as in each_window
    F send = body;
    float* to = dx.f32() + chunk * per * p.W * p.ld;
    for (int64_t row = chunk * per; row < lesser(rows, (chunk + 1) * per); row++) {
      const Span hs = windows_over(row % p.H, p.OH, p.KH, p.SH, p.PH, p.DH);
      for (int64_t w = 0; w < p.W; w++, to += p.ld) gather_pixel(p, row / p.H, row % p.H, w, hs, to, send);
    }
  });
}

static inline bool side_by_side(const PoolShape& p) {
  return p.SH == p.KH && p.SW == p.KW && p.PH == 0 && p.PW == 0 && p.DH == 1 && p.DW == 1 && p.OH * p.KH <= p.H &&
         p.OW * p.KW <= p.W;
}

// ---- max: dy goes to the tap its index names; an index that names none sends nothing

template <class T>
static inline void max_pool_dx_of(Team& team, const PoolShape& p, const Tensor& dy, const Tensor& index,
                                  const Tensor& dx) {
  const T* positions = reinterpret_cast<const T*>(index.data);
  const float* from = dy.f32();
  const int64_t ld = dy.ld, index_ld = index.ld;
  if (side_by_side(p))
    return send_tiles(team, p, dx, is_flat(dx) && is_flat(dy) && is_flat(index), [=](int64_t pixel, int64_t c, auto m) {
      const vf d = m.get(from + pixel * ld + c);
      const vi at = get_index(positions + pixel * index_ld + c, m);
      return [=](int32_t k) { return select(at == set1i(k), d, vf{}); };
    });
  gather_windows(team, p, dx, [=](int64_t pixel, int64_t, int64_t, int32_t position) {
    const T* at = positions + pixel * index_ld;
    const float* d = from + pixel * ld;
    return [=](int64_t c, auto m) { return select(get_index(at + c, m) == set1i(position), m.get(d + c), vf{}); };
  });
}

static void max_pool_dx(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &index = a.t[1], &dx = a.t[2];
  const PoolShape p = pool_shape(dx, dy, a.i + 2, true);
  if (index.dtype == U8) max_pool_dx_of<uint8_t>(team, p, dy, index, dx);
  else max_pool_dx_of<uint16_t>(team, p, dy, index, dx);
}

// ---- average: every real tap gets dy over the divisor

static void avg_pool_dx(const Args& a, Team& team) {
  const Tensor &dy = a.t[0], &dx = a.t[1];
  const PoolShape p = pool_shape(dx, dy, a.i + 2, false);
  const bool padding_counts = a.i[8] != 0;
  const float* from = dy.f32();
  const int64_t ld = dy.ld;
  if (side_by_side(p)) {
    const vf divisor = set1((float)(p.KH * p.KW));
    return send_tiles(team, p, dx, is_flat(dx) && is_flat(dy), [=](int64_t pixel, int64_t c, auto m) {
      const vf share = m.get(from + pixel * ld + c) / divisor;
      return [=](int32_t) { return share; };
    });
  }
  gather_windows(team, p, dx, [=](int64_t pixel, int64_t oh, int64_t ow, int32_t) {
    const float* d = from + pixel * ld;
    const vf divisor = set1(divisor_of(p, oh, ow, padding_counts));
    return [=](int64_t c, auto m) { return m.get(d + c) / divisor; };
  });
}
