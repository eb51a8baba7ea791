// Object file -> functions in this process.
#ifndef VERNIER_COMPILER_TARGET_HOST_LOADER_H
#define VERNIER_COMPILER_TARGET_HOST_LOADER_H

#include "runtime/HostProgram.h"
#include "runtime/Result.h"

#include <memory>
#include <string>

namespace vernier::host {

/// Links an artifact's object file into the process. The code lives as long as the program.
runtime::Result<std::unique_ptr<runtime::HostProgram>> load(std::shared_ptr<const runtime::Artifact> artifact);

} // namespace vernier::host

#endif
