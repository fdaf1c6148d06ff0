// What the machine offers and what it reaches: cores, quota, multiply-adds, memory.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "binding.h"
#include "host.h"

namespace striate {
namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Trials of a few milliseconds that all threads start together; the best counts, the rest met other programs.
struct Trials : TeamWork {
  double seconds, best = 0;
  bool more = true;

  explicit Trials(double s) : seconds(s) {}
  virtual void trial(const Team& team) = 0;

  void run(Team& team) override {
    const double end = now() + seconds;
    while (more) {
      team_meet(team);
      const double start = now();
      trial(team);
      team_meet(team);
      if (team.thread == 0) {
        const double stop = now();
        best = best ? std::min(best, stop - start) : stop - start;
        const bool unwanted = team.pool->interrupted && team.pool->interrupted();
        if (unwanted) team_request(team, STOP_INTERRUPTED);
        more = stop < end && !unwanted;
      }
      team_meet(team);
    }
  }
};

struct Peak : Trials {
  static constexpr int64_t ROUNDS = 400'000;  // 2 to 5 ms
  const Table& table;
  float results[Pool::MAX_THREADS];  // kept, so that no compiler drops the work

  Peak(const Table& t, double s) : Trials(s), table(t) {}
  void trial(const Team& team) override { results[team.thread] = table.fma_peak(ROUNDS); }
};

struct Copy : Trials {
  const Block &from, &to;

  Copy(const Block& f, const Block& t, double s) : Trials(s), from(f), to(t) {}
  void trial(const Team& team) override {
    const size_t begin = from.nbytes() * team.thread / team.threads;
    const size_t end = from.nbytes() * (team.thread + 1) / team.threads;
    memcpy(to.data() + begin, from.data() + begin, end - begin);
  }
};

int32_t checked_threads(int32_t threads) { return std::max(1, std::min(threads, Pool::MAX_THREADS)); }

double peak_gflops(const std::string& isa, int32_t threads, double seconds) {
  const Table& table = *usable_isa(isa).table;
  threads = checked_threads(threads);
  Peak peak(table, seconds);
  run_team_released(threads, peak);
  return 2e-9 * double(Peak::ROUNDS * FMA_CHAINS * table.blocking.width * threads) / peak.best;
}

double copy_gbs(int32_t threads, double seconds, size_t nbytes) {
  Block from(nbytes), to(nbytes);
  from.prefault();
  to.prefault();
  Copy copy(from, to, seconds);
  run_team_released(checked_threads(threads), copy);
  return 2e-9 * double(nbytes) / copy.best;
}

nb::dict cores() {
  const Cores found = find_cores();
  nb::dict all;
  all["affinity"] = found.affinity;
  all["physical"] = found.physical;
  all["quota"] = found.quota > 0 ? nb::cast(found.quota) : nb::none();
  all["available"] = available_cores();
  return all;
}

}  // namespace

void bind_measure(nb::module_& m) {
  m.def("cores", cores, "Logical processors this process may use, physical cores among them, its cgroups' quota.");
  m.def("cgroup_quota", cgroup_quota, nb::arg("root") = "", "Processors' worth of time granted; 0 means no limit.");
  m.def("default_threads", default_threads, "Physical cores, within affinity and quota.");
  m.def("pool_workers", pool_workers, "Threads the pool has started; none before the first run.");
  m.def("peak_gflops", peak_gflops, nb::arg("isa"), nb::arg("threads"), nb::arg("seconds") = 0.2,
        "Multiply-adds from registers alone, two operations each, best trial.");
  m.def("copy_gbs", copy_gbs, nb::arg("threads"), nb::arg("seconds") = 0.2, nb::arg("nbytes") = size_t(128) << 20,
        "Bytes read plus bytes written a second by a copy, best trial.");
}

}  // namespace striate
