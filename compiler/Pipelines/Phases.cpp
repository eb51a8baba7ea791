#include "compiler/Pipelines/Phases.h"

#include "compiler/Pipelines/HostPipeline.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace vernier;

static const Phase table[] = {
    {"input", "what the program computes, as traced: mx and arith on tensors", ".0.input.mlir", nullptr},
    {"fused", "exact re-encodings folded, operations gathered into mx.kernel regions", ".1.fused.mlir", buildFused},
    {"loops", "host: each kernel as loops over vectors and memrefs", ".2.loops.mlir", buildLoops},
    {"llvm", "host: the LLVM dialect, ready for translation", ".3.llvm.mlir", buildLLVM},
};

llvm::ArrayRef<Phase> vernier::phases() { return table; }

std::optional<unsigned> vernier::findPhase(llvm::StringRef name) {
  for (auto [i, phase] : llvm::enumerate(phases()))
    if (phase.name == name)
      return i;
  return std::nullopt;
}

std::string vernier::phaseNames() {
  return llvm::join(llvm::map_range(phases(), [](const Phase &phase) { return phase.name; }), ", ");
}
