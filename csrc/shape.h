// Moving elements without computing: window (pad, crop and slice), concat, and the ways between NHWC and NCHW order.
// Bound by memory; axes are merged where they lie without a gap, so most rows are long.
#pragma once
#include "elementwise.h"
#include "walk.h"

template <class F>
static inline void with_type(int32_t dtype, F f) {
  if (dtype == F32) f(float{});
  else if (dtype == U8) f(uint8_t{});
  else if (dtype == U16) f(uint16_t{});
  else f(int64_t{});
}

// ---- y[i] = x[i + start] where that lies inside x, else fill

struct Window {
  int64_t from[4], to[4], start[4], x_step[4], y_step[4];  // sizes of x and y; from the slowest axis to the fastest
  int64_t rows() const { return to[0] * to[1] * to[2]; }
};

static inline Window make_window(const Tensor& x, const Tensor& y, const int64_t* start) {
  Window w;
  int64_t x_stride[4], y_stride[4];
  strides_of(x, x_stride);
  strides_of(y, y_stride);
  int front = 4;
  for (int place = 3; place >= 0; place--) {
    const int axis = axis_in_memory(y, place);
    if (axis >= y.rank) continue;
    const int64_t size = x.shape[axis];
    const int64_t shift = greater(-y.shape[axis], lesser(size, start[axis]));  // beyond that, all is fill
    const bool joins = front < 4 && w.from[front] == w.to[front] && w.start[front] == 0 &&
                       x_stride[axis] == w.from[front] * w.x_step[front] &&
                       y_stride[axis] == w.to[front] * w.y_step[front];
    if (joins) {
      w.start[front] = shift * w.from[front], w.from[front] *= size, w.to[front] *= y.shape[axis];
      continue;
    }
    front--;
    w.from[front] = size, w.to[front] = y.shape[axis], w.start[front] = shift;
    w.x_step[front] = x_stride[axis], w.y_step[front] = y_stride[axis];
  }
  while (front > 0) front--, w.from[front] = w.to[front] = 1, w.start[front] = w.x_step[front] = w.y_step[front] = 0;
  return w;
}

template <class T>
static inline void window_row(const Window& w, const T* x, T* y, int64_t row, int64_t begin, int64_t end, T fill) {
  bool inside = true;
  for (int axis = 2; axis >= 0; axis--) {
    const int64_t at = row % w.to[axis], source = at + w.start[axis];
    row /= w.to[axis];
    inside = inside && source >= 0 && source < w.from[axis];
    x += source * w.x_step[axis];
    y += at * w.y_step[axis];
  }
  const int64_t stop = inside ? greater(begin, lesser(end, w.from[3] - w.start[3])) : begin;
  const int64_t first = inside ? lesser(stop, greater(begin, -w.start[3])) : begin;
  for (int64_t c = begin; c < first; c++) y[c] = fill;
  if (stop > first) __builtin_memcpy(y + first, x + first + w.start[3], (size_t)(stop - first) * sizeof(T));
  for (int64_t c = stop; c < end; c++) y[c] = fill;
}

static void window(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const Window w = make_window(x, y, a.i);
  const int64_t cols = w.to[3], pieces = cols >= 2 * GRAIN ? ceil_div(cols, GRAIN) : 1, length = ceil_div(cols, pieces);
  const int64_t per = greater(1, GRAIN / greater(1, cols));
  with_type(x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T *from = reinterpret_cast<const T*>(x.data), fill = (T)a.f[0];
    T* to = reinterpret_cast<T*>(y.data);
    for_chunks(team, cols ? ceil_div(w.rows(), per) * pieces : 0, [&](int64_t chunk) {
      const int64_t first = chunk / pieces * per, begin = chunk % pieces * length;
      for (int64_t row = first; row < lesser(w.rows(), first + per); row++)
        window_row(w, from, to, row, begin, lesser(cols, begin + length), fill);
    });
  });
}

// ---- concat: each input copied into its range of y

template <class T>
static inline void copy_into(Team& team, const Walk<2>& w, const T* x, T* y) {
  const int64_t cols = w.size[3], pieces = cols >= 2 * GRAIN ? ceil_div(cols, GRAIN) : 1,
                length = ceil_div(cols, pieces);
  const int64_t per = greater(1, GRAIN / greater(1, cols)), x_step = w.step[0][3], y_step = w.step[1][3];
  for_chunks(team, cols ? ceil_div(w.rows(), per) * pieces : 0, [&](int64_t chunk) {
    const int64_t first = chunk / pieces * per, begin = chunk % pieces * length, end = lesser(cols, begin + length);
    Odometer<2> row(w, 7, first);
    for (int64_t r = first; r < lesser(w.rows(), first + per); r++, row.next()) {
      const T* from = x + row.offset[0];
      T* to = y + row.offset[1];
      if (x_step == 1 && y_step == 1) __builtin_memcpy(to + begin, from + begin, (size_t)(end - begin) * sizeof(T));
      else
        for (int64_t c = begin; c < end; c++) to[c * y_step] = from[c * x_step];
    }
  });
}

static void concat(const Args& a, Team& team) {
  const Tensor& y = a.t[a.tensors - 1];
  const int64_t axis = a.i[0];
  int64_t before = 0;  // along the axis
  for (int32_t k = 0; k + 1 < a.tensors; k++) {
    const Tensor& x = a.t[k];
    int64_t stride[2][4];
    strides_of(x, stride[0]);
    strides_of(y, stride[1]);
    const Walk<2> w = make_walk<2>(x, x.shape, stride);
    with_type(x.dtype, [&](auto zero) {
      using T = decltype(zero);
      copy_into(team, w, reinterpret_cast<const T*>(x.data), reinterpret_cast<T*>(y.data) + before * stride[1][axis]);
    });
    before += x.shape[axis];
  }
}

