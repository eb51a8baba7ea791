#include "runtime/CacheEntry.h"

#include "runtime/Sha256.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

using namespace vernier::runtime;

static constexpr const char *kMeta = "meta.json";

namespace {
struct File {
  const char *name;
  std::string Artifact::*bytes;
};
} // namespace

/// What an entry holds beside its metadata.
static std::vector<File> filesOf(const Artifact &artifact) {
  if (artifact.target == "sm_90a")
    return {{"code.cubin", &Artifact::code}, {"code.ptx", &Artifact::ptx}};
  return {{"code.o", &Artifact::code}};
}

static Status writeFile(const std::string &path, const std::string &bytes) {
  auto fail = [&](const char *what) { return Error{std::string(what) + " " + path + ": " + std::strerror(errno)}; };
  int file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (file < 0)
    return fail("cannot create");
  for (size_t at = 0; at < bytes.size();) {
    ssize_t count = write(file, bytes.data() + at, bytes.size() - at);
    if (count < 0 && errno == EINTR)
      continue;
    if (count <= 0) {
      Status status = fail("cannot write");
      close(file);
      return status;
    }
    at += size_t(count);
  }
  bool synced = fsync(file) == 0;
  if (close(file) != 0 || !synced)
    return fail("cannot sync");
  return {};
}

static bool readFile(const std::string &path, std::string &bytes) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream)
    return false;
  std::ostringstream text;
  text << stream.rdbuf();
  bytes = text.str();
  return true;
}

Status vernier::runtime::writeEntry(const std::string &folder, const std::string &key, const Artifact &artifact) {
  nlohmann::json meta;
  meta["key"] = key;
  meta["artifact"] = toJson(artifact);
  meta["artifact_sha256"] = sha256(toJson(artifact));
  for (const File &file : filesOf(artifact)) {
    const std::string &bytes = artifact.*file.bytes;
    meta["files"][file.name] = {{"bytes", bytes.size()}, {"sha256", sha256(bytes)}};
    if (Status status = writeFile(folder + "/" + file.name, bytes); !status)
      return status;
  }
  return writeFile(folder + "/" + kMeta, meta.dump(1) + "\n");
}

Result<std::shared_ptr<const Artifact>> vernier::runtime::readEntry(const std::string &folder, const std::string &key) {
  std::string text;
  if (!readFile(folder + "/" + kMeta, text))
    return Error{"no " + std::string(kMeta)};
  nlohmann::json meta = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  try {
    if (meta.is_discarded() || meta.at("key").get<std::string>() != key)
      return Error{std::string(kMeta) + " is damaged"};
    std::string description = meta.at("artifact").get<std::string>();
    if (sha256(description) != meta.at("artifact_sha256").get<std::string>())
      return Error{std::string(kMeta) + " is damaged"};
    auto artifact = std::make_shared<Artifact>(fromJson(description));
    if (artifact->name.empty())
      return Error{std::string(kMeta) + " describes no artifact of this version"};
    for (const File &file : filesOf(*artifact)) {
      std::string &bytes = (*artifact).*file.bytes;
      if (!readFile(folder + "/" + file.name, bytes))
        return Error{"no " + std::string(file.name)};
      const nlohmann::json &expected = meta.at("files").at(file.name);
      if (expected.at("bytes").get<size_t>() != bytes.size() || expected.at("sha256").get<std::string>() != sha256(bytes))
        return Error{std::string(file.name) + " does not match its digest"};
    }
    return std::shared_ptr<const Artifact>(std::move(artifact));
  } catch (const nlohmann::json::exception &) {
    return Error{std::string(kMeta) + " is damaged"};
  }
}
