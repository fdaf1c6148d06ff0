// A placed tape: calls with all their tensors at offsets into blocks of memory, checked once, then run in one go.
//
// Block 0 is the arena, 1 the constants, the others hold states. Addresses come with each run; everything else is
// fixed at construction, so a run only adds base addresses and walks the list.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "dispatch.h"
#include "threads.h"
#include "transfer.h"

namespace striate {

struct Placed {
  Tensor tensor;  // data unused; absent where block < 0
  int32_t block = -1;
  int64_t offset = 0;
};

// Foreign code as a call. `tensors` holds the inputs, then the outputs. False: it failed and keeps the reason.
struct Callback {
  virtual ~Callback() = default;
  virtual bool run(const Tensor* tensors, int64_t inputs, int64_t count) = 0;
};

struct CallSpec {
  std::string kernel;
  std::vector<Placed> tensors;
  std::vector<int64_t> integers;
  std::vector<double> floats;
  int32_t scratch_block = -1;
  int64_t scratch_offset = 0, scratch_bytes = 0;
  std::shared_ptr<Callback> callback;  // instead of a kernel; integers[0] is the number of inputs
  bool alone = false;                  // too small to share: one thread computes it while the others wait
  bool backwards = false;              // its chunks are taken from the last to the first
};

struct RunResult {
  uint32_t stop;       // bits of Stop
  int64_t stopped_at;  // the call the run ended with, or -1
};

class Program {
 public:
  // Throws std::invalid_argument where a tensor or scratch leaves its block or a call does not fit its signature.
  Program(const Isa& isa, int32_t threads, std::vector<CallSpec> calls, std::vector<Placed> inputs,
          std::vector<Placed> outputs, std::vector<int64_t> block_bytes, int64_t update_from, int64_t prelude);
  Program(const Program&) = delete;

  // The first `prelude` calls run when asked for. A run that is interrupted stops before its next call, but once it has
  // reached call `update_from` it ends as usual. `outputs` are written unless the run was interrupted or failed.
  RunResult run(const std::vector<uintptr_t>& blocks, const std::vector<Strided>& inputs,
                const std::vector<Strided>& outputs, bool run_prelude, bool profile, bool (*interrupted)());

  const std::vector<Placed>& inputs() const { return inputs_; }
  const std::vector<Placed>& outputs() const { return outputs_; }
  size_t block_count() const { return block_bytes_.size(); }
  const std::vector<int64_t>& last_profile() const { return ns_; }  // a call each; empty if the run was not profiled

 private:
  struct Call {
    KernelFn function;
    int64_t first_tensor, tensors, first_integer, first_float;
    int32_t scratch_block;
    int64_t scratch_offset;
    std::shared_ptr<Callback> callback;
    bool alone, backwards;
  };
  struct Walk;

  void add(const CallSpec& spec, const Isa& isa, const std::string& who);
  void prepare(const Walk& walk);
  void walk(Team& team, Walk& walk);
  int64_t run_shared(int64_t i, Team& team, Walk& walk);
  int64_t run_alone(int64_t i, Team& team, Walk& walk);
  void run_call(int64_t i, Team& team, Walk& walk);
  void run_callback(const Call& call, Team& team);

  int32_t threads_;
  std::vector<int64_t> block_bytes_;
  int64_t update_from_, prelude_;
  std::vector<Placed> inputs_, outputs_;
  std::vector<Call> calls_;
  std::vector<Placed> places_;   // of all calls' tensors
  std::vector<Tensor> tensors_;  // the same with addresses
  std::vector<int64_t> integers_;
  std::vector<double> floats_;
  std::vector<uintptr_t> placed_at_;  // blocks the addresses in tensors_ stand for
  std::vector<int64_t> ns_;
  bool running_ = false;
};

// Throws std::invalid_argument unless tensors, integers and floats fit the kernel's signature. `data` of the tensors
// only says whether they are there.
void check_signature(const KernelInfo& info, const Tensor* tensors, int64_t count, int64_t integers, int64_t floats,
                     const std::string& who);
int64_t tensor_bytes(const Tensor& tensor, const std::string& who);  // from its first byte to behind its last

}  // namespace striate
