// Activations whose gradient is a function of their input. Bound by memory, but for the exponential of gelu.
#pragma once
#include "elementwise.h"

// ---- leaky relu: x, or slope x where x <= 0; a NaN x lets dy through

static inline vf leaky(vf x, vf v, vf slope) { return select(x <= set1(0.0f), slope * v, v); }

static void leaky_relu(const Args& a, Team& team) {
  const vf slope = set1((float)a.f[0]);
  map(team, a.t[0], a.t[1], [=](vf x) { return leaky(x, x, slope); });
}
static void leaky_relu_grad(const Args& a, Team& team) {
  const vf slope = set1((float)a.f[0]);
  map(team, a.t[0], a.t[1], a.t[2], [=](vf x, vf dy) { return leaky(x, dy, slope); });
}

// ---- hard swish: x relu6(x + 3) / 6, so x or 0 beyond 3 and -3

static void hard_swish(const Args& a, Team& team) {
  map(team, a.t[0], a.t[1], [](vf x) { return x * relu6_of(x + set1(3.0f)) * set1(1.0f / 6.0f); });
}
static void hard_swish_grad(const Args& a, Team& team) {
  map(team, a.t[0], a.t[1], a.t[2], [](vf x, vf dy) {
    const vf inside = dy * (x * set1(1.0f / 3.0f) + set1(0.5f));
    return select(x <= set1(-3.0f), set1(0.0f), select(x >= set1(3.0f), dy, inside));
  });
}

// ---- gelu: x times the share of the normal distribution below x, or times a logistic curve close to that

struct Share {
  vf at, slope;
};

// The smaller share is exp(-x^2 / 2) times a polynomial in 1 / (1 + 0.31 |x|), so that it keeps its digits however
// small it is. The fit is one of our own, as in math.h; its worst relative error is 8.8e-8.
static inline Share normal_share(vf x) {
  const vf e = vexp(set1(-0.5f) * (x * x)), t = set1(1.0f) / (set1(1.0f) + set1(0.31f) * abs(x));
  vf p = set1(-0.005113361869007349f);
  p = p * t + set1(0.06004321947693825f);
  p = p * t + set1(-0.19007354974746704f);
  p = p * t + set1(0.2085326910018921f);
  p = p * t + set1(-0.0503021739423275f);
  p = p * t + set1(0.12446163594722748f);
  p = p * t + set1(0.10430426895618439f);
  p = p * t + set1(0.12451515346765518f);
  p = p * t + set1(0.12363215535879135f);
  const vf tail = e * (p * t);
  return {select(x < set1(0.0f), tail, set1(1.0f) - tail), e * set1(0.39894228f)};
}

// 1 / (1 + exp(-z)) = (1 + tanh(z / 2)) / 2 with z = sqrt(8 / pi) (x + 0.044715 x^3).
static inline Share logistic_share(vf x) {
  const vf z = x * (set1(1.59576912f) + set1(0.0713548163f) * (x * x));
  const vf e = vexp(-abs(z)), r = set1(1.0f) / (set1(1.0f) + e);
  const vf slope = set1(1.59576912f) + set1(0.214064449f) * (x * x);
  return {select(z < set1(0.0f), e * r, r), e * (r * r) * slope};
}

static void gelu(const Args& a, Team& team) {
  if (a.i[0]) map(team, a.t[0], a.t[1], [](vf x) { return x * logistic_share(x).at; });
  else map(team, a.t[0], a.t[1], [](vf x) { return x * normal_share(x).at; });
}
template <class F>
static inline void gelu_grad_of(const Args& a, Team& team, F share_of) {
  map(team, a.t[0], a.t[1], a.t[2], [=](vf x, vf dy) {
    const Share share = share_of(x);
    return dy * (share.at + x * share.slope);
  });
}
static void gelu_grad(const Args& a, Team& team) {
  if (a.i[0]) gelu_grad_of(a, team, [](vf x) { return logistic_share(x); });
  else gelu_grad_of(a, team, [](vf x) { return normal_share(x); });
}
