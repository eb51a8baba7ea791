// The short way of a call: arguments that are torch tensors on one GPU, for a function that is compiled already.
#ifndef VERNIER_PYTHON_BINDINGS_FASTCALLS_H
#define VERNIER_PYTHON_BINDINGS_FASTCALLS_H

#include "runtime/cuda/DeviceProgram.h"

#include <pybind11/pybind11.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace vernier::python {

/// How a result is put together: one tensor, or the fields of a scaled tensor.
struct FastResult {
  std::vector<pybind11::object> dtypes;   ///< torch's, one a buffer.
  pybind11::object format, axis, grouped; ///< of a scaled tensor; format is None for a plain one.
};

/// Compiled functions by a digest of their arguments: types, devices, all sizes but the first, contiguity, alignment.
/// A call that it does not know, or any other kind of argument, is left to the long way.
class FastCalls {
public:
  FastCalls(pybind11::object tensorType, pybind11::object scaledType, pybind11::object empty, pybind11::object stream);

  /// The digest of arguments, or nothing.
  pybind11::object signature(pybind11::tuple arguments);
  void add(pybind11::bytes signature, const runtime::cuda::DeviceProgram *program, std::vector<FastResult> results,
           bool single);
  /// The results of a call, or NotImplemented.
  pybind11::object call(pybind11::tuple arguments);

private:
  struct Entry {
    const runtime::cuda::DeviceProgram *program;
    std::vector<FastResult> results;
    bool single; ///< one result, not a tuple.
  };
  struct Scratch;
  bool scan(pybind11::tuple arguments, Scratch &scratch);
  bool scanTensor(PyObject *tensor, Scratch &scratch, bool ownShape);

  pybind11::object tensorType, scaledType, empty, stream;
  std::unordered_map<std::string, std::vector<Entry>> entries; ///< several where programs are made for numbers of rows.
  std::unordered_map<int, pybind11::object> devices;
};

void raiseLaunchError(const std::string &message);

} // namespace vernier::python

#endif
