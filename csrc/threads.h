// The pool of threads that runs kernels: one fork and join a run, phases of chunks in between.
//
//     ticket   phase | next chunk      taken by compare and swap: only chunks of the phase a thread is in
//     finished chunks of the phase     the thread that makes it whole opens the next phase
//
// A phase ends when its chunks are done, whoever did them: a thread that another program keeps from its core is not
// waited for unless it holds a chunk. When it comes back it walks through the phases it missed, getting no chunk, and a
// worker that has not even begun when the run is over is told to stay where it is. So a busy neighbour costs a run one
// slice of its scheduler, not one a phase.
//
// A run holds the process's one gate, so that two callers never share the cores. Threads of a run spin a few tens of
// microseconds for a phase's end and park after that; a team larger than the machine parks at once. Nothing starts at
// import: workers come with the first run that needs them and stay parked in between. A forked child has none, and
// starts its own.
#pragma once
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "kernels.h"

namespace striate {

// Why the threads of a run leave it early; bits, so that several may ask at once.
enum Stop : uint32_t { STOP_NONE = 0, STOP_NOT_FINITE = 1, STOP_INTERRUPTED = 2, STOP_FAILED = 4 };

// Where threads wait for an atomic number to change: they spin for a while, then park.
struct Bell {
  std::atomic<int32_t> sleepers{0};
  std::mutex mutex;
  std::condition_variable changed;

  void ring();  // behind a sequentially consistent store to the number
  template <class Changed>
  void wait(int64_t spin_ns, Changed changed_already);
};

// What the threads of one team share. A cache line each for what different threads write.
struct Pool {
  static constexpr int32_t MAX_THREADS = 256;
  alignas(64) std::atomic<uint64_t> ticket{0};   // phase << 32 | next chunk
  alignas(64) std::atomic<int64_t> finished{0};  // chunks of the phase
  alignas(64) Bell opened;                       // the next phase
  alignas(64) std::atomic<uint32_t> requested{STOP_NONE};
  std::atomic<uint64_t> decided{STOP_NONE};  // phase << 32 | what was requested by its end: all stop behind that phase
  std::atomic<bool> spin{false};
  int32_t threads = 1;                           // of the whole team: a member may also compute alone, as a team of one
  alignas(64) std::atomic<uint64_t> meeting{0};  // meetings << 32 | threads that have come to the next
  std::atomic<int64_t> met_ns{0};
  Bell met;
  // The leader's own:
  alignas(64) bool (*interrupted)() = nullptr;  // asked about every 50 ms while interruptible; true stops the run
  int64_t asked_ms = 0;
};

int64_t now_ns();

// Every thread of the team meets every other, for what is measured; returns when the last one came.
int64_t team_meet(Team& team);
// Why the run stops behind a phase that this thread has left.
uint32_t team_decided(const Team& team);
inline uint32_t team_requested(const Team& team) { return team.pool->requested.load(std::memory_order_relaxed); }
inline void team_request(Team& team, Stop stop) { team.pool->requested.fetch_or(stop); }
// A team of one: this thread, within a chunk.
inline Team team_alone(const Team& team) { return {team.pool, 0, 1, team.leads, team.interruptible}; }

// What a team does in one run.
struct TeamWork {
  virtual ~TeamWork() = default;
  virtual void prepare() {}          // the leader alone, with the gate held; may throw, and the run does not begin
  virtual void run(Team& team) = 0;  // every thread; must not throw
  virtual void finish() {}           // the leader alone, when all threads are done
};

// Runs `work` on a team of `threads`; the caller's thread is the leader, number 0. `interrupted` is also asked while
// another run holds the gate. A run inside a callback of a run (the same thread leads both) has a team of one. Returns
// what was decided, STOP_INTERRUPTED also for a wait that was given up and for a wish that came too late to stop it.
uint32_t run_team(int32_t threads, TeamWork& work, bool (*interrupted)());

// For the leader behind foreign code: if that forked, the child's leader is alone with the rest of the run.
void team_after_callback(Team& team);

int32_t pool_workers();  // threads started and alive, the callers' own not counted

// Denormals count as zero in this thread while one of these lives.
struct FlushDenormals {
  uint64_t saved;
  FlushDenormals();
  ~FlushDenormals();
};

// Puts back what the user's thread had, while a callback runs inside a run.
struct KeepDenormals {
  uint64_t saved;
  KeepDenormals();
  ~KeepDenormals();
};

}  // namespace striate
