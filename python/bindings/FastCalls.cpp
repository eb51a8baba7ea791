#include "python/bindings/FastCalls.h"

#include <algorithm>

namespace py = pybind11;
using namespace vernier;
using namespace vernier::python;

namespace {
/// Attribute names, made once.
PyObject *name(const char *text) { return PyUnicode_InternFromString(text); }
struct Names {
  PyObject *payload = name("payload"), *scales = name("scales"), *format = name("format"), *shape = name("shape"),
           *axis = name("axis"), *tensorScale = name("tensor_scale"), *grouped = name("grouped"), *dtype = name("dtype");
};
const Names &names() {
  static const Names *made = new Names;
  return *made;
}

py::object take(PyObject *object) { return py::reinterpret_steal<py::object>(object); }
constexpr int kMost = 32;
} // namespace

/// A call's arguments as the launch wants them, and its digest.
struct FastCalls::Scratch {
  std::string digest;
  int64_t shapes[kMost][4];
  void *buffers[kMost][3];
  runtime::ValueRef values[kMost];
  int count = 0, shapeOf = 0, bufferOf = 0;
  int device = -1;
  void note(const void *bytes, size_t size) { digest.append(static_cast<const char *>(bytes), size); }
  void note(int64_t value) { note(&value, sizeof value); }
};

FastCalls::FastCalls(py::object torch, py::object scaledType, py::tuple constantTypes)
    : tensors(std::move(torch)), scaledType(std::move(scaledType)), constantTypes(std::move(constantTypes)) {}

/// Equal constants may be several objects, so that their hash is what counts; Python would compute it anew for every call.
/// -1, with Python's error cleared, for an object without one: such calls take the long way.
int64_t FastCalls::hashOf(PyObject *constant) {
  auto known = hashes.find(constant);
  if (known != hashes.end())
    return known->second.second;
  int64_t hash = PyObject_Hash(constant);
  if (hash == -1) {
    PyErr_Clear();
    return -1;
  }
  if (hashes.size() > 64)
    hashes.clear();
  hashes.emplace(constant, std::pair(py::reinterpret_borrow<py::object>(constant), hash));
  return hash;
}

/// Adds a tensor's address to the current value; its shape too where the value is the tensor itself.
bool FastCalls::scanTensor(PyObject *tensor, Scratch &scratch, bool ownShape) {
  dlpack::Tensor seen;
  if (!tensors.view(tensor, seen) || (scratch.device >= 0 && scratch.device != seen.device.index) ||
      reinterpret_cast<uintptr_t>(seen.data) % 16 || seen.rank > 4)
    return false;
  scratch.device = seen.device.index;
  scratch.buffers[scratch.count][scratch.bufferOf++] = seen.data;
  scratch.note(seen.type.code | seen.type.bits << 8 | int64_t(seen.type.lanes) << 16);
  if (!ownShape)
    return true;
  scratch.note(seen.rank);
  for (int d = 0; d < seen.rank; ++d) {
    scratch.shapes[scratch.count][d] = seen.shape[d];
    if (d)
      scratch.note(seen.shape[d]);
  }
  return true;
}

bool FastCalls::scanScaled(PyObject *value, Scratch &scratch) {
  const Names &n = names();
  py::object payload = take(PyObject_GetAttr(value, n.payload)), scales = take(PyObject_GetAttr(value, n.scales));
  py::object format = take(PyObject_GetAttr(value, n.format)), shape = take(PyObject_GetAttr(value, n.shape));
  py::object axis = take(PyObject_GetAttr(value, n.axis)), tensorScale = take(PyObject_GetAttr(value, n.tensorScale));
  py::object grouped = take(PyObject_GetAttr(value, n.grouped));
  if (!payload || !scales || !format || !shape || !axis || !tensorScale || tensorScale.ptr() != Py_None || !grouped ||
      grouped.ptr() != Py_False || PyTuple_GET_SIZE(shape.ptr()) > 4) {
    PyErr_Clear();
    return false;
  }
  if (!scanTensor(payload.ptr(), scratch, false) || !scanTensor(scales.ptr(), scratch, false))
    return false;
  int64_t hash = hashOf(format.ptr());
  if (hash == -1)
    return false;
  scratch.note(hash);
  scratch.note(PyLong_AsLongLong(axis.ptr()));
  for (Py_ssize_t d = 0, rank = PyTuple_GET_SIZE(shape.ptr()); d < rank; ++d) {
    scratch.shapes[scratch.count][d] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), d));
    scratch.note(d ? scratch.shapes[scratch.count][d] : rank);
  }
  return true;
}

