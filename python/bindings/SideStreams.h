// Copies and messages beside kernels, for Python.
#ifndef VERNIER_PYTHON_BINDINGS_SIDESTREAMS_H
#define VERNIER_PYTHON_BINDINGS_SIDESTREAMS_H

#include <pybind11/pybind11.h>

namespace vernier::python {

/// Courier, Communicator and nccl_unique_id.
void bindSideStreams(pybind11::module_ &m);

} // namespace vernier::python

#endif
