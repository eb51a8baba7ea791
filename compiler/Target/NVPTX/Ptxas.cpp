#include "compiler/Target/NVPTX/Ptxas.h"

#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <mutex>
#include <regex>
#include <spawn.h>
#include <sstream>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

using namespace vernier;
using runtime::Error;
using runtime::Result;

static bool runnable(const std::string &path) { return access(path.c_str(), X_OK) == 0; }

std::string vernier::nvptx::findPtxas(const std::string &preferred) {
  if (!preferred.empty())
    return preferred;
  if (const char *given = std::getenv("VERNIER_PTXAS"))
    return given;
  std::vector<std::string> folders;
  if (const char *home = std::getenv("CUDA_HOME"))
    folders.push_back(std::string(home) + "/bin");
  std::stringstream path(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(path, folder, ':');)
    folders.push_back(folder);
  folders.push_back("/usr/local/cuda/bin");
  for (const std::string &folder : folders)
    if (runnable(folder + "/ptxas"))
      return folder + "/ptxas";
  return "";
}

namespace {
struct Finished {
  int status = 0;
  std::string output;
};

/// A folder for one run, gone with the object.
struct ScratchFolder {
  std::string path;
  ScratchFolder() {
    const char *base = std::getenv("TMPDIR");
    std::string pattern = std::string(base && *base ? base : "/tmp") + "/vernier-XXXXXX";
    if (mkdtemp(pattern.data()))
      path = pattern;
  }
  ~ScratchFolder() {
    if (path.empty())
      return;
    for (const char *name : {"/kernel.ptx", "/kernel.cubin"})
      unlink((path + name).c_str());
    rmdir(path.c_str());
  }
};
} // namespace

/// Runs a program without a shell; both its streams come back.
static Result<Finished> run(const std::vector<std::string> &words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC))
    return Error{std::string("cannot make a pipe: ") + std::strerror(errno)};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<char *> arguments;
  for (const std::string &word : words)
    arguments.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
  pid_t child;
  int failed = posix_spawn(&child, words[0].c_str(), &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed) {
    close(ends[0]);
    return Error{"cannot run " + words[0] + ": " + std::strerror(failed)};
  }
  Finished result;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR);)
    if (n > 0)
      result.output.append(buffer, size_t(n));
  close(ends[0]);
  while (waitpid(child, &result.status, 0) < 0 && errno == EINTR) {
  }
  return result;
}

Result<std::string> vernier::nvptx::ptxasVersion(const std::string &ptxas) {
  static std::mutex guard;
  static std::map<std::string, std::string> known;
  std::lock_guard<std::mutex> lock(guard);
  if (auto it = known.find(ptxas); it != known.end())
    return it->second;
  Result<Finished> done = run({ptxas, "--version"});
  if (!done)
    return done.error();
  std::smatch match;
  if (!std::regex_search(done->output, match, std::regex("release [0-9.]+, V([0-9.]+)")))
    return Error{ptxas + " --version: " + done->output};
  return known[ptxas] = match[1].str();
}

void vernier::nvptx::parseLog(const std::string &log, Assembly &assembly) {
  static const std::regex entry("Compiling entry function '([^']+)'"),
      spills("(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads"), used("Used (\\d+) registers"),
      shared("(\\d+) bytes smem"), function("function '?([A-Za-z0-9_.$]+)'?");
  std::stringstream lines(log);
  KernelReport *current = nullptr;
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_search(line, match, entry))
      current = &assembly.kernels[match[1]];
    else if (current && std::regex_search(line, match, spills)) {
      current->stackBytes = std::stoll(match[1]);
      current->spillStores = std::stoll(match[2]);
      current->spillLoads = std::stoll(match[3]);
    } else if (current && std::regex_search(line, match, used)) {
      current->registers = std::stoi(match[1]);
      if (std::regex_search(line, match, shared))
        current->sharedBytes = std::stoll(match[1]);
    } else if (line.find("warning") != std::string::npos || line.find("(C7") != std::string::npos) {
      // Serialised wgmma and ignored setmaxnreg come as C75xx, some of them as mere info.
      bool placed = false;
      for (auto &[name, report] : assembly.kernels)
        if (line.find(name) != std::string::npos) {
          report.warnings.push_back(line);
          placed = true;
        }
      if (!placed)
        assembly.warnings.push_back(line);
    }
  }
}

Result<nvptx::Assembly> vernier::nvptx::assemble(const std::string &ptxas, const std::string &ptx, const std::string &kernel) {
  ScratchFolder folder;
  if (folder.path.empty())
    return Error{std::string("cannot make a folder for ptxas: ") + std::strerror(errno)};
  std::string source = folder.path + "/kernel.ptx", target = folder.path + "/kernel.cubin";
  std::ofstream file(source, std::ios::binary);
  file << ptx;
  file.close();
  if (!file)
    return Error{"cannot write " + source + ": " + std::strerror(errno)};
  // Several kernels on several cores: the same code, sooner.
  std::vector<std::string> words{ptxas, "-arch=sm_90a", "-O3", "-v", "--split-compile", "0", source, "-o", target};
  if (!kernel.empty())
    words.insert(words.end(), {"--entry", kernel});
  Result<Finished> done = run(words);
  if (!done)
    return done.error();
  if (done->status) {
    std::string command;
    for (const std::string &word : words)
      command += (command.empty() ? "" : " ") + word;
    std::string how = WIFEXITED(done->status) ? "status " + std::to_string(WEXITSTATUS(done->status))
                                              : "signal " + std::to_string(WTERMSIG(done->status));
    return Error{"ptxas failed with " + how + "\n  command: " + command + "\n" + done->output};
  }
  Assembly assembly;
  assembly.log = done->output;
  std::ifstream made(target, std::ios::binary);
  std::stringstream bytes;
  bytes << made.rdbuf();
  assembly.cubin = bytes.str();
  if (assembly.cubin.empty())
    return Error{"ptxas wrote no cubin to " + target};
  parseLog(assembly.log, assembly);
  return assembly;
}
