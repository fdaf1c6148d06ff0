// What every kernel sees: tensors, parameters, scratch, and the team of threads that runs it.
//
// A kernel is called by all threads of a team at once (SPMD) with the same Args. It splits its work into chunks with
// `for_chunks`; the number of chunks and what each computes depend on the problem alone, never on the threads, so the
// bits do not either. A chunk writes its own outputs or its own partial sums only. When for_chunks returns, all chunks
// of all threads are done. A thread may come late, when the others have computed all its chunks and more: outside its
// chunks it may write nothing. No allocation, no exception, no lock, no standard-library code inside a kernel.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace striate {

enum Dtype : int32_t { F32 = 0, U8 = 1, U16 = 2, I64 = 3 };
enum Activation : int64_t { NONE = 0, RELU = 1, TANH = 2, SIGMOID = 3, RELU6 = 4 };

// Shape is logical (N, C, H, W; weights O, C/G, KH, KW). Memory: rank 4 activations are NHWC with a pixel stride
// ld >= C; rank 2 rows have stride ld >= shape[1]; everything else is dense and row-major. Weights (the tensors named
// w, dw, w2, g, v, m, wp and u) are dense row-major at any rank: they carry ld = 0. An absent tensor has data =
// nullptr.
struct Tensor {
  char* data;
  int64_t shape[4];  // unused axes are 1
  int64_t ld;
  int32_t rank, dtype;
  float* f32() const { return reinterpret_cast<float*>(data); }
  int64_t* i64() const { return reinterpret_cast<int64_t*>(data); }
  explicit operator bool() const { return data != nullptr; }
};

// Tensors in the order of the signature (inputs, then outputs); integers and floats in the order of the parameters,
// a parameter of several numbers taking as many places.
struct Args {
  const Tensor* t;
  const int64_t* i;
  const double* f;
  char* scratch;    // 64-byte aligned, as many bytes as the kernel's scratch function asked for
  int32_t tensors;  // how many; a merged call holds a multiple of the signature's
};

struct Pool;  // threads.h

// A thread's own view of the team it computes in.
struct Team {
  Pool* pool;
  int32_t thread, threads;
  bool leads = false;         // the caller's thread
  bool interruptible = true;  // whether the run may stop in this phase because the user asks for it
  bool backwards = false;     // chunks come from the last to the first
  uint32_t phase = 0;         // how many this thread has left behind
  int64_t chunks = 0;         // of this phase
  int64_t taken = 0;          // of them by this thread
  // The i-th of n parts in the order this call takes them, and by how much the parts of one thread differ.
  int64_t turned(int64_t i, int64_t n) const { return backwards ? n - 1 - i : i; }
  int64_t stride() const { return backwards ? -threads : threads; }
};

// threads.cpp, compiled once for the baseline. `begin` opens a phase of n chunks, `next` hands out one (or -1, also
// when the run is being interrupted), `end` waits for all chunks, not for all threads.
void team_begin(Team&, int64_t n);
int64_t team_next(Team&);
void team_end(Team&);
// The run stops behind this call: the loss is not finite (called by one thread).
void team_not_finite(Team&);

template <class F>
static inline void for_chunks(Team& team, int64_t n, F&& f) {
  team_begin(team, n);
  for (int64_t taken; (taken = team_next(team)) >= 0;) f(team.turned(taken, n));
  team_end(team);
}

// The same for chunks that share tables in a thread's scratch: `fill` writes them before the first chunk of a thread.
template <class S, class F>
static inline void for_chunks(Team& team, int64_t n, S&& fill, F&& f) {
  team_begin(team, n);
  bool filled = false;
  for (int64_t taken; (taken = team_next(team)) >= 0;) {
    if (!filled) fill();
    filled = true;
    f(team.turned(taken, n));
  }
  team_end(team);
}

using KernelFn = void (*)(const Args&, Team&);

// Block sizes of an instruction set: data, so that scratch can be computed for a set this machine cannot run.
struct Blocking {
  int32_t width;   // floats in a vector
  int32_t mr, nr;  // rows and columns of the register tile
  int32_t mc, kc;  // rows and depth of the packed block
  int32_t nc;      // columns of panels, kc deep, that each row meets in turn
  int32_t l2;      // bytes of L2 that a thread counts on
};
using ScratchFn = int64_t (*)(const Args&, int threads, const Blocking&);

static inline int64_t rows_of(const Tensor& t) {  // pixels, or rows: all but the innermost axis in memory
  return t.rank == 4   ? t.shape[0] * t.shape[2] * t.shape[3]
         : t.rank == 3 ? t.shape[0] * t.shape[1]
         : t.rank == 2 ? t.shape[0]
                       : 1;
}
static inline int64_t cols_of(const Tensor& t) {  // the innermost axis in memory
  return t.rank == 4 || t.rank == 2 ? t.shape[1] : t.rank == 3 ? t.shape[2] : t.rank == 1 ? t.shape[0] : 1;
}

}  // namespace striate
