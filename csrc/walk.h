// Walking several tensors of one logical shape in the memory order of the first: axes from the slowest to the fastest,
// neighbours merged where every tensor lies without a gap, so that most problems become one or two long axes.
#pragma once

// Distance in elements between neighbours along each logical axis.
static inline void strides_of(const Tensor& t, int64_t stride[4]) {
  int64_t dense = 1;
  for (int axis = 3; axis >= 0; axis--) {
    stride[axis] = axis < t.rank ? dense : 0;
    if (axis < t.rank) dense *= t.shape[axis];
  }
  if (t.rank == 2) stride[0] = pitch_of(t);
  if (t.rank == 4 && t.ld) {
    stride[1] = 1, stride[3] = t.ld;
    stride[2] = t.shape[3] * t.ld, stride[0] = t.shape[2] * stride[2];
  }
}
static inline int axis_in_memory(const Tensor& t, int place) {  // place 0 is the slowest
  static const int8_t nhwc[4] = {0, 2, 3, 1};
  return t.rank == 4 && t.ld ? nhwc[place] : place;
}

template <int K>
struct Walk {
  int64_t size[4], step[K][4];  // size[3] and step[.][3] belong to the fastest axis; unused axes have size 1
  int64_t rows() const { return size[0] * size[1] * size[2]; }
};

// `shape` is logical, `stride[k]` that of tensor k (0 where it has one element for all), `order` gives the memory
// order.
template <int K>
static inline Walk<K> make_walk(const Tensor& order, const int64_t shape[4], int64_t stride[K][4]) {
  Walk<K> w;
  int front = 4;  // the slowest axis so far
  for (int place = 3; place >= 0; place--) {
    const int axis = axis_in_memory(order, place);
    if (shape[axis] == 1) continue;
    if (front == 4 && stride[0][axis] != 1) {  // one channel with a pixel stride: the fastest axis has size 1
      w.size[--front] = 1;
      for (int k = 0; k < K; k++) w.step[k][front] = 1;
    }
    bool joins = front < 4;
    for (int k = 0; k < K && joins; k++) joins = stride[k][axis] == w.size[front] * w.step[k][front];
    if (joins) {
      w.size[front] *= shape[axis];
      continue;
    }
    w.size[--front] = shape[axis];
    for (int k = 0; k < K; k++) w.step[k][front] = stride[k][axis];
  }
  const bool single = front == 4;  // one element: a fastest axis of size 1
  while (front > 0) {
    w.size[--front] = 1;
    for (int k = 0; k < K; k++) w.step[k][front] = single && front == 3 ? 1 : 0;
  }
  return w;
}

// A position on the outer three axes, moved one row at a time along the axes in `axes` (bit i: axis i).
template <int K>
struct Odometer {
  const Walk<K>& w;
  int axes;
  int64_t at[3] = {0, 0, 0}, offset[K] = {};
  Odometer(const Walk<K>& walk, int which, int64_t row) : w(walk), axes(which) { seek(which, row); }
  void seek(int which, int64_t row) {
    for (int axis = 2; axis >= 0; axis--) {
      if (row == 0 || !(which >> axis & 1)) continue;
      at[axis] = row % w.size[axis];
      row /= w.size[axis];
      for (int k = 0; k < K; k++) offset[k] += at[axis] * w.step[k][axis];
    }
  }
  void next() {
    for (int axis = 2; axis >= 0; axis--) {
      if (!(axes >> axis & 1)) continue;
      const bool wraps = ++at[axis] == w.size[axis];
      for (int k = 0; k < K; k++) offset[k] += wraps ? -(w.size[axis] - 1) * w.step[k][axis] : w.step[k][axis];
      if (!wraps) return;
      at[axis] = 0;
    }
  }
};
