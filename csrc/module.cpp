// The extension module striate.kernels._native.
#include <pthread.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include <atomic>
#include <cstdlib>
#include <new>
#include <stdexcept>

#include "binding.h"
#include "host.h"
#include "nanobind/ndarray.h"

namespace striate {

bool check_signals() {
  nb::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

#if defined(__linux__)
// Asked of the system once a thread and process (0.2 us a question): behind a fork the one thread left is the main one.
bool is_main_thread() {
  static std::atomic<uint32_t> forks{0};
  static const int registered = pthread_atfork(nullptr, nullptr, [] { forks++; });
  (void)registered;
  thread_local uint32_t seen = forks - 1;
  thread_local bool is_main = false;
  if (seen != forks) {
    seen = forks;
    is_main = syscall(SYS_gettid) == getpid();
  }
  return is_main;
}
#else
bool is_main_thread() { return pthread_main_np() != 0; }
#endif

Interrupted signals_of_this_thread() { return is_main_thread() ? check_signals : nullptr; }

void raise_if_stopped(uint32_t stop) {
  if (stop & (STOP_INTERRUPTED | STOP_FAILED)) throw nb::python_error();
}

uint32_t run_team_released(int32_t threads, TeamWork& work) {
  const Interrupted interrupted = signals_of_this_thread();
  uint32_t stop;
  {
    nb::gil_scoped_release released;
    stop = run_team(threads, work, interrupted);
  }
  raise_if_stopped(stop);
  return stop;
}

Tensor tensor_of(nb::handle shape, nb::handle ld, nb::handle dtype) {
  Tensor tensor{nullptr, {1, 1, 1, 1}, nb::cast<int64_t>(ld), 0, nb::cast<int32_t>(dtype)};
  for (nb::handle size : shape) {
    if (tensor.rank == 4) throw std::invalid_argument("kernels: a tensor has at most 4 axes");
    tensor.shape[tensor.rank++] = nb::cast<int64_t>(size);
  }
  return tensor;
}

const Isa& usable_isa(const std::string& name) {
  const Isa& isa = isa_named(name);
  if (!isa.usable()) throw std::invalid_argument("isa: this machine cannot run " + name);
  return isa;
}

namespace {

// ---- one kernel at once, on the addresses of arrays

struct OneCall : TeamWork {
  const KernelInfo* info;
  int32_t kernel;
  std::vector<Tensor> tensors;
  std::vector<int64_t> integers;
  std::vector<double> floats;
  KernelFn function = nullptr;
  char* scratch = nullptr;

  OneCall(const std::string& name, nb::handle list, std::vector<int64_t> ints, std::vector<double> doubles)
      : integers(std::move(ints)), floats(std::move(doubles)) {
    kernel = kernel_named(name);
    info = &kernels()[kernel];
    for (nb::handle item : list) tensors.push_back(given(item));
    check_signature(*info, tensors.data(), int64_t(tensors.size()), int64_t(integers.size()), int64_t(floats.size()),
                    name);
    for (const Tensor& tensor : tensors) tensor_bytes(tensor, name);
  }
  // (shape, ld, dtype, address) or None; where only sizes matter the address may be left out.
  static Tensor given(nb::handle item) {
    if (item.is_none()) return Tensor{nullptr, {1, 1, 1, 1}, 0, 0, F32};
    Tensor tensor = tensor_of(item[0], item[1], item[2]);
    const bool has_address = nb::len(item) > 3;
    tensor.data = reinterpret_cast<char*>(has_address ? nb::cast<uintptr_t>(item[3]) : uintptr_t(64));
    return tensor;
  }
  Args args() const { return {tensors.data(), integers.data(), floats.data(), scratch, int32_t(tensors.size())}; }
  void run(Team& team) override { function(args(), team); }
};

int64_t scratch_of(const std::string& isa, const std::string& kernel, nb::handle tensors,
                   const std::vector<int64_t>& integers, const std::vector<double>& floats, int threads) {
  const OneCall call(kernel, tensors, integers, floats);
  return scratch_bytes(isa_named(isa), call.kernel, call.args(), threads);
}

bool call_now(const std::string& name, const std::string& kernel, nb::handle tensors,
              const std::vector<int64_t>& integers, const std::vector<double>& floats, int32_t threads) {
  const Isa& isa = usable_isa(name);
  OneCall call(kernel, tensors, integers, floats);
  call.function = isa.table->functions[call.kernel];
  const int64_t needed = scratch_bytes(isa, call.kernel, call.args(), threads);
  struct Scratch {
    void* data;
    explicit Scratch(int64_t bytes) : data(bytes ? ::operator new(size_t(bytes), std::align_val_t(64)) : nullptr) {}
    ~Scratch() { ::operator delete(data, std::align_val_t(64)); }
  } scratch(needed);
  call.scratch = static_cast<char*>(scratch.data);
  return run_team_released(threads, call) == STOP_NONE;
}

// ---- tables

nb::list usable_isas() {
  nb::list names;
  for (const Isa& isa : isas())
    if (isa.usable()) names.append(isa.name);
  return names;
}

nb::dict blocking_of(const std::string& name) {
  const Blocking& b = isa_named(name).table->blocking;
  nb::dict sizes;
  sizes["width"] = b.width;
  sizes["mr"] = b.mr;
  sizes["nr"] = b.nr;
  sizes["mc"] = b.mc;
  sizes["kc"] = b.kc;
  return sizes;
}

nb::dict signatures() {
  nb::dict all;
  for (const KernelInfo& info : kernels()) all[info.name] = nb::make_tuple(info.signature, info.parameters);
  return all;
}

void bind_kernels(nb::module_& m) {
  m.def("isas", usable_isas, "Instruction sets this machine can run, the fastest last.");
  m.def("default_isa", [] { return std::string(default_isa().name); }, "STRIATE_ISA, or the fastest usable.");
  m.def("blocking", blocking_of, nb::arg("isa"), "Vector width, register tile and block sizes.");
  m.def("signatures", signatures, "Name of a kernel -> (its tensors, its parameters).");
  m.def("scratch", scratch_of, nb::arg("isa"), nb::arg("kernel"), nb::arg("tensors"), nb::arg("integers"),
        nb::arg("floats"), nb::arg("threads"),
        "Bytes of scratch of a call; its tensors are (shape, ld, dtype) or None.");
  m.def("call", call_now, nb::arg("isa"), nb::arg("kernel"), nb::arg("tensors"), nb::arg("integers"), nb::arg("floats"),
        nb::arg("threads"),
        "One kernel at once, tensors as (shape, ld, dtype, address); False: it found a loss that is not finite.");
}

// ---- memory

void bind_memory(nb::module_& m) {
  nb::class_<Block>(m, "Block", "Zeroed memory, 64-byte aligned, in huge pages from 2 MiB on.")
      .def(nb::init<size_t>(), nb::arg("nbytes"))
      .def_prop_ro("address", [](const Block& self) { return reinterpret_cast<uintptr_t>(self.data()); })
      .def_prop_ro("nbytes", &Block::nbytes)
      .def("prefault", &Block::prefault, nb::call_guard<nb::gil_scoped_release>(), "Touches every page now.")
      .def(
          "array",
          [](nb::object self) {
            const Block& block = nb::cast<const Block&>(self);
            return nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>(block.data(), {block.nbytes()}, self);
          },
          "Its bytes as an array, which keeps the block alive.");
  m.def("mapped_bytes", mapped_bytes, "Bytes of all living blocks.");
  m.def("poison", poison, nb::arg("address"), nb::arg("nbytes"), "Under the address sanitizer: touching it is a bug.");
  m.def("unpoison", unpoison, nb::arg("address"), nb::arg("nbytes"));
  m.def("poison_works", poison_works, "Whether this build has the address sanitizer.");
}

}  // namespace

NB_MODULE(_native, m) {
  m.attr("version") = STRIATE_VERSION;
  bind_kernels(m);
  bind_memory(m);
  bind_program(m);
  bind_measure(m);
}

}  // namespace striate
