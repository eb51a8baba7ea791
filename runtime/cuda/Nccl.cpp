#include "runtime/cuda/Nccl.h"

#include "runtime/cuda/Library.h"

#include <cstdlib>

using namespace vernier::runtime;
using namespace vernier::runtime::cuda;

static Result<const Nccl *> open() {
  static Nccl table;
  const char *given = std::getenv("VERNIER_NCCL");
  Library library(given ? given : "libnccl.so.2");
  if (!library)
    return Error{"no NCCL: " + library.failure() + "; install it, import torch first, or set VERNIER_NCCL"};
  library.find(table.getVersion, "ncclGetVersion");
  library.find(table.getUniqueId, "ncclGetUniqueId");
  library.find(table.getErrorString, "ncclGetErrorString");
  library.find(table.getLastError, "ncclGetLastError");
  library.find(table.commInitRank, "ncclCommInitRank");
  library.find(table.commDestroy, "ncclCommDestroy");
  library.find(table.commAbort, "ncclCommAbort");
  library.find(table.commGetAsyncError, "ncclCommGetAsyncError");
  library.find(table.groupStart, "ncclGroupStart");
  library.find(table.groupEnd, "ncclGroupEnd");
  library.find(table.send, "ncclSend");
  library.find(table.receive, "ncclRecv");
  if (!library.missing().empty())
    return Error{"NCCL is too old: it has no " + library.missing()};
  return &table;
}

Result<const Nccl *> vernier::runtime::cuda::nccl() {
  static Result<const Nccl *> opened = open();
  return opened;
}