// ---- NHWC to NCHW order and back: a transpose of every image

struct Matrix {
  int64_t pitch, image;  // elements between rows, between images
};

// 16 x 16 elements, a cache line each way, or less at the edges. Stores run along `to`: a store takes longer than a
// load.
template <class T>
static inline void transpose_tile(const T* from, int64_t from_pitch, T* to, int64_t to_pitch, int64_t rows,
                                  int64_t cols) {
  if (rows == 16 && cols == 16) {
    for (int64_t c = 0; c < 16; c++)
      for (int64_t r = 0; r < 16; r++) to[c * to_pitch + r] = from[r * from_pitch + c];
    return;
  }
  for (int64_t c = 0; c < cols; c++)
    for (int64_t r = 0; r < rows; r++) to[c * to_pitch + r] = from[r * from_pitch + c];
}

static inline bool lies_alike(int64_t rows, int64_t cols, Matrix f, Matrix t) {  // one channel, or one pixel
  return (cols == 1 && f.pitch == 1) || (rows == 1 && t.pitch == 1);
}

// to[c][r] = from[r][c] for `images` matrices of rows x cols.
template <class T>
static inline void transpose(Team& team, int64_t images, int64_t rows, int64_t cols, const T* from, Matrix f, T* to,
                             Matrix t) {
  const int64_t tile = 16, band = greater(tile, GRAIN / greater(1, cols) / tile * tile), bands = ceil_div(rows, band);
  const int64_t per = greater(1, GRAIN / greater(1, lesser(rows, band) * cols)), items = images * bands;
  const bool alike = lies_alike(rows, cols, f, t);
  for_chunks(team, ceil_div(items, per), [&](int64_t chunk) {
    for (int64_t item = chunk * per; item < lesser(items, (chunk + 1) * per); item++) {
      const T* x = from + item / bands * f.image;
      T* y = to + item / bands * t.image;
      const int64_t begin = item % bands * band, end = lesser(rows, begin + band);
      if (alike) {
        __builtin_memcpy(y + begin, x + begin, (size_t)((end - begin) * cols) * sizeof(T));
        continue;
      }
      for (int64_t c0 = 0; c0 < cols; c0 += tile)
        for (int64_t r0 = begin; r0 < end; r0 += tile)
          transpose_tile(x + r0 * f.pitch + c0, f.pitch, y + c0 * t.pitch + r0, t.pitch, lesser(tile, end - r0),
                         lesser(tile, cols - c0));
    }
  });
}

// `maps` is rank 4 in NHWC; `dense` holds the same elements in NCHW order, `image` elements from one image to the next.
static inline void to_order(Team& team, const Tensor& maps, const Tensor& dense, int64_t image) {
  const int64_t C = maps.shape[1], HW = maps.shape[2] * maps.shape[3];
  with_type(maps.dtype, [&](auto zero) {
    using T = decltype(zero);
    transpose(team, maps.shape[0], HW, C, reinterpret_cast<const T*>(maps.data), {maps.ld, HW * maps.ld},
              reinterpret_cast<T*>(dense.data), {HW, image});
  });
}
static inline void from_order(Team& team, const Tensor& dense, const Tensor& maps, int64_t image) {
  const int64_t C = maps.shape[1], HW = maps.shape[2] * maps.shape[3];
  with_type(maps.dtype, [&](auto zero) {
    using T = decltype(zero);
    transpose(team, maps.shape[0], C, HW, reinterpret_cast<const T*>(dense.data), {HW, image},
              reinterpret_cast<T*>(maps.data), {maps.ld, HW * maps.ld});
  });
}

static void flatten(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  if (x.rank == 4) return to_order(team, x, y, pitch_of(y));
  const Grid g = make_grid(y.shape[0], y.shape[1], y.shape[1], false);
  copy_rows(team, g, x, x.rank == 2 ? pitch_of(x) : y.shape[1], y, pitch_of(y));
}
static void unflatten(const Args& a, Team& team) { from_order(team, a.t[0], a.t[1], pitch_of(a.t[0])); }
static void to_dense(const Args& a, Team& team) {
  if (a.t[0].rank != 4) return copy(a, team);
  to_order(team, a.t[0], a.t[1], a.t[0].shape[1] * a.t[0].shape[2] * a.t[0].shape[3]);
}
static void from_dense(const Args& a, Team& team) {
  if (a.t[1].rank != 4) return copy(a, team);
  from_order(team, a.t[0], a.t[1], a.t[1].shape[1] * a.t[1].shape[2] * a.t[1].shape[3]);
}

// ---- channel shuffle: y[j * groups + i] = x[i * C / groups + j], a transpose of every pixel's channels

static inline void shuffle_pixel(const float* x, float* y, int64_t groups, int64_t each) {
  if (groups == 2)
    for (int64_t j = 0; j < each; j++) y[2 * j] = x[j], y[2 * j + 1] = x[each + j];
  else if (each == 2)
    for (int64_t i = 0; i < groups; i++) y[i] = x[2 * i], y[groups + i] = x[2 * i + 1];
  else transpose_tile(x, each, y, groups, groups, each);
}
static void channel_shuffle(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const int64_t groups = a.i[0], each = cols_of(x) / groups;
  const Grid g = make_grid(rows_of(x), cols_of(x), cols_of(x), false);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++)
      shuffle_pixel(x.f32() + row * pitch_of(x), y.f32() + row * pitch_of(y), groups, each);
  });
}
