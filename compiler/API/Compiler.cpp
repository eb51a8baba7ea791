#include "compiler/API/Compiler.h"

#include "compiler/API/LaunchPlan.h"
#include "compiler/Pipelines/Phases.h"
#include "compiler/Pipelines/Registration.h"
#include "compiler/Target/Host/Loader.h"
#include "compiler/Target/Host/ObjectFile.h"
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

  LogicalResult run(ModuleOp module, unsigned from, unsigned until, const CompileOptions &options,
                    llvm::function_ref<void(unsigned)> reached = nullptr) {
    PipelineOptions pipeline{options.maxKernels};
    for (unsigned i = from + 1; i <= until; ++i) {
      PassManager manager(&context);
      phases()[i].build(manager, pipeline);
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

static Status checkTarget(const CompileOptions &options) {
  if (options.target != "host")
    return Error{"unknown target '" + options.target + "'; this build knows: host"};
  return {};
}

/// The module in a session's context, for a target that this build knows.
static Status open(Session &session, const std::string &text, const CompileOptions &options, OwningOpRef<ModuleOp> &module) {
  if (Status known = checkTarget(options); !known)
    return known;
  module = session.parse(text);
  if (!module)
    return session.error("the module does not parse");
  return {};
}

std::vector<PhaseInfo> vernier::listPhases() {
  std::vector<PhaseInfo> list;
  for (const Phase &phase : phases())
    list.push_back({phase.name.str(), phase.description.str(), phase.suffix.str()});
  return list;
}

Result<runtime::Artifact> vernier::compile(const std::string &text, const CompileOptions &options) {
  Session session;
  OwningOpRef<ModuleOp> module;
  if (Status opened = open(session, text, options, module); !opened)
    return opened.error();
  unsigned fusedPhase = *findPhase("fused"), loopsPhase = *findPhase("loops"), last = phases().size() - 1;
  if (failed(session.run(*module, 0, fusedPhase, options)))
    return session.error("fusion failed");
  OwningOpRef<ModuleOp> fused = module->clone();
  runtime::Artifact artifact;
  artifact.target = options.target;
  artifact.chip = host::hostChip();
  if (failed(session.run(*module, fusedPhase, loopsPhase, options)) || failed(describeLaunch(*fused, *module, artifact)))
    return session.error("lowering to loops failed");
  if (failed(session.run(*module, loopsPhase, last, options)))
    return session.error("lowering to LLVM failed");
  llvm::Expected<std::string> object = host::compileObject(*module);
  if (!object)
    return Error{llvm::toString(object.takeError())};
  artifact.code = std::move(*object);
  return artifact;
}

Result<std::vector<PhaseDump>> vernier::lower(const std::string &text, const std::string &from, const std::string &until,
                                              bool all, const CompileOptions &options) {
  if (Status known = checkTarget(options); !known)
    return known.error();
  auto first = findPhase(from), last = findPhase(until);
  for (auto [phase, name] : {std::pair(first, from), std::pair(last, until)})
    if (!phase)
      return Error{"unknown phase '" + name + "'; phases are: " + phaseNames()};
  if (*first > *last)
    return Error{"phase '" + from + "' comes after '" + until + "'; phases are: " + phaseNames()};
  Session session;
  OwningOpRef<ModuleOp> module = session.parse(text);
  if (!module)
    return session.error("the module does not parse");
  std::vector<PhaseDump> dumps;
  auto dump = [&](unsigned i) {
    if (all || i == *last)
      dumps.push_back({phases()[i].name.str(), phases()[i].suffix.str(), print(*module, false) + "\n"});
  };
  dump(*first);
  if (failed(session.run(*module, *first, *last, options, dump)))
    return session.error("lowering failed");
  return dumps;
}

Result<std::string> vernier::cacheKey(const std::string &text, const CompileOptions &options) {
  Session session;
  OwningOpRef<ModuleOp> module;
  if (Status opened = open(session, text, options, module); !opened)
    return opened.error();
  runtime::Sha256 hash;
  hash.field(std::to_string(runtime::kAbiVersion));
  hash.field(print(*module, false));
  hash.field(options.target);
  hash.field(std::to_string(options.maxKernels));
  hash.field(host::hostChip());
  hash.field(libraryHash());
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
