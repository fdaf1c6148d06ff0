#include "host.h"

#include <sys/mman.h>
#include <unistd.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <new>
#include <set>
#include <sstream>
#include <thread>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#define STRIATE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STRIATE_ASAN 1
#endif
#endif
#if defined(STRIATE_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace striate {
namespace {

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// ---- quota: cpu.max holds "quota period" or "max period" (v2); two files hold them apart, -1 meaning none (v1)

double quota_v2(const std::string& folder) {
  std::istringstream line(first_line(folder + "/cpu.max"));
  double quota = 0, period = 0;
  return line >> quota >> period && quota > 0 && period > 0 ? quota / period : 0;
}

double quota_v1(const std::string& folder) {
  const double quota = std::atof(first_line(folder + "/cpu.cfs_quota_us").c_str());
  const double period = std::atof(first_line(folder + "/cpu.cfs_period_us").c_str());
  return quota > 0 && period > 0 ? quota / period : 0;
}

// The smallest quota from a group up to the root. In a container the path may be the host's and not exist here: the
// root is then the container's own group.
double smallest(const std::string& mount, std::string group, double (*read)(const std::string&)) {
  double found = 0;
  for (;;) {
    const double quota = read(mount + group);
    if (quota > 0 && (found == 0 || quota < found)) found = quota;
    const size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string::npos) return found;
    group.resize(slash);
  }
}

bool holds_cpu(const std::string& controllers) {
  std::istringstream names(controllers);
  for (std::string name; std::getline(names, name, ',');)
    if (name == "cpu") return true;
  return false;
}

// ---- cores

int32_t physical_core_of(int cpu, const char* file) {
  const std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
  const std::string line = first_line(folder + file);
  return line.empty() ? -1 : std::atoi(line.c_str());
}

#if defined(__linux__)
void count_affinity(Cores& cores) {
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {  // the mask must be as large as the kernel's
    cpu_set_t* mask = CPU_ALLOC(cpus);
    const size_t size = CPU_ALLOC_SIZE(cpus);
    const bool read = mask && sched_getaffinity(0, size, mask) == 0;
    std::set<std::pair<int32_t, int32_t>> physical;
    if (read) {
      cores.affinity = CPU_COUNT_S(size, mask);
      for (int cpu = 0; cpu < cpus; cpu++) {
        if (!CPU_ISSET_S(cpu, size, mask)) continue;
        const int32_t core = physical_core_of(cpu, "core_id");
        physical.insert({physical_core_of(cpu, "physical_package_id"), core < 0 ? (1 << 20) + cpu : core});
      }
      cores.physical = int32_t(physical.size());
    }
    if (mask) CPU_FREE(mask);
    if (read) return;
  }
}
#else
void count_affinity(Cores&) {}
#endif

std::atomic<size_t> mapped_total{0};
constexpr size_t HUGE_PAGE = size_t(2) << 20;

size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace

double cgroup_quota(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");
  double found = 0;
  for (std::string line; std::getline(groups, line);) {  // id:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
    double quota = 0;
    if (controllers.empty()) quota = smallest(root + "/sys/fs/cgroup", group, quota_v2);
    else if (holds_cpu(controllers)) quota = smallest(root + "/sys/fs/cgroup/cpu", group, quota_v1);
    if (quota > 0 && (found == 0 || quota < found)) found = quota;
  }
  return found;
}

Cores find_cores() {
  const int32_t all = std::max(1, int32_t(std::thread::hardware_concurrency()));
  Cores cores{all, all, cgroup_quota("")};
  count_affinity(cores);
  return cores;
}

// A quota of 1.5 gives one thread: two would be stopped together for a quarter of every period.
static int32_t within_quota(int32_t count, double quota) {
  return std::max(1, quota > 0 ? std::min(count, int32_t(quota)) : count);
}

static const Cores& cores() {
  static const Cores found = find_cores();
  return found;
}

int32_t available_cores() { return within_quota(cores().affinity, cores().quota); }
int32_t default_threads() { return within_quota(cores().physical, cores().quota); }

Block::Block(size_t nbytes) : nbytes_(nbytes) {
  const size_t align = nbytes >= HUGE_PAGE ? HUGE_PAGE : size_t(sysconf(_SC_PAGESIZE));
  if (nbytes > SIZE_MAX / 4) throw std::bad_alloc();
  mapped_ = round_up(std::max<size_t>(nbytes, 1), align);
  const size_t asked = mapped_ + (align == HUGE_PAGE ? HUGE_PAGE : 0);
  void* start = mmap(nullptr, asked, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<char*>(start);
  if (align == HUGE_PAGE) {  // give back what lies before and behind the aligned part
    char* aligned = reinterpret_cast<char*>(round_up(reinterpret_cast<uintptr_t>(start), HUGE_PAGE));
    const size_t before = size_t(aligned - data_), behind = asked - before - mapped_;
    if (before) munmap(data_, before);
    if (behind) munmap(aligned + mapped_, behind);
    data_ = aligned;
#if defined(MADV_HUGEPAGE)
    madvise(data_, mapped_, MADV_HUGEPAGE);
#endif
  }
  mapped_total += nbytes_;
}

Block::~Block() {
  unpoison(reinterpret_cast<uintptr_t>(data_), mapped_);
  munmap(data_, mapped_);
  mapped_total -= nbytes_;
}

void Block::prefault() {
#if defined(MADV_POPULATE_WRITE)
  if (madvise(data_, mapped_, MADV_POPULATE_WRITE) == 0) return;
#endif
  const size_t page = size_t(sysconf(_SC_PAGESIZE));
  for (size_t i = 0; i < nbytes_; i += page) {
    volatile char* byte = data_ + i;
    *byte = *byte;
  }
}

size_t mapped_bytes() { return mapped_total; }

#if defined(STRIATE_ASAN)
void poison(uintptr_t address, size_t nbytes) { ASAN_POISON_MEMORY_REGION(reinterpret_cast<void*>(address), nbytes); }
void unpoison(uintptr_t address, size_t nbytes) {
  ASAN_UNPOISON_MEMORY_REGION(reinterpret_cast<void*>(address), nbytes);
}
bool poison_works() { return true; }
#else
void poison(uintptr_t, size_t) {}
void unpoison(uintptr_t, size_t) {}
bool poison_works() { return false; }
#endif

}  // namespace striate
