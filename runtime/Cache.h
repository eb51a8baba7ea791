// Artifacts on disk, shared by threads and processes.
#ifndef VERNIER_RUNTIME_CACHE_H
#define VERNIER_RUNTIME_CACHE_H

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vernier::runtime {

/// How a request was answered.
enum class CacheOutcome {
  Hit,      ///< read from disk.
  Compiled, ///< compiled and stored.
  Unstored, ///< compiled, but not stored: the folder is full, read-only or otherwise out of order.
};

struct Cached {
  std::shared_ptr<const Artifact> artifact;
  CacheOutcome outcome;
  std::string note; ///< why nothing was stored, or what was set aside.
};

/// A folder with one folder an entry: meta.json, with size and digest of every file, and the files. An entry appears
/// whole or not at all. Whoever misses takes a lock (one for keys that begin alike), looks again, compiles in a staging folder,
/// syncs and renames. A bad entry is set aside and rebuilt. When the entries outgrow the cap, the least recently used ones go.
///
/// Bundles are folders of entries that were compiled ahead of time. They are looked at first, and never written to.
class Cache {
public:
  /// `folder` is made when it is first needed. An empty one means: nothing on disk.
  explicit Cache(std::string folder, int64_t capBytes = int64_t(1) << 30) : folder(std::move(folder)), capBytes(capBytes) {}

  /// The same with the bundles that $VERNIER_BUNDLES lists (separated by ':'). With VERNIER_COMPILE=never, what is in neither
  /// bundle nor cache is an error.
  static Cache fromEnvironment(std::string folder, int64_t capBytes);

  using Compile = std::function<Result<Artifact>()>;
  /// The artifact with this key, compiled by `compile` when there is none. Fails when compiling fails, or when others
  /// may write to the folder, since what is in it will be run.
  Result<Cached> get(const std::string &key, const Compile &compile);

private:
  std::string folder;
  int64_t capBytes;
  std::vector<std::string> bundles;
  bool mayCompile = true;
};

/// $VERNIER_CACHE_DIR ("" turns the disk off), else $XDG_CACHE_HOME/vernier, else ~/.cache/vernier.
std::string defaultCacheFolder();

} // namespace vernier::runtime

#endif
