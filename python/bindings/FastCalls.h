// The short way of a call: arguments that are torch tensors on one GPU, for a function that is compiled already.
#ifndef VERNIER_PYTHON_BINDINGS_FASTCALLS_H
#define VERNIER_PYTHON_BINDINGS_FASTCALLS_H

#include "python/bindings/TorchTensors.h"
#include "runtime/cuda/DeviceProgram.h"

#include <pybind11/pybind11.h>

#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace vernier::python {

/// How a result is put together: one tensor, or the fields of a scaled tensor.
struct FastResult {
  std::vector<TorchTensors::Element> elements; ///< one a buffer.
  pybind11::object format, axis, grouped;      ///< of a scaled tensor; format is None for a plain one.
};

/// Compiled functions by a digest of their arguments: of tensors, also scaled ones and in tuples, types, devices, all sizes but
/// the first, contiguity, alignment; and constants. A call that it does not know, or any other kind of argument, is left to the
/// long way.
class FastCalls {
public:
  /// The module torch, the class ScaledTensor, and classes whose objects are constants that their hash tells apart.
  FastCalls(pybind11::object torch, pybind11::object scaledType, pybind11::tuple constantTypes);

  /// The digest of arguments, or nothing.
  pybind11::object signature(pybind11::tuple arguments);
  /// Every result's types by PyTorch's names, format (None for a plain one), axis, and whether it is grouped.
  using ResultSpec = std::tuple<std::vector<std::string>, pybind11::object, pybind11::object, pybind11::object>;
  void add(pybind11::bytes signature, const runtime::cuda::DeviceProgram *program, const std::vector<ResultSpec> &results,
           bool single);
  /// The results of a call, or NotImplemented. `out`: what they are written to, or None.
  pybind11::object call(pybind11::tuple arguments, pybind11::object out);

private:
  struct Entry {
    const runtime::cuda::DeviceProgram *program;
    std::vector<FastResult> results;
    bool single; ///< one result, not a tuple.
  };
  struct Scratch;
  bool scan(pybind11::tuple arguments, Scratch &scratch);
  bool scanValue(PyObject *value, Scratch &scratch);
  bool scanScaled(PyObject *value, Scratch &scratch);
  bool scanTensor(PyObject *tensor, Scratch &scratch, bool ownShape);
  int64_t hashOf(PyObject *constant);
  using Shape = int64_t[4];
  bool given(PyObject *value, const FastResult &result, const Shape *shapes, const int *ranks, size_t count, int device,
             void **buffers);
  bool givenTensor(PyObject *tensor, const TorchTensors::Element &element, const Shape &shape, int rank, int device,
                   void *&buffer);

  TorchTensors tensors;
  pybind11::object scaledType;
  pybind11::tuple constantTypes;
  std::unordered_map<std::string, std::vector<Entry>> entries; ///< several where programs are made for numbers of rows.
  std::unordered_map<PyObject *, std::pair<pybind11::object, int64_t>> hashes; ///< of constants that were seen, kept alive.
};

void raiseLaunchError(const std::string &message);

} // namespace vernier::python

#endif
