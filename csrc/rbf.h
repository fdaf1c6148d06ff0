// Radial basis functions: y[n, k] = the squared distance between x[n] and centre w[k].
#pragma once
#include "grid.h"
#include "lanes.h"

static void rbf(const Args& a, Team& team) {
  const Tensor &x = a.t[0], &w = a.t[1], &y = a.t[2];
  const int64_t C = cols_of(x), K = cols_of(y);
  const Grid g = make_grid(rows_of(x), K * C, K * C, false);
  for_chunks(team, g.chunks, [&](int64_t chunk) {
    for (int64_t row = g.begin(chunk); row < g.end(chunk); row++)
      for (int64_t k = 0; k < K; k++) {
        const float *at = x.f32() + row * pitch_of(x), *centre = w.f32() + k * C;
        vf sum = {};
        over_columns(C, [&](int64_t c, auto m) {
          const vf apart = m.get(at + c) - m.get(centre + c);
          sum += apart * apart;
        });
        y.f32()[row * pitch_of(y) + k] = sum_lanes(sum);
      }
  });
}
