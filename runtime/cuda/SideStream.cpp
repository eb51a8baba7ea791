#include "runtime/cuda/SideStream.h"

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

Result<std::unique_ptr<SideStream>> SideStream::make(int device) {
  Result<CurrentDevice::Primary> primary = CurrentDevice::primary(device);
  if (!primary)
    return primary.error();
  const Driver &api = primary->api;
  std::unique_ptr<SideStream> side(new SideStream(device, *primary));
  CurrentDevice current(*primary);
  Code code = api.streamCreate(&side->stream, kStreamNonBlocking);
  for (Event *event : {&side->followed, &side->joined})
    code = code ? code : api.eventCreate(event, kEventDisableTiming);
  if (Status status = side->describe(code); !status)
    return status.error();
  return side;
}

SideStream::~SideStream() {
  CurrentDevice current(primary);
  for (Event event : {followed, joined})
    if (event)
      primary.api.eventDestroy(event);
  if (stream)
    primary.api.streamDestroy(stream);
}

Status SideStream::describe(Code code) const {
  if (!code)
    return {};
  return Error{"device " + std::to_string(device) + ": work beside kernels: " + primary.api.describe(code)};
}

Status SideStream::order(Stream waiting, Event event, Stream other) {
  CurrentDevice current(primary);
  std::lock_guard<std::mutex> lock(guard);
  Code code = primary.api.eventRecord(event, other);
  return describe(code ? code : primary.api.streamWaitEvent(waiting, event, 0));
}

Status SideStream::follow(Stream other) { return order(stream, followed, other); }

Status SideStream::join(Stream other) { return order(other, joined, stream); }
