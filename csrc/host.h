// What this process may use of the machine (cores, affinity mask, cgroup quota), and memory mapped in whole blocks.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include <string>

namespace striate {

struct Cores {
  int32_t affinity;  // logical processors this process may run on
  int32_t physical;  // physical cores among them
  double quota;      // processors' worth of time its cgroups grant; 0 where there is no limit
};

// `root` stands for the root of the file system (tests give a small tree of their own).
double cgroup_quota(const std::string& root);
Cores find_cores();

int32_t available_cores();  // as many threads as run at the same time; looked up once
int32_t default_threads();  // one a physical core of those

// Zeroed memory from the system, 64-byte aligned; in huge pages from 2 MiB on.
class Block {
 public:
  explicit Block(size_t nbytes);  // throws std::bad_alloc
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  void prefault();  // touches every page now rather than in the first run
  char* data() const { return data_; }
  size_t nbytes() const { return nbytes_; }

 private:
  char* data_;
  size_t nbytes_, mapped_;
};

size_t mapped_bytes();  // of all living blocks

// Marks memory that nothing may touch, where the address sanitizer is built in; does nothing elsewhere.
void poison(uintptr_t address, size_t nbytes);
void unpoison(uintptr_t address, size_t nbytes);
bool poison_works();

}  // namespace striate