/// Notes one argument, or one member of an argument that is a tuple. What it is comes first, so that no two calls are noted
/// alike.
bool FastCalls::scanValue(PyObject *value, Scratch &scratch) {
  PyTypeObject *type = Py_TYPE(value);
  auto tag = [&](char kind) { scratch.digest.push_back(kind); };
  if (value == Py_None) {
    tag('N');
    return true;
  }
  if (type == &PyUnicode_Type) {
    Py_ssize_t size = 0;
    const char *text = PyUnicode_AsUTF8AndSize(value, &size);
    if (!text) {
      PyErr_Clear();
      return false;
    }
    tag('S');
    scratch.note(int64_t(size));
    scratch.note(text, size_t(size));
    return true;
  }
  if (type == &PyBool_Type || type == &PyLong_Type) {
    int overflow = 0;
    int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    tag(type == &PyBool_Type ? 'B' : 'I');
    scratch.note(number);
    return !overflow;
  }
  if (type == &PyTuple_Type) {
    tag('(');
    scratch.note(int64_t(PyTuple_GET_SIZE(value)));
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); ++i)
      if (!scanValue(PyTuple_GET_ITEM(value, i), scratch))
        return false;
    return true;
  }
  for (py::handle constant : constantTypes)
    if (type == reinterpret_cast<PyTypeObject *>(constant.ptr())) {
      int64_t hash = hashOf(value);
      tag('C');
      scratch.note(hash);
      return hash != -1;
    }
  if (scratch.count == kMost)
    return false;
  scratch.bufferOf = 0;
  bool scaled = type == reinterpret_cast<PyTypeObject *>(scaledType.ptr());
  tag(scaled ? 'X' : 'T');
  if (!(scaled ? scanScaled(value, scratch) : scanTensor(value, scratch, true)))
    return false;
  scratch.values[scratch.count] = {scratch.shapes[scratch.count], scratch.buffers[scratch.count]};
  ++scratch.count;
  return true;
}

bool FastCalls::scan(py::tuple arguments, Scratch &scratch) {
  for (Py_ssize_t i = 0, count = PyTuple_GET_SIZE(arguments.ptr()); i < count; ++i)
    if (!scanValue(PyTuple_GET_ITEM(arguments.ptr(), i), scratch))
      return false;
  scratch.note(scratch.device);
  return scratch.device >= 0;
}

py::object FastCalls::signature(py::tuple arguments) {
  Scratch scratch;
  if (!scan(arguments, scratch))
    return py::none();
  return py::bytes(scratch.digest);
}

void FastCalls::add(py::bytes signature, const runtime::cuda::DeviceProgram *program, const std::vector<ResultSpec> &results,
                    bool single) {
  if (results.size() > size_t(kMost))
    return; // the long way
  std::vector<Entry> &known = entries[std::string(signature)];
  for (const Entry &entry : known)
    if (entry.program == program)
      return;
  Entry entry{program, {}, single};
  for (const auto &[types, format, axis, grouped] : results) {
    FastResult &result = entry.results.emplace_back(FastResult{{}, format, axis, grouped});
    for (const std::string &type : types)
      result.elements.push_back(tensors.element(type));
  }
  known.push_back(std::move(entry));
}

/// Whether a tensor is what a result is written to; where it lies.
bool FastCalls::givenTensor(PyObject *tensor, const TorchTensors::Element &element, const Shape &shape, int rank, int device,
                            void *&buffer) {
  dlpack::Tensor seen;
  if (!tensors.view(tensor, seen) || seen.device.index != device || seen.rank != rank ||
      reinterpret_cast<uintptr_t>(seen.data) % 16)
    return false;
  buffer = seen.data;
  py::object dtype = take(PyObject_GetAttr(tensor, names().dtype));
  return dtype.ptr() == element.dtype.ptr() && std::equal(shape, shape + rank, seen.shape);
}

