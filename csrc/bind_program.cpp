// Program for Python: parsing its calls, the user's arrays, callbacks.
#include <cstring>
#include <stdexcept>

#include "binding.h"
#include "nanobind/ndarray.h"

namespace striate {
namespace {

// ---- the user's arrays, through the buffer protocol

int32_t dtype_of(const char* format, int64_t itemsize) {
  if (!format) return U8;
  if (*format == '@' || *format == '=' || *format == '^' || *format == '<') format++;  // '>' matches nothing below
  if (std::strlen(format) != 1) return -1;
  switch (*format) {
    case 'f': return F32;
    case 'B': return U8;
    case 'H': return U16;
    case 'l':
    case 'q': return itemsize == 8 ? int32_t(I64) : -1;
    default: return -1;
  }
}

std::string shape_text(int64_t rank, const int64_t* shape) {
  std::string text = "(";
  for (int64_t i = 0; i < rank; i++) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (rank == 1 ? ",)" : ")");
}

// Buffers of one run's inputs or outputs; released with it.
class Arrays {
 public:
  Arrays(const char* kind, nb::handle list, const std::vector<Placed>& wanted, int flags) {
    const Py_ssize_t count = PySequence_Size(list.ptr());
    if (count < 0) throw nb::python_error();
    if (size_t(count) != wanted.size())
      throw std::invalid_argument("program: needs " + std::to_string(wanted.size()) + " " + kind + "s, got " +
                                  std::to_string(count));
    buffers_.reserve(wanted.size());
    for (Py_ssize_t i = 0; i < count; i++) add(kind, i, nb::object(list[i]), wanted[i].tensor, flags);
  }
  ~Arrays() {
    for (Py_buffer& buffer : buffers_) PyBuffer_Release(&buffer);
  }
  Arrays(const Arrays&) = delete;
  const std::vector<Strided>& strided() const { return strided_; }

 private:
  void add(const char* kind, Py_ssize_t i, const nb::object& array, const Tensor& wanted, int flags) {
    Py_buffer buffer;
    if (PyObject_GetBuffer(array.ptr(), &buffer, flags)) throw nb::python_error();
    buffers_.push_back(buffer);
    Strided s{static_cast<char*>(buffer.buf), wanted.rank, wanted.dtype, {1, 1, 1, 1}, {0, 0, 0, 0}};
    bool same = buffer.ndim == wanted.rank && dtype_of(buffer.format, buffer.itemsize) == wanted.dtype;
    for (int axis = 0; same && axis < buffer.ndim; axis++) {
      same = buffer.shape[axis] == wanted.shape[axis];
      s.shape[axis] = buffer.shape[axis];
      s.strides[axis] = buffer.strides[axis];
    }
    if (!same) {
      const std::vector<int64_t> shape(buffer.shape, buffer.shape + buffer.ndim);
      throw std::invalid_argument(std::string("program: ") + kind + " " + std::to_string(i) + " must be " +
                                  dtype_name(wanted.dtype) + " of shape " + shape_text(wanted.rank, wanted.shape) +
                                  ", got format '" + (buffer.format ? buffer.format : "B") + "' of shape " +
                                  shape_text(buffer.ndim, shape.data()));
    }
    strided_.push_back(s);
  }

  std::vector<Py_buffer> buffers_;
  std::vector<Strided> strided_;
};

constexpr int READ = PyBUF_STRIDES | PyBUF_FORMAT, WRITE = READ | PyBUF_WRITABLE;

// ---- callbacks

nb::object copy_of(const Tensor& tensor) {
  const size_t bytes = size_t(count_of(tensor) * item_bytes(tensor.dtype));
  char* data = new char[bytes ? bytes : 1];
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<char*>(p); });
  transfer_alone(as_strided(tensor), as_contiguous(tensor, data));
  size_t shape[4];
  for (int i = 0; i < 4; i++) shape[i] = size_t(tensor.shape[i]);
  const nb::dlpack::dtype kinds[] = {nb::dtype<float>(), nb::dtype<uint8_t>(), nb::dtype<uint16_t>(),
                                     nb::dtype<int64_t>()};
  return nb::cast(nb::ndarray<nb::numpy>(data, size_t(tensor.rank), shape, owner, nullptr, kinds[tensor.dtype]));
}

struct PythonCallback : Callback {
  nb::object function;

