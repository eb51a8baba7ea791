#include "runtime/cuda/Driver.h"

#include <array>
#include <dlfcn.h>
#include <mutex>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

static Result<const Driver *> open() {
  static Driver table;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library)
    return Error{std::string("no CUDA driver: ") + dlerror()};
  std::string missing;
  auto find = [&](auto &slot, const char *name) {
    slot = reinterpret_cast<std::remove_reference_t<decltype(slot)>>(dlsym(library, name));
    if (!slot && missing.empty())
      missing = name;
  };
  find(table.init, "cuInit");
  find(table.driverGetVersion, "cuDriverGetVersion");
  find(table.getErrorName, "cuGetErrorName");
  find(table.getErrorString, "cuGetErrorString");
  find(table.deviceGetCount, "cuDeviceGetCount");
  find(table.deviceGet, "cuDeviceGet");
  find(table.deviceGetAttribute, "cuDeviceGetAttribute");
  find(table.deviceGetName, "cuDeviceGetName");
  find(table.devicePrimaryCtxRetain, "cuDevicePrimaryCtxRetain");
  find(table.ctxGetCurrent, "cuCtxGetCurrent");
  find(table.ctxSetCurrent, "cuCtxSetCurrent");
  find(table.ctxGetDevice, "cuCtxGetDevice");
  find(table.moduleLoadDataEx, "cuModuleLoadDataEx");
  find(table.moduleUnload, "cuModuleUnload");
  find(table.moduleGetFunction, "cuModuleGetFunction");
  find(table.funcSetAttribute, "cuFuncSetAttribute");
  find(table.occupancy, "cuOccupancyMaxActiveBlocksPerMultiprocessor");
  find(table.launchKernelEx, "cuLaunchKernelEx");
  find(table.memPoolCreate, "cuMemPoolCreate");
  find(table.memPoolDestroy, "cuMemPoolDestroy");
  find(table.memPoolSetAttribute, "cuMemPoolSetAttribute");
  find(table.memAllocFromPoolAsync, "cuMemAllocFromPoolAsync");
  find(table.memFreeAsync, "cuMemFreeAsync");
  find(table.memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
  find(table.streamCreate, "cuStreamCreate");
  find(table.streamDestroy, "cuStreamDestroy_v2");
  find(table.streamSynchronize, "cuStreamSynchronize");
  find(table.streamWaitEvent, "cuStreamWaitEvent");
  find(table.eventCreate, "cuEventCreate");
  find(table.eventDestroy, "cuEventDestroy_v2");
  find(table.eventRecord, "cuEventRecord");
  find(table.tensorMapEncodeTiled, "cuTensorMapEncodeTiled");
  if (!missing.empty())
    return Error{"the CUDA driver is too old: it has no " + missing};
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
