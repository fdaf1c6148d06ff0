#include "program.h"

#include <chrono>
#include <stdexcept>

namespace striate {

// program_check.cpp
void check_placed(const std::vector<int64_t>& blocks, const Placed& placed, const std::string& who);
void check_call(const std::vector<int64_t>& blocks, const CallSpec& spec, const Isa& isa, int32_t threads,
                const std::string& who);

namespace {

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Tensor at(const Placed& placed, const std::vector<uintptr_t>& blocks) {
  Tensor tensor = placed.tensor;
  tensor.data = placed.block < 0 ? nullptr : reinterpret_cast<char*>(blocks[placed.block]) + placed.offset;
  return tensor;
}

}  // namespace

// What one run hands to all its threads.
struct Program::Walk : TeamWork {
  Program& program;
  const std::vector<uintptr_t>& blocks;
  const std::vector<Strided>&inputs, &outputs;
  int64_t first;
  bool profile;
  int64_t stopped_at = -1;

  Walk(Program& p, const std::vector<uintptr_t>& at, const std::vector<Strided>& in, const std::vector<Strided>& out,
       int64_t start, bool timed)
      : program(p), blocks(at), inputs(in), outputs(out), first(start), profile(timed) {}
  void prepare() override { program.prepare(*this); }
  void run(Team& team) override { program.walk(team, *this); }
  void finish() override { program.running_ = false; }
};

Program::Program(const Isa& isa, int32_t threads, std::vector<CallSpec> calls, std::vector<Placed> inputs,
                 std::vector<Placed> outputs, std::vector<int64_t> block_bytes, int64_t update_from, int64_t prelude)
    : threads_(threads), block_bytes_(std::move(block_bytes)), update_from_(update_from), prelude_(prelude),
      inputs_(std::move(inputs)), outputs_(std::move(outputs)) {
  if (!isa.usable()) throw std::invalid_argument(std::string("program: this machine cannot run ") + isa.name);
  if (threads < 1 || threads > Pool::MAX_THREADS)
    throw std::invalid_argument("program: threads must be 1 to " + std::to_string(Pool::MAX_THREADS) + ", got " +
                                std::to_string(threads));
  if (prelude < 0 || prelude > int64_t(calls.size()))
    throw std::invalid_argument("program: the prelude must be 0 to " + std::to_string(calls.size()) + " calls, got " +
                                std::to_string(prelude));
  for (size_t i = 0; i < inputs_.size(); i++)
    check_placed(block_bytes_, inputs_[i], "program: input " + std::to_string(i));
  for (size_t i = 0; i < outputs_.size(); i++)
    check_placed(block_bytes_, outputs_[i], "program: output " + std::to_string(i));
  for (size_t i = 0; i < calls.size(); i++)
    add(calls[i], isa, "program: call " + std::to_string(i) + " (" + calls[i].kernel + ")");
  tensors_.resize(places_.size());
}

void Program::add(const CallSpec& spec, const Isa& isa, const std::string& who) {
  check_call(block_bytes_, spec, isa, threads_, who);
  Call call{nullptr,
            int64_t(places_.size()),
            int64_t(spec.tensors.size()),
            int64_t(integers_.size()),
            int64_t(floats_.size()),
            spec.scratch_bytes ? spec.scratch_block : -1,
            spec.scratch_offset,
            spec.callback};
  if (!spec.callback) call.function = isa.table->functions[kernel_named(spec.kernel)];
  calls_.push_back(std::move(call));
  places_.insert(places_.end(), spec.tensors.begin(), spec.tensors.end());
  integers_.insert(integers_.end(), spec.integers.begin(), spec.integers.end());
  floats_.insert(floats_.end(), spec.floats.begin(), spec.floats.end());
}

// By the one thread that holds the gate, before the others start.
void Program::prepare(const Walk& walk) {
  if (running_) throw std::invalid_argument("program: it is running, a callback inside it must not run it again");
  running_ = true;
  ns_.assign(walk.profile ? calls_.size() : 0, 0);
  if (walk.blocks == placed_at_) return;
  for (size_t i = 0; i < places_.size(); i++) tensors_[i] = at(places_[i], walk.blocks);
  placed_at_ = walk.blocks;
}

void Program::run_call(const Call& call, Team& team) {
  const Tensor* tensors = tensors_.data() + call.first_tensor;
  const int64_t* integers = integers_.data() + call.first_integer;
  if (!call.callback) {
    char* scratch = call.scratch_block < 0
                        ? nullptr
                        : reinterpret_cast<char*>(placed_at_[call.scratch_block]) + call.scratch_offset;
    call.function({tensors, integers, floats_.data() + call.first_float, scratch, int32_t(call.tensors)}, team);
    return;
  }
  if (team.thread == 0) {
    KeepDenormals keep;
    if (!call.callback->run(tensors, integers[0], call.tensors)) team_request(team, STOP_FAILED);
    team_after_callback(team);
  }
  team_barrier(team);
}

// All threads walk the same list; each call ends with a barrier, behind which they agree whether to go on.
void Program::walk(Team& team, Walk& walk) {
  const bool leader = team.thread == 0;
  for (size_t i = 0; i < inputs_.size(); i++) transfer(walk.inputs[i], as_strided(at(inputs_[i], walk.blocks)), team);
  int64_t start = leader && walk.profile ? now_ns() : 0;
  for (int64_t i = walk.first; i < int64_t(calls_.size()); i++) {
    if (team_decided(team)) break;
    if (leader) team.pool->interruptible = i < update_from_;
    run_call(calls_[i], team);
    if (!leader) continue;
    if (team_decided(team)) walk.stopped_at = i;
    if (!walk.profile) continue;
    const int64_t end = now_ns();
    ns_[i] = end - start;
    start = end;
  }
  if (team_decided(team) & ~STOP_NOT_FINITE) return;
  if (leader) team.pool->interruptible = false;
  for (size_t i = 0; i < outputs_.size(); i++)
    transfer(as_strided(at(outputs_[i], walk.blocks)), walk.outputs[i], team);
}

RunResult Program::run(const std::vector<uintptr_t>& blocks, const std::vector<Strided>& inputs,
                       const std::vector<Strided>& outputs, bool run_prelude, bool profile, bool (*interrupted)()) {
  Walk walk(*this, blocks, inputs, outputs, run_prelude ? 0 : prelude_, profile);
  const uint32_t stop = run_team(threads_, walk, interrupted);
  return {stop, walk.stopped_at};
}

}  // namespace striate