  // The error stays in the thread state until the run has ended.
  bool run(const Tensor* tensors, int64_t inputs, int64_t count) override {
    nb::gil_scoped_acquire gil;
    try {
      call(tensors, inputs, count);
      return true;
    } catch (nb::python_error& error) {
      error.restore();
    } catch (const std::exception& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
    return false;
  }

  void call(const Tensor* tensors, int64_t inputs, int64_t count) {
    nb::list arguments;
    for (int64_t i = 0; i < inputs; i++) arguments.append(copy_of(tensors[i]));
    nb::object result = function(*arguments);
    if (!nb::isinstance<nb::tuple>(result) && !nb::isinstance<nb::list>(result)) result = nb::make_tuple(result);
    std::vector<Placed> wanted;
    for (int64_t i = inputs; i < count; i++) wanted.push_back({tensors[i], 0, 0});
    const Arrays arrays("callback result", result, wanted, READ);
    for (int64_t i = inputs; i < count; i++) transfer_alone(arrays.strided()[i - inputs], as_strided(tensors[i]));
  }
};

struct PythonProgram : Program {
  using Program::Program;
  std::vector<std::shared_ptr<PythonCallback>> callbacks;
};

// ---- parsing

Placed placed_of(nb::handle item) {
  Placed placed;
  placed.tensor = Tensor{nullptr, {1, 1, 1, 1}, 0, 0, F32};
  if (item.is_none()) return placed;
  placed.tensor = tensor_of(item[2], item[3], item[4]);
  placed.block = nb::cast<int32_t>(item[0]);
  placed.offset = nb::cast<int64_t>(item[1]);
  if (placed.block < 0)
    throw std::invalid_argument("program: blocks count from 0, got " + std::to_string(placed.block));
  return placed;
}

std::vector<Placed> placed_list(nb::handle items) {
  std::vector<Placed> list;
  for (nb::handle item : items) list.push_back(placed_of(item));
  return list;
}

// (kernel, tensors, integers, floats, scratch block, scratch offset, scratch bytes, alone, backwards), or for foreign
// code ("callback", tensors, function, number of inputs, ...)
CallSpec call_of(nb::handle item) {
  CallSpec spec;
  spec.kernel = nb::cast<std::string>(item[0]);
  spec.tensors = placed_list(item[1]);
  if (spec.kernel == "callback") {
    auto callback = std::make_shared<PythonCallback>();
    callback->function = nb::object(item[2]);
    if (!PyCallable_Check(callback->function.ptr()))
      throw std::invalid_argument("program: a callback needs a function");
    spec.callback = callback;
    spec.integers = {nb::cast<int64_t>(item[3])};
    return spec;
  }
  spec.integers = nb::cast<std::vector<int64_t>>(item[2]);
  spec.floats = nb::cast<std::vector<double>>(item[3]);
  spec.scratch_block = nb::cast<int32_t>(item[4]);
  spec.scratch_offset = nb::cast<int64_t>(item[5]);
  spec.scratch_bytes = nb::cast<int64_t>(item[6]);
  spec.alone = nb::cast<bool>(item[7]);
  spec.backwards = nb::cast<bool>(item[8]);
  return spec;
}

void make_program(PythonProgram* self, const std::string& isa, int32_t threads, nb::handle calls, nb::handle inputs,
                  nb::handle outputs, std::vector<int64_t> block_bytes, int64_t update_from, int64_t prelude) {
  std::vector<CallSpec> specs;
  std::vector<std::shared_ptr<PythonCallback>> callbacks;
  for (nb::handle item : calls) {
    specs.push_back(call_of(item));
    if (auto& callback = specs.back().callback) callbacks.push_back(std::static_pointer_cast<PythonCallback>(callback));
  }
  new (self) PythonProgram(isa_named(isa), threads, std::move(specs), placed_list(inputs), placed_list(outputs),
                           std::move(block_bytes), update_from, prelude);
  self->callbacks = std::move(callbacks);
}

int64_t run_program(PythonProgram& self, const std::vector<uintptr_t>& blocks, nb::handle inputs, nb::handle outputs,
                    bool run_prelude, bool profile) {
  if (blocks.size() != self.block_count())
    throw std::invalid_argument("program: needs the addresses of " + std::to_string(self.block_count()) +
                                " blocks, got " + std::to_string(blocks.size()));
  const Arrays from("input", inputs, self.inputs(), READ), to("output", outputs, self.outputs(), WRITE);
  const Interrupted interrupted = signals_of_this_thread();
  RunResult result;
  {
    nb::gil_scoped_release released;
    result = self.run(blocks, from.strided(), to.strided(), run_prelude, profile, interrupted);
  }
  raise_if_stopped(result.stop);
  return result.stop ? result.stopped_at : -1;
}

// A callback may refer to what holds its program: the garbage collector must see through us.
int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  for (const auto& callback : nb::inst_ptr<PythonProgram>(self)->callbacks) Py_VISIT(callback->function.ptr());
  return 0;
}

int clear(PyObject* self) {
  for (const auto& callback : nb::inst_ptr<PythonProgram>(self)->callbacks) callback->function.reset();
  return 0;
}

PyType_Slot slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(traverse)}, {Py_tp_clear, reinterpret_cast<void*>(clear)}, {0, nullptr}};

}  // namespace

void bind_program(nb::module_& m) {
  nb::class_<PythonProgram>(m, "Program", nb::type_slots(slots), "A placed tape, bound to an instruction set.")
      .def("__init__", make_program, nb::arg("isa"), nb::arg("threads"), nb::arg("calls"), nb::arg("inputs"),
           nb::arg("outputs"), nb::arg("block_bytes"), nb::arg("update_from"), nb::arg("prelude") = 0,
           "Checks every tensor and scratch range against `block_bytes` and every call against its signature.")
      .def("run", run_program, nb::arg("blocks"), nb::arg("inputs"), nb::arg("outputs"), nb::arg("run_prelude"),
           nb::arg("profile") = false, "Runs all calls; the index of the call that found a non-finite loss, or -1.")
      .def("last_profile", &PythonProgram::last_profile, "Nanoseconds of each call of the last profiled run.");
}

}  // namespace striate
