// Dropout, from random bits that are a function of (seed, key, step, image, element): the same as
// kernels/random.py computes, for any batch, layout, vector width and number of threads.
//
// Philox4x32-10 (Salmon et al. 2011) gives four words a counter: those of four neighbours in NCHW order. Where memory
// has that order, WIDTH counters serve 4 * WIDTH neighbours. In NHWC a lane is a channel, and four words serve four
// pixels.
#pragma once
#include "elementwise.h"

typedef uint64_t vw __attribute__((vector_size(STRIATE_WIDTH * 4)));

struct Words {
  vu w[4];
};

// Products of the even 32-bit lanes with `b`, 64 bits each.
static inline vw multiply_even(vu a, uint32_t b) {
#if defined(__AVX512F__) && STRIATE_WIDTH == 16
  // The forms with a mask, all ones: GCC 12 warns of what the plain ones leave undefined on purpose.
  return (vw)_mm512_maskz_mul_epu32((__mmask8)-1, (__m512i)a, _mm512_set1_epi32((int32_t)b));
#elif defined(__AVX2__) && STRIATE_WIDTH == 8
  return (vw)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi32((int32_t)b));
#elif defined(__SSE2__) && STRIATE_WIDTH == 4
  return (vw)_mm_mul_epu32((__m128i)a, _mm_set1_epi32((int32_t)b));
#else
  return ((vw)a & 0xffffffffu) * b;
#endif
}

static inline void multiply(vu a, uint32_t b, vu& high, vu& low) {
  const vw even = multiply_even(a, b), odd = multiply_even((vu)((vw)a >> 32), b);
  const vw upper = ~((vw){} + 0xffffffffu);
  high = (vu)((even >> 32) | (odd & upper));
  low = (vu)((even & ~upper) | (odd << 32));
}

struct Dropout {
  uint32_t key[2], step[2], first;  // low word first
  float least, factor;              // what the upper 24 bits must reach; 1 / (1 - p)

  Words words(vu block, uint32_t image) const {
    vu c0 = block, c1 = vu{} + image, c2 = vu{} + step[0], c3 = vu{} + step[1];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
      vu p_high, p_low, q_high, q_low;
      multiply(c0, 0xD2511F53u, p_high, p_low);
      multiply(c2, 0xCD9E8D57u, q_high, q_low);
      c0 = q_high ^ c1 ^ k0, c1 = q_low;
      c2 = p_high ^ c3 ^ k1, c3 = p_low;
    }
    return {{c0, c1, c2, c3}};
  }
  vf apply(vf x, vu word) const {
    const vf u = __builtin_convertvector((vi)(word >> 8), vf);
    return select(u >= set1(least), x * set1(factor), vf{});
  }
};

// Elements between the beginnings of two images.
static inline int64_t image_pitch(const Tensor& t) {
  const int64_t HW = t.shape[2] * t.shape[3];
  return t.rank == 2 ? pitch_of(t) : t.rank == 4 && t.ld ? HW * t.ld : t.shape[1] * HW;
}

// Elements [begin, end) of one image that lies in NCHW order; begin is a multiple of 4.
static inline void drop_elements(const Dropout& d, uint32_t image, const float* x, float* y, int64_t begin,
                                 int64_t end) {
  for (int64_t e = begin; e < end; e += 4 * WIDTH) {
    const Words words = d.words((vu)lane_index() + (uint32_t)(e >> 2), image);
    uint32_t lanes[4][WIDTH], ordered[4 * WIDTH];
    __builtin_memcpy(lanes, words.w, sizeof lanes);
    for (int64_t lane = 0; lane < WIDTH; lane++)
      for (int64_t j = 0; j < 4; j++) ordered[4 * lane + j] = lanes[j][lane];
    over_columns(lesser(4 * WIDTH, end - e), [&](int64_t c, auto m) {
      vu word;
      __builtin_memcpy(&word, ordered + c, sizeof word);
      m.put(y + e + c, d.apply(m.get(x + e + c), word));
    });
  }
}

// Pixels [begin, end) of one image in NHWC; begin is a multiple of 4. Element c * HW + p: where HW is no multiple of 4,
// a lane's four words begin `skew` words late, so it takes them from two counters in a row.
static inline void drop_pixels(const Dropout& d, uint32_t image, const Tensor& x, const Tensor& y, int64_t begin,
                               int64_t end) {
  const int64_t C = cols_of(x), HW = x.shape[2] * x.shape[3];
  const int64_t n = (int64_t)(image - d.first);
  const float* from = x.f32() + n * image_pitch(x);
  float* to = y.f32() + n * image_pitch(y);
  over_columns(C, [&](int64_t c, auto m) {
    uint32_t first[WIDTH];
    int32_t late[WIDTH];
    for (int64_t i = 0; i < WIDTH; i++) first[i] = (uint32_t)(((c + i) * HW + begin) >> 2), late[i] = (c + i) * HW & 3;
    vu block;
    vi skew;
    __builtin_memcpy(&block, first, sizeof block);
    __builtin_memcpy(&skew, late, sizeof skew);
    Words now = d.words(block, image);
    for (int64_t p = begin; p < end; p += 4) {
      block += 1u;
      const Words next = HW % 4 || p + 4 < end ? d.words(block, image) : now;
      const vu both[7] = {now.w[0], now.w[1], now.w[2], now.w[3], next.w[0], next.w[1], next.w[2]};
      for (int64_t j = 0; j < lesser(4, end - p); j++) {
        vf word = (vf)both[j];
        for (int32_t s = 1; s < 4; s++) word = select(skew == s, (vf)both[j + s], word);
        m.put(to + (p + j) * y.ld + c, d.apply(m.get(from + (p + j) * x.ld + c), (vu)word));
      }
      now = next;
    }
  });
}

static void dropout(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &y = a.t[3];
  if (a.f[0] == 0.0) return map(team, x, y, [](vf v) { return v; });
  const uint64_t key = (uint64_t)*a.t[1].i64() ^ (uint64_t)a.i[0], step = (uint64_t)*a.t[2].i64();
  const Dropout d{{(uint32_t)key, (uint32_t)(key >> 32)},
                  {(uint32_t)step, (uint32_t)(step >> 32)},
                  (uint32_t)a.i[1],
                  (float)a.f[0] * 16777216.0f,
                  (float)(1.0 / (1.0 - a.f[0]))};
  const int64_t HW = x.shape[2] * x.shape[3], C = cols_of(x), elements = x.shape[1] * HW;
  const bool in_order = x.rank != 4 || HW == 1 || (is_flat(x) && is_flat(y) && (C == 1 || x.ld == 0));
  const int64_t length = in_order ? elements : HW, weight = in_order ? 1 : C;
  const int64_t part = greater(4, GRAIN / weight / 4 * 4), parts = ceil_div(length, part);
  const int64_t per = greater(1, GRAIN / (lesser(part, length) * weight)), items = x.shape[0] * parts;
  for_chunks(team, ceil_div(items, per), [&](int64_t chunk) {
    for (int64_t item = chunk * per; item < lesser(items, (chunk + 1) * per); item++) {
      const int64_t n = item / parts, begin = item % parts * part, end = lesser(length, begin + part);
      if (in_order)
        drop_elements(d, d.first + (uint32_t)n, x.f32() + n * image_pitch(x), y.f32() + n * image_pitch(y), begin, end);
      else drop_pixels(d, d.first + (uint32_t)n, x, y, begin, end);
    }
  });
}
