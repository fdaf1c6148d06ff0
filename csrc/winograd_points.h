// Winograd's transforms, from their points: the outputs of a tile are y = A^T [(G g) * (B^T d)], elementwise in the
// middle, for T = M + K - 1 inputs d and a kernel g of K taps (Toom and Cook's multiplication of polynomials,
// transposed). In two dimensions each matrix is applied to columns, then to rows.
//
//   B^T  T x T   row j: the coefficients of the product of (x - p) over the finite points but point j; exact in float32
//   G    T x K   row j: the powers of point j over the product of its distances to the others
//   A^T  M x T   column j: the powers of point j; exact too. The row (column) of infinity picks the last tap (output).
//
// The points decide the error. {0, +-5/8, +-3/2} came first in a scan of 49 pairs: half the error of {0, +-1, +-2} at
// the same cost. For eight points {0, +-1, +-2, +-1/2} stayed best. Powers of two as factors of a row would change no
// bit, so there are none.
#pragma once

template <int R, int S>
struct Coefficients {
  double at[R][S];
};

// The finite points of a transform of T values; the last is infinity.
template <int T>
struct Points;
template <>
struct Points<4> {
  static constexpr double at[] = {0, 1, -1};
};
template <>
struct Points<5> {
  static constexpr double at[] = {0, 0.5, -1, 1.5};
};
template <>
struct Points<6> {
  static constexpr double at[] = {0, 0.625, -0.625, 1.5, -1.5};
};
template <>
struct Points<8> {
  static constexpr double at[] = {0, 1, -1, 2, -2, 0.5, -0.5};
};

template <int T>
constexpr Coefficients<T, T> input_matrix() {
  Coefficients<T, T> b{};
  for (int j = 0; j < T; j++) {
    int degree = 0;
    b.at[j][0] = 1;
    for (int l = 0; l < T - 1; l++) {
      if (l == j) continue;
      degree++;
      for (int k = degree; k >= 0; k--) b.at[j][k] = (k ? b.at[j][k - 1] : 0) - Points<T>::at[l] * b.at[j][k];
    }
  }
  return b;
}

template <int T, int K>
constexpr Coefficients<T, K> filter_matrix() {
  Coefficients<T, K> g{};
  for (int j = 0; j < T - 1; j++) {
    double power = 1;
    for (int l = 0; l < T - 1; l++)
      if (l != j) power /= Points<T>::at[j] - Points<T>::at[l];
    for (int k = 0; k < K; k++, power *= Points<T>::at[j]) g.at[j][k] = power;
  }
  g.at[T - 1][K - 1] = 1;
  return g;
}

template <int M, int T>
constexpr Coefficients<M, T> output_matrix() {
  Coefficients<M, T> a{};
  for (int j = 0; j < T - 1; j++) {
    double power = 1;
    for (int i = 0; i < M; i++, power *= Points<T>::at[j]) a.at[i][j] = power;
  }
  a.at[M - 1][T - 1] = 1;
  return a;
}

// ---- applying one: y = matrix x, the elements of x and y vectors of channels

// Points p and -p make twins: two rows (of B^T, G) or columns (of A^T) that differ in every other sign. Twin columns
// meet only in x[s] + x[s+1] and x[s] - x[s+1]; twin rows are the even part of one row plus and minus its odd part. So
// a transform of six values by B^T takes 12 multiply-adds where the matrix has 22 entries.
template <int R, int S>
struct Pass {
  bool twin_rows[R], twin_columns[S];  // the first of two
  float odd[R];                        // twin rows: factor of the odd part
  float at[R][S];                      // what remains of the matrix
};

template <int R, int S>
constexpr bool twin_columns(const Coefficients<R, S>& m, int s) {
  bool twins = s + 1 < S, odd = false;
  for (int r = 0; twins && r < R; r++) {
    twins = m.at[r][s + 1] == (r % 2 ? -m.at[r][s] : m.at[r][s]);
    odd = odd || (r % 2 && m.at[r][s] != 0);
  }
  return twins && odd;
}

template <int R, int S>
constexpr Coefficients<S, R> transposed(const Coefficients<R, S>& m) {
  Coefficients<S, R> t{};
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) t.at[s][r] = m.at[r][s];
  return t;
}

