// What batch norm's gradient needs of dz = dy where ReLU let z through: the sums of dz and of dz xhat over the pixels,
// z and xhat as in norm_act.h. norm_act_sums takes them of a map; here the convolution takes them whose dX it is, while
// a block of dz is in registers or cache, which saves that pass:
//
//   dy * w --> dx + r --> masked: dz --> memory
//                            ^  |
//               x (y) ------ +  +--> sums of dz and of dz (x - mean): float32 of a block, float64 of a chunk
//
// Bound by the convolution: beside it x is read, and behind a residual y.
#pragma once
#include "conv_moments.h"
#include "norm.h"

enum Mask { ALL, BY_Y, BY_Z };  // which dy pass: all, where 0 < y < top, where 0 < z < top

static inline vf where_open(vf y, vf top, vf dy) {  // a NaN y lets dy by
  return (vf)((vi)dy & ~((y <= set1(0.0f)) | (y >= top)));
}

// dy where the mask of its norm lets it by, with deviation = x - mean.
template <Mask MASK, class Access>
static inline vf masked(vf dy, vf deviation, vf factor, vf offset, const float* y, vf top, Access m) {
  if (MASK == BY_Y) return where_open(m.get(y), top, dy);
  if (MASK == BY_Z) return where_open(deviation * factor + offset, top, dy);
  return dy;
}

// The norm that a gradient is sent on to, and the sums that chunks have taken of it: C of dz, then C of dz (x - mean).
// C is 0 where there is none.
struct NormGradient {
  const float *x, *y;  // pixel for pixel beside the gradient; y is x where the mask is not y's
  int64_t x_ld, y_ld;
  const float* numbers;  // C means, factors and offsets of z
  double* chunks;
  int64_t C;
  Mask mask;
  float top;
  explicit operator bool() const { return C > 0; }

  // The sums of a block of `count` channels from c on join those of a chunk, whose first block it may be.
  void join(int64_t chunk, bool first, int64_t c, vf dz, vf product, int64_t count) const {
    float own[2][WIDTH];
    store(own[0], dz), store(own[1], product);
    for (int k = 0; k < 2; k++) {
      double* sums = chunks + (2 * chunk + k) * C + c;
      for (int64_t i = 0; i < count; i++) sums[i] = (first ? 0.0 : sums[i]) + own[k][i];
    }
  }
};

// One vector of channels of a tile that begins with `pixel`, row by row.
template <Mask MASK>
struct GradientSums {
  const float *x, *y;
  int64_t x_ld, y_ld;
  vf mean, factor, offset, top;
  vf dz = {}, product = {};

  template <class Access>
  GradientSums(const NormGradient& n, int64_t c, int64_t pixel, Access m)
      : x(n.x + pixel * n.x_ld + c), y(n.y + pixel * n.y_ld + c), x_ld(n.x_ld), y_ld(n.y_ld),
        mean(m.get(n.numbers + c)), factor(m.get(n.numbers + n.C + c)), offset(m.get(n.numbers + 2 * n.C + c)),
        top(set1(n.top)) {}

  void next_row(int64_t width) {
    x += width * x_ld;
    y += width * y_ld;
  }

  // The gradient of pixel j of the row, masked.
  template <class Access>
  vf meet(vf d, int64_t j, Access m) {
    const vf deviation = m.get(x + j * x_ld) - mean;
    d = masked<MASK>(d, deviation, factor, offset, y + j * y_ld, top, m);
    dz += d;
    product += d * deviation;
    return d;
  }
};

// f(a GradientSums of the mask) with what its constructor takes.
template <class Access, class F>
static inline void with_sums(const NormGradient& n, int64_t c, int64_t pixel, Access m, F f) {
  if (n.mask == ALL) f(GradientSums<ALL>(n, c, pixel, m));
  else if (n.mask == BY_Y) f(GradientSums<BY_Y>(n, c, pixel, m));
  else f(GradientSums<BY_Z>(n, c, pixel, m));
}

