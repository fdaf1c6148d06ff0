// Max and average pooling over NHWC, vectorised over channels; the gradients are in pool_grad.h.
//
// One output pixel at a time, its window's taps read straight from x. The last vector of a pixel ends on channel C, so
// it may compute a few channels twice. Where C is less than a vector (LeNet-5: 6), a dense tensor is written in whole
// vectors all the same: what they spill over the next pixel is written again right after, and only the last pixels of a
// chunk use partial stores, which cost 20 times a whole one on Zen 3.
#pragma once
#include "channel_sums.h"
#include "grid.h"
#include "lanes.h"
#include "math.h"

struct PoolShape {
  int64_t N, C, H, W, OH, OW, KH, KW, SH, SW, PH, PW, DH, DW;
  int64_t ld, down, right;  // floats between pixels of x, and between neighbouring taps
};

// `map` has the size of x, `out` that of y; `i` are the integers from `kernel` on.
static inline PoolShape pool_shape(const Tensor& map, const Tensor& out, const int64_t* i, bool dilates) {
  const int64_t DH = dilates ? i[6] : 1, DW = dilates ? i[7] : 1;
  return {map.shape[0], map.shape[1], map.shape[2], map.shape[3],
          out.shape[2], out.shape[3], i[0],         i[1],
          i[2],         i[3],         i[4],         i[5],
          DH,           DW,           map.ld,       DH * map.shape[3] * map.ld,
          DW * map.ld};
}

struct Span {
  int64_t begin, end;
};
// The taps k of a window starting at `start` whose place start + k * dilation lies in [0, size); {0, 0} if none does.
static inline Span taps_inside(int64_t start, int64_t size, int64_t kernel, int64_t dilation) {
  if (start >= 0 && start + (kernel - 1) * dilation < size) return {0, kernel};
  const int64_t begin = start < 0 ? ceil_div(-start, dilation) : 0;
  const int64_t end = start < size ? lesser(kernel, (size - 1 - start) / dilation + 1) : 0;
  return begin < end ? Span{begin, end} : Span{0, 0};
}

struct PoolWindow {
  int64_t oh, ow, pixel;  // the pixel of y
  const float* x;         // where tap (0, 0) is or would be
  Span h, w;
  bool full, wide;  // all taps inside; whole vectors are safe though C is less than one
};

// One row of windows, from left to right. A row is wide if a vector read behind its last tap stays inside x; of a wide
// row those pixels are, that lie at least a vector before the end of the chunk.
template <class F>
static inline void window_row_of(const PoolShape& p, const float* x, int64_t row, bool dense, int64_t chunk_end, F& f) {
  const int64_t n = row / p.OH, oh = row % p.OH, h0 = oh * p.SH - p.PH;
  const Span h = taps_inside(h0, p.H, p.KH, p.DH);
  const int64_t pixels_below = p.N * p.H * p.W - (n * p.H + h0 + (h.end - 1) * p.DH + 1) * p.W;
  const int64_t wide_end = dense && pixels_below * p.ld >= WIDTH ? chunk_end - (WIDTH + p.C - 1) / p.C : -1;
  const float* first = x + ((n * p.H + h0) * p.W - p.PW) * p.ld;
  int64_t pixel = row * p.OW, w0 = -p.PW;
  for (int64_t ow = 0; ow < p.OW; ow++, pixel++, w0 += p.SW, first += p.SW * p.ld) {
    const Span w = taps_inside(w0, p.W, p.KW, p.DW);
    f(PoolWindow{oh, ow, pixel, first, h, w, h.end - h.begin == p.KH && w.end - w.begin == p.KW, pixel <= wide_end});
  }
}

