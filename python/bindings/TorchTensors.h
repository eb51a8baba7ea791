// Tensors of PyTorch, read and made in tens of nanoseconds: through DLPack's C exchange interface and PyTorch's stable C
// interface in place of its Python layer, which takes longer than a launch.
#ifndef VERNIER_PYTHON_BINDINGS_TORCHTENSORS_H
#define VERNIER_PYTHON_BINDINGS_TORCHTENSORS_H

#include "python/bindings/DLPack.h"

#include <pybind11/pybind11.h>

#include <string>

namespace vernier::python {

/// Knows torch.Tensor and torch.nn.Parameter, but no subclass: those may stand for tensors without memory.
class TorchTensors {
public:
  /// `torch` is the module. Raises where it lacks DLPack's exchange interface (before 2.10).
  explicit TorchTensors(pybind11::object torch);

  /// A dense row-major tensor on a GPU, whose memory the tensor keeps. False for any other object; no Python error is left.
  bool view(PyObject *object, dlpack::Tensor &seen) const;
  void *currentStream(int device) const;

  /// A type of elements, by the name that PyTorch has for it.
  struct Element {
    pybind11::object dtype;
    int32_t number = -1; ///< in the stable C interface; -1 where it has none.
  };
  Element element(const std::string &name) const;
  /// A new tensor of PyTorch's allocator, not filled, and its address. Raises as torch.empty does.
  pybind11::object make(const int64_t *shape, int rank, const Element &element, int device, void *&address) const;

private:
  using Handle = void *;

  pybind11::object torch, tensor, parameter, empty;
  const dlpack::ExchangeApi *exchange = nullptr;
  // The stable C interface, and the function that gives a tensor of it to Python; used where all are found.
  int (*emptyStrided)(int64_t rank, const int64_t *sizes, const int64_t *strides, int32_t dtype, int32_t deviceType,
                      int32_t device, Handle *made) = nullptr;
  int (*dataPointer)(Handle, void **) = nullptr;
  int (*destroy)(Handle) = nullptr;
  PyObject *(*wrap)(Handle) = nullptr;
  int32_t cuda = -1;
  bool quick = false;
};

} // namespace vernier::python

#endif
