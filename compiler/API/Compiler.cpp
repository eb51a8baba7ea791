#include "compiler/API/Compiler.h"

#include "compiler/API/Assemble.h"
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

/// From fused kernels to an artifact. `fused` stays as it is.
static Result<runtime::Artifact> generate(Session &session, ModuleOp fused, ArrayRef<Phase> list, Target target,
                                          const CompileOptions &options) {
  bool host = target == Target::Host;
  unsigned fusedPhase = *findPhase(target, "fused"), lowered = *findPhase(target, host ? "loops" : "scheduled");
  unsigned last = *findPhase(target, host ? "llvm" : "nvvm");
  OwningOpRef<ModuleOp> module = fused.clone();
  runtime::Artifact artifact;
  artifact.target = options.target;
  artifact.chip = host ? host::hostChip() : nvptx::kChip;
  if (failed(session.run(*module, list, fusedPhase, lowered, options)) || failed(describeLaunch(fused, *module, artifact)))
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
  std::string ptxas = nvptx::findPtxas(options.ptxas);
  if (ptxas.empty())
    return artifact; // the driver assembles it
  Result<nvptx::Assembly> assembly = assembleWithoutSpills(ptxas, *module, artifact.ptx);
  if (!assembly)
    return assembly.error();
  describeAssembly(std::move(*assembly), artifact);
  return artifact;
}

/// The same, with kernels that spill made lighter until none does, or the best of these. `fused` is then marked accordingly.
static Result<runtime::Artifact> generateLightEnough(Session &session, OwningOpRef<ModuleOp> &fused, ArrayRef<Phase> list,
                                                     Target target, const CompileOptions &options) {
  Result<runtime::Artifact> best = generate(session, *fused, list, target, options);
  if (!best)
    return best;
  runtime::Artifact last = *best;
  for (OwningOpRef<ModuleOp> lighter = fused->clone(); spilledBytes(last) && lightenSpilled(*lighter, last);) {
    Result<runtime::Artifact> next = generate(session, *lighter, list, target, options);
    if (!next)
      return next;
    last = *next;
    if (spilledBytes(last) < spilledBytes(*best))
      best = std::move(next), fused = lighter->clone();
  }
  return best;
}

Result<runtime::Artifact> vernier::compile(const std::string &text, const CompileOptions &options) {
  Result<Target> target = targetOf(options);
  if (!target)
    return target.error();
  Session session;
  OwningOpRef<ModuleOp> module = session.parse(text);
  if (!module)
    return session.error("the module does not parse");
  SmallVector<Phase> list = phases(*target);
  if (failed(session.run(*module, list, 0, *findPhase(*target, "fused"), options)))
    return session.error("fusion failed");
  return generateLightEnough(session, module, list, *target, options);
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
  unsigned begin = *first, fused = *findPhase(*target, "fused");
  if (*target != Target::Host && begin <= fused && fused < lastIR && !nvptx::findPtxas(options.ptxas).empty()) {
    if (failed(session.run(*module, list, begin, fused, options, dump)))
      return session.error("fusion failed");
    // What is shown is what runs.
    if (Result<runtime::Artifact> made = generateLightEnough(session, module, list, *target, options); !made)
      return made.error();
    begin = fused;
  }
  if (failed(session.run(*module, list, begin, lastIR, options, dump)))
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
