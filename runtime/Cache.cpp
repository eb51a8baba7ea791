#include "runtime/Cache.h"

#include "runtime/CacheEntry.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sstream>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace fs = std::filesystem;
using namespace vernier::runtime;

static std::string because(const std::string &what) { return what + ": " + std::strerror(errno); }

/// Held until destroyed; a process that dies lets go of it.
namespace {
class FileLock {
public:
  explicit FileLock(const std::string &path) : file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    int status = -1;
    while (file >= 0 && (status = flock(file, LOCK_EX)) != 0 && errno == EINTR) {
    }
    locked = status == 0;
  }
  ~FileLock() {
    if (file >= 0)
      close(file);
  }
  FileLock(const FileLock &) = delete;
  bool held() const { return locked; }

private:
  int file;
  bool locked = false;
};
} // namespace

/// Others must not be able to put code there. A folder that cannot be made is no danger, only useless.
static Status checkFolder(const std::string &folder) {
  struct stat info;
  if (stat(folder.c_str(), &info) != 0)
    return {};
  if (!S_ISDIR(info.st_mode))
    return Error{"the cache " + folder + " is not a folder; set VERNIER_CACHE_DIR to one"};
  if (info.st_uid != geteuid() && info.st_uid != 0)
    return Error{"the cache folder " + folder +
                 " belongs to another user, and its contents would be run as code; set "
                 "VERNIER_CACHE_DIR to a folder of your own"};
  if (info.st_mode & (S_IWGRP | S_IWOTH))
    return Error{"the cache folder " + folder +
                 " can be written to by others, and its contents would be run as code; run "
                 "'chmod go-w " +
                 folder + "' or set VERNIER_CACHE_DIR to a folder of your own"};
  return {};
}

static bool makeFolder(const std::string &folder) {
  std::error_code error;
  fs::create_directories(fs::path(folder).parent_path(), error);
  return mkdir(folder.c_str(), 0755) == 0 || errno == EEXIST;
}

static bool isEntry(const fs::directory_entry &entry) {
  std::error_code error;
  return entry.is_directory(error) && entry.path().filename().string().front() != '.';
}

/// Drops the least recently used entries until the rest fits.
static void trim(const std::string &folder, int64_t capBytes, const std::string &keep) {
  struct Item {
    fs::path path;
    fs::file_time_type used;
    int64_t bytes;
  };
  std::vector<Item> items;
  int64_t total = 0;
  std::error_code error;
  auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(24);
  for (const auto &entry : fs::directory_iterator(folder, error)) {
    std::string name = entry.path().filename().string();
    // What killed processes and damaged entries left.
    if ((name.starts_with(".staging-") || name.starts_with(".bad-")) && entry.last_write_time(error) < yesterday)
      fs::remove_all(entry.path(), error);
    if (!isEntry(entry))
      continue;
    Item item{entry.path(), fs::last_write_time(entry.path(), error), 0};
    for (const auto &file : fs::directory_iterator(entry.path(), error))
      item.bytes += int64_t(file.file_size(error));
    total += item.bytes;
    items.push_back(std::move(item));
  }
  std::sort(items.begin(), items.end(), [](const Item &a, const Item &b) { return a.used < b.used; });
  for (const Item &item : items) {
    if (total <= capBytes)
      return;
    if (item.path.filename() == keep)
      continue;
    fs::remove_all(item.path, error);
    total -= item.bytes;
  }
}

/// Stages, syncs, renames. Leaves nothing behind when it fails.
static Status publish(const std::string &folder, const std::string &key, const Artifact &artifact) {
  std::string staging = folder + "/.staging-" + key.substr(0, 16) + "-XXXXXX";
  if (!mkdtemp(staging.data()))
    return Error{because("cannot write to " + folder)};
  std::error_code error;
  Status status = writeEntry(staging, key, artifact);
  if (status && rename(staging.c_str(), (folder + "/" + key).c_str()) != 0)
    status = Error{because("cannot rename the staged entry")};
  if (!status) {
    fs::remove_all(staging, error);
    return status;
  }
  chmod((folder + "/" + key).c_str(), 0755);
  if (int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); directory >= 0) {
    fsync(directory);
    close(directory);
  }
  return {};
}

