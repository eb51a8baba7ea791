// One entry of the cache: writing it whole, reading it checked.
#ifndef VERNIER_RUNTIME_CACHEENTRY_H
#define VERNIER_RUNTIME_CACHEENTRY_H

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <memory>
#include <string>

namespace vernier::runtime {

/// Writes and syncs meta.json and the code into an existing folder.
Status writeEntry(const std::string &folder, const std::string &key, const Artifact &artifact);

/// Reads an entry and checks every size and digest.
Result<std::shared_ptr<const Artifact>> readEntry(const std::string &folder, const std::string &key);

} // namespace vernier::runtime

#endif
