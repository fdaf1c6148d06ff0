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

// The user's arrays to the program's memory, or back. One thread copies the small ones: a scalar is not worth a phase.
void transfer_all(const std::vector<Placed>& places, const std::vector<Strided>& arrays,
                  const std::vector<uintptr_t>& blocks, bool in, Team& team) {
  const auto each = [&](bool large, auto copy) {
    for (size_t i = 0; i < places.size(); i++) {
      const Strided own = as_strided(at(places[i], blocks));
      if (worth_sharing(own) == large) copy(in ? arrays[i] : own, in ? own : arrays[i]);
    }
  };
  each(true, [&](const Strided& from, const Strided& to) { transfer(from, to, team); });
  for_chunks(team, 1, [&](int64_t) { each(false, transfer_alone); });
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
  int64_t began_ns = 0;  // of the call that is profiled

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
            spec.alone && !spec.callback,
            spec.backwards};
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
  team_begin(team, 1);
  if (team.leads && team_next(team) == 0) {  // whose thread the user's code expects
    KeepDenormals keep;
    if (!call.callback->run(tensors, integers_[call.first_integer], call.tensors)) team_request(team, STOP_FAILED);
    team_after_callback(team);
  }
  team_end(team);
}

void Program::run_call(int64_t i, Team& team, Walk& walk) {
  const Call& call = calls_[i];
  if (call.callback) {
    run_callback(call, team);
  } else {
    char* scratch = call.scratch_block < 0
                        ? nullptr
                        : reinterpret_cast<char*>(placed_at_[call.scratch_block]) + call.scratch_offset;
    team.backwards = call.backwards;
    call.function({tensors_.data() + call.first_tensor, integers_.data() + call.first_integer,
                   floats_.data() + call.first_float, scratch, int32_t(call.tensors)},
                  team);
    team.backwards = false;
  }
  if (!walk.profile) return;
  const int64_t end = team_meet(team);
  for_chunks(team, 1, [&](int64_t) {
    ns_[i] = end - walk.began_ns;
    walk.began_ns = end;
  });
}

// A call that all compute, behind which they agree whether to go on.
int64_t Program::run_shared(int64_t i, Team& team, Walk& walk) {
  run_call(i, team, walk);
  if (team.leads && team_decided(team)) walk.stopped_at = i;
  return i + 1;
}

// Neighbouring calls too small to share are one chunk together, of whoever comes first.
int64_t Program::run_alone(int64_t i, Team& team, Walk& walk) {
  int64_t end = i + 1;
  while (end < int64_t(calls_.size()) && calls_[end].alone && (end < update_from_) == team.interruptible) end++;
  for_chunks(team, 1, [&](int64_t) {
    Team alone = team_alone(team);
    for (; i < end && walk.stopped_at < 0; i++) {
      run_call(i, alone, walk);
      if (team_requested(team)) walk.stopped_at = i;
    }
  });
  return end;
}

void Program::walk(Team& team, Walk& walk) {
  transfer_all(inputs_, walk.inputs, walk.blocks, true, team);
  if (walk.profile) for_chunks(team, 1, [&](int64_t) { walk.began_ns = now_ns(); });
  for (int64_t i = walk.first; i < int64_t(calls_.size()) && !team_decided(team);) {
    team.interruptible = i < update_from_;
    i = calls_[i].alone ? run_alone(i, team, walk) : run_shared(i, team, walk);
  }
  if (team_decided(team) & ~STOP_NOT_FINITE) return;
  team.interruptible = false;
  transfer_all(outputs_, walk.outputs, walk.blocks, false, team);
}

RunResult Program::run(const std::vector<uintptr_t>& blocks, const std::vector<Strided>& inputs,
                       const std::vector<Strided>& outputs, bool run_prelude, bool profile, bool (*interrupted)()) {
  Walk walk(*this, blocks, inputs, outputs, run_prelude ? 0 : prelude_, profile);
  const uint32_t stop = run_team(threads_, walk, interrupted);
  return {stop, walk.stopped_at};
}

}  // namespace striate