// Rows of windows are dealt out. Sizes and the body are copied into the chunk: what a chunk writes could not change
// them, but only of local copies does the compiler know (they are reloaded for each pixel otherwise, half of its time
// at C = 6).
template <class F>
static inline void each_window(Team& team, const PoolShape& shape, const Tensor& x, bool dense, F body) {
  const int64_t rows = shape.N * shape.OH, work = shape.OW * shape.C * lesser(16, shape.KH * shape.KW);
  const int64_t per = greater(1, 2 * GRAIN / work);
  for_chunks(team, ceil_div(rows, per), [&](int64_t chunk) {
    const PoolShape p = shape;
    F f = body;
    const float* from = x.f32();
    const int64_t end = lesser(rows, (chunk + 1) * per);
    for (int64_t row = chunk * per; row < end; row++) window_row_of(p, from, row, dense, end * p.OW, f);
  });
}

// f(c, memory) over the channels of a pixel; a channel may be visited twice.
template <class F>
static inline void over_channels(int64_t C, bool wide, F f) {
  if (C < WIDTH && !wide) return f(0, Part{C});
  for (int64_t c = 0; c + WIDTH <= C; c += WIDTH) f(c, Whole{});
  if (C < WIDTH) f(0, Whole{});
  else if (C % WIDTH) f(C - WIDTH, Whole{});
}

// ---- max

typedef uint8_t v8 __attribute__((vector_size(STRIATE_WIDTH)));
typedef uint16_t v16 __attribute__((vector_size(STRIATE_WIDTH * 2)));

// GCC narrows lane by lane without the instructions named here.
static inline void put_index(uint8_t* p, vi index, Whole) {
#if defined(__AVX512F__) && STRIATE_WIDTH == 16
  _mm_storeu_si128((__m128i*)p, _mm512_maskz_cvtepi32_epi8((__mmask16)-1, (__m512i)index));
#elif defined(__AVX2__) && STRIATE_WIDTH == 8
  const __m128i low = _mm256_castsi256_si128((__m256i)index), high = _mm256_extracti128_si256((__m256i)index, 1);
  const __m128i words = _mm_packus_epi32(low, high);
  _mm_storel_epi64((__m128i*)p, _mm_packus_epi16(words, words));
#else
  const v8 narrow = __builtin_convertvector(index, v8);
  __builtin_memcpy(p, &narrow, sizeof narrow);
#endif
}
static inline void put_index(uint16_t* p, vi index, Whole) {
  const v16 narrow = __builtin_convertvector(index, v16);
  __builtin_memcpy(p, &narrow, sizeof narrow);
}
template <class T>
static inline void put_index(T* p, vi index, Part part) {
  int32_t t[WIDTH];
  __builtin_memcpy(t, &index, sizeof t);
  for (int64_t i = 0; i < part.n; i++) p[i] = (T)t[i];
}

struct Maximum {
  vf value;
  vi at;  // kh * KW + kw
  // The first of equals wins; so does the first NaN, over everything. -Inf never replaces what is there.
  void meet(vf x, int32_t position) {
    const vi wins = ~(x <= value) & (value == value);
    value = select(wins, x, value);
    at = (wins & set1i(position)) | (~wins & at);
  }
};

// K x K taps known to the compiler when the window is full; K = 0: any window.
template <int K, class M>
static inline Maximum max_of_window(const PoolShape& p, const PoolWindow& at, int64_t c, M m) {
  const Span h = K ? Span{0, K} : at.h, w = K ? Span{0, K} : at.w;
  const int64_t KW = K ? K : p.KW;
  Maximum most{set1(-__builtin_inff()), set1i((int32_t)(h.begin * KW + w.begin))};
  for (int64_t i = h.begin; i < h.end; i++)
    for (int64_t j = w.begin; j < w.end; j++)
      most.meet(m.get(at.x + i * p.down + j * p.right + c), (int32_t)(i * KW + j));
  return most;
}

