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
  find(table.launchKernel, "cuLaunchKernel");
  find(table.memPoolCreate, "cuMemPoolCreate");
  find(table.memPoolSetAttribute, "cuMemPoolSetAttribute");
  find(table.memAllocFromPoolAsync, "cuMemAllocFromPoolAsync");
  find(table.memFreeAsync, "cuMemFreeAsync");
  find(table.memcpyDtoDAsync, "cuMemcpyDtoDAsync_v2");
  find(table.streamSynchronize, "cuStreamSynchronize");
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

Result<Context> CurrentDevice::primary(int device) {
  static std::mutex guard;
  static std::array<Context, 64> contexts{};
  if (device < 0 || device >= int(contexts.size()))
    return Error{"no device " + std::to_string(device)};
  std::lock_guard<std::mutex> lock(guard);
  Context &context = contexts[size_t(device)];
  if (context)
    return context;
  Result<const Driver *> api = driver();
  if (!api)
    return api.error();
  DeviceId id;
  if (Code code = (*api)->deviceGet(&id, device))
    return Error{"device " + std::to_string(device) + ": " + (*api)->describe(code)};
  if (Code code = (*api)->devicePrimaryCtxRetain(&context, id))
    return Error{"device " + std::to_string(device) + ": " + (*api)->describe(code)};
  return context;
}

Result<MemoryPool> vernier::runtime::cuda::temporaryPool(int device) {
  static std::mutex guard;
  static std::array<MemoryPool, 64> pools{};
  Result<const Driver *> api = driver();
  if (!api)
    return api.error();
  if (device < 0 || device >= int(pools.size()))
    return Error{"no device " + std::to_string(device)};
  std::lock_guard<std::mutex> lock(guard);
  MemoryPool &pool = pools[size_t(device)];
  if (pool)
    return pool;
  MemoryPoolProperties properties;
  properties.device = device;
  MemoryPool made = nullptr;
  if (Code code = (*api)->memPoolCreate(&made, &properties))
    return Error{"device " + std::to_string(device) + ": cannot make a memory pool: " + (*api)->describe(code)};
  uint64_t kept = uint64_t(1) << 30;
  if (Code code = (*api)->memPoolSetAttribute(made, kPoolReleaseThreshold, &kept))
    return Error{"device " + std::to_string(device) + ": cannot set up a memory pool: " + (*api)->describe(code)};
  return pool = made;
}

Status vernier::runtime::cuda::synchronize(int device, Stream stream) {
  Result<const Driver *> api = driver();
  if (!api)
    return api.error();
  Result<Context> context = CurrentDevice::primary(device);
  if (!context)
    return context.error();
  CurrentDevice current(**api, *context);
  if (Code code = (*api)->streamSynchronize(stream))
    return Error{"device " + std::to_string(device) + ": " + (*api)->describe(code)};
  return {};
}
