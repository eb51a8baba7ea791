#include "runtime/cuda/DeviceProgram.h"

#include <algorithm>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

namespace {
/// So many of something, on the stack where they are no more than `kUsual`.
template <typename T, size_t kUsual> class Scratch {
public:
  explicit Scratch(size_t count) : many(count > kUsual ? count : 0), begin(many.empty() ? few : many.data()) {}
  Scratch(const Scratch &) = delete;
  Scratch &operator=(const Scratch &) = delete;
  T &operator[](size_t i) { return begin[i]; }
  T *data() { return begin; }

private:
  T few[kUsual];
  std::vector<T> many;
  T *begin;
};
constexpr size_t kUsualBuffers = 64, kUsualSizes = 64, kUsualMaps = 16;

/// Of a kernel, by its launches.
struct LoadedKernel {
  std::vector<Function> functions;
  std::vector<int64_t> atOnce; ///< tasks that run at a time on the device, times the waves.
};

std::string number(int64_t value) { return std::to_string(value); }
} // namespace

struct DeviceProgram::Loaded {
  const Driver *api;
  Context context;
  MemoryPool temporaries = nullptr;
  Module module = nullptr;
  std::vector<LoadedKernel> kernels;
};

DeviceProgram::DeviceProgram(std::shared_ptr<const Artifact> artifact) : Program(std::move(artifact)) {}

DeviceProgram::~DeviceProgram() {
  // Modules stay until the process ends: at its end the driver may be gone already, and a graph may still hold them.
  for (auto &slot : onDevice)
    delete slot.load();
}

Result<const DeviceProgram::Loaded *> DeviceProgram::loadedOn(int device) const {
  if (device < 0 || device >= int(std::size(onDevice)))
    return Error{"no device " + number(device)};
  if (const Loaded *known = onDevice[device].load(std::memory_order_acquire))
    return known;
  std::lock_guard<std::mutex> lock(guard);
  if (const Loaded *known = onDevice[device].load(std::memory_order_acquire))
    return known;
  Result<const Loaded *> made = makeLoaded(device);
  if (made)
    onDevice[device].store(*made, std::memory_order_release);
  return made;
}

Result<const DeviceProgram::Loaded *> DeviceProgram::makeLoaded(int device) const {
  Result<CurrentDevice::Primary> primary = CurrentDevice::primary(device);
  if (!primary)
    return primary.error();
  const Driver &api = primary->api;
  CurrentDevice current(*primary);
  auto fail = [&](const std::string &what, Code code) {
    return Error{artifact_->name + ": " + what + ": " + api.describe(code)};
  };
  DeviceId id = 0;
  int major = 0, minor = 0, multiprocessors = 0, sharedBytes = 0;
  api.ctxGetDevice(&id);
  api.deviceGetAttribute(&major, kMajor, id);
  api.deviceGetAttribute(&minor, kMinor, id);
  api.deviceGetAttribute(&multiprocessors, kMultiprocessors, id);
  api.deviceGetAttribute(&sharedBytes, kSharedBytesOptIn, id);
  if (major != 9 || minor != 0)
    return Error{artifact_->name + ": expected a device of compute capability 9.0 (sm_90a), but device " + number(device) +
                 " has " + number(major) + "." + number(minor)};
  Result<MemoryPool> temporaries = temporaryPool(device);
  if (!temporaries)
    return temporaries.error();
  auto loaded = std::make_unique<Loaded>();
  loaded->api = &api;
  loaded->temporaries = *temporaries;
  loaded->context = primary->context;
  const std::string &code = artifact_->code.empty() ? artifact_->ptx : artifact_->code;
  if (Code error = api.moduleLoadDataEx(&loaded->module, code.c_str(), 0, nullptr, nullptr))
    return fail("cannot load its code", error);
  for (const KernelSpec &kernel : artifact_->kernels) {
    LoadedKernel &entry = loaded->kernels.emplace_back();
    for (const LaunchSpec &launch : kernel.launches) {
      Function function = nullptr;
      if (Code error = api.moduleGetFunction(&function, loaded->module, launch.entry.c_str()))
        return fail("cannot find kernel " + launch.entry, error);
      if (launch.sharedBytes > sharedBytes)
        return Error{artifact_->name + ": kernel " + launch.entry + " needs " + number(launch.sharedBytes) +
                     " bytes of shared memory, but a block has " + number(sharedBytes)};
      if (launch.sharedBytes > 48 * 1024)
        if (Code error = api.funcSetAttribute(function, kFunctionSharedBytes, int(launch.sharedBytes)))
          return fail("cannot set the shared memory of " + launch.entry, error);
      int perMultiprocessor = 0;
      if (Code error = api.occupancy(&perMultiprocessor, function, launch.threads, size_t(launch.sharedBytes)))
        return fail("cannot place " + launch.entry, error);
      int64_t blocks = int64_t(std::max(1, perMultiprocessor)) * multiprocessors * launch.waves;
      entry.functions.push_back(function);
      entry.atOnce.push_back(std::max<int64_t>(1, blocks / launch.cluster));
    }
  }
  return loaded.release();
}

