#include "compiler/API/Compiler.h"

#include "compiler/API/LaunchPlan.h"
#include "compiler/Pipelines/Phases.h"
#include "compiler/Pipelines/Registration.h"
#include "compiler/Target/Host/Loader.h"
#include "compiler/Target/Host/ObjectFile.h"
#include "compiler/Target/NVPTX/Ptx.h"
#include "compiler/Target/NVPTX/Ptxas.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "runtime/Sha256.h"

#include <limits>
#include <map>

using namespace mlir;
using namespace vernier;
using runtime::Error;
using runtime::Result;
using runtime::Status;

namespace {
/// A context for one compilation, whose diagnostics become the error.
class Session {
public:
  Session()
      : context(registry(), MLIRContext::Threading::DISABLED), handler(&context, [this](Diagnostic &diagnostic) {
          if (diagnostic.getSeverity() == DiagnosticSeverity::Error)
            collect(diagnostic);
          return success();
        }) {
    context.printOpOnDiagnostic(false);
    context.loadAllAvailableDialects();
  }

  OwningOpRef<ModuleOp> parse(const std::string &text) { return parseSourceString<ModuleOp>(text, &context); }

  Error error(const char *fallback) const { return {message.empty() ? fallback : message}; }

  /// Takes a module through the phases of a target that are IR.
  LogicalResult run(ModuleOp module, ArrayRef<Phase> list, unsigned from, unsigned until, const CompileOptions &options,
                    llvm::function_ref<void(unsigned)> reached = nullptr) {
    PipelineOptions pipeline{*findTarget(options.target), options.maxKernels, options.fuse};
    for (unsigned i = from + 1; i <= until; ++i) {
      PassManager manager(&context);
      list[i].build(manager, pipeline);
      if (failed(manager.run(module)))
        return failure();
      if (reached)
        reached(i);
    }
    return success();
  }

private:
  static const DialectRegistry &registry() {
    static const DialectRegistry *instance = [] {
      auto *made = new DialectRegistry;
      registerDialects(*made);
      return made;
    }();
    return *instance;
  }

  void collect(Diagnostic &diagnostic) {
    llvm::raw_string_ostream os(message);
    auto print = [&](Diagnostic &one) {
      // Text that came from a tracer has places in the user's file; its own lines mean nothing to anybody.
      if (auto file = llvm::dyn_cast<FileLineColLoc>(one.getLocation()); file && file.getFilename() != "-")
        os << file.getFilename().getValue() << ":" << file.getLine() << ": ";
      os << one.str();
    };
    if (!message.empty())
      os << "\n";
    print(diagnostic);
    for (Diagnostic &note : diagnostic.getNotes()) {
      os << "\n  note: ";
      os << note.str();
    }
  }

  MLIRContext context;
  std::string message;
  ScopedDiagnosticHandler handler;
};
} // namespace

static std::string print(ModuleOp module, bool locations) {
  std::string text;
  llvm::raw_string_ostream os(text);
  OpPrintingFlags flags;
  if (locations)
    flags.enableDebugInfo();
  module.print(os, flags);
  return text;
}

static Result<Target> targetOf(const CompileOptions &options) {
  if (auto target = findTarget(options.target))
    return *target;
  return Error{"unknown target '" + options.target + "'; this build knows: " + targetNames()};
}

std::vector<PhaseInfo> vernier::listPhases() {
  std::vector<PhaseInfo> list;
  for (const Phase &phase : phases())
    list.push_back({phase.name.str(), phase.description.str(), phase.suffix.str(), phase.onHost, phase.onGpu});
  return list;
}

/// Looks for a way to assemble a kernel without spilled registers, which cost more than blocks or warps that wait.
class SpillSearch {
public:
  SpillSearch(ModuleOp module, std::string kernel, std::string &ptx) : module(module), kernel(std::move(kernel)), ptx(ptx) {}

  /// Changes the kernel, and its PTX, for another try, or goes back to the best; false where nothing is left to try.
  Result<bool> next(int64_t spilled) {
    if (settled || !spilled)
      return false;
    if (nvptx::relaxBlocks(module, kernel, ptx)) // room for one block less on a multiprocessor
      return true;
    if (spilled < fewest)
      fewest = spilled, best = place;
    while (tried < std::size(kPlaces)) {
      nvptx::RegisterMove wanted = kPlaces[tried++];
      if (!move(wanted))
        continue;
      place = wanted;
      return emitAgain();
    }
    settled = true;
    if (place.computing == best.computing && place.fetching == best.fetching)
      return false;
    move(best);
    return emitAgain();
  }

private:
  /// Of warps that share registers: first some for those that fetch or finish, then for those that compute.
  static constexpr nvptx::RegisterMove kPlaces[] = {{0, -1}, {0, 1}, {0, 3}, {1, -2}, {-1, 0}, {-1, 1}, {1, -1}};

