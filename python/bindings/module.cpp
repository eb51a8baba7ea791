// vernier._vernier: the compiler and the runtime for Python. Thin: text, numbers and addresses cross here, arrays do not.
#include "compiler/API/Compiler.h"
#include "python/bindings/FastCalls.h"
#include "python/bindings/SideStreams.h"
#include "runtime/Bundle.h"
#include "runtime/LaunchChoice.h"
#include "runtime/ThreadPool.h"
#include "runtime/cuda/DeviceProgram.h"

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
  Program(runtime::Cached cached, std::string outcome) : outcome(std::move(outcome)), note(std::move(cached.note)) {
    if (cached.artifact->target == "host")
      host = valueOr(loadHost(cached.artifact));
    else
      device = std::make_unique<runtime::cuda::DeviceProgram>(cached.artifact);
  }

  const runtime::Program &program() const {
    return host ? static_cast<const runtime::Program &>(*host) : static_cast<const runtime::Program &>(*device);
  }
  const runtime::Artifact &artifact() const { return program().artifact(); }

  /// Checks the arguments; for every result its shape, and for each of its buffers the element and shape.
  py::list prepare(const std::vector<RawValue> &arguments) const {
    auto inputs = views(arguments);
    if (auto status = host ? host->check(inputs) : device->checkShapes(inputs); !status)
      raise(launchError, status.error().message);
    std::vector<runtime::Shape> shapes = runtime::shapesOf(inputs);
    std::vector<runtime::Shape> results = program().resultShapes(inputs);
    py::list list;
    for (size_t i = 0; i < results.size(); ++i) {
      py::list buffers;
      for (int buffer : artifact().results[i].buffers)
        buffers.append(
            py::make_tuple(artifact().buffers[buffer].element, py::tuple(py::cast(program().bufferShape(buffer, shapes)))));
      list.append(py::make_tuple(py::tuple(py::cast(results[i])), buffers));
    }
    return list;
  }

  void run(const std::vector<RawValue> &arguments, const std::vector<RawValue> &results, int deviceNumber,
           uintptr_t stream) const {
    auto inputs = views(arguments), outputs = views(results);
    runtime::Status status;
    {
      py::gil_scoped_release release;
      if (host) {
        status = host->run(inputs, outputs);
      } else {
        std::vector<runtime::ValueRef> from(inputs.begin(), inputs.end()), to(outputs.begin(), outputs.end());
        status = device->run(from.data(), to.data(), deviceNumber, reinterpret_cast<runtime::cuda::Stream>(stream));
      }
    }
    if (!status)
      raise(launchError, status.error().message);
  }

  /// The launches that a GPU with as many multiprocessors as an H200 takes for these shapes, one block on each.
  static size_t planned(const runtime::KernelSpec &kernel, const std::vector<runtime::Shape> &shapes,
                        runtime::LaunchPart (&parts)[2]) {
    constexpr int64_t multiprocessors = 132;
    std::vector<runtime::ValueRef> arguments;
    for (const runtime::Shape &shape : shapes)
      arguments.emplace_back(shape.data(), nullptr);
    std::vector<int64_t> atOnce;
    for (const runtime::LaunchSpec &launch : kernel.launches)
      atOnce.push_back(multiprocessors / launch.cluster);
    return runtime::planLaunches(kernel, arguments.data(), atOnce.data(), parts);
  }

  py::list kernels(const std::vector<runtime::Shape> &shapes) const {
    auto bytes = [&](const std::vector<int> &buffers) {
      int64_t total = 0;
      for (int buffer : buffers) {
        int64_t size = runtime::elementBytes(artifact().buffers[buffer].element);
        for (int64_t dim : program().bufferShape(buffer, shapes))
          size *= dim;
        total += size;
      }
      return total;
    };
    py::list list;
    for (const runtime::KernelSpec &kernel : artifact().kernels) {
      py::dict item;
      item["name"] = kernel.name;
      item["operations"] = kernel.operations;
      item["reasons"] = kernel.reasons;
      runtime::LaunchPart parts[2];
      size_t count = planned(kernel, shapes, parts);
      const runtime::LaunchSpec &launch = kernel.launches[parts[0].launch];
      std::string schedule = launch.schedule;
      if (count > 1)
        schedule += "; the last " + std::to_string(parts[1].rows) + " rows: " + kernel.launches[parts[1].launch].schedule;
      item["schedule"] = schedule;
      item["registers"] = launch.registers;
      item["spill_bytes"] = launch.spillBytes;
      item["shared_bytes"] = launch.sharedBytes;
      item["bytes_read"] = bytes(kernel.reads);
      item["bytes_written"] = bytes(kernel.writes);
      list.append(item);
    }
    return list;
  }

  std::unique_ptr<runtime::HostProgram> host;
  std::unique_ptr<runtime::cuda::DeviceProgram> device;
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
                              const std::string &ptxas, const std::string &folder, int64_t capBytes, bool fuse) {
  CompileOptions options{target, maxKernels, ptxas, fuse};
  auto work = [&] {
    py::gil_scoped_release release;
    runtime::Cache cache = runtime::Cache::fromEnvironment(folder, capBytes);
    return compileCached(module, options, cache);
  };
  runtime::Cached cached = valueOr(work());
  std::string outcome = outcomeName(cached.outcome);
  return std::make_unique<Program>(std::move(cached), outcome);
}

