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

struct Worker {
  Gong job;
  std::thread thread;
};

// All that a fork leaves behind: a child starts with a fresh one.
struct Process {
  std::timed_mutex gate;
  Pool pool;
  std::vector<std::unique_ptr<Worker>> workers;  // worker i is thread i + 1 of a team
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

void serve(Process& p, Worker& self, int32_t thread) {
  for (uint32_t seen = 0;;) {
    self.job.wait(seen, p.pool.spin ? SPIN_NS : 0);
    seen++;
    Team team{&p.pool, thread, p.threads};
    FlushDenormals flush;
    p.work->run(team);
    team_barrier(team);
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
  pool.requested.store(STOP_NONE);
  pool.decided = STOP_NONE;
  pool.next_chunk.store(0);
  pool.interruptible = true;
  pool.interrupted = interrupted;
  pool.asked_ms = coarse_ms();
  pool.threads = threads;
  pool.spin = threads <= available_cores();
}

uint32_t run_alone(TeamWork& work) {
  auto pool = std::make_unique<Pool>();
  reset(*pool, 1, nullptr);
  work.prepare();
  Team team{pool.get(), 0, 1};
  {
    FlushDenormals flush;
    work.run(team);
  }
  work.finish();
  return pool->decided;
}

uint32_t run_together(Process& p, int32_t threads, TeamWork& work, bool (*interrupted)()) {
  start_workers(p, threads - 1);
  reset(p.pool, threads, interrupted);
  work.prepare();
  p.work = &work;
  p.threads = threads;
  for (int32_t i = 0; i < threads - 1; i++) p.workers[i]->job.ring();
  Team team{&p.pool, 0, threads};
  {
    FlushDenormals flush;
    work.run(team);
    team_barrier(team);
  }
  work.finish();
  return p.pool.decided;
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

// The value is published before the sleepers are counted, and a sleeper counts itself before it looks at the value
// (both sequentially consistent), so a ring is never missed.
void Gong::ring() {
  value.fetch_add(1);
  if (sleepers.load() == 0) return;
  { std::lock_guard<std::mutex> lock(mutex); }
  changed.notify_all();
}

void Gong::wait(uint32_t old, int64_t spin_ns) {
  if (spin_ns) {
    const int64_t end = now_ns() + spin_ns;
    do {
      for (int i = 0; i < 64; i++) {
        if (value.load(std::memory_order_acquire) != old) return;
        relax();
      }
    } while (now_ns() < end);
  }
  std::unique_lock<std::mutex> lock(mutex);
  sleepers.fetch_add(1);
  while (value.load() == old) changed.wait(lock);
  sleepers.fetch_sub(1);
}

void team_begin(Team& team, int64_t n) {
  Pool::Local& mine = team.pool->local[team.thread];
  mine.chunks = n;
  mine.next = 0;
}

int64_t team_next(Team& team) {
  Pool& pool = *team.pool;
  Pool::Local& mine = pool.local[team.thread];
  if (team.thread == 0 && pool.interruptible) ask(pool);
  if (pool.requested.load(std::memory_order_relaxed) & (STOP_INTERRUPTED | STOP_FAILED)) return -1;
  if (team.threads == 1) return mine.next < mine.chunks ? mine.next++ : -1;
  const int64_t chunk = pool.next_chunk.fetch_add(1, std::memory_order_relaxed);
  return chunk < mine.chunks ? chunk : -1;
}

void team_end(Team& team) { team_barrier(team); }

void team_barrier(Team& team) {
  Pool& pool = *team.pool;
  if (team.threads == 1) {  // one member alone decides nothing for the others, who may be reading
    if (pool.threads == 1) pool.decided = pool.requested.load(std::memory_order_relaxed);
    return;
  }
  const uint32_t phase = pool.phase.value.load(std::memory_order_relaxed);
  if (pool.arrived.fetch_add(1, std::memory_order_acq_rel) < team.threads - 1) {
    pool.phase.wait(phase, pool.spin ? SPIN_NS : 0);
    return;
  }
  pool.arrived.store(0, std::memory_order_relaxed);
  pool.next_chunk.store(0, std::memory_order_relaxed);
  pool.decided = pool.requested.load(std::memory_order_relaxed);
  if (pool.timed) pool.met_ns = now_ns();
  pool.phase.ring();
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
