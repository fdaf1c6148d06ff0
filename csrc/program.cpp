#include "program.h"

#include <stdexcept>

namespace striate {

// program_check.cpp
void check_placed(const std::vector<int64_t>& blocks, const Placed& placed, const std::string& who);
void check_call(const std::vector<int64_t>& blocks, const CallSpec& spec, const Isa& isa, int32_t threads,
                const std::string& who);

namespace {

Tensor at(const Placed& placed, const std::vector<uintptr_t>& blocks) {
  Tensor tensor = placed.tensor;
  tensor.data = placed.block < 0 ? nullptr : reinterpret_cast<char*>(blocks[placed.block]) + placed.offset;
  return tensor;
}

// The user's arrays to the program's memory, or back. The leader copies small ones: a scalar is not worth a barrier.
void transfer_all(const std::vector<Placed>& places, const std::vector<Strided>& arrays,
                  const std::vector<uintptr_t>& blocks, bool in, Team& team) {
  for (size_t i = 0; i < places.size(); i++) {
    const Strided own = as_strided(at(places[i], blocks));
    const Strided &from = in ? arrays[i] : own, &to = in ? own : arrays[i];
    if (team.threads > 1 && worth_sharing(own)) transfer(from, to, team);
    else if (team.thread == 0) transfer_alone(from, to);
  }
  team_barrier(team);
}

}  // namespace

// What one run hands to all its threads.
struct Program::Walk : TeamWork {
  Program& program;
  const std::vector<uintptr_t>& blocks;
  const std::vector<Strided>&inputs, &outputs;
  int64_t first;
  bool profile;
  int64_t stopped_at = -1, began_ns = 0;  // the leader's

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
  bool alone = true;
  for (const Call& call : calls_) alone = alone && call.alone;
  if (alone) threads_ = 1;
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
            spec.callback,
            spec.alone && !spec.callback};
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

void Program::run_callback(const Call& call, Team& team) {
  const Tensor* tensors = tensors_.data() + call.first_tensor;
  if (team.thread == 0) {
    KeepDenormals keep;
    if (!call.callback->run(tensors, integers_[call.first_integer], call.tensors)) team_request(team, STOP_FAILED);
    team_after_callback(team);
  }
  team_barrier(team);
}

void Program::run_call(int64_t i, Team& team, Walk& walk) {
  const Call& call = calls_[i];
  const bool leader = team.thread == 0;
  if (leader) team.pool->interruptible = i < update_from_;
  if (call.callback) {
    run_callback(call, team);
  } else {
    char* scratch = call.scratch_block < 0
                        ? nullptr
                        : reinterpret_cast<char*>(placed_at_[call.scratch_block]) + call.scratch_offset;
    call.function({tensors_.data() + call.first_tensor, integers_.data() + call.first_integer,
                   floats_.data() + call.first_float, scratch, int32_t(call.tensors)},
                  team);
  }
  if (!leader || !walk.profile) return;
  // By the clock of the last thread at the barrier: the leader may come late while the others go on computing.
  const int64_t end = team.threads > 1 ? team.pool->met_ns : now_ns();
  ns_[i] = end - walk.began_ns;
  walk.began_ns = end;
}

// A call that all compute ends with a barrier, behind which they agree whether to go on.
int64_t Program::run_shared(int64_t i, Team& team, Walk& walk) {
  run_call(i, team, walk);
  if (team.thread == 0 && team_decided(team)) walk.stopped_at = i;
  return i + 1;
}

// Neighbouring calls too small to share cost one barrier together.
int64_t Program::run_alone(int64_t i, Team& team, Walk& walk) {
  int64_t end = i + 1;
  while (end < int64_t(calls_.size()) && calls_[end].alone) end++;
  if (team.thread == 0) {
    Team alone{team.pool, 0, 1};
    for (; i < end && walk.stopped_at < 0; i++) {
      run_call(i, alone, walk);
      if (team_requested(team)) walk.stopped_at = i;
    }
  }
  team_barrier(team);
  return end;
}

void Program::walk(Team& team, Walk& walk) {
  const bool leader = team.thread == 0;
  if (leader) {
    team.pool->timed = walk.profile;
    team.pool->met_ns = now_ns();
  }
  transfer_all(inputs_, walk.inputs, walk.blocks, true, team);
  if (leader && walk.profile) walk.began_ns = team.threads > 1 ? team.pool->met_ns : now_ns();
  for (int64_t i = walk.first; i < int64_t(calls_.size()) && !team_decided(team);)
    i = calls_[i].alone ? run_alone(i, team, walk) : run_shared(i, team, walk);
  if (team_decided(team) & ~STOP_NOT_FINITE) return;
  if (leader) team.pool->interruptible = false;
  transfer_all(outputs_, walk.outputs, walk.blocks, false, team);
}

RunResult Program::run(const std::vector<uintptr_t>& blocks, const std::vector<Strided>& inputs,
                       const std::vector<Strided>& outputs, bool run_prelude, bool profile, bool (*interrupted)()) {
  Walk walk(*this, blocks, inputs, outputs, run_prelude ? 0 : prelude_, profile);
  const uint32_t stop = run_team(threads_, walk, interrupted);
  return {stop, walk.stopped_at};
}

}  // namespace striate