Cache Cache::fromEnvironment(std::string folder, int64_t capBytes) {
  Cache cache(std::move(folder), capBytes);
  if (const char *list = std::getenv("VERNIER_BUNDLES")) {
    std::stringstream folders(list);
    for (std::string one; std::getline(folders, one, ':');)
      if (!one.empty())
        cache.bundles.push_back(one);
  }
  const char *rule = std::getenv("VERNIER_COMPILE");
  cache.mayCompile = !rule || std::string(rule) != "never";
  return cache;
}

Result<Cached> Cache::get(const std::string &key, const Compile &compileFresh) {
  for (const std::string &bundle : bundles) {
    std::string entry = bundle;
    entry.append("/").append(key);
    if (access(entry.c_str(), F_OK) != 0)
      continue;
    if (Status status = checkFolder(bundle); !status)
      return status.error();
    auto found = readEntry(entry, key);
    if (!found)
      return Error{"bundle " + bundle + ": entry " + key.substr(0, 16) + ": " + found.error().message + "; build it again"};
    return Cached{*found, CacheOutcome::Hit, ""};
  }
  Compile compile = compileFresh;
  if (!mayCompile)
    compile = [&]() -> Result<Artifact> {
      return Error{"VERNIER_COMPILE=never forbids compiling, and entry " + key.substr(0, 16) +
                   " is in no bundle and not in the cache " + folder +
                   "; compile it ahead of time (vn.compile(...).save(folder), then VERNIER_BUNDLES=folder)"};
    };
  auto withoutDisk = [&](std::string note) -> Result<Cached> {
    Result<Artifact> fresh = compile();
    if (!fresh)
      return fresh.error();
    return Cached{std::make_shared<Artifact>(std::move(*fresh)), CacheOutcome::Unstored, std::move(note)};
  };
  if (folder.empty())
    return withoutDisk("");
  if (Status status = checkFolder(folder); !status)
    return status.error();
  std::string entry = folder + "/" + key, note;
  auto look = [&]() -> std::shared_ptr<const Artifact> {
    if (access(entry.c_str(), F_OK) != 0)
      return nullptr;
    auto found = readEntry(entry, key);
    if (found) {
      utimensat(AT_FDCWD, entry.c_str(), nullptr, 0); // for "least recently used"; a read-only disk may refuse
      return *found;
    }
    note = "cache entry " + key.substr(0, 16) + " was set aside: " + found.error().message;
    return nullptr;
  };
  if (auto artifact = look())
    return Cached{artifact, CacheOutcome::Hit, ""};
  if (!makeFolder(folder))
    return withoutDisk(because("cannot make the cache folder " + folder));
  // Somebody may have made the folder in the meantime, and made it otherwise.
  if (Status status = checkFolder(folder); !status)
    return status.error();
  FileLock lock(folder + "/.lock-" + key.substr(0, 4));
  if (!lock.held())
    return withoutDisk(because("cannot lock the cache folder " + folder));
  // Somebody else may have finished while this one waited.
  if (auto artifact = look())
    return Cached{artifact, CacheOutcome::Hit, ""};
  if (access(entry.c_str(), F_OK) == 0) {
    std::string aside = folder + "/.bad-" + key.substr(0, 16);
    std::error_code error;
    fs::remove_all(aside, error);
    if (rename(entry.c_str(), aside.c_str()) != 0)
      return withoutDisk(note + "; " + because("and could not be moved"));
  }
  Result<Artifact> fresh = compile();
  if (!fresh)
    return fresh.error();
  auto artifact = std::make_shared<Artifact>(std::move(*fresh));
  if (Status status = publish(folder, key, *artifact); !status)
    return Cached{artifact, CacheOutcome::Unstored, status.error().message};
  trim(folder, capBytes, key);
  return Cached{artifact, CacheOutcome::Compiled, note};
}

std::string vernier::runtime::defaultCacheFolder() {
  if (const char *folder = std::getenv("VERNIER_CACHE_DIR"))
    return folder;
  if (const char *base = std::getenv("XDG_CACHE_HOME"); base && *base)
    return std::string(base) + "/vernier";
  if (const char *home = std::getenv("HOME"); home && *home)
    return std::string(home) + "/.cache/vernier";
  return "";
}
