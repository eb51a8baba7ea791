#include "runtime/Bundle.h"

#include "runtime/CacheEntry.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace fs = std::filesystem;
using namespace vernier::runtime;

static constexpr const char *kManifest = "manifest.json";

namespace vernier::runtime {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BundleItem, key, name, target, arguments)
}

static std::string signatureOf(const ValueSpec &value) {
  std::string text = value.type + "[";
  for (size_t i = 0; i < value.shape.size(); ++i) {
    const SizeTerm &term = value.shape[i].terms.front();
    text += (i ? ", " : "") + (term.argument < 0 ? std::to_string(term.constant) : std::string("?"));
  }
  return text + "]";
}

Result<std::vector<BundleItem>> vernier::runtime::listBundle(const std::string &folder) {
  std::ifstream file(folder + "/" + kManifest);
  if (!file)
    return Error{"no bundle in " + folder + ": it has no " + kManifest};
  nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  Error bad{"the bundle " + folder + " is damaged or of another version; build it again"};
  try {
    if (json.is_discarded() || json.at("abi").get<int>() != kAbiVersion)
      return bad;
    return json.at("entries").get<std::vector<BundleItem>>();
  } catch (const nlohmann::json::exception &) {
    return bad;
  }
}

Status vernier::runtime::addToBundle(const std::string &folder, const std::string &key, const Artifact &artifact) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    return Error{"cannot make the bundle " + folder + ": " + error.message()};
  std::vector<BundleItem> items;
  if (fs::exists(folder + "/" + kManifest)) {
    Result<std::vector<BundleItem>> known = listBundle(folder);
    if (!known)
      return known.error();
    items = *known;
  }
  std::string entry = folder + "/" + key, staging = folder + "/.staging-" + std::to_string(getpid());
  if (!fs::exists(entry)) {
    fs::remove_all(staging, error);
    if (!fs::create_directory(staging, error))
      return Error{"cannot write to the bundle " + folder + ": " + error.message()};
    if (Status status = writeEntry(staging, key, artifact); !status)
      return status;
    fs::rename(staging, entry, error);
    if (error)
      return Error{"cannot add to the bundle " + folder + ": " + error.message()};
  }
  if (std::none_of(items.begin(), items.end(), [&](const BundleItem &item) { return item.key == key; })) {
    BundleItem item{key, artifact.name, artifact.target, {}};
    for (const ValueSpec &argument : artifact.arguments)
      item.arguments.push_back(signatureOf(argument));
    items.push_back(std::move(item));
  }
  nlohmann::json json;
  json["abi"] = kAbiVersion;
  json["entries"] = items;
  std::string text = folder + "/.manifest-" + std::to_string(getpid());
  std::ofstream out(text);
  out << json.dump(1) << "\n";
  out.close();
  if (!out)
    return Error{"cannot write " + text + ": " + std::strerror(errno)};
  fs::rename(text, folder + "/" + kManifest, error);
  if (error)
    return Error{"cannot write the manifest of " + folder + ": " + error.message()};
  return {};
}

Result<std::shared_ptr<const Artifact>> vernier::runtime::openBundle(const std::string &folder, const std::string &keyOrName) {
  Result<std::vector<BundleItem>> items = listBundle(folder);
  if (!items)
    return items.error();
  std::vector<const BundleItem *> found;
  std::string names;
  for (const BundleItem &item : *items) {
    if (item.key == keyOrName || item.name == keyOrName)
      found.push_back(&item);
    names += (names.empty() ? "" : ", ") + item.name;
  }
  if (found.empty())
    return Error{"the bundle " + folder + " has no '" + keyOrName + "'; it has: " + names};
  if (found.size() > 1)
    return Error{"the bundle " + folder + " has " + std::to_string(found.size()) + " functions '" + keyOrName +
                 "'; give the key of one"};
  return readEntry(folder + "/" + found.front()->key, found.front()->key);
}
