#include "compiler/Pipelines/Phases.h"

#include "compiler/Pipelines/Pipelines.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace vernier;

static const Phase table[] = {
    {"input", "what the program computes, as traced: mx and arith on tensors", ".0.input.mlir", nullptr, true, true},
    {"fused", "exact re-encodings folded, operations gathered into mx.kernel regions", ".1.fused.mlir", buildFused, true, true},
    {"loops", "host: each kernel as loops over vectors and memrefs", ".2.loops.mlir", buildLoops, true, false},
    {"llvm", "host: the LLVM dialect, ready for translation", ".3.llvm.mlir", buildLLVM, true, false},
    {"tiled", "sm_90a: each kernel as operations on tiles, with their layout", ".2.tiled.mlir", buildTiled, false, true},
    {"scheduled", "sm_90a: shared memory allocated and swizzled", ".3.scheduled.mlir", buildScheduled, false, true},
    {"nvvm", "sm_90a: what one thread does, in the LLVM dialect", ".4.nvvm.mlir", buildNVVM, false, true},
    {"ptx", "sm_90a: PTX, from LLVM", ".5.ptx", nullptr, false, true},
    {"cubin", "sm_90a: what ptxas reports of the machine code", ".6.cubin.txt", nullptr, false, true},
};

std::optional<Target> vernier::findTarget(llvm::StringRef name) {
  if (name == "host")
    return Target::Host;
  if (name == "sm_90a")
    return Target::SM90a;
  return std::nullopt;
}

std::string vernier::targetNames() { return "host, sm_90a"; }

llvm::ArrayRef<Phase> vernier::phases() { return table; }

llvm::SmallVector<Phase> vernier::phases(Target target) {
  llvm::SmallVector<Phase> list;
  for (const Phase &phase : table)
    if (target == Target::Host ? phase.onHost : phase.onGpu)
      list.push_back(phase);
  return list;
}

std::optional<unsigned> vernier::findPhase(Target target, llvm::StringRef name) {
  for (auto [i, phase] : llvm::enumerate(phases(target)))
    if (phase.name == name)
      return i;
  return std::nullopt;
}

std::string vernier::phaseNames(Target target) {
  auto list = phases(target);
  return llvm::join(llvm::map_range(list, [](const Phase &phase) { return phase.name; }), ", ");
}