  bool move(nvptx::RegisterMove wanted) {
    return nvptx::moveRegisters(module, kernel, {wanted.computing - place.computing, wanted.fetching - place.fetching});
  }
  Result<bool> emitAgain() {
    llvm::Expected<std::string> again = nvptx::emitPtx(module);
    if (!again)
      return Error{llvm::toString(again.takeError())};
    ptx = std::move(*again);
    return true;
  }

  ModuleOp module;
  std::string kernel;
  std::string &ptx;
  nvptx::RegisterMove place, best;
  int64_t fewest = std::numeric_limits<int64_t>::max();
  size_t tried = 0;
  bool settled = false;
};

/// Assembles the PTX of a module. A kernel that spills is assembled by itself until nothing may help it any more.
static Result<nvptx::Assembly> assembleWithoutSpills(const std::string &ptxas, ModuleOp module, std::string &ptx) {
  Result<nvptx::Assembly> assembly = nvptx::assemble(ptxas, ptx);
  if (!assembly)
    return assembly;
  bool changed = false;
  for (auto &[name, report] : std::map(assembly->kernels)) {
    SpillSearch search(module, name, ptx);
    int64_t spilled = report.spillStores + report.spillLoads;
    while (true) {
      Result<bool> again = search.next(spilled);
      if (!again)
        return again.error();
      if (!*again)
        break;
      Result<nvptx::Assembly> alone = nvptx::assemble(ptxas, ptx, name);
      if (!alone)
        return alone;
      const nvptx::KernelReport &found = alone->kernels[name];
      spilled = found.spillStores + found.spillLoads;
      changed = true;
      if (assembly->kernels.size() == 1)
        assembly = std::move(alone);
    }
  }
  return changed && assembly->kernels.size() > 1 ? nvptx::assemble(ptxas, ptx) : std::move(assembly);
}

static void report(nvptx::Assembly &assembly, runtime::LaunchSpec &launch) {
  const nvptx::KernelReport &found = assembly.kernels[launch.entry];
  launch.registers = found.registers;
  launch.warnings = found.warnings;
  launch.spillBytes = found.spillStores + found.spillLoads;
  launch.schedule += ", " + std::to_string(found.registers) + " registers";
  if (launch.sharedBytes)
    launch.schedule += ", " + std::to_string(launch.sharedBytes) + " bytes of shared memory";
  if (launch.spillBytes)
    launch.warnings.push_back("spills " + std::to_string(launch.spillBytes) +
                              " bytes of registers a thread: split the function, or return fewer formats at once");
  launch.warnings.insert(launch.warnings.end(), assembly.warnings.begin(), assembly.warnings.end());
}

/// Fills in what the assembler found, and its machine code.
static Status assemble(const CompileOptions &options, ModuleOp module, runtime::Artifact &artifact) {
  std::string ptxas = nvptx::findPtxas(options.ptxas);
  if (ptxas.empty())
    return {}; // the driver does it
  Result<nvptx::Assembly> assembly = assembleWithoutSpills(ptxas, module, artifact.ptx);
  if (!assembly)
    return assembly.error();
  artifact.code = std::move(assembly->cubin);
  for (runtime::KernelSpec &kernel : artifact.kernels)
    for (runtime::LaunchSpec &launch : kernel.launches)
      report(*assembly, launch);
  return {};
}

Result<runtime::Artifact> vernier::compile(const std::string &text, const CompileOptions &options) {
  Result<Target> target = targetOf(options);
  if (!target)
    return target.error();
  Session session;
  OwningOpRef<ModuleOp> module = session.parse(text);
  if (!module)
    return session.error("the module does not parse");
  bool host = *target == Target::Host;
  SmallVector<Phase> list = phases(*target);
  unsigned fusedPhase = *findPhase(*target, "fused"), lowered = *findPhase(*target, host ? "loops" : "scheduled");
  unsigned last = *findPhase(*target, host ? "llvm" : "nvvm");
  if (failed(session.run(*module, list, 0, fusedPhase, options)))
    return session.error("fusion failed");
  OwningOpRef<ModuleOp> fused = module->clone();
  runtime::Artifact artifact;
  artifact.target = options.target;
  artifact.chip = host ? host::hostChip() : nvptx::kChip;
  if (failed(session.run(*module, list, fusedPhase, lowered, options)) || failed(describeLaunch(*fused, *module, artifact)))
    return session.error("lowering failed");
  if (failed(session.run(*module, list, lowered, last, options)))
    return session.error("lowering to LLVM failed");
  llvm::Expected<std::string> code = host ? host::compileObject(*module) : nvptx::emitPtx(*module);
  if (!code)
    return session.error(llvm::toString(code.takeError()).c_str());
  if (host) {
    artifact.code = std::move(*code);
    return artifact;
  }
  artifact.ptx = std::move(*code);
  if (Status assembled = assemble(options, *module, artifact); !assembled)
    return assembled.error();
  return artifact;
}