// The factor of a row's odd part: the last of its entries by which the others divide without rounding, if there is one.
template <int R, int S>
constexpr double odd_factor(const Coefficients<R, S>& m, int r) {
  double last = 0, factor = 0;
  for (int s = 1; s < S; s += 2) {
    if (m.at[r][s] == 0) continue;
    bool exact = true;
    for (int t = 1; t < S; t += 2) exact = exact && float(m.at[r][t] / m.at[r][s]) * m.at[r][s] == m.at[r][t];
    last = m.at[r][s];
    factor = exact ? last : factor;
  }
  return factor != 0 ? factor : last;
}

template <int R, int S>
constexpr Pass<R, S> make_pass(const Coefficients<R, S>& m) {
  Pass<R, S> p{};
  const Coefficients<S, R> t = transposed(m);
  double rest[R][S] = {};
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) rest[r][s] = m.at[r][s];
  for (int s = 0; s < S; s++)
    if (twin_columns(m, s)) {
      p.twin_columns[s] = true;
      for (int r = 0; r < R; r++) rest[r][s + 1] = r % 2 ? m.at[r][s] : 0, rest[r][s] = r % 2 ? 0 : m.at[r][s];
      s++;
    }
  for (int r = 0; r < R; r++)
    if (twin_columns(t, r)) {
      p.twin_rows[r] = true;
      const double factor = odd_factor(m, r);
      p.odd[r] = float(factor);
      for (int s = 0; s < S; s++) rest[r][s] = s % 2 ? 0 : m.at[r][s], rest[r + 1][s] = s % 2 ? m.at[r][s] / factor : 0;
      r++;
    }
  for (int r = 0; r < R; r++)
    for (int s = 0; s < S; s++) p.at[r][s] = float(rest[r][s]);
  return p;
}

template <int T>
struct InputPass {  // B^T
  static constexpr int ROWS = T, COLUMNS = T;
  static constexpr Pass<T, T> pass = make_pass(input_matrix<T>());
};
template <int T, int K>
struct FilterPass {  // G
  static constexpr int ROWS = T, COLUMNS = K;
  static constexpr Pass<T, K> pass = make_pass(filter_matrix<T, K>());
};
template <int M, int T>
struct OutputPass {  // A^T
  static constexpr int ROWS = M, COLUMNS = T;
  static constexpr Pass<M, T> pass = make_pass(output_matrix<M, T>());
};

// One row times x. A factor of 1 is no multiplication, and begins the sum.
template <int S>
static inline __attribute__((always_inline)) vf row_times(const float (&row)[S], const vf (&x)[S]) {
  vf sum = {};
  int first = -1;
#pragma GCC unroll 8
  for (int s = 0; s < S; s++)
    if (first < 0 && row[s] == 1.0f) first = s, sum = x[s];
#pragma GCC unroll 8
  for (int s = 0; s < S; s++) {
    if (row[s] == 0.0f || s == first) continue;
    if (first < 0) first = s, sum = set1(row[s]) * x[s];
    else if (row[s] == 1.0f) sum += x[s];
    else if (row[s] == -1.0f) sum -= x[s];
    else sum += set1(row[s]) * x[s];
  }
  return sum;
}

template <class X>
static inline __attribute__((always_inline)) void apply(const vf (&x)[X::COLUMNS], vf (&y)[X::ROWS]) {
  vf z[X::COLUMNS];
#pragma GCC unroll 8
  for (int s = 0; s < X::COLUMNS; s++)
    if (X::pass.twin_columns[s]) z[s] = x[s] + x[s + 1];
    else if (s && X::pass.twin_columns[s - 1]) z[s] = x[s - 1] - x[s];
    else z[s] = x[s];
#pragma GCC unroll 8
  for (int r = 0; r < X::ROWS; r++) {
    if (r && X::pass.twin_rows[r - 1]) continue;
    const vf even = row_times(X::pass.at[r], z);
    if (X::pass.twin_rows[r]) {
      const vf odd = row_times(X::pass.at[r + 1], z), factor = set1(X::pass.odd[r]);
      y[r] = even + factor * odd;
      y[r + 1] = even - factor * odd;
    } else {
      y[r] = even;
    }
  }
}
