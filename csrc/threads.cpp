#include "threads.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <vector>

#include "host.h"
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace striate {

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

namespace {

constexpr int64_t SPIN_NS = 40'000;  // longer than a wake-up from parking, shorter than anyone would notice
constexpr int64_t ASK_MS = 50;

// A few ns a call where the coarse clock exists: it is read once a chunk.
int64_t coarse_ms() {
  timespec t;
#if defined(CLOCK_MONOTONIC_COARSE)
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
#else
  clock_gettime(CLOCK_MONOTONIC, &t);
#endif
  return int64_t(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// ---- denormals: control bits of the floating-point unit

#if defined(__x86_64__)
constexpr uint64_t FLUSH = 0x8040;  // FTZ and DAZ
uint64_t read_mode() { return _mm_getcsr(); }
void write_mode(uint64_t mode) { _mm_setcsr(uint32_t(mode)); }
#elif defined(__aarch64__)
constexpr uint64_t FLUSH = 1 << 24;  // FZ
uint64_t read_mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
void write_mode(uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
constexpr uint64_t FLUSH = 0;
uint64_t read_mode() { return 0; }
void write_mode(uint64_t) {}
#endif

// ---- workers

enum Duty : uint32_t { FREE, CALLED, AT_WORK };

struct Worker {
  std::atomic<uint32_t> duty{FREE};
  Bell called;
  std::thread thread;
};

// All that a fork leaves behind: a child starts with a fresh one.
struct Process {
  std::timed_mutex gate;
  Pool pool;
  std::vector<std::unique_ptr<Worker>> workers;  // worker i is thread i + 1 of a team
  Bell left;                                     // by a worker that is free again
  TeamWork* work = nullptr;
  int32_t threads = 0;
};

std::atomic<Process*> current{nullptr};
thread_local bool leading = false;

// The child's copy of the threads is gone and its locks are in any state: they are left alone, never destroyed.
void after_fork_in_child() {
  current.store(nullptr);
  leading = false;
}

Process& process() {
  static const int registered = pthread_atfork(nullptr, nullptr, after_fork_in_child);
  (void)registered;
  Process* found = current.load();
  if (found) return *found;
  auto fresh = std::make_unique<Process>();
  return current.compare_exchange_strong(found, fresh.get()) ? *fresh.release() : *found;
}

// Whether the number moved from one value to the other: nobody else had moved it before.
bool moves(std::atomic<uint32_t>& duty, uint32_t from, Duty to) { return duty.compare_exchange_strong(from, to); }

void serve(Process& p, Worker& self, int32_t thread) {
  for (;;) {
    self.called.wait(p.pool.spin ? SPIN_NS : 0, [&] { return self.duty.load() == CALLED; });
    if (!moves(self.duty, CALLED, AT_WORK)) continue;
    Team team{&p.pool, thread, p.threads};
    {
      FlushDenormals flush;
      p.work->run(team);
    }
    self.duty.store(FREE);
    p.left.ring();
  }
}

// The run is over: who has not begun need not, who is still on the way is waited for.
void dismiss(Process& p, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    std::atomic<uint32_t>& duty = p.workers[i]->duty;
    if (!moves(duty, CALLED, FREE)) p.left.wait(SPIN_NS, [&] { return duty.load() == FREE; });
  }
}

// Signals are for the threads of the user's program: a worker blocks them all.
void start_workers(Process& p, int32_t count) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    while (int32_t(p.workers.size()) < count) {
      auto worker = std::make_unique<Worker>();
      Worker* self = worker.get();
      const int32_t thread = int32_t(p.workers.size()) + 1;
      p.workers.reserve(count);
      self->thread = std::thread([&p, self, thread] { serve(p, *self, thread); });
      p.workers.push_back(std::move(worker));
    }
  } catch (...) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void reset(Pool& pool, int32_t threads, bool (*interrupted)()) {
  pool.ticket.store(0);
  pool.finished.store(0);
  pool.requested.store(STOP_NONE);
  pool.decided.store(STOP_NONE);
  pool.meeting.store(0);
  pool.interrupted = interrupted;
  pool.asked_ms = coarse_ms();
  pool.threads = threads;
  pool.spin = threads <= available_cores();
}

// What the run is to be stopped for, or was too far gone to be.
uint32_t outcome(const Pool& pool) {
  return uint32_t(pool.decided.load()) | (pool.requested.load() & STOP_INTERRUPTED);
}

uint32_t run_alone(TeamWork& work) {
  auto pool = std::make_unique<Pool>();
  reset(*pool, 1, nullptr);
  work.prepare();
  Team team{pool.get(), 0, 1, true};
  {
    FlushDenormals flush;
    work.run(team);
  }
  work.finish();
  return outcome(*pool);
}

uint32_t run_together(Process& p, int32_t threads, TeamWork& work, bool (*interrupted)()) {
  start_workers(p, threads - 1);
  reset(p.pool, threads, interrupted);
  work.prepare();
  p.work = &work;
  p.threads = threads;
  for (int32_t i = 0; i < threads - 1; i++) {
    p.workers[i]->duty.store(CALLED);
    p.workers[i]->called.ring();
  }
  Team team{&p.pool, 0, threads, true};
  {
    FlushDenormals flush;
    work.run(team);
  }
  if (team.threads > 1) dismiss(p, threads - 1);  // else a fork has left the workers to the parent
  work.finish();
  return outcome(p.pool);
}

struct Leading {
  std::timed_mutex& gate;
  explicit Leading(std::timed_mutex& g) : gate(g) { leading = true; }
  ~Leading() {
    leading = false;
    gate.unlock();
  }
};

// Never again once something was asked for: the reason may be a Python error that nobody has picked up yet.
void ask(Pool& pool) {
  const int64_t now = coarse_ms();
  if (now - pool.asked_ms < ASK_MS || pool.requested.load(std::memory_order_relaxed)) return;
  pool.asked_ms = now;
  if (pool.interrupted && pool.interrupted()) pool.requested.fetch_or(STOP_INTERRUPTED);
}

}  // namespace

FlushDenormals::FlushDenormals() : saved(read_mode()) { write_mode(saved | FLUSH); }
FlushDenormals::~FlushDenormals() { write_mode(saved); }
KeepDenormals::KeepDenormals() : saved(read_mode()) { write_mode(saved & ~FLUSH); }
KeepDenormals::~KeepDenormals() { write_mode(saved); }

// The number is stored before the sleepers are counted, and a sleeper counts itself before it looks at the number (both
// sequentially consistent), so a ring is never missed.
void Bell::ring() {
  if (sleepers.load() == 0) return;
  { std::lock_guard<std::mutex> lock(mutex); }
  changed.notify_all();
}

template <class Changed>
void Bell::wait(int64_t spin_ns, Changed changed_already) {
  if (spin_ns) {
    const int64_t end = now_ns() + spin_ns;
    do {
      for (int i = 0; i < 64; i++) {
        if (changed_already()) return;
        relax();
      }
    } while (now_ns() < end);
  }
  std::unique_lock<std::mutex> lock(mutex);
  sleepers.fetch_add(1);
  while (!changed_already()) changed.wait(lock);
  sleepers.fetch_sub(1);
}

namespace {

constexpr int PHASE = 32;  // where the phase stands in ticket and decided

// What stops the phase this thread is in: a wish to interrupt only where states are whole.
uint32_t stops(const Team& team) { return team_requested(team) & ~(team.interruptible ? 0u : STOP_INTERRUPTED); }

// By the one thread that finished the phase's last chunk.
void open_next(Team& team) {
  Pool& pool = *team.pool;
  const uint32_t why = stops(team);
  if (why && !pool.decided.load(std::memory_order_relaxed)) pool.decided.store(uint64_t(team.phase) << PHASE | why);
  pool.finished.store(0, std::memory_order_relaxed);
  pool.ticket.store(uint64_t(team.phase + 1) << PHASE);
  pool.opened.ring();
}

// The next chunk of this thread's phase; all that are left, uncomputed, if the run is to stop.
int64_t take(Team& team) {
  Pool& pool = *team.pool;
  uint64_t ticket = pool.ticket.load(std::memory_order_acquire);
  for (;;) {
    const int64_t chunk = int64_t(uint32_t(ticket));
    if (uint32_t(ticket >> PHASE) != team.phase || chunk >= team.chunks) return -1;
    const bool stop = stops(team) & (STOP_INTERRUPTED | STOP_FAILED);
    const int64_t next = stop ? team.chunks : chunk + 1;
    if (!pool.ticket.compare_exchange_weak(ticket, uint64_t(team.phase) << PHASE | uint64_t(next))) continue;
    team.taken += next - chunk;
    return stop ? -1 : chunk;
  }
}

}  // namespace

void team_begin(Team& team, int64_t n) {
  team.chunks = n;
  team.taken = 0;
}

int64_t team_next(Team& team) {
  if (team.leads && team.interruptible) ask(*team.pool);
  if (team.threads > 1) return take(team);
  if (stops(team) & (STOP_INTERRUPTED | STOP_FAILED)) return -1;
  return team.taken < team.chunks ? team.taken++ : -1;
}

void team_end(Team& team) {
  Pool& pool = *team.pool;
  if (team.chunks == 0) return;
  if (team.threads > 1) {
    if (team.taken && pool.finished.fetch_add(team.taken) + team.taken == team.chunks) open_next(team);
    else pool.opened.wait(pool.spin ? SPIN_NS : 0, [&] { return uint32_t(pool.ticket.load() >> PHASE) != team.phase; });
  } else if (pool.threads == 1) {  // one member alone decides nothing for the others
    if (const uint32_t why = stops(team)) pool.decided.store(uint64_t(team.phase) << PHASE | why);
  }
  team.phase++;
}

uint32_t team_decided(const Team& team) {
  const uint64_t decided = team.pool->decided.load(std::memory_order_acquire);
  return uint32_t(decided >> PHASE) < team.phase ? uint32_t(decided) : uint32_t(STOP_NONE);
}

int64_t team_meet(Team& team) {
  Pool& pool = *team.pool;
  if (team.threads == 1) return now_ns();
  const uint64_t came = pool.meeting.fetch_add(1), number = came >> PHASE;
  if (int32_t(came) + 1 == team.threads) {
    pool.met_ns.store(now_ns());
    pool.meeting.store((number + 1) << PHASE);
    pool.met.ring();
  } else {
    pool.met.wait(pool.spin ? SPIN_NS : 0, [&] { return pool.meeting.load() >> PHASE != number; });
  }
  return pool.met_ns.load();
}

void team_not_finite(Team& team) { team_request(team, STOP_NOT_FINITE); }

uint32_t run_team(int32_t threads, TeamWork& work, bool (*interrupted)()) {
  if (leading) return run_alone(work);
  Process& p = process();
  while (!p.gate.try_lock_for(std::chrono::milliseconds(ASK_MS))) {
    if (interrupted && interrupted()) return STOP_INTERRUPTED;
  }
  Leading lead(p.gate);
  return run_together(p, std::min(threads, Pool::MAX_THREADS), work, interrupted);
}

void team_after_callback(Team& team) {
  const Process* p = current.load();
  if (team.threads > 1 && (!p || &p->pool != team.pool)) team.threads = team.pool->threads = 1;
}

int32_t pool_workers() {
  Process* p = current.load();
  return p ? int32_t(p->workers.size()) : 0;
}

}  // namespace striate