Status DeviceProgram::load(int device) const {
  Result<const Loaded *> loaded = loadedOn(device);
  return loaded ? Status() : Status(loaded.error());
}

static Status encode(const Driver &api, const TensorMapSpec &spec, const BufferSpec &buffer, void *data,
                     const ValueRef *arguments, TensorMap &map) {
  uint64_t sizes[2] = {uint64_t(evaluate(buffer.shape.back(), arguments)), 1};
  for (size_t i = 0; i + 1 < buffer.shape.size(); ++i)
    sizes[1] *= uint64_t(evaluate(buffer.shape[i], arguments));
  uint64_t bytes = elementBytes(spec.element), stride = sizes[0] * bytes;
  uint32_t box[2] = {uint32_t(128 / bytes), uint32_t(spec.rows)}, elementStrides[2] = {1, 1};
  for (uint64_t &size : sizes) // nothing is fetched where there is nothing, but a map needs sizes
    size = std::max<uint64_t>(1, size);
  int element = bytes == 1 ? kMapBytes : bytes == 4 ? kMapFloat32 : spec.element == "bf16" ? kMapBFloat16 : kMapFloat16;
  if (Code code = api.tensorMapEncodeTiled(&map, element, 2, data, sizes, &stride, box, elementStrides, 0, kMapSwizzle128,
                                           kMapPromote256, 0))
    return Error{"cannot describe a matrix of " + number(int64_t(sizes[1])) + " x " + number(int64_t(sizes[0])) +
                 " to the hardware: " + api.describe(code)};
  return {};
}

Status DeviceProgram::launch(const Loaded &loaded, size_t k, size_t which, const ValueRef *arguments, void **data,
                             Stream stream) const {
  const Artifact &artifact = *artifact_;
  const KernelSpec &kernel = artifact.kernels[k];
  const LaunchSpec &launch = kernel.launches[which];
  const LoadedKernel &ready = loaded.kernels[k];
  Scratch<int64_t, kUsualSizes> sizes(launch.sizes.size());
  Scratch<void *, kUsualBuffers + kUsualSizes + kUsualMaps> parameters(kernel.buffers.size() + launch.sizes.size() +
                                                                       launch.maps.size());
  Scratch<TensorMap, kUsualMaps> maps(launch.maps.size());
  size_t next = 0;
  for (int buffer : kernel.buffers)
    parameters[next++] = static_cast<void *>(&data[buffer]);
  for (size_t i = 0; i < launch.sizes.size(); ++i) {
    sizes[i] = evaluate(launch.sizes[i], arguments);
    if (sizes[i] >= int64_t(1) << 31)
      return Error{artifact.name + ": expected fewer than 2^31 rows and columns, but got " + number(sizes[i])};
    parameters[next++] = &sizes[i];
  }
  for (size_t i = 0; i < launch.maps.size(); ++i) {
    const TensorMapSpec &map = launch.maps[i];
    if (Status status = encode(*loaded.api, map, artifact.buffers[size_t(map.buffer)], data[map.buffer], arguments, maps[i]);
        !status)
      return status;
    parameters[next++] = &maps[i];
  }
  // One block at least: what is written once for the whole kernel is written without tasks too.
  int64_t together = std::clamp<int64_t>(tasksOf(launch, arguments), 1, ready.atOnce[which]);
  // Kernels wait for the one before them themselves: their blocks come while its last ones go.
  LaunchAttribute overlaps{kProgrammaticStreamSerialization, {1}};
  LaunchConfig config;
  config.blocks[0] = unsigned(together * launch.cluster), config.threads[0] = unsigned(launch.threads);
  config.sharedBytes = unsigned(launch.sharedBytes), config.stream = stream;
  config.attributes = &overlaps, config.attributeCount = 1;
  if (Code code = loaded.api->launchKernelEx(&config, ready.functions[which], parameters.data(), nullptr))
    return Error{artifact.name + ": cannot launch: " + loaded.api->describe(code)};
  return {};
}

