// Artifacts compiled ahead of time: a folder of cache entries with a list of what is in them.
#ifndef VERNIER_RUNTIME_BUNDLE_H
#define VERNIER_RUNTIME_BUNDLE_H

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <memory>
#include <string>
#include <vector>

namespace vernier::runtime {

/// One line of a bundle's manifest.json.
struct BundleItem {
  std::string key, name, target;
  std::vector<std::string> arguments; ///< "bf16[?, 4096]", ...
};

/// Adds an artifact under its cache key; an entry that is there already stays. The folder is made if need be.
Status addToBundle(const std::string &folder, const std::string &key, const Artifact &artifact);

/// What a bundle holds.
Result<std::vector<BundleItem>> listBundle(const std::string &folder);

/// The artifact with a key, or with a function's name where that is the only one of the name.
Result<std::shared_ptr<const Artifact>> openBundle(const std::string &folder, const std::string &keyOrName);

} // namespace vernier::runtime

#endif
