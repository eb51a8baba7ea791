#include "runtime/cuda/Driver.h"

#include "runtime/cuda/Library.h"

#include <array>
#include <mutex>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

static Result<const Driver *> open() {
  static Driver table;
  Library library("libcuda.so.1");
  if (!library)
    return Error{"no CUDA driver: " + library.failure()};
  library.find(table.init, "cuInit");
  library.find(table.driverGetVersion, "cuDriverGetVersion");
  library.find(table.getErrorName, "cuGetErrorName");
  library.find(table.getErrorString, "cuGetErrorString");
  library.find(table.deviceGetCount, "cuDeviceGetCount");
  library.find(table.deviceGet, "cuDeviceGet");
  library.find(table.deviceGetAttribute, "cuDeviceGetAttribute");
  library.find(table.deviceGetName, "cuDeviceGetName");
  library.find(table.devicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
  library.find(table.ctxGetCurrent, "cuCtxGetCurrent");
  library.find(table.ctxSetCurrent, "cuCtxSetCurrent");
  library.find(table.ctxGetDevice, "cuCtxGetDevice");
  library.find(table.moduleLoadDataEx, "cuModuleLoadDataEx");
  library.find(table.moduleUnload, "cuModuleUnload");
  library.find(table.moduleGetFunction, "cuModuleGetFunction");
  library.find(table.funcSetAttribute, "cuFuncSetAttribute");
  library.find(table.occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  library.find(table.launchKernelEx, "cuLaunchKernelEx");
  library.find(table.memPoolCreate, "cuMemPoolCreate");
  library.find(table.memPoolDestroy, "cuMemPoolDestroy");
  library.find(table.memPoolSetAttribute, "cuMemPoolSetAttribute");
  library.find(table.memAllocFromPoolAsync, "cuMemAllocFromPoolAsync");
  library.find(table.memFreeAsync, "cuMemFreeAsync");
  library.find(table.memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
  library.find(table.streamCreate, "cuStreamCreate");
  library.find(table.streamDestroy, "cuStreamDestroy_v2");
  library.find(table.streamSynchronize, "cuStreamSynchronize");
  library.find(table.streamWaitEvent, "cuStreamWaitEvent");
  library.find(table.eventCreate, "cuEventCreate");
  library.find(table.eventDestroy, "cuEventDestroy_v2");
  library.find(table.eventRecord, "cuEventRecord");
  library.find(table.tensorMapEncodeTiled, "cuTensorMapEncodeTiled");
  if (!library.missing().empty())
    return Error{"the CUDA driver is too old: it has no " + library.missing()};
  if (Code code = table.init(0))
    return Error{"the CUDA driver does not start: " + table.describe(code)};
  return &table;
}

std::string Driver::describe(Code code) const {
  const char *name = nullptr, *text = nullptr;
  getErrorName(code, &name);
  getErrorString(code, &text);
  return std::string(name ? name : "error " + std::to_string(code)) + (text ? std::string(": ") + text : "");
}

Result<const Driver *> vernier::runtime::cuda::driver() {
  static Result<const Driver *> opened = open();
  return opened;
}

namespace {
/// What is made for a device when it is first asked for, and kept as long as the process lives. T is a pointer.
template <typename T> class OnePerDevice {
public:
  template <typename Make> Result<T> get(int device, Make make) {
    if (device < 0 || device >= int(made.size()))
      return Error{"no device " + std::to_string(device)};
    Result<const Driver *> api = driver();
    if (!api)
      return api.error();
    std::lock_guard<std::mutex> lock(guard);
    T &kept = made[size_t(device)];
    if (kept)
      return kept;
    Result<T> fresh = make(**api);
    if (fresh)
      kept = *fresh;
    return fresh;
  }

private:
  std::mutex guard;
  std::array<T, 64> made{};
};
} // namespace

Result<CurrentDevice::Primary> CurrentDevice::primary(int device) {
  Result<const Driver *> api = driver();
  if (!api)
    return api.error();
  static OnePerDevice<Context> contexts;
  Result<Context> kept = contexts.get(device, [&](const Driver &api) -> Result<Context> {
    DeviceId id;
    Context context;
    if (Code code = api.deviceGet(&id, device))
      return Error{"device " + std::to_string(device) + ": " + api.describe(code)};
    if (Code code = api.devicePrimaryCtxRetain(&context, id))
      return Error{"device " + std::to_string(device) + ": " + api.describe(code)};
    return context;
  });
  if (!kept)
    return kept.error();
  return Primary{**api, *kept};
}

Result<MemoryPool> vernier::runtime::cuda::temporaryPool(int device) {
  static OnePerDevice<MemoryPool> pools;
  return pools.get(device, [&](const Driver &api) -> Result<MemoryPool> {
    MemoryPoolProperties properties;
    properties.device = device;
    MemoryPool pool;
    if (Code code = api.memPoolCreate(&pool, &properties))
      return Error{"device " + std::to_string(device) + ": cannot make a memory pool: " + api.describe(code)};
    uint64_t kept = uint64_t(1) << 30;
    if (Code code = api.memPoolSetAttribute(pool, kPoolReleaseThreshold, &kept)) {
      api.memPoolDestroy(pool);
      return Error{"device " + std::to_string(device) + ": cannot set up a memory pool: " + api.describe(code)};
    }
    return pool;
  });
}

Status vernier::runtime::cuda::synchronize(int device, Stream stream) {
  Result<CurrentDevice::Primary> primary = CurrentDevice::primary(device);
  if (!primary)
    return primary.error();
  CurrentDevice current(*primary);
  if (Code code = primary->api.streamSynchronize(stream))
    return Error{"device " + std::to_string(device) + ": " + primary->api.describe(code)};
  return {};
}