Status DeviceProgram::launchRows(const Loaded &loaded, size_t k, const LaunchPart &part, const ValueRef *arguments, void **data,
                                 Stream stream) const {
  const Artifact &artifact = *artifact_;
  const KernelSpec &kernel = artifact.kernels[k];
  std::vector<ValueRef> values(arguments, arguments + artifact.arguments.size());
  ValueRef &walked = values[size_t(kernel.rowsOf)];
  Shape shape(walked.shape, walked.shape + artifact.arguments[size_t(kernel.rowsOf)].shape.size());
  walked.shape = shape.data();
  // A buffer of these rows begins where the one of the rows before would end.
  Scratch<void *, kUsualBuffers> moved(artifact.buffers.size());
  std::copy_n(data, artifact.buffers.size(), moved.data());
  shape[0] = part.firstRow;
  for (int buffer : kernel.buffers) {
    const std::vector<SizeExpr> &sizes = artifact.buffers[size_t(buffer)].shape;
    if (!sizes.empty() && std::any_of(sizes[0].terms.begin(), sizes[0].terms.end(),
                                      [&](const SizeTerm &term) { return term.argument == kernel.rowsOf && term.dim == 0; }))
      moved[size_t(buffer)] = static_cast<char *>(data[buffer]) + bytesOf(size_t(buffer), values.data());
  }
  shape[0] = part.rows;
  return launch(loaded, k, part.launch, values.data(), moved.data(), stream);
}

Status DeviceProgram::run(const ValueRef *arguments, const ValueRef *results, int device, Stream stream) const {
  Result<const Loaded *> found = loadedOn(device);
  if (!found)
    return found.error();
  const Loaded &loaded = **found;
  const Driver &api = *loaded.api;
  const Artifact &artifact = *artifact_;
  CurrentDevice current(api, loaded.context);

  size_t count = artifact.buffers.size();
  Scratch<void *, kUsualBuffers> data(count);
  Scratch<Range, kUsualBuffers> ranges(count);
  std::fill_n(data.data(), count, nullptr);
  std::fill_n(ranges.data(), count, Range{});
  auto bind = [&](const std::vector<ValueSpec> &specs, const ValueRef *values, const char *what) -> Status {
    for (size_t i = 0; i < specs.size(); ++i)
      for (size_t j = 0; j < specs[i].buffers.size(); ++j) {
        size_t buffer = size_t(specs[i].buffers[j]);
        data[buffer] = values[i].buffers[j];
        if (reinterpret_cast<uintptr_t>(data[buffer]) % 16)
          return Error{std::string(what) + " " + number(int64_t(i)) +
                       ": expected memory aligned to 16 bytes; make a copy of the view"};
        auto *begin = static_cast<const char *>(data[buffer]);
        ranges[buffer] = {begin, begin + bytesOf(buffer, arguments)};
      }
    return {};
  };
  if (Status status = bind(artifact.arguments, arguments, "argument"); !status)
    return status;
  if (Status status = bind(artifact.results, results, "result"); !status)
    return status;
  if (Status status = checkApart(ranges.data()); !status)
    return status;

  Status status;
  auto check = [&](Code code, const char *what) {
    if (code && status)
      status = Error{artifact.name + ": " + what + ": " + api.describe(code)};
    return code == 0;
  };
  for (size_t i = 0; i < count; ++i)
    if (artifact.buffers[i].kind == BufferSpec::Temporary) {
      Pointer pointer = 0;
      size_t bytes = size_t(std::max<int64_t>(16, bytesOf(i, arguments)));
      check(api.memAllocFromPoolAsync(&pointer, bytes, loaded.temporaries, stream), "cannot allocate a temporary");
      data[i] = reinterpret_cast<void *>(pointer); // NOLINT(performance-no-int-to-ptr): the driver's addresses are integers
    }
  for (size_t k = 0; k < artifact.kernels.size() && status; ++k) {
    const KernelSpec &kernel = artifact.kernels[k];
    LaunchPart parts[2];
    size_t launches = planLaunches(kernel, arguments, loaded.kernels[k].atOnce.data(), parts);
    if (launches == 1)
      status = launch(loaded, k, parts[0].launch, arguments, data.data(), stream);
    for (size_t i = 0; launches > 1 && i < launches && status; ++i)
      status = launchRows(loaded, k, parts[i], arguments, data.data(), stream);
  }
  for (const CopySpec &copy : artifact.copies)
    if (int64_t bytes = status ? bytesOf(size_t(copy.from), arguments) : 0)
      check(api.memcpyDtoDAsync(Pointer(data[size_t(copy.to)]), Pointer(data[size_t(copy.from)]), size_t(bytes), stream),
            "cannot copy");
  for (size_t i = 0; i < count; ++i)
    if (artifact.buffers[i].kind == BufferSpec::Temporary && data[i])
      check(api.memFreeAsync(Pointer(data[i]), stream), "cannot free a temporary");
  return status;
}
