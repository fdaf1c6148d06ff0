// exp, tanh, sigmoid, log, sqrt and powers of a whole vector, in straight-line arithmetic any instruction set has.
//
// The polynomials are minimax fits (weighted least squares iterated towards equal ripple) of our own; the worst
// relative errors against float64, every 37th float32 tried: exp 8.3e-8, tanh 1.4e-7, sigmoid 1.5e-7, log 8.3e-8. NaN
// stays NaN, exp overflows to Inf and underflows to 0, log(0) = -Inf and log(x < 0) = NaN.
#pragma once

static inline vi bits_of(vf x) { return (vi)x; }
static inline vf as_float(vi x) { return (vf)x; }
static inline vi set1i(int32_t x) { return x - vi{}; }
static inline vf select(vi mask, vf yes, vf no) { return (vf)((mask & (vi)yes) | (~mask & (vi)no)); }
static inline vf abs(vf x) { return as_float(bits_of(x) & set1i(0x7fffffff)); }

static inline vf vexp(vf x) {
  // The vector comes second in max and min, so that a NaN passes through. Beyond these bounds exp is 0 or Inf.
  x = min(set1(89.0f), max(set1(-104.0f), x));
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const vf magic = set1(12582912.0f);
  const vf shifted = x * set1(1.44269504f) + magic;
  const vf n = shifted - magic;
  // ln 2 in two parts: n times the first is exact.
  const vf r = (x - n * set1(0.693359375f)) + n * set1(2.12194440e-4f);
  vf p = set1(1.381459878757596e-3f);
  p = p * r + set1(8.368716575205326e-3f);
  p = p * r + set1(4.166838899254799e-2f);
  p = p * r + set1(0.1666652113199234f);
  p = p * r + set1(0.4999999403953552f);
  p = p * (r * r) + r + set1(1.0f);
  // 2^n as a product of two powers: 2^128 is no float, and 2^-149 only as a denormal.
  const vu k = (vu)bits_of(shifted) - (vu)bits_of(magic);
  const vi half = (vi)k >> 1;
  const vu rest = k - (vu)half;
  return p * as_float((vi)(((vu)half + 127u) << 23)) * as_float((vi)((rest + 127u) << 23));
}

static inline vf vsigmoid(vf x) { return set1(1.0f) / (set1(1.0f) + vexp(-x)); }

static inline vf vtanh(vf x) {
  const vf a = abs(x), s = x * x;
  vf p = set1(-5.704986397176981e-3f);
  p = p * s + set1(2.063908614218235e-2f);
  p = p * s + set1(-5.373971536755562e-2f);
  p = p * s + set1(0.1333144158124924f);
  p = p * s + set1(-0.3333328068256378f);
  const vf small = x + x * s * p;
  const vf large = set1(1.0f) - set1(2.0f) / (vexp(a + a) + set1(1.0f));
  const vi sign = bits_of(x) & set1i((int32_t)0x80000000u);
  return select(a < set1(0.625f), small, as_float(bits_of(large) | sign));
}

static inline vf vlog(vf x) {
  const vi tiny = x < set1(1.17549435e-38f);  // denormals, and what has no logarithm
  const vf scaled = select(tiny, x * set1(8388608.0f), x);
  // x = 2^e * m with m in [sqrt(1/2), sqrt(2)): subtracting the bits of sqrt(1/2) makes the exponent round that way.
  const vu offset = (vu)bits_of(scaled) - 0x3f3504f3u;
  const vi e = (vi)offset >> 23;
  const vf f = as_float((vi)((offset & 0x007fffffu) + 0x3f3504f3u)) - set1(1.0f);
  const vf n = __builtin_convertvector(e, vf) - select(tiny, set1(23.0f), set1(0.0f));
  vf p = set1(-0.07634492963552475f);
  p = p * f + set1(0.12761574983596802f);
  p = p * f + set1(-0.13160182535648346f);
  p = p * f + set1(0.14201758801937103f);
  p = p * f + set1(-0.16623356938362122f);
  p = p * f + set1(0.20001226663589478f);
  p = p * f + set1(-0.2500081956386566f);
  p = p * f + set1(0.3333333134651184f);
  const vf s = f * f;
  vf y = (f * s * p - set1(0.5f) * s) + n * set1(-2.12194440e-4f);
  y = (y + f) + n * set1(0.693359375f);
  const vf zero = set1(0.0f), inf = set1(__builtin_inff());
  y = select(x == inf, inf, y);
  y = select(x == zero, -inf, y);
  return select((x < zero) | (x != x), set1(__builtin_nanf("")), y);
}

static inline vf vsqrt(vf x) {
  float t[WIDTH];
  store(t, x);
  for (int64_t i = 0; i < WIDTH; i++) t[i] = __builtin_sqrtf(t[i]);
  return load(t);
}

// By multiplications where the exponent is a whole number, else exp(exponent log x): NaN where x < 0. Kept out of line.
static __attribute__((noinline)) vf vpow(vf x, float exponent) {
  if (exponent < 0.0f || exponent != __builtin_floorf(exponent)) return vexp(set1(exponent) * vlog(x));
  vf y = set1(1.0f);
  for (int64_t n = (int64_t)exponent; n; n >>= 1, x *= x)
    if (n & 1) y *= x;
  return y;
}

// One number by the same polynomial, so that a scalar and a lane agree.
static inline float log1(float x) {
  float t[WIDTH];
  store(t, vlog(set1(x)));
  return t[0];
}

// Kept out of line: 60 instructions wherever a tile is finished, for activations that few layers have.
static __attribute__((noinline)) vf tanh_or_sigmoid(vf v, int64_t activation) {
  return activation == TANH ? vtanh(v) : vsigmoid(v);
}

// ReLU and ReLU6 are a ramp from 0 to a top, which a NaN as the top leaves out. NaN stays NaN.
static inline vf ramp(vf v, vf top) { return min(top, max(vf{}, v)); }
static inline vf relu6_of(vf v) { return ramp(v, set1(6.0f)); }
static inline bool is_ramp(int64_t activation) { return activation == RELU || activation == RELU6; }
static inline bool is_curve(int64_t activation) { return activation == TANH || activation == SIGMOID; }
static inline float top_of(int64_t activation) { return activation == RELU6 ? 6.0f : __builtin_nanf(""); }

static inline vf activated(vf v, int64_t activation) {
  if (activation == NONE) return v;
  return is_ramp(activation) ? ramp(v, set1(top_of(activation))) : tanh_or_sigmoid(v, activation);
}
