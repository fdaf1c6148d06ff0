// Runs kernels of this build for another process: calls come in on standard input, results leave on standard output.
// So the case table of one machine tests kernels compiled for another one, run by an emulator (tests/neon.py).
//
// First it says how many instruction sets it has, and of each its name and block sizes. A call then is
//
//     isa, kernel, threads; tensors, and of each: there?, rank, dtype, ld, 4 sizes, bytes, and these bytes;
//     integers, and these; floats, and these
//
// and its answer whether the run was not stopped, whether several threads gave the bits of one, and the bytes of all
// tensors. Numbers are int64 or double, a text its length and characters.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include "../csrc/program.h"

namespace striate {
namespace {

using Bytes = std::vector<char>;

void get(void* to, size_t bytes) {
  if (fread(to, 1, bytes, stdin) != bytes) exit(feof(stdin) ? 0 : 1);
}
void put(const void* from, size_t bytes) {
  if (fwrite(from, 1, bytes, stdout) != bytes) exit(1);
}
int64_t get_number() {
  int64_t n;
  get(&n, sizeof n);
  return n;
}
void put_number(int64_t n) { put(&n, sizeof n); }
std::string get_text() {
  const int64_t length = get_number();
  std::string text(size_t(length), ' ');
  get(&text[0], text.size());
  return text;
}
template <class T>
std::vector<T> get_list() {
  const int64_t count = get_number();
  std::vector<T> list(static_cast<size_t>(count));
  get(list.data(), list.size() * sizeof(T));
  return list;
}

// Memory that ends where the last byte asked for does: behind it lies a page no one may touch.
class Guarded {
 public:
  explicit Guarded(size_t bytes) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE)), whole = (bytes + page - 1) / page * page;
    size_ = whole + page;
    start_ = static_cast<char*>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (start_ == MAP_FAILED || mprotect(start_ + whole, page, PROT_NONE)) throw std::bad_alloc();
    data = start_ + whole - bytes;
  }
  Guarded(const Guarded&) = delete;
  ~Guarded() { munmap(start_, size_); }
  char* data;

 private:
  char* start_;
  size_t size_;
};

struct Call : TeamWork {
  const Isa& isa;
  const int32_t kernel;
  const int32_t threads;
  std::vector<Tensor> tensors;
  std::vector<Bytes> given;
  std::vector<int64_t> integers;
  std::vector<double> floats;
  char* scratch = nullptr;

  Call() : isa(isa_named(get_text())), kernel(kernel_named(get_text())), threads(int32_t(get_number())) {
    for (int64_t left = get_number(); left > 0; left--) {
      Tensor t{get_number() ? reinterpret_cast<char*>(64) : nullptr, {}, 0, 0, 0};
      t.rank = int32_t(get_number()), t.dtype = int32_t(get_number()), t.ld = get_number();
      get(t.shape, sizeof t.shape);
      tensors.push_back(t);
      given.push_back(get_list<char>());
    }
    integers = get_list<int64_t>(), floats = get_list<double>();
    const KernelInfo& info = kernels()[size_t(kernel)];
    check_signature(info, tensors.data(), int64_t(tensors.size()), int64_t(integers.size()), int64_t(floats.size()),
                    info.name);
  }
  Args args() const { return {tensors.data(), integers.data(), floats.data(), scratch, int32_t(tensors.size())}; }
  void run(Team& team) override {
    team.backwards = team.threads > 1;  // chunks in any order give the same bits
    isa.table->functions[kernel](args(), team);
  }

  // What all tensors hold behind a run, each between guards of its own.
  std::vector<Bytes> results(int32_t team, bool& finished) {
    std::vector<std::unique_ptr<Guarded>> memory;
    for (size_t i = 0; i < tensors.size(); i++) {
      memory.push_back(std::make_unique<Guarded>(given[i].size()));
      memcpy(memory[i]->data, given[i].data(), given[i].size());
      if (tensors[i]) tensors[i].data = memory[i]->data;
    }
    // Rounded up to a line, as the arena does.
    Guarded work(size_t(scratch_bytes(isa, kernel, args(), team) + 63) / 64 * 64);
    scratch = work.data;
    finished = run_team(team, *this, nullptr) == STOP_NONE;
    std::vector<Bytes> all;
    for (size_t i = 0; i < tensors.size(); i++) all.emplace_back(memory[i]->data, memory[i]->data + given[i].size());
    return all;
  }
};

void answer(Call& call) {
  bool finished, alone_finished;
  const std::vector<Bytes> alone = call.results(1, alone_finished), all = call.results(call.threads, finished);
  put_number(finished);
  put_number(alone == all && alone_finished == finished);
  for (const Bytes& bytes : all) put(bytes.data(), bytes.size());
  fflush(stdout);
}

void introduce() {
  put_number(int64_t(isas().size()));
  for (const Isa& isa : isas()) {
    const Blocking& b = isa.table->blocking;
    put_number(int64_t(strlen(isa.name)));
    put(isa.name, strlen(isa.name));
    for (int32_t size : {b.width, b.mr, b.nr, b.mc, b.kc}) put_number(size);
  }
  fflush(stdout);
}

}  // namespace
}  // namespace striate

int main() {
  striate::introduce();
  for (;;) {
    striate::Call call;
    striate::answer(call);
  }
}