/// The phases that are text: PTX, and the assembler's report.
static Status dumpText(ModuleOp module, const Phase &phase, const CompileOptions &options, std::vector<PhaseDump> &dumps,
                       bool keep) {
  if (phase.name == "ptx") {
    llvm::Expected<std::string> ptx = nvptx::emitPtx(module);
    if (!ptx)
      return Error{llvm::toString(ptx.takeError())};
    dumps.push_back({phase.name.str(), phase.suffix.str(), *ptx});
    return {};
  }
  std::string ptx = std::move(dumps.back().text), ptxas = nvptx::findPtxas(options.ptxas);
  if (ptxas.empty())
    return Error{"no ptxas; install the CUDA toolkit or PyPI's nvidia-cuda-nvcc, or set VERNIER_PTXAS"};
  Result<nvptx::Assembly> assembly = assembleWithoutSpills(ptxas, module, ptx);
  if (!assembly)
    return assembly.error();
  if (keep)
    dumps.back().text = std::move(ptx);
  else
    dumps.pop_back();
  dumps.push_back({phase.name.str(), phase.suffix.str(), assembly->log});
  return {};
}

Result<std::vector<PhaseDump>> vernier::lower(const std::string &text, const std::string &from, const std::string &until,
                                              bool all, const CompileOptions &options) {
  Result<Target> target = targetOf(options);
  if (!target)
    return target.error();
  auto first = findPhase(*target, from), last = findPhase(*target, until);
  for (auto [phase, name] : {std::pair(first, from), std::pair(last, until)})
    if (!phase)
      return Error{"unknown phase '" + name + "'; phases of " + options.target + " are: " + phaseNames(*target)};
  if (*first > *last)
    return Error{"phase '" + from + "' comes after '" + until + "'; phases of " + options.target +
                 " are: " + phaseNames(*target)};
  SmallVector<Phase> list = phases(*target);
  unsigned lastIR = *last;
  while (list[lastIR].isText())
    --lastIR;
  if (*first > lastIR)
    return Error{"phase '" + from + "' is text, and nothing reads it back"};
  Session session;
  OwningOpRef<ModuleOp> module = session.parse(text);
  if (!module)
    return session.error("the module does not parse");
  std::vector<PhaseDump> dumps;
  auto dump = [&](unsigned i) {
    if (all || i == *last)
      dumps.push_back({list[i].name.str(), list[i].suffix.str(), print(*module, false) + "\n"});
  };
  dump(*first);
  if (failed(session.run(*module, list, *first, lastIR, options, dump)))
    return session.error("lowering failed");
  for (unsigned i = lastIR + 1; i <= *last; ++i)
    if (Status status = dumpText(*module, list[i], options, dumps, all); !status)
      return status.error();
  return dumps;
}

Result<std::string> vernier::cacheKey(const std::string &text, const CompileOptions &options) {
  Result<Target> target = targetOf(options);
  if (!target)
    return target.error();
  Session session;
  OwningOpRef<ModuleOp> module = session.parse(text);
  if (!module)
    return session.error("the module does not parse");
  runtime::Sha256 hash;
  hash.field(std::to_string(runtime::kAbiVersion));
  hash.field(print(*module, false));
  hash.field(options.target);
  hash.field(std::to_string(options.maxKernels));
  hash.field(std::to_string(options.fuse));
  hash.field(*target == Target::Host ? host::hostChip() : nvptx::kChip);
  hash.field(libraryHash());
  if (*target == Target::SM90a) {
    std::string ptxas = nvptx::findPtxas(options.ptxas);
    Result<std::string> version = ptxas.empty() ? std::string("driver") : nvptx::ptxasVersion(ptxas);
    if (!version)
      return version.error();
    hash.field(*version);
  }
  return hash.finish();
}

Result<runtime::Cached> vernier::compileCached(const std::string &text, const CompileOptions &options, runtime::Cache &cache) {
  Result<std::string> key = cacheKey(text, options);
  if (!key)
    return key.error();
  return cache.get(*key, [&] { return compile(text, options); });
}

Result<std::unique_ptr<runtime::HostProgram>> vernier::loadHost(std::shared_ptr<const runtime::Artifact> artifact) {
  return host::load(std::move(artifact));
}