template <int K, class T>
static inline void max_pool_of(Team& team, const PoolShape& p, const Tensor& x, const Tensor& y, const Tensor& index) {
  float* values = y.f32();
  T* positions = reinterpret_cast<T*>(index.data);
  const int64_t ld = y.ld, index_ld = index.ld;
  each_window(team, p, x, is_flat(y) && (!index || is_flat(index)), [=](const PoolWindow& at) {
    over_channels(p.C, at.wide, [&](int64_t c, auto m) {
      const Maximum most = K && at.full ? max_of_window<K>(p, at, c, m) : max_of_window<0>(p, at, c, m);
      m.put(values + at.pixel * ld + c, most.value);
      if (positions) put_index(positions + at.pixel * index_ld + c, most.at, m);
    });
  });
}

template <class T>
static inline void max_pool_by_size(Team& team, const PoolShape& p, const Tensor& x, const Tensor& y,
                                    const Tensor& index) {
  if (p.KH == 2 && p.KW == 2) max_pool_of<2, T>(team, p, x, y, index);
  else if (p.KH == 3 && p.KW == 3) max_pool_of<3, T>(team, p, x, y, index);
  else max_pool_of<0, T>(team, p, x, y, index);
}

static void max_pool(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1], &index = a.t[2];
  const PoolShape p = pool_shape(x, y, a.i, true);
  if (p.KH * p.KW <= 256) max_pool_by_size<uint8_t>(team, p, x, y, index);
  else max_pool_by_size<uint16_t>(team, p, x, y, index);
}

// ---- average

// What the sum is divided by: PyTorch counts the padding it was given, or real pixels only, and never what ceil mode
// lets a window hang over.
static inline int64_t positions_counted(int64_t start, int64_t size, int64_t kernel, int64_t padding,
                                        bool padding_counts) {
  const int64_t low = padding_counts ? start : greater(0, start);
  return greater(1, lesser(start + kernel, padding_counts ? size + padding : size) - low);
}
static inline float divisor_of(const PoolShape& p, int64_t oh, int64_t ow, bool padding_counts) {
  return (float)(positions_counted(oh * p.SH - p.PH, p.H, p.KH, p.PH, padding_counts) *
                 positions_counted(ow * p.SW - p.PW, p.W, p.KW, p.PW, padding_counts));
}

// A large window (of global pooling, say) in the order of memory, its sums in L1.
static inline void mean_of_large_window(const PoolShape& p, const PoolWindow& at, float share, float* y) {
  alignas(64) float sums[1][STRIP];
  for (int64_t c0 = 0; c0 < p.C; c0 += STRIP) {
    const int64_t n = lesser(STRIP, p.C - c0);
    clear_sums<1>(sums, n);
    for (int64_t i = at.h.begin; i < at.h.end; i++) {
      const float* x = at.x + i * p.down + at.w.begin * p.right + c0;
      sum_columns<1>(sums, n, at.w.end - at.w.begin,
                     [=](int64_t j, int64_t c, auto m) { return Terms<1>{{m.get(x + j * p.right + c)}}; });
    }
    over_columns(n, [&](int64_t c, auto m) { m.put(y + c0 + c, load(sums[0] + c) * set1(share)); });
  }
}

static void avg_pool(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[1];
  const PoolShape p = pool_shape(x, y, a.i, false);
  const bool padding_counts = a.i[7] != 0;
  float* values = y.f32();
  const int64_t ld = y.ld;
  each_window(team, p, x, is_flat(y), [=](const PoolWindow& at) {
    const float share = 1.0f / (at.full ? (float)(p.KH * p.KW) : divisor_of(p, at.oh, at.ow, padding_counts));
    if (p.KH * p.KW > 9) return mean_of_large_window(p, at, share, values + at.pixel * ld);
    over_channels(p.C, at.wide, [&](int64_t c, auto m) {
      vf sum = {};
      for (int64_t i = at.h.begin; i < at.h.end; i++)
        for (int64_t j = at.w.begin; j < at.w.end; j++) sum += m.get(at.x + i * p.down + j * p.right + c);
      m.put(values + at.pixel * ld + c, sum * set1(share));
    });
  });
}
