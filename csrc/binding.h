// What the files of the Python module share.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "dispatch.h"
#include "program.h"

namespace striate {

namespace nb = nanobind;

void bind_program(nb::module_& m);
void bind_measure(nb::module_& m);

// Signals are Python's main thread's: its runs ask for them, others never do.
using Interrupted = bool (*)();
Interrupted signals_of_this_thread();

// Releases the GIL, runs, and raises what a signal handler or a callback raised.
uint32_t run_team_released(int32_t threads, TeamWork& work);
void raise_if_stopped(uint32_t stop);

Tensor tensor_of(nb::handle shape, nb::handle ld, nb::handle dtype);
const Isa& usable_isa(const std::string& name);

}  // namespace striate