/// The same for a result's tensor or scaled tensor.
bool FastCalls::given(PyObject *value, const FastResult &result, const Shape *shapes, const int *ranks, size_t count,
                      int device, void **buffers) {
  if (result.format.is_none())
    return givenTensor(value, result.elements[0], shapes[0], ranks[0], device, buffers[0]);
  if (Py_TYPE(value) != reinterpret_cast<PyTypeObject *>(scaledType.ptr()) || count != 2) // without a scale of the whole tensor
    return false;
  const Names &n = names();
  py::object format = take(PyObject_GetAttr(value, n.format)), axis = take(PyObject_GetAttr(value, n.axis)),
             grouped = take(PyObject_GetAttr(value, n.grouped)), payload = take(PyObject_GetAttr(value, n.payload)),
             scales = take(PyObject_GetAttr(value, n.scales));
  int64_t hash = hashOf(format.ptr());
  return hash != -1 && hash == hashOf(result.format.ptr()) && axis.equal(result.axis) && grouped.equal(result.grouped) &&
         givenTensor(payload.ptr(), result.elements[0], shapes[0], ranks[0], device, buffers[0]) &&
         givenTensor(scales.ptr(), result.elements[1], shapes[1], ranks[1], device, buffers[1]);
}

py::object FastCalls::call(py::tuple arguments, py::object out) {
  Scratch scratch;
  auto otherwise = [] { return py::reinterpret_borrow<py::object>(Py_NotImplemented); };
  if (entries.empty() || !scan(arguments, scratch))
    return otherwise();
  auto it = entries.find(scratch.digest);
  if (it == entries.end())
    return otherwise();
  const Entry *fitting = nullptr;
  for (const Entry &entry : it->second)
    if (entry.program->checkShapes(scratch.values)) {
      fitting = &entry;
      break;
    }
  if (!fitting)
    return otherwise(); // the long way compiles another, or says what is wrong with names
  const Entry &entry = *fitting;
  const runtime::Artifact &artifact = entry.program->artifact();
  const Names &n = names();
  runtime::ValueRef results[kMost];
  void *buffers[kMost][3];
  bool isGiven = !out.is_none();
  if (isGiven && !entry.single &&
      (!PyTuple_CheckExact(out.ptr()) || size_t(PyTuple_GET_SIZE(out.ptr())) != entry.results.size()))
    return otherwise();
  py::tuple returned(entry.results.size());
  for (size_t i = 0; i < entry.results.size(); ++i) {
    const FastResult &result = entry.results[i];
    const runtime::ValueSpec &spec = artifact.results[i];
    py::object made[3];
    Shape shapes[3];
    int ranks[3];
    for (size_t j = 0; j < spec.buffers.size(); ++j) {
      const runtime::BufferSpec &buffer = artifact.buffers[size_t(spec.buffers[j])];
      ranks[j] = int(buffer.shape.size());
      for (size_t d = 0; d < buffer.shape.size(); ++d)
        shapes[j][d] = runtime::evaluate(buffer.shape[d], scratch.values);
    }
    results[i] = {nullptr, buffers[i]};
    if (isGiven) {
      PyObject *value = entry.single ? out.ptr() : PyTuple_GET_ITEM(out.ptr(), Py_ssize_t(i));
      if (!given(value, result, shapes, ranks, spec.buffers.size(), scratch.device, buffers[i]))
        return otherwise();
      continue;
    }
    for (size_t j = 0; j < spec.buffers.size(); ++j)
      made[j] = tensors.make(shapes[j], ranks[j], result.elements[j], scratch.device, buffers[i][j]);
    if (result.format.is_none()) {
      returned[i] = made[0];
      continue;
    }
    // A ScaledTensor with its fields, without checking what is right by construction.
    auto *type = reinterpret_cast<PyTypeObject *>(scaledType.ptr());
    py::object scaled = take(type->tp_alloc(type, 0));
    py::object fields = take(PyObject_GenericGetDict(scaled.ptr(), nullptr));
    py::tuple shape(spec.shape.size());
    for (size_t d = 0; d < spec.shape.size(); ++d)
      shape[d] = py::int_(runtime::evaluate(spec.shape[d], scratch.values));
    auto set = [&](PyObject *field, PyObject *value) { PyDict_SetItem(fields.ptr(), field, value); };
    set(n.payload, made[0].ptr());
    set(n.scales, made[1].ptr());
    set(n.format, result.format.ptr());
    set(n.shape, shape.ptr());
    set(n.axis, result.axis.ptr());
    set(n.tensorScale, made[2] ? made[2].ptr() : Py_None);
    set(n.grouped, result.grouped.ptr());
    returned[i] = scaled;
  }
  // Launches do not wait; giving up the interpreter's lock would cost more than it gives.
  runtime::Status status = entry.program->run(scratch.values, results, scratch.device,
                                              static_cast<runtime::cuda::Stream>(tensors.currentStream(scratch.device)));
  if (!status)
    raiseLaunchError(status.error().message);
  if (isGiven)
    return out;
  return entry.single ? py::object(returned[0]) : py::object(std::move(returned));
}