std::vector<std::tuple<std::string, std::string, std::string>> lowerPhases(const std::string &module, const std::string &from,
                                                                           const std::string &until, bool all,
                                                                           const std::string &target, int64_t maxKernels,
                                                                           const std::string &ptxas, bool fuse) {
  std::vector<std::tuple<std::string, std::string, std::string>> list;
  for (PhaseDump &dump : valueOr(lower(module, from, until, all, {target, maxKernels, ptxas, fuse})))
    list.emplace_back(dump.name, dump.suffix, dump.text);
  return list;
}
} // namespace

void vernier::python::raiseLaunchError(const std::string &message) { raise(launchError, message); }

PYBIND11_MODULE(_vernier, m) {
  m.doc() = "The vernier compiler and runtime.";
  py::object errors = py::module_::import("vernier.errors");
  compileError = errors.attr("CompileError");
  launchError = errors.attr("LaunchError");

  py::class_<Program>(m, "Program")
      .def("prepare", &Program::prepare, py::arg("arguments"))
      .def("run", &Program::run, py::arg("arguments"), py::arg("results"), py::arg("device"), py::arg("stream"))
      .def("kernels", &Program::kernels, py::arg("shapes"))
      .def_readonly("outcome", &Program::outcome)
      .def_readonly("note", &Program::note)
      .def_property_readonly("name", [](const Program &p) { return p.artifact().name; })
      .def_property_readonly("target", [](const Program &p) { return p.artifact().target; })
      .def_property_readonly("metadata", [](const Program &p) { return runtime::toJson(p.artifact()); })
      .def_property_readonly("code", [](const Program &p) { return py::bytes(p.artifact().code); })
      .def_property_readonly("ptx", [](const Program &p) { return p.artifact().ptx; });

  using python::FastCalls;
  py::class_<FastCalls>(m, "FastCalls")
      .def(py::init<py::object, py::object, py::tuple>(), py::arg("torch"), py::arg("scaled_type"), py::arg("constant_types"))
      .def("signature", &FastCalls::signature, py::arg("arguments"))
      .def(
          "add",
          [](FastCalls &calls, py::bytes signature, const Program &program, const std::vector<FastCalls::ResultSpec> &results,
             bool single) { calls.add(std::move(signature), program.device.get(), results, single); },
          py::arg("signature"), py::arg("program"), py::arg("results"), py::arg("single"), py::keep_alive<1, 3>())
      .def("call", &FastCalls::call, py::arg("arguments"), py::arg("out"));

  m.def("load", &load, py::arg("module"), py::arg("target"), py::arg("max_kernels"), py::arg("ptxas"), py::arg("cache_folder"),
        py::arg("cache_bytes"), py::arg("fuse"));
  m.def("lower", &lowerPhases, py::arg("module"), py::arg("from_phase"), py::arg("until"), py::arg("all"), py::arg("target"),
        py::arg("max_kernels"), py::arg("ptxas"), py::arg("fuse"));
  m.def(
      "cache_key",
      [](const std::string &module, const std::string &target, int64_t maxKernels, const std::string &ptxas, bool fuse) {
        return valueOr(cacheKey(module, {target, maxKernels, ptxas, fuse}));
      },
      py::arg("module"), py::arg("target"), py::arg("max_kernels"), py::arg("ptxas"), py::arg("fuse"));
  m.def("phases", [] {
    std::vector<std::tuple<std::string, std::string, std::string, bool, bool>> list;
    for (const PhaseInfo &phase : listPhases())
      list.emplace_back(phase.name, phase.description, phase.suffix, phase.onHost, phase.onGpu);
    return list;
  });
  m.def(
      "synchronize",
      [](int device, uintptr_t stream) {
        runtime::Status status;
        {
          py::gil_scoped_release release;
          status = runtime::cuda::synchronize(device, reinterpret_cast<runtime::cuda::Stream>(stream));
        }
        if (!status)
          raise(launchError, status.error().message);
      },
      py::arg("device"), py::arg("stream"));
  python::bindSideStreams(m);
  m.def(
      "add_to_bundle",
      [](const Program &program, const std::string &folder, const std::string &key) {
        if (auto status = runtime::addToBundle(folder, key, program.artifact()); !status)
          raise(compileError, status.error().message);
      },
      py::arg("program"), py::arg("folder"), py::arg("key"));
  m.def(
      "list_bundle",
      [](const std::string &folder) {
        std::vector<std::tuple<std::string, std::string, std::string, std::vector<std::string>>> list;
        for (const runtime::BundleItem &item : valueOr(runtime::listBundle(folder)))
          list.emplace_back(item.key, item.name, item.target, item.arguments);
        return list;
      },
      py::arg("folder"));
  m.def(
      "open_bundle",
      [](const std::string &folder, const std::string &keyOrName) {
        runtime::Cached cached{valueOr(runtime::openBundle(folder, keyOrName)), runtime::CacheOutcome::Hit, ""};
        return std::make_unique<Program>(std::move(cached), "bundle");
      },
      py::arg("folder"), py::arg("key_or_name"));
  m.def("library_hash", &libraryHash);
  m.def("default_cache_folder", &runtime::defaultCacheFolder);
  m.def("num_threads", &runtime::numThreads);
  // The references would otherwise be dropped after the interpreter is gone.
  m.add_object("_unload", py::capsule([] {
                 compileError.release();
                 launchError.release();
               }));
}