// Masks rows of dx that have just been written, pixels `first` and on, and takes their sums: `cols` columns that begin
// with channel c.
template <Mask MASK>
static void mask_rows(const NormGradient& n, int64_t chunk, bool begins, float* dx, int64_t ld, int64_t first,
                      int64_t rows, int64_t c, int64_t cols) {
  alignas(64) float sums[2][STRIP];
  clear_sums<2>(sums, cols);
  const float *x = n.x + first * n.x_ld + c, *y = n.y + first * n.y_ld + c, *mean = n.numbers + c;
  const float *factor = mean + n.C, *offset = factor + n.C;
  const vf top = set1(n.top);
  sum_columns<2>(sums, cols, rows, [=](int64_t r, int64_t j, auto m) {
    const vf deviation = m.get(x + r * n.x_ld + j) - m.get(mean + j);
    const vf d = masked<MASK>(m.get(dx + r * ld + j), deviation, m.get(factor + j), m.get(offset + j),
                              y + r * n.y_ld + j, top, m);
    if (MASK != ALL) m.put(dx + r * ld + j, d);
    return Terms<2>{{d, d * deviation}};
  });
  for (int64_t j = 0; j < cols; j += WIDTH)
    n.join(chunk, begins, c + j, load(sums[0] + j), load(sums[1] + j), least(WIDTH, cols - j));
}

static void mask_rows(const NormGradient& n, int64_t chunk, bool begins, float* dx, int64_t ld, int64_t first,
                      int64_t rows, int64_t c, int64_t cols) {
  const auto rows_of_mask = n.mask == ALL ? mask_rows<ALL> : n.mask == BY_Y ? mask_rows<BY_Y> : mask_rows<BY_Z>;
  rows_of_mask(n, chunk, begins, dx, ld, first, rows, c, cols);
}

// ---- what kernels with these tensors share: dy w r? x mean var gamma? beta? y? -> dz sum_dz sum_dz_xhat

static inline int64_t norm_gradient_bytes(const Args& a, int64_t chunks) {
  const int64_t C = a.t[3].shape[1];
  return numbers_bytes(C, 3) + chunks * 2 * 8 * C;
}

static NormGradient norm_gradient(const Args& a, int64_t activation, char* scratch, Team& team) {
  const Tensor& x = a.t[3];
  const int64_t C = x.shape[1];
  float* numbers = reinterpret_cast<float*>(scratch);
  for_chunks(team, ceil_div(C, JOINED), [&](int64_t part) {
    for (int64_t c = part * JOINED; c < lesser(C, (part + 1) * JOINED); c++) {
      const Numbers<3> n = norm_numbers(a.t[4], a.t[5], a.t[6], a.t[7], c, a.f[0]);
      for (int k = 0; k < 3; k++) numbers[k * C + c] = (float)n.of[k];
    }
  });
  const Mask mask = activation == NONE ? ALL : a.t[8] ? BY_Y : BY_Z;
  const Tensor& y = mask == BY_Y ? a.t[8] : x;
  double* chunks = reinterpret_cast<double*>(scratch + numbers_bytes(C, 3));
  return {x.f32(), y.f32(), x.ld, y.ld, numbers, chunks, C, mask, top_of(activation)};
}

// Adds the sums of all chunks, in their order.
static void finish_sums(const Args& a, const NormGradient& n, int64_t chunks, Team& team) {
  for_chunks(team, ceil_div(n.C, JOINED), [&](int64_t part) {
    const int64_t c0 = part * JOINED, count = lesser(JOINED, n.C - c0);
    double sums[2][JOINED] = {};
    for (int64_t chunk = 0; chunk < chunks; chunk++)
      for (int k = 0; k < 2; k++)
        for (int64_t c = 0; c < count; c++) sums[k][c] += n.chunks[(2 * chunk + k) * n.C + c0 + c];
    for (int64_t c = 0; c < count; c++) {
      a.t[10].f32()[c0 + c] = (float)sums[0][c];
      a.t[11].f32()[c0 + c] = (float)(sums[1][c] * inverse_std(a.t[5], c0 + c, a.f[0]));
    }
  });
}
