// vernier._vernier: the compiler and the runtime for Python. Thin: text, numbers and addresses cross here, arrays do not.
#include "compiler/API/Compiler.h"
#include "runtime/ThreadPool.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace py = pybind11;
using namespace vernier;

namespace {
py::object compileError, launchError;

[[noreturn]] void raise(const py::object &type, const std::string &message) {
  PyErr_SetString(type.ptr(), message.c_str());
  throw py::error_already_set();
}

template <typename T> T valueOr(runtime::Result<T> result) {
  if (!result)
    raise(compileError, result.error().message);
  return std::move(*result);
}

using RawValue = std::pair<runtime::Shape, std::vector<uintptr_t>>;

std::vector<runtime::ValueView> views(const std::vector<RawValue> &values) {
  std::vector<runtime::ValueView> result;
  for (const auto &[shape, buffers] : values) {
    runtime::ValueView view{shape, {}};
    for (uintptr_t address : buffers)
      view.buffers.push_back(reinterpret_cast<void *>(address));
    result.push_back(std::move(view));
  }
  return result;
}

/// A compiled function, ready to run.
class Program {
public:
  Program(std::unique_ptr<runtime::HostProgram> host, std::string outcome, std::string note)
      : host(std::move(host)), outcome(std::move(outcome)), note(std::move(note)) {}

  /// Checks the arguments; for every result its shape, and for each of its buffers the element and shape.
  py::list prepare(const std::vector<RawValue> &arguments) const {
    auto inputs = views(arguments);
    if (auto status = host->check(inputs); !status)
      raise(launchError, status.error().message);
    std::vector<runtime::Shape> shapes;
    for (const auto &input : inputs)
      shapes.push_back(input.shape);
    std::vector<runtime::Shape> results = host->resultShapes(inputs);
    py::list list;
    for (size_t i = 0; i < results.size(); ++i) {
      py::list buffers;
      for (int buffer : host->artifact().results[i].buffers)
        buffers.append(
            py::make_tuple(host->artifact().buffers[buffer].element, py::tuple(py::cast(host->bufferShape(buffer, shapes)))));
      list.append(py::make_tuple(py::tuple(py::cast(results[i])), buffers));
    }
    return list;
  }

  void run(const std::vector<RawValue> &arguments, const std::vector<RawValue> &results) const {
    auto inputs = views(arguments), outputs = views(results);
    runtime::Status status;
    {
      py::gil_scoped_release release;
      status = host->run(inputs, outputs);
    }
    if (!status)
      raise(launchError, status.error().message);
  }

  py::list kernels(const std::vector<runtime::Shape> &shapes) const {
    const runtime::Artifact &artifact = host->artifact();
    auto bytes = [&](const std::vector<int> &buffers) {
      int64_t total = 0;
      for (int buffer : buffers) {
        int64_t size = runtime::elementBytes(artifact.buffers[buffer].element);
        for (int64_t dim : host->bufferShape(buffer, shapes))
          size *= dim;
        total += size;
      }
      return total;
    };
    py::list list;
    for (const runtime::KernelSpec &kernel : artifact.kernels) {
      py::dict item;
      item["name"] = kernel.name;
      item["operations"] = kernel.operations;
      item["reasons"] = kernel.reasons;
      item["schedule"] = kernel.schedule;
      item["bytes_read"] = bytes(kernel.reads);
      item["bytes_written"] = bytes(kernel.writes);
      list.append(item);
    }
    return list;
  }

  const runtime::Artifact &artifact() const { return host->artifact(); }

  std::unique_ptr<runtime::HostProgram> host;
  std::string outcome, note;
};

const char *outcomeName(runtime::CacheOutcome outcome) {
  switch (outcome) {
  case runtime::CacheOutcome::Hit:
    return "hit";
  case runtime::CacheOutcome::Compiled:
    return "compiled";
  case runtime::CacheOutcome::Unstored:
    return "unstored";
  }
  return "";
}

std::unique_ptr<Program> load(const std::string &module, const std::string &target, int64_t maxKernels,
                              const std::string &folder, int64_t capBytes) {
  CompileOptions options{target, maxKernels};
  auto work = [&]() -> runtime::Result<std::unique_ptr<Program>> {
    runtime::Cache cache(folder, capBytes);
    auto cached = compileCached(module, options, cache);
    if (!cached)
      return cached.error();
    auto program = loadHost(cached->artifact);
    if (!program)
      return program.error();
    return std::make_unique<Program>(std::move(*program), outcomeName(cached->outcome), cached->note);
  };
  py::gil_scoped_release release;
  auto result = work();
  py::gil_scoped_acquire acquire;
  return valueOr(std::move(result));
}

std::vector<std::tuple<std::string, std::string, std::string>> lowerPhases(const std::string &module, const std::string &from,
                                                                           const std::string &until, bool all,
                                                                           const std::string &target, int64_t maxKernels) {
  std::vector<std::tuple<std::string, std::string, std::string>> list;
  for (PhaseDump &dump : valueOr(lower(module, from, until, all, {target, maxKernels})))
    list.emplace_back(dump.name, dump.suffix, dump.text);
  return list;
}
} // namespace

PYBIND11_MODULE(_vernier, m) {
  m.doc() = "The vernier compiler and runtime.";
  py::object errors = py::module_::import("vernier.errors");
  compileError = errors.attr("CompileError");
  launchError = errors.attr("LaunchError");

  py::class_<Program>(m, "Program")
      .def("prepare", &Program::prepare, py::arg("arguments"))
      .def("run", &Program::run, py::arg("arguments"), py::arg("results"))
      .def("kernels", &Program::kernels, py::arg("shapes"))
      .def_readonly("outcome", &Program::outcome)
      .def_readonly("note", &Program::note)
      .def_property_readonly("name", [](const Program &p) { return p.artifact().name; })
      .def_property_readonly("target", [](const Program &p) { return p.artifact().target; })
      .def_property_readonly("metadata", [](const Program &p) { return runtime::toJson(p.artifact()); })
      .def_property_readonly("code", [](const Program &p) { return py::bytes(p.artifact().code); });

  m.def("load", &load, py::arg("module"), py::arg("target"), py::arg("max_kernels"), py::arg("cache_folder"),
        py::arg("cache_bytes"));
  m.def("lower", &lowerPhases, py::arg("module"), py::arg("from_phase"), py::arg("until"), py::arg("all"), py::arg("target"),
        py::arg("max_kernels"));
  m.def(
      "cache_key",
      [](const std::string &module, const std::string &target, int64_t maxKernels) {
        return valueOr(cacheKey(module, {target, maxKernels}));
      },
      py::arg("module"), py::arg("target"), py::arg("max_kernels"));
  m.def("phases", [] {
    std::vector<std::tuple<std::string, std::string, std::string>> list;
    for (const PhaseInfo &phase : listPhases())
      list.emplace_back(phase.name, phase.description, phase.suffix);
    return list;
  });
  m.def("library_hash", &libraryHash);
  m.def("default_cache_folder", &runtime::defaultCacheFolder);
  m.def("num_threads", &runtime::numThreads);
  // The references would otherwise be dropped after the interpreter is gone.
  m.add_object("_unload", py::capsule([] {
                 compileError.release();
                 launchError.release();
               }));
}
