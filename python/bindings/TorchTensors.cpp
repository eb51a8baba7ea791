#include "python/bindings/TorchTensors.h"

#include <algorithm>
#include <dlfcn.h>
#include <memory>

namespace py = pybind11;
using namespace vernier::python;

namespace {
/// A function of a library that the process has loaded already, or null.
template <typename Function> void find(Function &slot, const char *library, const char *name) {
  void *loaded = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
  slot = loaded ? reinterpret_cast<Function>(dlsym(loaded, name)) : nullptr;
}
constexpr int kMostDimensions = 8;
} // namespace

TorchTensors::TorchTensors(py::object module)
    : torch(std::move(module)), tensor(torch.attr("Tensor")), parameter(torch.attr("nn").attr("Parameter")),
      empty(torch.attr("empty")) {
  py::object capsule = tensor.attr("__dlpack_c_exchange_api__");
  exchange = static_cast<const dlpack::ExchangeApi *>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  while (exchange && exchange->version.major != dlpack::kMajor)
    exchange = exchange->previous;
  if (!exchange)
    throw py::value_error("PyTorch has no version 1 of DLPack's exchange interface");

  // at::TensorBase is what the handles of the stable interface point to.
  int32_t (*cudaType)() = nullptr;
  find(cudaType, "libtorch_cpu.so", "aoti_torch_device_type_cuda");
  find(emptyStrided, "libtorch_cpu.so", "aoti_torch_empty_strided");
  find(dataPointer, "libtorch_cpu.so", "aoti_torch_get_data_ptr");
  find(destroy, "libtorch_cpu.so", "aoti_torch_delete_tensor_object");
  find(wrap, "libtorch_python.so", "_Z16THPVariable_WrapRKN2at10TensorBaseE");
  quick = cudaType && emptyStrided && dataPointer && destroy && wrap;
  if (quick)
    cuda = cudaType();
}

bool TorchTensors::view(PyObject *object, dlpack::Tensor &seen) const {
  PyObject *type = reinterpret_cast<PyObject *>(Py_TYPE(object));
  if (type != tensor.ptr() && type != parameter.ptr())
    return false;
  if (exchange->viewOfObject(object, &seen)) {
    PyErr_Clear();
    return false;
  }
  if (seen.device.type != dlpack::kCuda)
    return false;
  seen.data = static_cast<char *>(seen.data) + seen.byteOffset;
  int64_t count = 1;
  for (int d = seen.rank - 1; d >= 0; --d) {
    if (seen.strides && seen.shape[d] != 1 && seen.strides[d] != count)
      return false;
    count *= std::max<int64_t>(1, seen.shape[d]);
  }
  if (count != 1)
    return true;
  // The imaginary part of a conjugate is a view whose negation is still due, and row-major only as a single element.
  static PyObject *isNegative = PyUnicode_InternFromString("is_neg");
  py::object negative = py::reinterpret_steal<py::object>(PyObject_CallMethodNoArgs(object, isNegative));
  if (!negative)
    PyErr_Clear();
  return negative.ptr() == Py_False;
}

void *TorchTensors::currentStream(int device) const {
  void *stream = nullptr;
  if (exchange->currentStream(dlpack::kCuda, device, &stream))
    throw py::error_already_set();
  return stream;
}

TorchTensors::Element TorchTensors::element(const std::string &name) const {
  Element element{torch.attr(name.c_str()), -1};
  int32_t (*number)() = nullptr;
  find(number, "libtorch_cpu.so", ("aoti_torch_dtype_" + name).c_str());
  if (number)
    element.number = number();
  return element;
}

py::object TorchTensors::make(const int64_t *shape, int rank, const Element &element, int device, void *&address) const {
  if (quick && element.number >= 0 && rank <= kMostDimensions) {
    int64_t strides[kMostDimensions];
    for (int64_t d = rank - 1, stride = 1; d >= 0; stride *= std::max<int64_t>(1, shape[d--]))
      strides[d] = stride;
    Handle made = nullptr;
    if (emptyStrided(rank, shape, strides, element.number, cuda, device, &made) == 0) {
      std::unique_ptr<void, int (*)(Handle)> owned(made, destroy);
      py::object object = py::reinterpret_steal<py::object>(wrap(made));
      if (!object)
        throw py::error_already_set();
      if (dataPointer(made, &address) == 0)
        return object;
    }
  }
  // Also the way to PyTorch's own error where memory runs out.
  py::tuple sizes(rank);
  for (int d = 0; d < rank; ++d)
    sizes[size_t(d)] = py::int_(shape[d]);
  py::object made = empty(sizes, py::arg("dtype") = element.dtype, py::arg("device") = device);
  address = PyLong_AsVoidPtr(py::object(made.attr("data_ptr")()).ptr());
  return made;
}
