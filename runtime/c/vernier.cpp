#include "runtime/c/vernier.h"

#include "runtime/Bundle.h"
#include "runtime/cuda/DeviceProgram.h"

using namespace vernier::runtime;

struct vernier_function {
  cuda::DeviceProgram program;
};

namespace {
thread_local std::string lastError;

int fail(const std::string &message) {
  lastError = message;
  return 1;
}

constexpr int kMostValues = 64;

/// The shapes of arguments, checked against the artifact without allocating where they are right.
int checkArguments(const vernier_function *function, const vernier_value *arguments, ValueRef *refs) {
  const Artifact &artifact = function->program.artifact();
  if (artifact.arguments.size() > kMostValues || artifact.results.size() > kMostValues)
    return fail(artifact.name + ": more than 64 arguments or results");
  for (size_t i = 0; i < artifact.arguments.size(); ++i) {
    const ValueSpec &spec = artifact.arguments[i];
    if (arguments[i].rank != int(spec.shape.size()) || arguments[i].buffer_count != int(spec.buffers.size()))
      return fail("argument " + std::to_string(i) + ": expected rank " + std::to_string(spec.shape.size()) + " and " +
                  std::to_string(spec.buffers.size()) + " buffers, but got " + std::to_string(arguments[i].rank) + " and " +
                  std::to_string(arguments[i].buffer_count));
    refs[i] = {arguments[i].shape, arguments[i].buffers};
  }
  if (Status status = function->program.checkShapes(refs); !status)
    return fail(status.error().message);
  return 0;
}
} // namespace

const char *vernier_last_error(void) { return lastError.c_str(); }

vernier_function *vernier_open(const char *bundle, const char *name) {
  auto artifact = openBundle(bundle, name);
  if (!artifact) {
    fail(artifact.error().message);
    return nullptr;
  }
  if ((*artifact)->target == "host") {
    fail("the bundle " + std::string(bundle) + ": '" + name + "' was compiled for the host, which needs the compiler's loader");
    return nullptr;
  }
  return new vernier_function{cuda::DeviceProgram(*artifact)};
}

void vernier_close(vernier_function *function) { delete function; }

int vernier_load(vernier_function *function, int device) {
  Status status = function->program.load(device);
  return status ? 0 : fail(status.error().message);
}

int vernier_argument_count(const vernier_function *function) { return int(function->program.artifact().arguments.size()); }
int vernier_result_count(const vernier_function *function) { return int(function->program.artifact().results.size()); }

int vernier_result_buffer_count(const vernier_function *function, int result) {
  const auto &results = function->program.artifact().results;
  return result < 0 || result >= int(results.size()) ? 0 : int(results[size_t(result)].buffers.size());
}

int vernier_result_buffer(const vernier_function *function, const vernier_value *arguments, int result, int buffer,
                          int64_t *bytes, int64_t *shape, int *rank) {
  ValueRef refs[kMostValues];
  if (checkArguments(function, arguments, refs))
    return 1;
  if (buffer < 0 || buffer >= vernier_result_buffer_count(function, result))
    return fail("no such result or buffer");
  const Artifact &artifact = function->program.artifact();
  const BufferSpec &spec = artifact.buffers[size_t(artifact.results[size_t(result)].buffers[size_t(buffer)])];
  *bytes = elementBytes(spec.element);
  *rank = int(spec.shape.size());
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    shape[i] = evaluate(spec.shape[i], refs);
    *bytes *= shape[i];
  }
  return 0;
}

int vernier_launch(vernier_function *function, const vernier_value *arguments, const vernier_value *results, int device,
                   void *stream) {
  ValueRef from[kMostValues], to[kMostValues];
  if (checkArguments(function, arguments, from))
    return 1;
  const Artifact &artifact = function->program.artifact();
  for (size_t i = 0; i < artifact.results.size(); ++i) {
    if (results[i].buffer_count != int(artifact.results[i].buffers.size()))
      return fail("result " + std::to_string(i) + ": expected " + std::to_string(artifact.results[i].buffers.size()) +
                  " buffers, but got " + std::to_string(results[i].buffer_count));
    to[i] = {results[i].shape, results[i].buffers};
  }
  Status status = function->program.run(from, to, device, static_cast<cuda::Stream>(stream));
  return status ? 0 : fail(status.error().message);
}
