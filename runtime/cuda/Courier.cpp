#include "runtime/cuda/Courier.h"

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

Result<std::unique_ptr<Courier>> Courier::make(int device) {
  Result<CurrentDevice::Primary> primary = CurrentDevice::primary(device);
  if (!primary)
    return primary.error();
  const Driver &api = primary->api;
  std::unique_ptr<Courier> courier(new Courier(device, api, primary->context));
  CurrentDevice current(*primary);
  Code code = api.streamCreate(&courier->stream, kStreamNonBlocking);
  for (Event *event : {&courier->before, &courier->after})
    code = code ? code : api.eventCreate(event, kEventDisableTiming);
  if (Status status = courier->describe(code); !status)
    return status.error();
  return courier;
}

Courier::~Courier() {
  CurrentDevice current(api, context);
  for (Event event : {before, after})
    if (event)
      api.eventDestroy(event);
  if (stream)
    api.streamDestroy(stream);
}

Status Courier::describe(Code code) const {
  if (!code)
    return {};
  return Error{"device " + std::to_string(device) + ": copies beside kernels: " + api.describe(code)};
}

Status Courier::follow(Stream kernels) {
  CurrentDevice current(api, context);
  std::lock_guard<std::mutex> lock(guard);
  Code code = api.eventRecord(before, kernels);
  return describe(code ? code : api.streamWaitEvent(stream, before, 0));
}

Status Courier::copy(Pointer to, Pointer from, size_t bytes, Stream kernels) {
  if (!bytes)
    return {};
  if (Status status = follow(kernels); !status)
    return status;
  CurrentDevice current(api, context);
  return describe(api.memcpyDtoDAsync(to, from, bytes, stream));
}

Status Courier::join(Stream kernels) {
  CurrentDevice current(api, context);
  std::lock_guard<std::mutex> lock(guard);
  Code code = api.eventRecord(after, stream);
  code = code ? code : api.streamWaitEvent(kernels, after, 0);
  return describe(code);
}
