// The pool of threads that runs kernels: one fork and join a run, a barrier between phases, chunks from one counter.
//
// A run holds the process's one gate, so that two callers never share the cores. Threads of a run spin a few tens of
// microseconds at a barrier and park after that; a team larger than the machine parks at once. Nothing starts at
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

// A number that threads wait upon: they spin for a while, then park.
struct Gong {
  std::atomic<uint32_t> value{0};
  std::atomic<int32_t> sleepers{0};
  std::mutex mutex;
  std::condition_variable changed;

  void ring();                               // the next value; wakes whoever parks
  void wait(uint32_t old, int64_t spin_ns);  // returns once the value is no longer `old`
};

// What the threads of one team share. A cache line each for what different threads write.
struct Pool {
  static constexpr int32_t MAX_THREADS = 256;
  struct alignas(64) Local {
    int64_t chunks, next;  // of the phase this thread is in; `next` is used by a team of one
  };
  alignas(64) std::atomic<int64_t> next_chunk{0};
  alignas(64) std::atomic<int32_t> arrived{0};
  alignas(64) Gong phase;
  alignas(64) std::atomic<uint32_t> requested{STOP_NONE};
  std::atomic<bool> spin{false};
  int32_t threads = 1;           // of the whole team: a member may also compute alone, as a team of one
  uint32_t decided = STOP_NONE;  // `requested` as the last thread at a barrier saw it: all threads read the same
  bool timed = false;            // whether the last thread at a barrier also says when it came
  int64_t met_ns = 0;
  // The leader's own:
  alignas(64) bool interruptible = false;
  bool (*interrupted)() = nullptr;  // asked about every 50 ms while interruptible; true stops the run
  int64_t asked_ms = 0;
  Local local[MAX_THREADS];
};

int64_t now_ns();

// All threads of the team meet; the last to come decides whether the run stops.
void team_barrier(Team& team);
inline uint32_t team_decided(const Team& team) { return team.pool->decided; }
inline uint32_t team_requested(const Team& team) { return team.pool->requested.load(std::memory_order_relaxed); }
inline void team_request(Team& team, Stop stop) { team.pool->requested.fetch_or(stop); }

// What a team does in one run.
struct TeamWork {
  virtual ~TeamWork() = default;
  virtual void prepare() {}          // the leader alone, with the gate held; may throw, and the run does not begin
  virtual void run(Team& team) = 0;  // every thread; must not throw
  virtual void finish() {}           // the leader alone, when all threads are done
};

// Runs `work` on a team of `threads`; the caller's thread is the leader, number 0. `interrupted` is also asked while
// another run holds the gate. A run inside a callback of a run (the same thread leads both) has a team of one. Returns
// what was decided, STOP_INTERRUPTED also for a wait that was given up.
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
